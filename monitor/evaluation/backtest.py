"""Records through the service's pipeline, and all that a report needs of it. Pure.

Of each event 40 bytes stay (place, time, score), of the worst incidents some hundred events, of codes and of calm
windows a sample.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from monitor import config
from monitor.alerts import Alert, Feature, Kind, Severity
from monitor.batch import Float32, Float64, Int64, Record
from monitor.detector import Detector
from monitor.evaluation.excerpts import Excerpt, Excerpts, Key, Point
from monitor.evaluation.sampling import Sample
from monitor.evaluation.watching import Seen, Watched
from monitor.model.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Series:
    """The n events of one stream that were decoded, in the order of their records."""

    stream: str
    partition: int
    offset: Int64  # (n,)
    time: Float64  # (n,) event time, s since the Unix epoch; not always ascending
    score: Float64  # (n,) error / threshold, NaN where there is none: warming up, late, or not due by the stride
    z: Float64  # (n,) the baseline max |z|, NaN with the score
    life: Int64  # (n,) how often the stream was forgotten before


@dataclass(frozen=True, slots=True)
class Fired:
    """One incident, as its newest message tells it."""

    incident: str
    stream: str
    partition: int
    kind: Kind
    severity: Severity
    score: float  # peak; of a fault of the data, times its limit
    started_at: float  # s since the Unix epoch: the first anomalous event
    opened_at: float  # the event that told it
    opened_offset: int
    ended_at: float | None  # the last anomalous event; None while it is open
    reason: str | None  # why it closed
    features: tuple[Feature, ...]  # largest contribution first
    summary: str  # one sentence
    messages: tuple[str, ...]  # ids, in their order; of a long one the first and the last

    @property
    def open(self) -> bool:
        return self.ended_at is None


@dataclass(frozen=True, slots=True)
class Latent:
    """Codes of some windows."""

    code: Float32  # (n, C)
    score: Float64  # (n,)
    series: Int64  # (n,) place in `Backtest.series`
    row: Int64  # (n,) place in that series


@dataclass(frozen=True, slots=True)
class Backtest:
    """What a model and a configuration would have said of some records."""

    manifest: Manifest
    settings: config.Settings
    threshold: float
    series: tuple[Series, ...]  # in order of first appearance
    fired: tuple[Fired, ...]  # in order of telling
    excerpts: dict[str, Excerpt]  # by incident, the worst first
    latent: Latent | None  # None where nothing was scored
    calm: Float32  # (n, T, columns) some windows at or below the threshold, as the detector read them
    records: int
    rejects: tuple[tuple[str, int], ...]  # reasons, each with its first example, the most frequent first

    @property
    def anomalies(self) -> tuple[Fired, ...]:
        """Incidents without drifts and the faults of the data: what scores and labels speak of."""
        return tuple(one for one in self.fired if one.kind == "anomaly")

    @property
    def max_gap(self) -> float:
        """Seconds without an event that empty a window."""
        given = self.settings.windows.max_gap
        return self.manifest.training.max_gap if given is None else given

    @property
    def rejected(self) -> int:
        return sum(count for _, count in self.rejects)


def run(settings: config.Settings, detector: Detector, batches: Iterable[Sequence[Record]]) -> Backtest:
    """One pass over the records. The batches are the caller's; how they are cut changes nothing."""
    watched = Watched(settings, detector)
    columns = _Columns()
    told = _Told()
    rejects: Counter[str] = Counter()
    examples: dict[str, str] = {}
    records = 0
    for batch in batches:
        seen = watched.process(batch)
        columns.add(seen)
        told.add(seen)
        records += len(batch)
        for one in seen.outcome.rejects:
            rejects[one.reason] += 1
            examples.setdefault(one.reason, one.detail)
    series, place, row = columns.series()
    return Backtest(
        detector.manifest,
        settings,
        watched.pipeline.threshold,
        series,
        tuple(told.fired.values()),
        dict(told.excerpts.finish()),
        _latent(watched.codes, watched.loud_codes, series, place, row),
        watched.calm,
        records,
        tuple((f"{reason}: {examples[reason]}", count) for reason, count in rejects.most_common()),
    )


