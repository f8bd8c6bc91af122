"""What is learned of one stream, and its bytes: they travel in the same record as the stream's incidents."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Annotated

import msgspec
import numpy as np

from monitor.batch import Float32, Float64
from monitor.incident_state import NEVER, Point, UnreadableStateError
from monitor.level import Course, Running

_VERSION = 1


@dataclass(slots=True)
class Shift:
    """A shift that was absorbed."""

    errors: Running
    margin: Float32  # (F,) upon their mean: their spread at the time


@dataclass(frozen=True, slots=True)
class Farthest:
    """How far a level was from training's at the worst."""

    score: float  # over the limit
    time: float  # s since the Unix epoch


@dataclass(slots=True)
class Drift:
    """An open incident of kind drift."""

    started: Point
    features: tuple[int, ...]  # places of those that were beyond the limit so far, ascending
    peak: Farthest
    last: Point  # the newest event that was learned from
    told_at: float  # event time of the last message
    limit: float  # the factor that it is beyond


@dataclass(slots=True)
class Level:
    """What is learned of one stream."""

    own: Running  # the usual errors
    shift: Shift | None = None  # since one was absorbed: takes the place of `own`, which stands still
    home: int = 0  # windows in a row that would be normal without that shift
    changed: Point = NEVER  # the newest event that changed any of this
    learned: float = -inf  # time of the newest event that changed the usual errors
    stirred: float = -inf  # time of the newest event at which the stream was not quiet
    course: Course | None = None
    drift: Drift | None = None

    def log(self, prior: float, limit: float) -> Float64:
        """(F,) the logarithm of what is usual over what is usual in training."""
        if self.shift is None:
            return self.own.shrunk(prior, limit)
        return self.shift.errors.mean.astype(np.float64) + self.shift.margin

    def trust(self, prior: float) -> Float64:
        """(F,) how far this is known, 0 to 1."""
        return (self.own if self.shift is None else self.shift.errors).trust(prior)


_Spot = tuple[float, int]  # time, offset
_Running = tuple[bytes, bytes]
_Place = Annotated[int, msgspec.Meta(ge=0)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Course(msgspec.Struct, array_like=True):
    began: int
    errors: _Running
    variance: bytes
    settled: _Count
    since: float


class _Drift(msgspec.Struct, array_like=True):
    started: _Spot
    features: list[_Place]
    score: float
    time: float
    last: _Spot
    told_at: float
    limit: Annotated[float, msgspec.Meta(gt=1)]


class _Level(msgspec.Struct, array_like=True):
    version: int
    own: _Running
    shift: tuple[_Running, bytes] | None
    home: _Count
    changed: _Spot
    learned: float
    stirred: float
    course: _Course | None
    drift: _Drift | None


_decoder = msgspec.msgpack.Decoder(_Level)


def pack(level: Level) -> bytes:
    """MessagePack; every number to the bit."""
    course, drift = level.course, level.drift
    return msgspec.msgpack.encode(
        _Level(
            _VERSION,
            _packed(level.own),
            None if level.shift is None else (_packed(level.shift.errors), _bytes(level.shift.margin)),
            level.home,
            _spot(level.changed),
            level.learned,
            level.stirred,
            None
            if course is None
            else _Course(course.began, _packed(course.errors), _bytes(course.variance), course.settled, course.since),
            None
            if drift is None
            else _Drift(
                _spot(drift.started),
                list(drift.features),
                drift.peak.score,
                drift.peak.time,
                _spot(drift.last),
                drift.told_at,
                drift.limit,
            ),
        )
    )


def unpack(value: bytes) -> Level:
    """What `pack` wrote. Raises UnreadableStateError."""
    try:
        packed = _decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise UnreadableStateError(str(error)) from error
    if packed.version != _VERSION:
        raise UnreadableStateError(f"level of version {packed.version}, {_VERSION} is expected")
    course, drift = packed.course, packed.drift
    level = Level(
        _running(packed.own),
        None if packed.shift is None else Shift(_running(packed.shift[0]), _column(packed.shift[1])),
        packed.home,
        Point(-1, *packed.changed),
        packed.learned,
        packed.stirred,
        None if course is None else _course(course),
        None if drift is None else _drift(drift),
    )
    features = len(level.own.mean)
    columns = [] if level.shift is None else [level.shift.errors.mean, level.shift.margin]
    columns += [] if level.course is None else [level.course.errors.mean, level.course.variance]
    if any(len(column) != features for column in columns):
        raise UnreadableStateError("its levels are not of one length")
    if level.drift is not None and any(place >= features for place in level.drift.features):
        raise UnreadableStateError("it drifts in a feature that it has not")
    return level


def _drift(packed: _Drift) -> Drift:
    places = tuple(packed.features)
    if list(places) != sorted(set(places)):
        raise UnreadableStateError("its drifting features do not ascend")
    started, last = Point(-1, *packed.started), Point(-1, *packed.last)
    return Drift(started, places, Farthest(packed.score, packed.time), last, packed.told_at, packed.limit)


def _course(packed: _Course) -> Course:
    variance = _column(packed.variance)
    if (variance < 0).any():
        raise UnreadableStateError("its variance is below zero")
    return Course(packed.began, _running(packed.errors), variance, packed.settled, packed.since)


def _spot(point: Point) -> _Spot:
    return point.time, point.offset


def _packed(running: Running) -> _Running:
    return _bytes(running.mean), _bytes(running.weight)


def _running(packed: _Running) -> Running:
    mean, weight = map(_column, packed)
    if len(mean) != len(weight) or (weight < 0).any():
        raise UnreadableStateError("its weights do not fit its levels")
    return Running(mean, weight)


def _bytes(column: Float32) -> bytes:
    return column.astype("<f4").tobytes()


def _column(value: bytes) -> Float32:
    if len(value) % 4:
        raise UnreadableStateError("a column is cut off")
    column = np.frombuffer(value, "<f4").astype(np.float32)
    if not np.isfinite(column).all():
        raise UnreadableStateError("its levels are no numbers")
    return column
