"""Observed and expected around the worst incidents: kept while they happen, bounded however long they last."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from monitor.batch import Float32, Float64

BEFORE, AFTER = 40, 20
"""Scored events that are shown before an incident was told and after it was closed."""
MOST_POINTS = 400
"""Events of an excerpt; a longer incident is thinned."""
MOST_EXCERPTS = 12
MOST_STREAMS = 4096
"""Streams whose newest events are kept; of the others an excerpt begins where the incident was told."""

Key = tuple[int, str]  # partition, stream


@dataclass(frozen=True, slots=True)
class Point:
    time: float  # s since the Unix epoch
    score: float
    observed: Float32  # (F,)
    expected: Float32  # (F,)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """n scored events around one incident."""

    incident: str
    time: Float64  # (n,)
    score: Float64  # (n,)
    observed: Float32  # (n, F)
    expected: Float32  # (n, F)


@dataclass(slots=True)
class _Open:
    """An incident's events so far."""

    incident: str
    points: list[Point]
    peak: Point
    every: int = 1  # only every so many events are kept
    waiting: int = 0
    left: int = -1  # events to come after it closed; -1 while it is open

    def add(self, point: Point) -> None:
        if point.score > self.peak.score:
            self.peak = point
        self.waiting += 1
        if self.waiting < self.every:
            return
        self.waiting = 0
        self.points.append(point)
        if len(self.points) > MOST_POINTS:
            self.points = self.points[::2]
            self.every *= 2

    def finished(self) -> Excerpt:
        points = sorted({id(point): point for point in (*self.points, self.peak)}.values(), key=lambda one: one.time)
        return Excerpt(
            self.incident,
            np.array([point.time for point in points]),
            np.array([point.score for point in points]),
            np.stack([point.observed for point in points]),
            np.stack([point.expected for point in points]),
        )


@dataclass(slots=True)
class Excerpts:
    """Of all incidents, those with the highest peaks so far."""

    most: int = MOST_EXCERPTS
    _recent: OrderedDict[Key, deque[Point]] = field(default_factory=OrderedDict)
    _open: dict[Key, list[_Open]] = field(default_factory=dict)
    _kept: list[tuple[float, Excerpt]] = field(default_factory=list)

    def event(self, key: Key, point: Point) -> None:
        """One more scored event of a stream."""
        recent = self._recent.get(key)
        if recent is None:
            recent = self._recent[key] = deque(maxlen=BEFORE)
            if len(self._recent) > MOST_STREAMS:
                self._recent.popitem(last=False)
        recent.append(point)
        for one in self._open.get(key, ())[:]:
            one.add(point)
            if one.left >= 0:
                one.left -= 1
                if one.left <= 0:
                    self._finish(key, one)

    def opened(self, key: Key, incident: str) -> None:
        """The newest event of the stream has told an incident."""
        points = list(self._recent.get(key, ()))
        if points:
            peak = max(points, key=lambda point: point.score)
            self._open.setdefault(key, []).append(_Open(incident, points, peak))

    def closed(self, key: Key, incident: str, *, at_once: bool) -> None:
        """`at_once`: no event of this life of the stream will follow."""
        for one in self._open.get(key, ())[:]:
            if one.incident == incident:
                one.left = AFTER
                if at_once:
                    self._finish(key, one)

    def finish(self) -> Mapping[str, Excerpt]:
        """By incident, the highest peak first; ends whatever is still open."""
        for key, several in list(self._open.items()):
            for one in several[:]:
                self._finish(key, one)
        return {excerpt.incident: excerpt for _, excerpt in self._kept}

    def _finish(self, key: Key, one: _Open) -> None:
        several = self._open[key]
        several.remove(one)
        if not several:
            del self._open[key]
        if len(self._kept) < self.most or one.peak.score > self._kept[-1][0]:
            self._kept.append((one.peak.score, one.finished()))
            self._kept.sort(key=lambda kept: (-kept[0], kept[1].incident))
            del self._kept[self.most :]