class _Told:
    """Incidents from alerts, and what happened around them."""

    def __init__(self) -> None:
        self.fired: dict[str, Fired] = {}
        self.excerpts = Excerpts()

    def add(self, seen: Seen) -> None:
        batch = seen.batch
        told: defaultdict[tuple[int, int], list[Alert]] = defaultdict(list)  # by the event that caused them
        for alert in seen.outcome.alerts:
            self._hear(alert)
            told[alert.evidence.partition, alert.evidence.last_offset].append(alert)
        time, partition, offset = batch.time.tolist(), batch.partition.tolist(), batch.offset.tolist()
        for i, (row, score) in enumerate(zip(seen.row.tolist(), seen.score.tolist(), strict=True)):
            key: Key = (partition[row], batch.stream[row])
            self.excerpts.event(key, Point(time[row], score, seen.observed[i].copy(), seen.expected[i].copy()))
            for alert in told.pop((partition[row], offset[row]), ()):
                self._place(key, alert, at_once=False)
        for (number, _), left in told.items():  # told because a stream was forgotten
            for alert in left:
                self._place((number, alert.stream), alert, at_once=True)

    def _place(self, key: Key, alert: Alert, *, at_once: bool) -> None:
        if alert.kind != "anomaly":
            return
        if alert.status == "opened":
            self.excerpts.opened(key, alert.incident)
        elif alert.status == "closed":
            self.excerpts.closed(key, alert.incident, at_once=at_once)

    def _hear(self, alert: Alert) -> None:
        known = self.fired.get(alert.incident)
        if known is None:
            known = Fired(
                alert.incident,
                alert.stream,
                alert.evidence.partition,
                alert.kind,
                alert.severity,
                alert.score,
                alert.started_at.timestamp(),
                alert.time.timestamp(),
                alert.evidence.last_offset,
                None,
                None,
                alert.features,
                alert.summary,
                (alert.id,),
            )
        else:
            known = replace(
                known,
                severity=alert.severity,
                score=alert.score,
                features=alert.features,
                summary=alert.summary,
                messages=(known.messages[0], alert.id),
            )
        if alert.ended_at is not None:
            known = replace(known, ended_at=alert.ended_at.timestamp(), reason=alert.reason)
        self.fired[alert.incident] = known


class _Columns:
    """Of every event what is kept, in chunks as it came."""

    def __init__(self) -> None:
        self._places: dict[Key, int] = {}
        self._chunks: list[tuple[Int64, Int64, Float64, Float64, Float64]] = []
        self._departed: defaultdict[Key, list[int]] = defaultdict(list)

    def add(self, seen: Seen) -> None:
        batch = seen.batch
        keys = zip(batch.partition.tolist(), batch.stream, strict=True)
        place = np.array([self._places.setdefault(key, len(self._places)) for key in keys], np.int64)  # (N,)
        score, z = np.full(len(batch), np.nan), np.full(len(batch), np.nan)
        score[seen.row], z[seen.row] = seen.score, seen.z
        self._chunks.append((place, batch.offset, batch.time, score, z))
        for partition, stream, offset in seen.departed:
            self._departed[partition, stream].append(offset)

    def series(self) -> tuple[tuple[Series, ...], Int64, Int64]:
        """The series; and for each scored event, in the order of scoring, which series and which row of it."""
        if not self._chunks:
            return (), np.empty(0, np.int64), np.empty(0, np.int64)
        parts = [list(column) for column in zip(*self._chunks, strict=True)]
        self._chunks.clear()
        place, offset, time, score, z = (np.concatenate(column) for column in parts)
        order = np.argsort(place, kind="stable")
        bounds = np.searchsorted(place[order], np.arange(len(self._places) + 1))
        found = []
        for (partition, stream), begin, end in zip(self._places, bounds[:-1], bounds[1:], strict=True):
            rows = order[begin:end]
            life = np.searchsorted(
                np.array(self._departed.get((partition, stream), ()), np.int64), offset[rows], "right"
            )
            found.append(
                Series(stream, partition, offset[rows], time[rows], score[rows], z[rows], life.astype(np.int64))
            )
        row = np.empty(len(place), np.int64)
        row[order] = np.arange(len(place)) - bounds[place[order]]
        scored = np.flatnonzero(~np.isnan(score))
        return tuple(found), place[scored], row[scored]


def _latent(every: Sample, loud: Sample, series: Sequence[Series], place: Int64, row: Int64) -> Latent | None:
    """Codes with their places; `place` and `row` (W,) are those of all scored events, in the order of scoring."""
    numbers = np.concatenate([every.number, loud.number])
    if not len(numbers):
        return None
    codes = np.concatenate([part.values for part in (every, loud) if len(part.number)])
    numbers, first = np.unique(numbers, return_index=True)
    at, of = place[numbers], row[numbers]
    score = np.array([series[one].score[other] for one, other in zip(at.tolist(), of.tolist(), strict=True)])
    return Latent(codes[first], score, at, of)
