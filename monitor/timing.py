"""What the times of a stream's events say of its clock and of its sampling rate, as streaks of events in a row.

A streak counts no further back than a window, nor past a gap. So it is whole again as soon as the window is, wherever
reading began, and needs two small numbers a stream instead of the times of all its events.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Float64, Int64

Bools = NDArray[np.bool_]
Int32 = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Limits:
    """Beyond which an event's time is off; all in seconds."""

    fast: float = 0.0  # a shorter interval is too short
    slow: float = inf  # a longer one is too long
    ahead: float = inf  # what an event's time may be ahead of its record's timestamp
    behind: float = inf  # what it may be behind


def streaks(
    limits: Limits,
    window: int,
    interval: Float64,
    ahead: Float64,
    first: Bools,
    opens: Bools,
    stored: Int32,
) -> Int32:
    """(M, 2) pace and skew, as in `batch.Timing`, at each of M events, stream by stream and in arrival order.

    `interval` (M,) is since the event before, `ahead` (M,) of the record's timestamp, both s. `first` (M,) are the
    first of their stream here, where its `stored` (M, 2) streaks go on; `opens` (M,) begin a run, where none does.
    """
    made = np.zeros((len(interval), 2), np.int32)
    pace = np.where(opens, 0, (interval > limits.slow) * 1 - (interval < limits.fast) * 1)
    skew = (ahead > limits.ahead) * 1 - (-ahead > limits.behind) * 1
    for column, (sign, most) in enumerate(((pace, window - 1), (skew, window))):
        if sign.any():  # hardly ever
            made[:, column] = _streak(sign, first, opens, stored[:, column], most)
    return made


def _streak(sign: Int64, first: Bools, opens: Bools, stored: Int32, most: int) -> Int64:
    """(M,) how many events in a row had the same `sign` (-1, 0, 1), times that sign; at most `most` of them."""
    position = np.arange(len(sign))
    turns = first | opens
    turns[1:] |= sign[1:] != sign[:-1]
    since = np.maximum.accumulate(np.where(turns, position, 0))
    goes_on = (first & ~opens)[since] & (np.sign(stored) == sign)
    length = position - since + 1 + np.where(goes_on, np.abs(stored), 0)
    return np.asarray(np.minimum(length, most) * sign, np.int64)
