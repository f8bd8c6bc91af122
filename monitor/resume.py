"""The trail of a partition: from where, with which clock, it would have to be read again to make its windows whole."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import inf

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Float64, Int64
from monitor.checkpoint import MOST_EVICTIONS, Checkpoint, Eviction

_SPACING = 1000  # records between two places; a replay begins up to so much earlier than it must
_LOOK_EVERY = 1000  # records


@dataclass(slots=True)
class Trail:
    """What a partition's newest records leave behind for whoever must read them again."""

    clock: float = -inf  # newest time so far, s since the Unix epoch
    evictions: deque[Eviction] = field(default_factory=deque)
    _places: deque[tuple[int, float]] = field(default_factory=deque)  # offset, and the clock before that record
    _needed: int = 0  # reading from here makes every window whole, as when last looked
    _marks: Int64 = field(default_factory=lambda: np.empty(0, np.int64))  # (S,) where each stream would begin, sorted
    _looked: int | None = None

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Trail:
        """The trail of a partition that is about to be read again."""
        begin = checkpoint.replay_from
        return cls(checkpoint.clock, deque(checkpoint.evictions), deque([(begin, checkpoint.clock)]), begin)

    def _pass_by(self, offset: int) -> None:
        """Notes a place now and then; `clock` is still the one before the record at `offset`."""
        if not self._places or offset - self._places[-1][0] >= _SPACING:
            self._places.append((offset, self.clock))

    def tell(self, offset: int, told: Float64, tick: float) -> tuple[Float64, NDArray[np.bool_]]:
        """Takes the times of records from `offset` on: (N,) the clock at each, (N,) whether it passed a whole tick."""
        self._pass_by(offset)
        before = float(told[0]) if self.clock == -inf else self.clock
        times = np.maximum.accumulate(np.concatenate(([before], told)))
        self.clock = float(times[-1])
        return times[1:], np.diff(np.floor(times / tick)) > 0

    def evict(self, eviction: Eviction, clock: float) -> None:
        """Notes who left, and the partition's clock then; no replay begins before the oldest that is still known."""
        self.evictions.append(eviction)
        if len(self.evictions) > MOST_EVICTIONS:
            self._needed = max(self._needed, self.evictions.popleft().at + 1)
        if eviction.at > self._places[-1][0]:
            self._places.append((eviction.at, clock))

    def due(self, offset: int, live: int) -> bool:
        """Whether to look again. Between two looks the answer is only too early, never too late; looking costs S."""
        return self._looked is None or offset - self._looked >= max(_LOOK_EVERY, live)

    def look_back(self, offset: int, marks: Int64) -> None:
        """`marks` (S,): where reading would have to begin for each live stream."""
        self._looked = offset
        self._marks = np.sort(marks)
        first = int(self._marks[0]) if len(marks) else offset
        self._needed = max(self._needed, min(first, offset))

    def checkpoint(self, offset: int, live: int, most: int) -> Checkpoint:
        """The replay of at most `most` records that comes before reading on at `offset`."""
        earliest = max(0, offset - most)
        needed = min(self._needed, offset)
        while len(self._places) > 1 and (self._places[1][0] <= needed or self._places[0][0] < earliest):
            self._places.popleft()
        here = offset, self.clock
        begin, clock = self._places[0] if self._places and earliest <= self._places[0][0] <= offset else here
        while self.evictions and self.evictions[0].at < begin:
            self.evictions.popleft()
        short = min(int(np.searchsorted(self._marks, begin)), live)
        return Checkpoint(offset, begin, clock, tuple(self.evictions), live, short)
