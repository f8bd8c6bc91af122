"""SKAB's change-point score, for the published predictions only: a blind square wave beats them all, so it is no goal.

A run's 0/1 predictions become points where they change. Each labelled point opens a window of 60 s; where two overlap,
the later one begins at the end of the earlier. The first predicted point in a window earns between `hit` at its left
edge and `false` at its right, along a hyperbolic tangent; a window without one costs `miss`; a point outside all
windows costs `false`. (Lavin and Ahmad, "Evaluating real-time anomaly detection algorithms", 2015, as SKAB adapts it.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitor.batch import Float64
from monitor.evaluation.values import Bool

WINDOW = 60.0  # s
GRID = 1000


@dataclass(frozen=True, slots=True)
class Profile:
    hit: float
    false: float
    miss: float


STANDARD, LOW_FP, LOW_FN = Profile(1, -0.11, -1), Profile(1, -0.22, -1), Profile(1, -0.11, -2)


@dataclass(frozen=True, slots=True)
class Points:
    """What was predicted, window by window; add them to pool runs."""

    position: tuple[float, ...]  # of the first predicted point in each window that has one; 0 left edge, 1 right edge
    missed: int  # windows
    false: int  # predicted points outside all windows

    def __add__(self, other: Points) -> Points:
        return Points(self.position + other.position, self.missed + other.missed, self.false + other.false)

    @property
    def windows(self) -> int:
        return len(self.position) + self.missed

    def score(self, profile: Profile) -> float:
        """0 for no predictions at all, 100 for a hit at the left edge of every window and nothing else."""
        x = np.linspace(-np.pi / 2, np.pi / 2, GRID)
        spread, middle = (profile.hit - profile.false) / 2, (profile.hit + profile.false) / 2
        earned = spread * -np.tanh(x) / np.tanh(np.pi / 2) + middle  # (1000,)
        at = np.minimum((np.array(self.position) * GRID).astype(np.int64), GRID - 1)
        total = earned[at].sum() + profile.false * self.false + profile.miss * self.missed
        null, perfect = self.windows * profile.miss, self.windows * profile.hit
        return float(100 * (total - null) / (perfect - null))


def compare(predicted: Bool, changepoint: Bool, time: Float64) -> Points:
    """Rows (n,) flagged as anomalous against rows (n,) labelled as change points, at times (n,) in s."""
    points = time[np.diff(predicted.astype(np.int8), prepend=0) != 0]
    starts = time[changepoint]
    ends = starts + WINDOW
    begins = np.concatenate([starts[:1], np.maximum(starts[1:], ends[:-1])])
    outside = np.ones(len(points), np.bool_)
    position: list[float] = []
    for begin, end in zip(begins, ends, strict=True):
        inside = (points >= begin) & (points <= end)
        outside &= ~inside
        if inside.any():
            first = points[inside][0]
            position.append(float((first - begin) / (end - begin)))
    return Points(tuple(position), len(starts) - len(position), int(np.count_nonzero(outside)))
