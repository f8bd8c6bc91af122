"""What is known of a stream that is not quiet, and its bytes: what another member needs to go on with its incident."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from math import inf
from typing import Annotated

import msgspec
import numpy as np

from monitor.alerts import CAUSES, SEVERITIES, Cause, Severity
from monitor.batch import Float32

_VERSION = 1


class UnreadableStateError(Exception):
    """Bytes that are no state of this version."""


@dataclass(frozen=True, slots=True)
class Point:
    """One scored event, as plain values."""

    row: int  # of the batch it came with; -1 for one that was restored
    time: float
    offset: int


NEVER = Point(-1, -inf, -1)


@dataclass(frozen=True, slots=True)
class Peak:
    """The worst of some anomalous events, with what it takes to explain it."""

    score: float
    error: float
    feature_error: Float32  # (F,) of the event with the highest score
    observed: Float32  # (F,) source units; of the event in which this feature was furthest from what was expected
    expected: Float32  # (F,) source units; of the same event
    time: float  # of the event with the highest score, s since the Unix epoch

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
        return Peak(top.score, top.error, top.feature_error, observed, expected, top.time)


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


@dataclass(frozen=True, slots=True)
class Reading:
    """A feature whose values are at fault."""

    feature: str
    observed: float  # source units
    expected: float


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault that the data of one window show."""

    cause: Cause
    readings: tuple[Reading, ...]  # empty where it is the whole stream's
    measure: float
    limit: float
    time: float  # of the closing event, s since the Unix epoch
    detail: str = ""  # for a person: what of several it is
    lasting: bool = False  # shows that a fault goes on, and not that one begins

    @property
    def score(self) -> float:
        return self.measure / self.limit

    def joined(self, later: Finding) -> Finding:
        """The worst of this and a later one, with the features of both, each as it was first seen."""
        top = later if later.score > self.score else self
        known = {reading.feature for reading in self.readings}
        readings = self.readings + tuple(reading for reading in later.readings if reading.feature not in known)
        return Finding(self.cause, readings, top.measure, top.limit, top.time, top.detail or self.detail)

    def within(self, other: Finding) -> Finding:
        """The same of those features only that the other has too."""
        known = {reading.feature for reading in other.readings}
        return replace(self, readings=tuple(reading for reading in self.readings if reading.feature in known))


@dataclass(slots=True)
class Trouble:
    """An open incident of kind data_quality."""

    started: Point
    peak: Finding
    last_seen: Point  # the newest event that showed the fault
    last: Point  # the newest event of the stream that was scored
    told_at: float  # event time of the last message
    clean: int = 0  # scores without the fault in a row


@dataclass(slots=True)
class Loud:
    """What is known of a stream that is not quiet."""

    recent: deque[tuple[int, Point, Peak]] = field(default_factory=deque)  # the anomalous of the last n, until it opens
    seen: int = 0
    held: tuple[Point, Peak] | None = None  # since when k of n hold, and the worst since then
    incident: Incident | None = None
    troubles: dict[Cause, Trouble] = field(default_factory=dict)  # at most one of each cause
    cooling_until: float = -inf
    heard: Point = NEVER  # the newest event that was scored

    @property
    def quiet(self) -> bool:
        """Whether nothing is known but what was heard."""
        return not self.recent and self.incident is None and not self.troubles and self.heard.time >= self.cooling_until


@dataclass(frozen=True, slots=True)
class Maker:
    """Digests of what made a state."""

    model: str
    config: str


_Spot = tuple[float, int]  # time, offset


class _Peak(msgspec.Struct, array_like=True):
    score: float
    error: float
    feature_error: bytes
    observed: bytes
    expected: bytes
    time: float | None = None  # None in states that were written before it was kept


class _Trouble(msgspec.Struct, array_like=True):
    cause: Annotated[int, msgspec.Meta(ge=0)]  # its place in CAUSES
    started: _Spot
    last_seen: _Spot
    last: _Spot
    told_at: float
    clean: int
    readings: list[tuple[str, float, float]]
    measure: float
    limit: Annotated[float, msgspec.Meta(gt=0)]
    time: float
    detail: str


class _Incident(msgspec.Struct, array_like=True):
    started: _Spot
    peak: _Peak
    last_anomalous: _Spot
    last: _Spot
    told_at: float
    told_severity: Annotated[int, msgspec.Meta(ge=0)]  # its place in SEVERITIES
    normal: int


