"""The run as a person sees it, step by step; every step is the command that would be typed, or says what it does."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from monitor.alerts import moment, parse
from monitor.batch import Record
from monitor.config import Settings
from monitor.demo import child, data, report
from monitor.demo.cut import Cut
from monitor.demo.play import HEAD, Timeline, listen, play
from monitor.demo.stage import Stage, header, held
from monitor.demo.truth import Event, Incident, Promise, compare, incidents
from monitor.demo.watch import Metrics, Watch
from monitor.errors import MonitorError
from monitor.kafka.feed import Feed
from monitor.kafka.tail import follow
from monitor.model.manifest import Manifest

PACE = 400.0  # records a second
PROMISE = Promise()
_CATCH_UP_TIMEOUT = 60.0  # s
_POLL = 0.2  # s


@dataclass(frozen=True, slots=True)
class Played:
    """What was produced, and what the service said of it before it was stopped."""

    records: int
    seconds: float
    metrics: Metrics
    open_incidents: int  # as on the status page


class Story(Stage):
    """One run. `tell` returns when all is well, and raises MonitorError when a promise was not kept."""

    def __init__(self, console: Console, named: str | None, pace: float, *, keep: bool, cut: Cut) -> None:
        super().__init__(console, named, keep=keep, cut=cut)
        self._pace = pace

    def _tell(self, stack: ExitStack) -> None:
        folder, settings = self._prepare(stack)
        model = folder / "model"
        self._chapter("Learn what is normal: 8,000 minutes of one server, 38 features")
        self._run(folder, "train", data.NORMAL, "--out", model, "-c", folder / "monitor.yaml")
        service, watch = self._serve(stack, folder, settings)
        self._chapter("The labelled part of the data: 8,000 minutes more, and 3 records that are no events")
        played, events = self._play(settings, watch, service)
        if not self._keep:
            self._chapter("Stop")
            self._stop(service)
        self._chapter("The alerts, read back from the topic, beside the labels")
        manifest = Manifest.model_validate_json((model / "manifest.json").read_bytes())
        fault = self._report(settings, played, manifest.architecture.window, events, watch)
        self._end(fault, settings, folder, watch, service)

    def _play(self, settings: Settings, watch: Watch, service: child.Service) -> tuple[Played, Sequence[Event]]:
        rows, events = data.labelled(settings.topics.input.name)
        self._say(f"{len(rows):,} records into {settings.topics.input.name}, {self._pace:,.0f} a second")
        self._say(f"[bold]{HEAD}[/bold]")
        alerts = follow(settings.kafka, settings.topics.alerts.name, "beginning", poll_seconds=_POLL)
        timeline = Timeline(events, self._say)
        bar = Progress(
            BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=self._console, transient=True,
            disable=not self._console.is_terminal,
        )  # fmt: skip
        with Feed(settings.kafka) as feed, bar:
            task = bar.add_task("", total=len(rows))

            def advance(sent: int) -> None:
                self._cut.check()
                bar.update(task, completed=sent)

            begun = time.monotonic()
            play(rows, self._pace, feed, alerts, timeline, moment, advance)
            metrics = self._catch_up(len(rows), watch, service, alerts, timeline)
            seconds = time.monotonic() - begun
        timeline.reach(moment(rows[-1].time))
        return Played(len(rows), seconds, metrics, int(watch.status()["open_total"])), events

    def _catch_up(
        self,
        produced: int,
        watch: Watch,
        service: child.Service,
        alerts: Iterator[Sequence[Record] | None],
        timeline: Timeline,
    ) -> Metrics:
        """Waits until the service has read all that was produced and its last alert has been told."""
        deadline = time.monotonic() + _CATCH_UP_TIMEOUT
        while time.monotonic() < deadline:
            self._cut.check()
            service.require_running()
            heard = listen(alerts, timeline)
            metrics = watch.metrics()
            if metrics.total("monitor_records_total") >= produced and not heard:
                time.sleep(1.1)  # gauges and the status page are made once a second
                return watch.metrics()
        raise MonitorError(
            f"the service read {metrics.total('monitor_records_total'):,.0f} of {produced:,} records "
            f"within {_CATCH_UP_TIMEOUT:g} s",
            service.tail(),
        )

    def _report(self, settings: Settings, played: Played, window: int, events: Sequence[Event], watch: Watch) -> str:
        """Compares what the topics hold with the labels and the service's numbers; what fell short, if anything."""
        told = [parse(record.value or b"") for record in held(settings, settings.topics.alerts.name)]
        dead = held(settings, settings.topics.dead_letters.name)
        found = incidents(told)
        comparison = compare(events, found, timedelta(seconds=window * data.INTERVAL))
        self._console.print(report.table(comparison, timedelta(seconds=data.INTERVAL)))
        self._say("")
        for record in dead:
            self._say(escape(f"dead letter  {header(record, 'reason'):<16} {header(record, 'detail')}"))
        self._say("")
        checks = self._checks(played, found, Counter(header(record, "reason") for record in dead))
        for check in checks:
            self._say(str(check))
        self._say("")
        for line in report.speed(played.metrics, played.records, played.seconds):
            self._say(line)
        self._say(f"status page {watch.url}/   metrics {watch.url}/metrics" + ("" if self._keep else " (now stopped)"))
        fault = report.fault(comparison, checks, PROMISE)
        took = time.monotonic() - self._begun
        if not fault:
            self._say(f"[green]kept its promise[/green]: {report.praise(comparison, PROMISE)}; {took:.0f} s in all")
        return fault

    def _checks(self, played: Played, found: Sequence[Incident], dead: Counter[str]) -> list[report.Check]:
        """The service's own numbers against what was produced and what the topics hold."""
        total = played.metrics.total
        opened = total("monitor_alerts_total", 'kind="anomaly"', 'status="opened"')
        poison = len(data.POISON_REASONS)
        as_made = sum(dead[reason] == 1 for reason in data.POISON_REASONS)
        still_open = sum(incident.open for incident in found)
        return [
            report.Check("records read, by the metrics", total("monitor_records_total"), played.records, "produced"),
            report.Check(
                "records rejected, by the metrics", total("monitor_rejected_total"), poison, "poison produced"
            ),
            report.Check("dead letters in the topic", dead.total(), poison, "poison produced"),
            report.Check("of them with the reason as made", as_made, poison, "poison produced"),
            report.Check("incidents opened, by the metrics", opened, len(found), "in the alert topic"),
            report.Check("incidents open, by the status page", played.open_incidents, still_open, "in the alert topic"),
        ]
