"""Labelled intervals against predicted incidents: what was found, what was false, how late.

Intervals are rows [start, end), counted from 0.

- A labelled interval is found when at least one row of it was flagged, or lies in an incident.
  Event recall = found / labelled.
- An incident is true when it overlaps a labelled interval, and false when it overlaps none.
  Event precision = true / incidents. Each is counted once, however long it is and whatever else it overlaps.
- The delay of a found interval runs from its first row to the first flagged row in it: 0 for an incident that was open
  already. An interval that is only flagged after its end is missed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitor.batch import Float64, Int64
from monitor.errors import MonitorError
from monitor.evaluation.values import Bool, ratio

SECONDS_A_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class EventScores:
    """Events of one series; add them to pool series. A rate that would divide by zero is NaN."""

    delay_rows: tuple[int, ...]  # one a found interval, in their order
    delay_seconds: tuple[float, ...]
    missed: tuple[tuple[int, int], ...]  # labelled intervals
    incidents: int
    false: tuple[tuple[int, int], ...]  # incidents

    def __add__(self, other: EventScores) -> EventScores:
        return EventScores(
            self.delay_rows + other.delay_rows,
            self.delay_seconds + other.delay_seconds,
            self.missed + other.missed,
            self.incidents + other.incidents,
            self.false + other.false,
        )

    @property
    def found(self) -> int:
        return len(self.delay_rows)

    @property
    def labelled(self) -> int:
        return len(self.delay_rows) + len(self.missed)

    @property
    def precision(self) -> float:
        return ratio(self.incidents - len(self.false), self.incidents)

    @property
    def recall(self) -> float:
        return ratio(self.found, self.labelled)

    @property
    def f1(self) -> float:
        """Harmonic mean of event precision and event recall; 0 where no incident found anything."""
        if not self.labelled:
            return np.nan
        if not self.found:
            return 0.0
        return 2 * self.precision * self.recall / (self.precision + self.recall)

    @property
    def median_delay_rows(self) -> float:
        return float(np.median(self.delay_rows)) if self.delay_rows else np.nan

    @property
    def median_delay_seconds(self) -> float:
        return float(np.median(self.delay_seconds)) if self.delay_seconds else np.nan


def intervals(flagged: Bool) -> Int64:
    """Rows (n,) -> (K, 2) runs of flagged rows as [start, end), in order."""
    edges = np.flatnonzero(np.diff(flagged.astype(np.int8), prepend=0, append=0))
    return edges.reshape(-1, 2).astype(np.int64)


def score_events(labelled: Int64, incidents: Int64, time: Float64) -> EventScores:
    """Labelled intervals (K, 2) against incidents (M, 2), both [start, end) of the rows at `time` (n,), s.

    Incidents may touch and overlap. Raises `MonitorError` for one that is empty, reversed or beyond the rows.
    """
    _check(labelled, len(time), "labelled interval")
    _check(incidents, len(time), "incident")
    flagged = np.flatnonzero(_covered(incidents, len(time)))
    anomalous = np.flatnonzero(_covered(labelled, len(time)))
    first = _first_within(flagged, labelled)
    found = first >= 0
    late = first[found]
    begin = labelled[found, 0]
    return EventScores(
        delay_rows=tuple((late - begin).tolist()),
        delay_seconds=tuple((time[late] - time[begin]).tolist()),
        missed=_pairs(labelled[~found]),
        incidents=len(incidents),
        false=_pairs(incidents[_first_within(anomalous, incidents) < 0]),
    )


def per_day(count: int, time: Float64) -> float:
    """`count` of the rows at `time` (n,) as a rate a day: rows times their usual interval, so gaps are no quiet days.

    NaN for fewer than two rows.
    """
    if len(time) < 2:
        return np.nan
    return ratio(count * SECONDS_A_DAY, len(time) * float(np.median(np.diff(time))))


def _check(rows: Int64, count: int, what: str) -> None:
    if rows.ndim != 2 or rows.shape[1] != 2:
        raise MonitorError(f"{what}s must be pairs of rows, got an array of shape {rows.shape}", "Give [start, end).")
    wrong = np.flatnonzero((rows[:, 0] < 0) | (rows[:, 0] >= rows[:, 1]) | (rows[:, 1] > count))
    if len(wrong):
        start, end = rows[wrong[0]].tolist()
        raise MonitorError(
            f"{what} [{start}, {end}) is empty, reversed or beyond the {count} rows",
            "Give the first row and the row after the last one.",
        )


def _covered(rows: Int64, count: int) -> Bool:
    steps = np.zeros(count + 1, np.int64)
    np.add.at(steps, rows[:, 0], 1)
    np.add.at(steps, rows[:, 1], -1)
    return np.cumsum(steps[:-1]) > 0


def _first_within(marked: Int64, rows: Int64) -> Int64:
    """Ascending rows -> (K,) the first of them in each interval, -1 where there is none."""
    after = np.append(marked, np.iinfo(np.int64).max)
    first = after[np.searchsorted(marked, rows[:, 0])]
    return np.where(first < rows[:, 1], first, -1)


def _pairs(rows: Int64) -> tuple[tuple[int, int], ...]:
    return tuple((int(start), int(end)) for start, end in rows)
