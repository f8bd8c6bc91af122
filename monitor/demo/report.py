"""The verdict as a person reads it: one row a labelled event, then the false incidents, then what was promised."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from rich.table import Table

from monitor.demo.truth import Comparison, Finding, Promise
from monitor.demo.watch import Metrics

WORK_STAGES = ("decode", "window", "score", "incidents", "publish")  # without `poll`, which is waiting


@dataclass(frozen=True, slots=True)
class Check:
    """Two numbers that must be equal, each from another source."""

    name: str
    got: float
    wanted: float
    source: str  # of the second

    @property
    def ok(self) -> bool:
        return self.got == self.wanted

    def __str__(self) -> str:
        sign = "ok   " if self.ok else "WRONG"
        return f"{sign}  {self.name:<34} {self.got:>6,.0f}   {self.source} {self.wanted:,.0f}"


def table(comparison: Comparison, interval: timedelta) -> Table:
    """Each labelled event with the incident that found it; `interval` is the time from row to row."""
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("event", "labelled", "rows", "result", "delay", "severity", "peak score", "top feature"):
        shown.add_column(column, justify="right" if column in {"rows", "delay", "peak score"} else "left", no_wrap=True)
    for finding in comparison.findings:
        event = finding.event
        rows = round((event.end - event.start) / interval) + 1
        shown.add_row(str(event.number), f"{event.start:%Y-%m-%d %H:%M}", str(rows), *_result(finding))
    for incident in comparison.false:
        delay, rest = "", (incident.severity, f"{incident.score:,.1f}", incident.feature)
        shown.add_row("-", f"{incident.started_at:%Y-%m-%d %H:%M}", "", "[yellow]false[/yellow]", delay, *rest)
    return shown


def _result(finding: Finding) -> tuple[str, ...]:
    incident = finding.incident
    if incident is None or finding.delay is None:
        return "[red]missed[/red]", "", "", "", ""
    minutes = f"{finding.delay.total_seconds() / 60:.0f} min"
    return "[green]found[/green]", minutes, incident.severity, f"{incident.score:,.1f}", incident.feature


def speed(metrics: Metrics, records: int, seconds: float) -> list[str]:
    """How fast it went, and how much of the service that took."""
    busy = sum(metrics.total("monitor_stage_seconds_sum", f'stage="{stage}"') for stage in WORK_STAGES)
    lines = [
        f"events per second: {records / seconds:,.0f}, as fast as they were produced; "
        f"the service worked {busy / seconds:.0%} of the time"
    ]
    slowest = metrics.within("monitor_event_to_alert_seconds")
    if metrics.total("monitor_event_to_alert_seconds_count") and math.isfinite(slowest):
        lines.append(f"every alert was in the topic within {slowest:g} s of its event")
    return lines


def fault(comparison: Comparison, checks: Sequence[Check], promise: Promise) -> str:
    """Which promises were not kept, in one sentence; empty when all were."""
    faults = promise.broken(comparison)
    faults += [f"{check.name}: {check.got:g}, but {check.source} {check.wanted:g}" for check in checks if not check.ok]
    return "the demo fell short of its promise: " + "; ".join(faults) if faults else ""


def praise(comparison: Comparison, promise: Promise) -> str:
    """What was reached, beside what was promised."""
    return (
        f"found {comparison.found} of {len(comparison.findings)} labelled events (promised: at least {promise.found}), "
        f"{len(comparison.false)} false (promised: at most {promise.false})"
    )
