"""What is learned of one stream, and its bytes: they travel in the same record as the stream's incidents."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Annotated

import msgspec
import numpy as np

from monitor.batch import Float32, Float64
from monitor.incident_state import NEVER, Point, UnreadableStateError
from monitor.level import Running

_VERSION = 1


@dataclass(slots=True)
class Course:
    """The errors of an open anomaly."""

    began: int  # offset of the anomaly's first event
    errors: Running
    settled: int = 0  # windows in a row that would have been normal at the level of those before


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
    shift: Running | None = None  # since a shift was absorbed: takes the place of `own`, which stands still
    home: int = 0  # windows in a row that would be normal without that shift
    changed: Point = NEVER  # the newest event that changed any of this
    learned: float = -inf  # time of the newest event that changed the usual errors
    stirred: float = -inf  # time of the newest event at which the stream was not quiet
    course: Course | None = None
    drift: Drift | None = None

    def log(self, prior: float, limit: float) -> Float64:
        """(F,) the logarithm of what is usual over what is usual in training."""
        return self.own.shrunk(prior, limit) if self.shift is None else self.shift.mean.astype(np.float64)

    def trust(self, prior: float) -> Float64:
        """(F,) how far this is known, 0 to 1."""
        return (self.own if self.shift is None else self.shift).trust(prior)


_Spot = tuple[float, int]  # time, offset
_Running = tuple[bytes, bytes]
_Place = Annotated[int, msgspec.Meta(ge=0)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Course(msgspec.Struct, array_like=True):
    began: int
    errors: _Running
    settled: _Count


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
    shift: _Running | None
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
            None if level.shift is None else _packed(level.shift),
            level.home,
            _spot(level.changed),
            level.learned,
            level.stirred,
            None if course is None else _Course(course.began, _packed(course.errors), course.settled),
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
        None if packed.shift is None else _running(packed.shift),
        packed.home,
        Point(-1, *packed.changed),
        packed.learned,
        packed.stirred,
        None if course is None else Course(course.began, _running(course.errors), course.settled),
        None if drift is None else _drift(drift),
    )
    features = len(level.own.mean)
    others = [level.shift, None if level.course is None else level.course.errors]
    if any(other is not None and len(other.mean) != features for other in others):
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


def _spot(point: Point) -> _Spot:
    return point.time, point.offset


def _packed(running: Running) -> _Running:
    return running.mean.astype("<f4").tobytes(), running.weight.astype("<f4").tobytes()


def _running(packed: _Running) -> Running:
    if len(packed[0]) != len(packed[1]) or len(packed[0]) % 4:
        raise UnreadableStateError("its columns are not of one length")
    mean, weight = map(_column, packed)
    if not (np.isfinite(mean).all() and np.isfinite(weight).all() and (weight >= 0).all()):
        raise UnreadableStateError("its levels are no numbers")
    return Running(mean, weight)


def _column(value: bytes) -> Float32:
    return np.frombuffer(value, "<f4").astype(np.float32)
