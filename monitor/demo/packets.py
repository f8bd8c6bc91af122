"""`monitor demo --packets`: a capture of a small network through feed, Kafka, a model and the service."""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Final

from rich.markup import escape

from monitor.alerts import moment, parse
from monitor.config import Settings
from monitor.demo import child
from monitor.demo.attacks import Attack, Found, Promise, Verdict, judge
from monitor.demo.report import Check
from monitor.demo.stage import Stage, held
from monitor.demo.truth import Incident, incidents
from monitor.demo.watch import Metrics, Watch
from monitor.errors import MonitorError
from monitor.model.manifest import Manifest

FOLDER: Final = Path(__file__).parent.parent / "data" / "traffic"
NORMAL: Final = FOLDER / "normal.pcap.gz"
ATTACKS: Final = FOLDER / "attacks.pcap.gz"
LABELS: Final = FOLDER / "labels.csv"
PROMISE: Final = Promise(
    {"port scan": "distinct destination ports a second", "SYN flood": "TCP connections begun a second"}
)
_CATCH_UP_TIMEOUT = 60.0  # s

_SETTINGS = """\
feed:
  vectors: hosts  # what each host sent and got in a second
training:
  detector: linear
  window: 5
  features: [{match: "*", log1p: true}]  # a busy second has a thousand times the packets of a quiet one
  scale_floor: 0.05
"""


class Packets(Stage):
    """The committed capture: minutes of normal traffic to learn from, then a port scan and a SYN flood amid more."""

    extra = _SETTINGS

    def _tell(self, stack: ExitStack) -> None:
        folder, settings = self._prepare(stack)
        config, rows, model = folder / "monitor.yaml", folder / "normal.ndjson", folder / "model"
        self._chapter("Learn what is normal: minutes of nine hosts, each second of each host 18 numbers")
        self._run(folder, "feed", NORMAL, "--stdout", "-c", config, output=rows)
        self._run(folder, "train", rows, "--out", model, "-c", config)
        service, watch = self._serve(stack, folder, settings)
        self._chapter("More of the network, with a port scan and a SYN flood in it")
        self._run(folder, "feed", ATTACKS, "-c", config)
        metrics, sent = self._catch_up(settings, watch, service)
        if not self._keep:
            self._chapter("Stop")
            self._stop(service)
        self._chapter("The alerts, read back from the topic, beside the labels")
        window = Manifest.model_validate_json((model / "manifest.json").read_bytes()).architecture.window
        fault = self._report(settings, metrics, sent, timedelta(seconds=window * settings.feed.hosts.interval))
        self._end(fault, settings, folder, watch, service)

    def _catch_up(self, settings: Settings, watch: Watch, service: child.Service) -> tuple[Metrics, int]:
        """Waits until the service has read all that was fed; its numbers, and how many events that were."""
        sent = len(held(settings, settings.topics.input.name))
        deadline = time.monotonic() + _CATCH_UP_TIMEOUT
        while (metrics := watch.metrics()).total("monitor_records_total") < sent:
            self._cut.check()
            service.require_running()
            if time.monotonic() > deadline:
                read = metrics.total("monitor_records_total")
                raise MonitorError(f"the service read {read:,.0f} of {sent:,} events in time", service.tail())
            time.sleep(0.2)
        time.sleep(1.1)  # gauges are made once a second
        return watch.metrics(), sent

    def _report(self, settings: Settings, metrics: Metrics, sent: int, trail: timedelta) -> str:
        """Compares the incidents with the labels; what fell short, if anything."""
        told = incidents(parse(record.value or b"") for record in held(settings, settings.topics.alerts.name))
        verdict = judge(attacks(LABELS), told, trail)
        for line in lines(verdict):
            self._say(escape(line))
        self._say("")
        checks = [
            Check("events read, by the metrics", metrics.total("monitor_records_total"), sent, "in the topic"),
            Check("events rejected, by the metrics", metrics.total("monitor_rejected_total"), 0, "wanted"),
        ]
        for check in checks:
            self._say(str(check))
        wrong = [check for check in checks if not check.ok]
        faults = PROMISE.broken(verdict)
        faults += [f"{check.name}: {check.got:g}, but {check.source} {check.wanted:g}" for check in wrong]
        if faults:
            return "the demo fell short of its promise: " + "; ".join(faults)
        took = time.monotonic() - self._begun
        self._say(
            f"[green]kept its promise[/green]: {len(verdict.found)} of {len(verdict.found)} attacks named with their "
            f"hosts, {len(verdict.false)} false (promised: at most {PROMISE.false}); {took:.0f} s in all"
        )
        return ""


def attacks(path: Path) -> tuple[Attack, ...]:
    """The labels of a capture, as `benchmarks/traffic` writes them."""
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(
            Attack(
                row["attack"], moment(float(row["begin"])), moment(float(row["end"])), row["attacker"], row["victim"]
            )
            for row in csv.DictReader(file)
        )


def lines(verdict: Verdict) -> list[str]:
    """Each attack with what was said of it, then the false incidents."""
    out = []
    for found in verdict.found:
        attack = found.attack
        when = f"{attack.begin:%H:%M:%S} to {attack.end:%H:%M:%S}"
        out.append(f"{when}  {attack.name}: {attack.attacker} on {attack.victim}")
        out += _said(found)
    out += [f"false: host {incident.summary}" for incident in verdict.false]
    return out


def _said(found: Found) -> Sequence[str]:
    if found.delay is None:
        return ["  missed"]
    first = f"  found after {found.delay.total_seconds():.0f} s"
    return [first, *(f"  {_severity(one)}  host {one.summary}" for one in found.incidents)]


def _severity(incident: Incident) -> str:
    return f"{incident.severity:<8}"
