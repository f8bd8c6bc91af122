"""Labels against incidents: which labelled events were found, which incidents were false, what was promised. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.alerts import Alert, moment
from monitor.batch import Float64


@dataclass(frozen=True, slots=True)
class Event:
    """A run of rows labelled as anomalous; from its first to its last row, both included."""

    number: int  # from 1
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Incident:
    """What all messages of one incident say together."""

    opened_at: datetime  # event time of the message `opened`
    started_at: datetime  # of the first anomalous window
    ended_at: datetime  # of the last one; while it is open, of its newest message
    open: bool
    severity: str
    score: float  # peak of error / threshold
    feature: str  # the largest contribution at the peak
    stream: str = ""
    summary: str = ""  # of its last message


@dataclass(frozen=True, slots=True)
class Finding:
    """A labelled event, and the incident that found it first; none when it was missed."""

    event: Event
    incident: Incident | None

    @property
    def delay(self) -> timedelta | None:
        """From the event's first row to the message `opened`; negative where the incident was open before it."""
        return None if self.incident is None else self.incident.opened_at - self.event.start


@dataclass(frozen=True, slots=True)
class Comparison:
    findings: tuple[Finding, ...]  # one a labelled event, in their order
    false: tuple[Incident, ...]  # overlap no labelled event

    @property
    def found(self) -> int:
        return sum(finding.incident is not None for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Promise:
    """What the README says of the demo."""

    found: int = 5  # at least, of the labelled events
    false: int = 3  # at most, incidents: half of what the budget would allow in these days

    def broken(self, comparison: Comparison) -> list[str]:
        """One sentence for each part that was not kept; none when all was."""
        faults = []
        if comparison.found < self.found:
            events = len(comparison.findings)
            faults.append(f"{comparison.found} of {events} labelled events found, promised at least {self.found}")
        if len(comparison.false) > self.false:
            faults.append(f"{len(comparison.false)} false incidents, promised at most {self.false}")
        return faults


def labelled_events(time: Float64, label: NDArray[Any]) -> tuple[Event, ...]:
    """Times (n,) in s since the Unix epoch and labels (n,), not 0 where anomalous -> the events in order."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(label) != 0, [0]]).astype(np.int8)))
    return tuple(
        Event(number, moment(float(time[first])), moment(float(time[after - 1])))
        for number, (first, after) in enumerate(zip(edges[::2], edges[1::2], strict=True), 1)
    )


def incidents(alerts: Iterable[Alert]) -> tuple[Incident, ...]:
    """Messages in any order, repeats among them -> anomaly incidents in the order of their opening."""
    messages: dict[str, dict[str, Alert]] = {}
    for alert in alerts:
        if alert.kind != "anomaly":  # a fault of the data is told for itself, and is no answer to a label
            continue
        messages.setdefault(alert.incident, {})[alert.id] = alert
    found = [_incident(sorted(told.values(), key=lambda alert: alert.time)) for told in messages.values()]
    return tuple(sorted(found, key=lambda incident: incident.opened_at))


def _incident(messages: Sequence[Alert]) -> Incident:
    last = next((alert for alert in messages if alert.status == "closed"), messages[-1])
    return Incident(
        opened_at=messages[0].time,
        started_at=last.started_at,
        ended_at=last.ended_at or last.time,
        open=last.status != "closed",
        severity=last.severity,
        score=last.score,
        feature=last.features[0].name if last.features else "",
        stream=last.stream,
        summary=last.summary,
    )


def compare(events: Sequence[Event], found: Sequence[Incident], trail: timedelta) -> Comparison:
    """An incident finds an event when [started_at, ended_at] overlaps [start, end + trail]; false when it finds none.

    `trail` is the length of a window: the score is a mean over it, so it stays high that long after the event's end.
    """

    def overlap(incident: Incident, event: Event) -> bool:
        return incident.started_at <= event.end + trail and incident.ended_at >= event.start

    findings = tuple(
        Finding(event, min((i for i in found if overlap(i, event)), key=lambda i: i.opened_at, default=None))
        for event in events
    )
    false = tuple(incident for incident in found if not any(overlap(incident, event) for event in events))
    return Comparison(findings, false)
