"""Several sensors with clocks of their own -> one vector for each interval."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, inf, isnan, nan

import numpy as np

from monitor import config
from monitor.feeds.vectors import Vectors


@dataclass(slots=True)
class _Values:
    """Of one sensor in one interval."""

    count: int = 0
    total: float = 0.0
    least: float = inf
    most: float = -inf
    newest: float = -inf  # time of the last value, s
    last: float = nan

    def add(self, time: float, value: float) -> None:
        self.count += 1
        self.total += value
        self.least, self.most = min(self.least, value), max(self.most, value)
        if time >= self.newest:
            self.newest, self.last = time, value


class Joiner:
    """Takes rows in the order they come. Which vectors there are, and what they hold, depends on the rows' times and
    order alone, and not on how they are cut into batches.
    """

    def __init__(self, join: config.Join) -> None:
        self._join = join
        self._places = {sensor.name: place for place, sensor in enumerate(join.sensors)}
        self.names = tuple(f"{sensor.name}.{take}" for sensor in join.sensors for take in sensor.take)
        self._open: dict[int, dict[int, _Values]] = {}  # by interval and sensor
        self._last = [_Values() for _ in join.sensors]  # what is newest of the closed intervals
        self._next: int | None = None  # the first interval that is not closed
        self._clock = -inf
        self.late = 0
        """Values that came after their interval was closed."""
        self.unused = 0
        """Values that belong to no sensor."""

    @property
    def silent(self) -> tuple[str, ...]:
        """Sensors that have given no value so far: a column that is missing, or has another name now."""
        pending = {place for sensors in self._open.values() for place in sensors}
        return tuple(
            name for name, place in self._places.items() if not self._last[place].count and place not in pending
        )

    def push(self, rows: Vectors) -> Vectors:
        """The vectors of the intervals that these rows close."""
        out: list[tuple[float, list[float]]] = []
        places = {
            stream: [
                (column, place)
                for column, name in enumerate(rows.names)
                if (place := self._places.get(f"{stream}/{name}", self._places.get(name, -1))) >= 0
            ]
            for stream in set(rows.stream)
        }
        for stream, time, values in zip(rows.stream, rows.time.tolist(), rows.values.tolist(), strict=True):
            used = 0
            for column, place in places[stream]:
                if not isnan(values[column]):
                    self._add(place, time, values[column])
                    used += 1
            self.unused += sum(not isnan(value) for value in values) - used
            self._clock = max(self._clock, time)
            self._close(self._clock - self._join.wait, out)
        return self._vectors(out)

    def end(self) -> Vectors:
        """The vectors of the intervals that are still open: there is no more to come."""
        out: list[tuple[float, list[float]]] = []
        if self._next is not None:
            step = self._join.interval
            self._close((max([*self._open, floor(self._clock / step)]) + 1) * step, out)
        return self._vectors(out)

    def _add(self, place: int, time: float, value: float) -> None:
        interval = floor(time / self._join.interval)
        if self._next is None:
            self._next = interval - floor(self._join.wait / self._join.interval) - 1
        if interval < self._next:
            self.late += 1
            return
        self._open.setdefault(interval, {}).setdefault(place, _Values()).add(time, value)

    def _close(self, until: float, out: list[tuple[float, list[float]]]) -> None:
        """Close every interval that ends by `until`."""
        step = self._join.interval
        while self._next is not None and (self._next + 1) * step <= until:
            end = (self._next + 1) * step
            values = self._values(self._open.pop(self._next, {}), end)
            if not all(map(isnan, values)):
                out.append((end, values))
                self._next += 1
            else:  # nothing was measured lately: on to where something was
                self._next = min([*self._open, max(floor(until / step), self._next + 1)])

    def _values(self, found: dict[int, _Values], end: float) -> list[float]:
        result: list[float] = []
        for place, sensor in enumerate(self._join.sensors):
            here = found.get(place)
            if here is not None:
                self._last[place] = here
            last = self._last[place]
            max_age = 10 * self._join.interval if sensor.max_age is None else sensor.max_age
            told = {
                "last": last.last if end - last.newest <= max_age else nan,
                "mean": here.total / here.count if here else nan,
                "minimum": here.least if here else nan,
                "maximum": here.most if here else nan,
            }
            result.extend(told[take] for take in sensor.take)
        return result

    def _vectors(self, out: list[tuple[float, list[float]]]) -> Vectors:
        values = np.array([values for _, values in out], np.float64).reshape(len(out), len(self.names))
        time = np.array([end for end, _ in out], np.float64)
        return Vectors(self.names, [self._join.stream] * len(out), time, values.astype(np.float32))
