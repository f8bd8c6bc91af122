"""Domain words that decide whether an anomalous score may count: what a person knows and no threshold can say.

A gate looks at one window: at the share of each feature in its error, and at the closing event's distance from what was
expected. What may not count is taken out of the error; what is left is the score. A maintenance window goes by the time
of the closing event and the name of the stream. So a gate decides the same wherever and however often it is asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase, translate
from math import inf
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from monitor import config
from monitor.batch import Float32, Float64

Gate = Literal["ignore", "min_deviation", "direction", "data_quality", "maintenance"]
GATES: tuple[Gate, ...] = get_args(Gate)
"""All that hold a score back; `data_quality` is the work of an open fault of the data."""

Bools = NDArray[np.bool_]
_WEEK = 7 * 86400.0  # s
_Value = TypeVar("_Value")
_OPEN: list[float | None] = [None, None]


@dataclass(frozen=True, slots=True)
class Counted:
    """What may count of W scores."""

    score: Float64  # (W,) of what may count, over the threshold
    feature_error: Float32  # (W, F) 0 where it may not count
    held: Mapping[str, int]  # anomalous scores that a gate made normal


@dataclass(frozen=True, slots=True)
class _Period:
    begin: float  # s since the Unix epoch
    length: float  # s
    weekly: bool
    streams: re.Pattern[str]

    def holds(self, time: Float64) -> Bools:
        """(N,) whether these times are inside."""
        since = time - self.begin
        return np.asarray((since >= 0) & ((since % _WEEK if self.weekly else since) < self.length))


class Gates:
    """The gates of one model's features; those that are not set cost nothing."""

    def __init__(self, rules: config.Gates, features: Sequence[str], after: float) -> None:
        """`after` (s) lengthens each maintenance window, until a window of events lies behind it."""
        self._ignored = np.zeros(len(features), np.bool_)
        for pattern in rules.ignore:
            self._ignored[fitting(pattern, features)] = True
        self._kept = len(features) - int(self._ignored.sum())
        self._absolute = np.array(_each(rules.min_deviation, features, 0.0))  # (F,)
        self._relative = np.array(_each(rules.min_relative, features, 0.0))  # (F,)
        directions = _each(rules.direction, features, "both")
        self._above = np.array([direction == "above" for direction in directions])  # (F,)
        self._below = np.array([direction == "below" for direction in directions])  # (F,)
        ranges = _each(rules.valid_range, features, _OPEN)
        self.lowest = np.array([-inf if low is None else low for low, _ in ranges])
        """(F,) of what is valid, source units."""
        self.highest = np.array([inf if high is None else high for _, high in ranges])
        self._periods = tuple(
            _Period(one.start, one.length + after, one.weekly, re.compile(translate(one.streams)))
            for one in rules.maintenance
        )
        self._deviates = bool(self._absolute.any() or self._relative.any())
        self._directed = bool(self._above.any() or self._below.any())

    @property
    def counts(self) -> Bools:
        """(F,) whether a feature may contribute at all."""
        return ~self._ignored

    @property
    def maintained(self) -> bool:
        """Whether there is any maintenance window."""
        return bool(self._periods)

    def paused(self, streams: Sequence[str], time: Float64) -> Bools:
        """(N,) whether these streams are in maintenance at these times."""
        found = np.zeros(len(time), np.bool_)
        for period in self._periods:
            for n in np.flatnonzero(period.holds(time) & ~found).tolist():
                found[n] = period.streams.match(streams[n]) is not None
        return found

    def count(self, observed: Float32, expected: Float32, feature_error: Float32, score: Float64) -> Counted:
        """`observed` (W, F) is of the closing events, as `expected` (W, F) is; `score` (W,) is error / threshold."""
        held: dict[str, int] = {}
        if self._ignored.any():
            left = np.where(self._ignored, np.float32(0), feature_error)
            # The mean over the others, as the error is the mean over all.
            lower = score * shares(left, feature_error) * (len(self._ignored) / self._kept)
            held["ignore"] = _crossings(score, lower)
            score, feature_error = lower, left
        if not (self._deviates or self._directed) or not (score > 1).any():
            return Counted(score, feature_error, held)
        rows = np.flatnonzero(score > 1)
        above = observed[rows].astype(np.float64) - expected[rows]  # (R, F)
        score, feature_error = score.copy(), feature_error.copy()
        if self._deviates:
            far = np.abs(above)
            enough = (far >= self._absolute) & (far >= self._relative * np.abs(expected[rows].astype(np.float64)))
            held["min_deviation"] = self._hold(rows, enough, feature_error, score)
        if self._directed:
            wanted = ((above > 0) | ~self._above) & ((above < 0) | ~self._below)
            held["direction"] = self._hold(rows, wanted, feature_error, score)
        return Counted(score, feature_error, held)

    @staticmethod
    def _hold(rows: NDArray[np.int64], may: Bools, feature_error: Float32, score: Float64) -> int:
        """In place: takes out of the errors of some rows what may not count; how many scores became normal by it."""
        whole = feature_error[rows]
        left = np.where(may, whole, np.float32(0))
        lower = score[rows] * shares(left, whole)
        crossed = _crossings(score[rows], lower)
        feature_error[rows], score[rows] = left, lower
        return crossed


def shares(part: Float32, whole: Float32) -> Float64:
    """(W,) what the errors `part` (W, F) are of the errors `whole` (W, F), 0 to 1; exactly 1 where all are left."""
    # Row by row in memory: else the order of a sum, and with it the last bit, would depend on how many rows there are.
    left, total = (np.ascontiguousarray(errors, np.float64).sum(axis=1) for errors in (part, whole))
    return np.asarray(np.divide(left, total, out=np.zeros(len(total)), where=total > 0), np.float64)


def _crossings(before: Float64, after: Float64) -> int:
    return int(np.count_nonzero((before > 1) & (after <= 1)))


def fitting(pattern: str, features: Sequence[str]) -> list[int]:
    """The places of the features that a name or a pattern (`temp_*`) means."""
    return [f for f, name in enumerate(features) if name == pattern or fnmatchcase(name, pattern)]


def _each(by_pattern: Mapping[str, _Value], features: Sequence[str], otherwise: _Value) -> list[_Value]:
    """The setting of each feature; where several patterns fit, the last one counts."""
    values = [otherwise] * len(features)
    for pattern, value in by_pattern.items():
        for f in fitting(pattern, features):
            values[f] = value
    return values
