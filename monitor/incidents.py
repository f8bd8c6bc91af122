"""One incident per event, not one alert per row: a state machine for each stream that is not quiet.

    quiet --anomalous--> suspicious --k of n, for min_duration--> open --m normal in a row--> closed, cooldown --> quiet

Only event times and the order of a stream's own scores decide; the wall clock, other streams and the batch do not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from math import inf
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from monitor import config
from monitor.alerts import SEVERITIES, Alert, Evidence, Feature, Severity, Status, identity, moment
from monitor.batch import Batch, Departure, Float32, Float64, Int64, Scores, Windows

_Key = tuple[int, str]  # partition, stream


@dataclass(frozen=True, slots=True)
class Point:
    """One scored event, as plain values."""

    row: int
    time: float
    offset: int


@dataclass(frozen=True, slots=True)
class Peak:
    """The worst of some anomalous events, with what it takes to explain it."""

    score: float
    error: float
    feature_error: Float32  # (F,) of the event with the highest score
    observed: Float32  # (F,) source units; of the event in which this feature was furthest from what was expected
    expected: Float32  # (F,) source units; of the same event

    def joined(self, later: Peak) -> Peak:
        """The worst of these and a later event.

        A score over the whole window peaks when the event that caused it has moved on inside the window: the newest
        values may look normal by then. What a person wants to see is how far each feature went.
        """
        top = later if later.score > self.score else self
        reached = np.abs(self.observed.astype(np.float64) - self.expected)
        further = np.abs(later.observed.astype(np.float64) - later.expected) > reached
        observed = np.where(further, later.observed, self.observed)
        expected = np.where(further, later.expected, self.expected)
        return Peak(top.score, top.error, top.feature_error, observed, expected)


@dataclass(slots=True)
class Incident:
    """An open incident."""

    started: Point
    peak: Peak
    last_anomalous: Point
    last: Point  # the newest event of the stream that was scored
    told_at: float  # event time of the last message
    told_severity: Severity
    normal: int = 0  # normal scores in a row


@dataclass(slots=True)
class _Loud:
    """What is known of a stream that is not quiet."""

    recent: deque[tuple[int, Point, Peak]] = field(default_factory=deque)  # anomalous ones of the last n
    seen: int = 0
    held: tuple[Point, Peak] | None = None  # since when k of n hold, and the worst since then
    incident: Incident | None = None
    cooling_until: float = -inf


@dataclass(frozen=True, slots=True)
class Told:
    """An alert, and the row of the batch whose event caused it."""

    alert: Alert
    row: int


@dataclass(frozen=True, slots=True)
class Origin:
    """What every alert's evidence says of where it comes from."""

    topic: str
    model: str
    config: str


