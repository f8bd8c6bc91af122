"""How many incidents a threshold makes of errors in time order: what `monitor.incidents` would open, without alerts.

An incident is no row: k of the last n scores open it, a run of normal ones closes it, and it may have to last and to
wait. So the number of incidents follows from counting them, not from a quantile of the errors.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from monitor.batch import Float64, Int64
from monitor.config import Incidents
from monitor.errors import MonitorError

LEVEL_STEP = 0.01
"""Levels of a curve are this share of their rank apart: every error of the highest hundred, then one of a hundred."""
LOWEST_QUANTILE = 0.5
"""A line below the median error is no threshold."""
SMALLEST = float(np.finfo(np.float32).tiny)
"""Errors are divided by the threshold, so it is never zero."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Errors of one stream's windows in time order, without a gap that would empty the window."""

    stream: str
    time: Float64  # (W,) s since the Unix epoch, of the closing event
    error: Float64  # (W,) any unit, finite

    def __post_init__(self) -> None:
        if self.time.ndim != 1 or self.time.shape != self.error.shape:
            raise ValueError(f"time {self.time.shape} and error {self.error.shape} must both be (W,)")


@dataclass(frozen=True, slots=True)
class Rows:
    """All stretches, one after the other; in each of them every stream begins quiet."""

    time: Float64  # (W,)
    error: Float64  # (W,)
    stretch: Int64  # (W,) which stretch, ascending
    fold: (
        Int64  # (W,) 0 .. folds - 1: how far into its stream's own record, so that a fold holds one time of all streams
    )
    folds: int

    def __len__(self) -> int:
        return len(self.error)


@dataclass(frozen=True, slots=True)
class Curve:
    """The number of incidents as a function of the threshold, at L levels from the highest error downwards."""

    level: Float64  # (L,) strictly descending
    count: Int64  # (L, folds) incidents that open in each fold

    def total(self) -> Int64:
        """(L,) Incidents at each level; it goes down again where neighbouring incidents grow into one."""
        count: Int64 = self.count.sum(axis=1)
        return count

    def lowest(self, most: float) -> int:
        """Index of the lowest level down to which no level has more than `most` incidents; -1 where the highest has.

        This is the upper envelope: the largest count at this level or above. Were the count itself used, a lower
        budget could be met by a lower threshold, at which one endless incident hides all the others.
        """
        return int(np.searchsorted(np.maximum.accumulate(self.total()), most, side="right")) - 1


def lay(stretches: Sequence[Stretch], folds: int = 1) -> Rows:
    """The stretches as one table of rows. Raises MonitorError where there is no error, or one that is not finite."""
    kept = [one for one in stretches if len(one.error)]
    error = np.concatenate([one.error for one in kept]).astype(np.float64) if kept else np.empty(0)  # (W,)
    if not len(error) or not np.isfinite(error).all():
        raise MonitorError(
            "the calibration windows have no finite errors", "Look for extreme values in the last part of the rows."
        )
    time = np.concatenate([one.time for one in kept]).astype(np.float64)  # (W,)
    stretch = np.repeat(np.arange(len(kept)), [len(one.error) for one in kept])  # (W,)
    windows: dict[str, int] = {}
    before = []
    for one in kept:
        before.append(windows.get(one.stream, 0))
        windows[one.stream] = before[-1] + len(one.error)
    fold = np.concatenate(
        [
            (first + np.arange(len(one.error))) * folds // windows[one.stream]
            for one, first in zip(kept, before, strict=True)
        ]
    )  # (W,)
    return Rows(time, error, stretch.astype(np.int64), fold.astype(np.int64), folds)


def incidents(rows: Rows, threshold: float, rules: Incidents) -> Int64:
    """(I, 2) Row that opens each incident, and its last anomalous row, as `monitor.incidents` has them.

    Anomalous is an error above the threshold. Streams that leave and come back are the caller's stretches.
    """
    above = np.flatnonzero(rows.error > threshold).astype(np.int64)  # (A,)
    plain = rules.min_duration == 0 and rules.cooldown == 0 and rules.severity.warning == 1
    if plain and rules.open_window - 1 <= rules.close_after:
        return _joined(rows, above, rules)
    return _walked(rows, above, threshold, rules)


def _joined(rows: Rows, above: Int64, rules: Incidents) -> Int64:
    """Where k of n never reach over a closing, an incident is a run of rows without `close_after` normal ones."""
    if len(above) < rules.open_after:
        return np.empty((0, 2), np.int64)
    far = rules.close_after + rules.open_window
    place = above + far * rows.stretch[above]  # (A,) no run crosses from one stretch to the next
    run = np.cumsum(np.diff(place, prepend=place[:1]) > rules.close_after)  # (A,)
    k = rules.open_after
    holds = np.flatnonzero(place[k - 1 :] - place[: len(place) - k + 1] < rules.open_window) + k - 1
    first = holds[np.diff(run[holds], prepend=-1) > 0]
    last = np.searchsorted(run, run[first], side="right") - 1
    return np.stack([above[first], above[last]], axis=1)  # (I, 2)


