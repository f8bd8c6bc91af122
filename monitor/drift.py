"""One incident of kind drift for each stream: from when what is usual has moved too far away from training's, until it
is back. It goes by what is learned of the stream (`level`), so it says something when that changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, log

import numpy as np

from monitor.alerts import Alert
from monitor.batch import Float64
from monitor.incident_state import Point
from monitor.level_state import Drift, Farthest, Level
from monitor.telling import Key, Teller

_BACK = 0.9
"""Of the limit's logarithm: what is nearer is back. Else a level at the limit would open and close again and again."""


class Drifts:
    """The rules; what is open is in the level of each stream."""

    def __init__(self, teller: Teller, factor: float | None, update_every: float) -> None:
        """Beyond `factor`, or its inverse, something has drifted; None: never. `update_every` is in s of event time."""
        self._teller = teller
        self._limit = factor or inf
        self._update_every = update_every

    def step(self, key: Key, level: Level, now: Float64, point: Point) -> Iterator[Alert]:
        """`now` (F,) is the logarithm of what is usual over what is usual in training, 0 where it does not count."""
        if self._limit == inf:
            return
        distance = np.abs(now) / log(self._limit)  # (F,) beyond 1 is too far
        far = set(np.flatnonzero(distance > 1).tolist())
        worst = Farthest(float(np.exp(np.abs(now).max())) / self._limit, point.time)
        drift = level.drift
        if drift is None:
            if far:
                drift = level.drift = Drift(point, tuple(sorted(far)), worst, point, point.time, self._limit)
                yield self._teller.drift(key, drift, now, "opened", point)
            return
        drift.last = point
        if worst.score > drift.peak.score:
            drift.peak = worst
        if distance.max() < _BACK:
            level.drift = None
            yield self._teller.drift(key, drift, now, "closed", point, "recovered")
            return
        known = set(drift.features)
        if far - known or point.time - drift.told_at >= self._update_every:
            drift.features = tuple(sorted(known | far))
            drift.told_at = point.time
            yield self._teller.drift(key, drift, now, "updated", point)