class Incidents:
    """The state machines of all partitions. Memory grows with the streams that are not quiet, and with nothing else."""

    def __init__(self, rules: config.Incidents, features: Sequence[str], threshold: float, origin: Origin) -> None:
        self._rules = rules
        self._features = tuple(features)
        self._threshold = threshold
        self._origin = origin
        self._loud: dict[_Key, _Loud] = {}
        self._followed = np.zeros(0, np.bool_)  # by slot; all that most events cost

    def open(self) -> Iterator[tuple[int, str, Severity, Incident]]:
        """Partition, stream, severity and facts of each open incident."""
        for (partition, stream), loud in self._loud.items():
            if loud.incident is not None:
                yield partition, stream, self._severity(loud.incident.peak.score), loud.incident

    def update(
        self, batch: Batch, windows: Windows, scores: Scores, score: Float64, departures: Sequence[Departure]
    ) -> list[Told]:
        """W scores in arrival order (`score` = error / threshold), after the departures; the alerts they lead to."""
        told: list[Told] = []
        for departure in departures:
            told.extend(self._depart(departure))
        anomalous = score > 1
        self._follow_slots(windows.slot, anomalous)
        for i in np.flatnonzero(self._followed[windows.slot]).tolist():
            row = int(windows.row[i])
            key = (int(batch.partition[row]), batch.stream[row])
            loud = self._loud.get(key)
            if loud is None:
                if not anomalous[i]:
                    self._followed[windows.slot[i]] = False
                    continue
                loud = self._loud[key] = _Loud()
            point = Point(row, float(batch.time[row]), int(batch.offset[row]))
            peak = _peak(windows, scores, score, i) if anomalous[i] else None
            told.extend(self._step(key, loud, point, peak))
            if loud.incident is None and not loud.recent and point.time >= loud.cooling_until:
                del self._loud[key]
            self._followed[windows.slot[i]] = key in self._loud
        return told

    def _follow_slots(self, slot: Int64, anomalous: NDArray[np.bool_]) -> None:
        """Whose scores need a look: the streams that are not quiet, and those with an anomalous score now.

        A slot that passed to another stream may still be marked; its first score unmarks it.
        """
        if len(slot) and len(self._followed) <= (highest := int(slot.max())):
            self._followed = np.append(self._followed, np.zeros(highest + 1, np.bool_))
        self._followed[slot[anomalous]] = True

    def drop(self, partition: int) -> None:
        """Forgets a partition that moved to another member, without a word: the other member tells."""
        for key in [key for key in self._loud if key[0] == partition]:
            del self._loud[key]

    def _step(self, key: _Key, loud: _Loud, point: Point, peak: Peak | None) -> Iterator[Told]:
        """One score of a stream that is not quiet; `peak` is given where it is anomalous."""
        rules = self._rules
        loud.seen += 1
        while loud.recent and loud.recent[0][0] <= loud.seen - rules.open_window:
            loud.recent.popleft()
        if peak is not None:
            loud.recent.append((loud.seen, point, peak))
        incident = loud.incident
        if incident is not None:
            yield from self._follow(key, loud, incident, point, peak)
            return
        if len(loud.recent) < rules.open_after:
            loud.held = None
            return
        if loud.held is None:
            loud.held = loud.recent[0][1], reduce(Peak.joined, (entry[2] for entry in loud.recent))
        elif peak is not None:
            loud.held = loud.held[0], loud.held[1].joined(peak)
        since, worst = loud.held
        ready = point.time - since.time >= rules.min_duration and point.time >= loud.cooling_until
        if ready and peak is not None and worst.score >= rules.severity.warning:
            severity = self._severity(worst.score)
            loud.incident = Incident(since, worst, point, point, point.time, severity)
            yield self._tell(key, loud.incident, "opened", point)

    def _follow(self, key: _Key, loud: _Loud, incident: Incident, point: Point, peak: Peak | None) -> Iterator[Told]:
        rules = self._rules
        incident.last = point
        if peak is None:
            incident.normal += 1
            if incident.normal >= rules.close_after:
                loud.incident, loud.held = None, None
                loud.recent.clear()
                loud.cooling_until = point.time + rules.cooldown
                yield self._tell(key, incident, "closed", point, "recovered")
                return
        else:
            incident.normal = 0
            incident.last_anomalous = point
            incident.peak = incident.peak.joined(peak)
        worse = SEVERITIES.index(self._severity(incident.peak.score)) > SEVERITIES.index(incident.told_severity)
        if worse or point.time - incident.told_at >= rules.update_every:
            incident.told_at = point.time
            incident.told_severity = self._severity(incident.peak.score)
            yield self._tell(key, incident, "updated", point)

    def _depart(self, departure: Departure) -> Iterator[Told]:
        key = (departure.partition, departure.stream)
        loud = self._loud.pop(key, None)
        if loud is not None and loud.incident is not None:
            reason: Literal["idle", "evicted"] = "idle" if departure.reason == "idle" else "evicted"
            last = loud.incident.last
            yield self._tell(key, loud.incident, "closed", Point(departure.row, last.time, last.offset), reason)

    def _tell(
        self,
        key: _Key,
        incident: Incident,
        status: Status,
        point: Point,
        reason: Literal["recovered", "idle", "evicted"] | None = None,
    ) -> Told:
        partition, stream = key
        origin, started = self._origin, incident.started
        name = identity("incident", stream, origin.model, origin.topic, partition, started.offset)
        alert = Alert(
            id=identity("message", name, status, point.offset, origin.config),
            incident=name,
            kind="anomaly",
            status=status,
            reason=reason,
            stream=stream,
            time=moment(point.time),
            started_at=moment(started.time),
            ended_at=moment(incident.last_anomalous.time) if status == "closed" else None,
            severity=self._severity(incident.peak.score),
            score=incident.peak.score,
            error=incident.peak.error,
            threshold=self._threshold,
            features=self._contributions(incident.peak),
            evidence=Evidence(
                topic=origin.topic,
                partition=partition,
                first_offset=started.offset,
                last_offset=point.offset,
                model=origin.model,
                config=origin.config,
            ),
        )
        return Told(alert, point.row)

    def _contributions(self, peak: Peak) -> tuple[Feature, ...]:
        share = peak.feature_error.astype(np.float64)
        share /= share.sum()
        return tuple(
            Feature(
                name=self._features[f],
                observed=float(peak.observed[f]),
                expected=float(peak.expected[f]),
                contribution=float(share[f]),
            )
            for f in np.argsort(-share, kind="stable")[: self._rules.features].tolist()
        )

    def _severity(self, score: float) -> Severity:
        bands = self._rules.severity
        if score >= bands.critical:
            return "critical"
        return "major" if score >= bands.major else "warning"


def _peak(windows: Windows, scores: Scores, score: Float64, i: int) -> Peak:
    # Copies: a view would keep the whole batch alive for as long as the incident is open.
    return Peak(
        float(score[i]),
        float(scores.error[i]),
        scores.feature_error[i].copy(),
        windows.values[i, -1].copy(),
        scores.expected[i].copy(),
    )
