"""When an event is due: as recorded, faster or slower by a factor, or at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitor.batch import Float64
from monitor.errors import UsageError


@dataclass(slots=True)
class Pace:
    """Seconds of event time per second that passes; None: every event is due at once."""

    speed: float | None
    _first: float | None = None
    _newest: float = 0.0

    @staticmethod
    def parse(text: str) -> Pace:
        """`max`, `recorded`, or a factor such as `10` or `0.5x`."""
        if text == "max":
            return Pace(None)
        try:
            speed = 1.0 if text == "recorded" else float(text.removesuffix("x"))
        except ValueError:
            speed = 0.0
        if not 0 < speed < float("inf"):
            raise UsageError(f"--pace {text}: no pace", "One of max, recorded, or a factor such as 10 or 0.5.")
        return Pace(speed)

    def due(self, time: Float64) -> Float64:
        """(n,) seconds after the start at which events of these times are due; one that is late is due at once."""
        if not len(time) or self.speed is None:
            return np.zeros(len(time))
        if self._first is None:
            self._first = self._newest = float(time[0])
        newest = np.maximum.accumulate(np.maximum(time, self._newest))
        self._newest = float(newest[-1])
        return (newest - self._first) / self.speed