class _State(msgspec.Struct, array_like=True):
    version: int
    model: str
    config: str
    recent: list[tuple[int, _Spot, _Peak]]
    seen: int
    held: tuple[_Spot, _Peak] | None
    incident: _Incident | None
    cooling_until: float
    heard: _Spot
    troubles: list[_Trouble] = []
    level: bytes | None = None  # what is learned of the stream, see `level_state`


_decoder = msgspec.msgpack.Decoder(_State)


def to_bytes(loud: Loud, maker: Maker, level: bytes | None = None) -> bytes:
    """MessagePack; every float to the bit, so that what is restored goes on as it would have.

    `level` is what is learned of the stream, which nothing here looks into.
    """
    incident = loud.incident
    state = _State(
        _VERSION,
        maker.model,
        maker.config,
        [(seen, _spot(point), _packed(peak)) for seen, point, peak in loud.recent],
        loud.seen,
        None if loud.held is None else (_spot(loud.held[0]), _packed(loud.held[1])),
        None
        if incident is None
        else _Incident(
            _spot(incident.started),
            _packed(incident.peak),
            _spot(incident.last_anomalous),
            _spot(incident.last),
            incident.told_at,
            SEVERITIES.index(incident.told_severity),
            incident.normal,
        ),
        loud.cooling_until,
        _spot(loud.heard),
        [_packed_trouble(cause, loud.troubles[cause]) for cause in CAUSES if cause in loud.troubles],
        level,
    )
    return msgspec.msgpack.encode(state)


def from_bytes(value: bytes) -> tuple[Loud, Maker, bytes | None]:
    """What `to_bytes` wrote. Raises UnreadableStateError."""
    try:
        state = _decoder.decode(value)
        if state.version != _VERSION:
            raise UnreadableStateError(f"version {state.version}, {_VERSION} is expected")
        causes = [packed.cause for packed in state.troubles]
        if causes != sorted(set(causes)):
            raise UnreadableStateError("its causes do not ascend")
        loud = Loud(
            deque((seen, _point(spot), _peak(peak, spot)) for seen, spot, peak in state.recent),
            state.seen,
            None if state.held is None else (_point(state.held[0]), _peak(state.held[1], state.held[0])),
            None if state.incident is None else _incident(state.incident),
            {CAUSES[packed.cause]: _trouble(packed) for packed in state.troubles},
            state.cooling_until,
            _point(state.heard),
        )
    except (msgspec.MsgspecError, UnicodeError, IndexError, RecursionError) as error:
        raise UnreadableStateError(str(error)) from error
    return loud, Maker(state.model, state.config), state.level


def _incident(packed: _Incident) -> Incident:
    return Incident(
        _point(packed.started),
        _peak(packed.peak, packed.started),
        _point(packed.last_anomalous),
        _point(packed.last),
        packed.told_at,
        SEVERITIES[packed.told_severity],
        packed.normal,
    )


def _spot(point: Point) -> _Spot:
    return point.time, point.offset


def _point(spot: _Spot) -> Point:
    return Point(-1, *spot)


def _packed(peak: Peak) -> _Peak:
    feature_error, observed, expected = (
        column.astype("<f4").tobytes() for column in (peak.feature_error, peak.observed, peak.expected)
    )
    return _Peak(peak.score, peak.error, feature_error, observed, expected, peak.time)


def _peak(packed: _Peak, spot: _Spot) -> Peak:
    """`spot` is when it began, which stands in for the time of a peak that was not kept."""
    columns = (packed.feature_error, packed.observed, packed.expected)
    if len({len(column) for column in columns}) > 1 or len(columns[0]) % 4:
        raise UnreadableStateError("its columns are not of one length")
    feature_error, observed, expected = (np.frombuffer(column, "<f4").astype(np.float32) for column in columns)
    time = spot[0] if packed.time is None else packed.time
    return Peak(packed.score, packed.error, feature_error, observed, expected, time)


def _packed_trouble(cause: Cause, trouble: Trouble) -> _Trouble:
    peak = trouble.peak
    return _Trouble(
        CAUSES.index(cause),
        _spot(trouble.started),
        _spot(trouble.last_seen),
        _spot(trouble.last),
        trouble.told_at,
        trouble.clean,
        [(reading.feature, reading.observed, reading.expected) for reading in peak.readings],
        peak.measure,
        peak.limit,
        peak.time,
        peak.detail,
    )


def _trouble(packed: _Trouble) -> Trouble:
    readings = tuple(Reading(*reading) for reading in packed.readings)
    peak = Finding(CAUSES[packed.cause], readings, packed.measure, packed.limit, packed.time, packed.detail)
    spots = (_point(packed.last_seen), _point(packed.last))
    return Trouble(_point(packed.started), peak, *spots, packed.told_at, packed.clean)