def _walked(rows: Rows, above: Int64, threshold: float, rules: Incidents) -> Int64:
    """The state machine itself, over anomalous rows alone: what normal rows do to it follows from their number."""
    found: list[tuple[int, int]] = []
    recent: deque[int] = deque()
    since: int | None = None  # row since which k of n hold
    worst, opened, last, stretch, cooling_until = 0.0, -1, -1, -1, -inf
    for row, of, error in zip(above.tolist(), rows.stretch[above].tolist(), rows.error[above].tolist(), strict=True):
        if opened >= 0:
            if of == stretch and row - last <= rules.close_after:
                last = row
                continue
            found.append((opened, last))
            opened = -1
            if of == stretch:
                cooling_until = float(rows.time[last + rules.close_after]) + rules.cooldown
        if of != stretch:
            recent.clear()
            stretch, since, cooling_until = of, None, -inf
        while recent and recent[0] < row - rules.open_window:
            recent.popleft()
        if len(recent) < rules.open_after:  # at the row before this one
            since = None
        if recent and recent[0] == row - rules.open_window:
            recent.popleft()
        recent.append(row)
        if len(recent) < rules.open_after:
            since = None
            continue
        if since is None:
            since, worst = recent[0], float(rows.error[list(recent)].max())
        worst = max(worst, error)
        time = float(rows.time[row])
        ready = time - float(rows.time[since]) >= rules.min_duration and time >= cooling_until
        if ready and worst / threshold >= rules.severity.warning:
            opened, last, since = row, row, None
            recent.clear()
    if opened >= 0:
        found.append((opened, last))
    return np.array(found, np.int64).reshape(-1, 2)


def curve(rows: Rows, rules: Incidents, most: float = inf) -> Curve:
    """Incidents at levels from the highest error down to the first with more than `most`, or to the median error.

    Between neighbouring levels lies at most one hundredth of the rows above them (LEVEL_STEP), far less than what
    another sample of normal data would change.
    """
    descending = np.sort(rows.error)[::-1]  # (W,)
    lowest = int((1 - LOWEST_QUANTILE) * len(descending))
    ranks, rank = [], 0
    while rank <= lowest:
        ranks.append(rank)
        rank += max(1, int(rank * LEVEL_STEP))
    level: list[float] = []
    count: list[Int64] = []
    lines = np.unique(np.maximum(descending[ranks], SMALLEST))[::-1]  # (L,)
    for candidate in lines.tolist():
        opened = incidents(rows, candidate, rules)[:, 0]
        level.append(candidate)
        count.append(np.bincount(rows.fold[opened], minlength=rows.folds).astype(np.int64))
        if len(opened) > most:
            break
    return Curve(np.array(level), np.array(count))


def critical_levels(rows: Rows, level: float, rules: Incidents) -> Float64:
    """(I,) For each incident at `level`: the threshold from which on it would not have opened.

    The peaks of a tail: one per incident, so that dependent rows count once (runs declustering, Coles, "An
    Introduction to Statistical Modeling of Extreme Values", 2001, section 5.3), and the k-of-n level of the incident
    rather than its largest error, because that is what a higher threshold is compared with. A cooldown is left out
    of account: what it hides is still a peak. Where `severity.warning` is above 1 a level may be too high, by no more
    than that factor.
    """
    rules = rules.model_copy(update={"cooldown": 0.0})
    found = incidents(rows, level, rules)
    begin = np.concatenate([[0], found[:-1, 1] + 1]) if len(found) else np.empty(0, np.int64)
    return np.array(
        [_critical(rows, int(a), int(b) + 1, level, rules) for a, b in zip(begin, found[:, 1], strict=True)]
    )


def _critical(rows: Rows, begin: int, end: int, level: float, rules: Incidents) -> float:
    """The lowest error above `level` that opens no incident among these rows: opening is monotone in the threshold."""
    part = slice(begin, end)
    own = rows.stretch[part] == rows.stretch[end - 1]
    piece = Rows(rows.time[part][own], rows.error[part][own], rows.stretch[part][own], rows.fold[part][own], rows.folds)
    values = np.unique(piece.error[piece.error > level])
    low, high = 0, len(values) - 1  # at the highest value nothing is above
    while low < high:
        middle = (low + high) // 2
        if len(incidents(piece, float(values[middle]), rules)):
            low = middle + 1
        else:
            high = middle
    return float(values[low])
