"""The run as a person sees it, step by step; every step is the command that would be typed, or says what it does."""

from __future__ import annotations

import re
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from monitor.alerts import moment, parse
from monitor.batch import Record
from monitor.config import Settings
from monitor.demo import child, data, place, report
from monitor.demo.broker import broker, near, short
from monitor.demo.cut import Cut
from monitor.demo.play import HEAD, Timeline, listen, play
from monitor.demo.truth import Event, Incident, Promise, compare, incidents
from monitor.demo.watch import Metrics, Watch
from monitor.errors import MonitorError
from monitor.kafka import history
from monitor.kafka.feed import Feed
from monitor.kafka.remove import remove
from monitor.kafka.tail import follow
from monitor.local_kafka import free_ports
from monitor.model.manifest import Manifest

PACE = 400.0  # records a second
PROMISE = Promise()
_LINE = 96
_READY_TIMEOUT = 60.0  # s
_CATCH_UP_TIMEOUT = 60.0  # s
_POLL = 0.2  # s


@dataclass(frozen=True, slots=True)
class Played:
    """What was produced, and what the service said of it before it was stopped."""

    records: int
    seconds: float
    metrics: Metrics
    open_incidents: int  # as on the status page


class Story:
    """One run. `tell` returns when all is well, and raises MonitorError when a promise was not kept."""

    def __init__(self, console: Console, named: str | None, pace: float, *, keep: bool, cut: Cut) -> None:
        self._console = console
        self._named = named
        self._pace = pace
        self._keep = keep
        self._cut = cut
        self._step = 0
        self._begun = time.monotonic()

    def tell(self) -> None:
        try:
            self._tell()
        except (KeyboardInterrupt, SystemExit):
            self._say("stopped, and everything with it")
            raise

    def _tell(self) -> None:
        with ExitStack() as stack:
            folder = stack.enter_context(place.folder(keep=self._keep))
            self._chapter("Kafka")
            bootstrap = stack.enter_context(broker(self._named, folder / "kafka", self._say))
            run = uuid.uuid4().hex[:6]
            config = folder / "monitor.yaml"
            model = folder / "model"
            config.write_text(place.configuration(bootstrap, run, model, free_ports(1)[0]), encoding="utf-8")
            settings = place.load(config)
            if self._named and not self._keep:
                stack.callback(self._clear, settings)

            self._chapter("Topics for events, alerts, dead letters and state")
            self._run(folder, "topics", "--create", "-c", config)
            self._chapter("Learn what is normal: 8,000 minutes of one server, 38 features")
            self._run(folder, "train", data.NORMAL, "--out", model, "-c", config)

            self._chapter("The service, as a process of its own")
            watch = Watch(settings.web.port)
            service = self._start(config, folder / "service.log", watch)
            stack.callback(service.stop)

            self._chapter("The labelled part of the data: 8,000 minutes more, and 3 records that are no events")
            played, events = self._play(settings, watch, service)

            if not self._keep:
                self._chapter("Stop")
                self._stop(service)
            self._chapter("The alerts, read back from the topic, beside the labels")
            manifest = Manifest.model_validate_json((model / "manifest.json").read_bytes())
            fault = self._report(settings, played, manifest.architecture.window, events, watch)
            if self._keep:
                if fault:
                    self._say(f"[red]{escape(fault)}[/red]")
                self._stay(settings, config, watch, service)
            if fault:
                raise MonitorError(fault, "Run it again with --keep to look at it.")

    def _start(self, config: Path, log: Path, watch: Watch) -> child.Service:
        self._command("run", "-c", config, "&")
        service = child.Service(config, log)
        try:
            waited = watch.wait_ready(_READY_TIMEOUT, service.require_running)
        except BaseException:
            service.stop()
            raise
        self._say(f"process {service.pid}, ready after {waited:.1f} s; log: {short(log)}")
        self._say(f"status page: {watch.url}/   metrics: {watch.url}/metrics")
        return service

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

    def _stop(self, service: child.Service) -> None:
        self._command("kill", "-TERM", str(service.pid), program="")
        begun = time.monotonic()
        code = service.stop()
        if code:
            raise MonitorError(f"the service ended with exit code {code} after SIGTERM, not 0", service.tail())
        self._say(f"exit code 0 after {time.monotonic() - begun:.1f} s")

    def _report(self, settings: Settings, played: Played, window: int, events: Sequence[Event], watch: Watch) -> str:
        """Compares what the topics hold with the labels and the service's numbers; what fell short, if anything."""
        told = [parse(record.value or b"") for record in _held(settings, settings.topics.alerts.name)]
        dead = _held(settings, settings.topics.dead_letters.name)
        found = incidents(told)
        comparison = compare(events, found, timedelta(seconds=window * data.INTERVAL))
        self._console.print(report.table(comparison, timedelta(seconds=data.INTERVAL)))
        self._say("")
        for record in dead:
            self._say(escape(f"dead letter  {_header(record, 'reason'):<16} {_header(record, 'detail')}"))
        self._say("")
        checks = self._checks(played, found, Counter(_header(record, "reason") for record in dead))
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

    def _stay(self, settings: Settings, config: Path, watch: Watch, service: child.Service) -> None:
        """Until Ctrl+C; then the service is stopped in order."""
        self._chapter("Still up")
        self._say(f"Kafka at {settings.kafka.bootstrap_servers}, the service as process {service.pid}")
        self._say(f"status page {watch.url}/   metrics {watch.url}/metrics   files {short(config.parent)}")
        self._say("look at it with, for example:")
        self._command("alerts", "--all", "-c", config)
        self._say("[bold]Ctrl+C stops everything[/bold]")
        try:
            while True:
                service.require_running()
                time.sleep(0.5)
        except KeyboardInterrupt:
            self._cut.forget()
            self._stop(service)
        self._say(f"The files stay in {short(config.parent)} until the next demo.")
        if self._named:
            self._say(f"On {self._named} stay the topics {', '.join(_names(settings))}.")

    def _clear(self, settings: Settings) -> None:
        """Takes the run's topics from a broker that is not its own."""
        try:
            remove(settings.kafka, _names(settings), settings.kafka.group)
        except MonitorError as error:
            self._say(
                f"[yellow]not removed from {self._named}[/yellow]: "
                f"{', '.join(_names(settings))}: {escape(error.message)}"
            )

    def _chapter(self, title: str) -> None:
        self._cut.check()
        self._step += 1
        self._console.print(f"\n[bold]{self._step}. {title}[/bold]")

    def _run(self, folder: Path, *arguments: str | Path) -> None:
        self._command(*arguments)
        child.call(folder, *(str(near(argument)) if isinstance(argument, Path) else argument for argument in arguments))

    def _command(self, *arguments: str | Path, program: str = "monitor") -> None:
        typed = [short(argument) if isinstance(argument, Path) else argument for argument in arguments]
        line = " ".join([*([program] if program else []), *typed])
        if len(line) > _LINE:  # continued as a shell takes it
            line = re.sub(r" (--out|-c) ", r" \\\n      \1 ", line)
        self._say("$ " + escape(line))

    def _say(self, text: str) -> None:
        self._console.print(text)


def _names(settings: Settings) -> list[str]:
    topics = settings.topics
    return [topics.input.name, topics.alerts.name, topics.dead_letters.name, topics.state.name]


def _held(settings: Settings, topic: str) -> list[Record]:
    return [record for batch in history.read(settings.kafka, topic) for record in batch]


def _header(record: Record, name: str) -> str:
    """What the service says of a dead letter: `reason`, `detail`."""
    return next((value.decode() for key, value in record.headers if key == f"monitor-{name}" and value), "")
