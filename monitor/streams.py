"""Which streams are alive: name <-> slot, per partition, with the bookkeeping that decides who leaves.

A slot is a row in the columns of the window store: small, dense, reused after a stream has left. State belongs to a
partition: one name in two partitions is two streams, so that no partition's alerts depend on which others are here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from math import inf, nan
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Float64, Int64

_EVICTED_SHARE = 64
_NOT_YET = np.iinfo(np.int64).max
_SHARED_KEPT = 20


class StreamTable:
    """Columns by slot, grown as streams arrive. Capacity follows the number of live streams, not the cap."""

    def __init__(self, max_streams: int, on_grow: Callable[[int], None]) -> None:
        self.max_streams = max_streams  # of one partition
        self._on_grow = on_grow
        self._index: dict[int, dict[str, int]] = {}
        self._free: list[int] = []
        self._shared: deque[str] = deque(maxlen=_SHARED_KEPT)
        self.shared_count = 0  # streams that came under a name that was live in another partition: not keyed by stream
        self.capacity = 0
        self.names: list[str] = []
        self.partition: Int64 = np.empty(0, np.int64)  # -1: free
        self.count: Int64 = np.empty(0, np.int64)  # events in the current run, since the last gap
        self.last_time: Float64 = np.empty(0, np.float64)  # newest event time
        self.last_offset: Int64 = np.empty(0, np.int64)
        self.last_clock: Float64 = np.empty(0, np.float64)  # the partition's clock when last heard of
        # Reading on from `whole_from` makes the window what it is; `next_whole_from` takes its place T events later.
        self.whole_from: Int64 = np.empty(0, np.int64)
        self.next_whole_from: Int64 = np.empty(0, np.int64)
        self.phase: Float64 = np.empty(
            0, np.float64
        )  # 0 to 1, by name: spreads over time what each stream does at times
        self.streaks: NDArray[np.int32] = np.empty(
            (0, 2), np.int32
        )  # pace and skew of `Timing`, as of the newest event
        self.score: Float64 = np.empty(0, np.float64)  # of the latest window, NaN before the first

    def __len__(self) -> int:
        return sum(map(len, self._index.values()))

    @property
    def partitions(self) -> tuple[int, ...]:
        return tuple(self._index)

    def live(self, partition: int) -> int:
        return len(self._index.get(partition, ()))

    def slots(self, partition: int) -> Int64:
        index = self._index.get(partition, {})
        return np.fromiter(index.values(), np.int64, len(index))

    def find(self, partition: int, names: Sequence[str]) -> Int64:
        """Slot of each name, -1 where it is not live in this partition."""
        index = self._index.setdefault(partition, {})
        return np.array([index.get(name, -1) for name in names], np.int64)

    def full(self, partition: int) -> bool:
        return self.live(partition) >= self.max_streams

    def shared(self) -> list[tuple[str, tuple[int, ...]]]:
        """Names that are live in several partitions, and those; the newest such names, at most twenty."""
        found = ((name, tuple(p for p, index in self._index.items() if name in index)) for name in self._shared)
        return [(name, partitions) for name, partitions in found if len(partitions) > 1]

    def add(self, partition: int, name: str) -> int:
        """The slot of a name, made if it is not live yet."""
        index = self._index.setdefault(partition, {})
        slot = index.get(name)
        if slot is not None:
            return slot
        if not self._free:
            self._grow(max(self.capacity + 64, self.capacity * 5 // 4))
        slot = self._free.pop()
        index[name] = slot
        self.names[slot] = name
        self.partition[slot] = partition
        self.count[slot] = 0
        self.last_time[slot] = -inf
        self.phase[slot] = crc32(name.encode("utf-8", "surrogatepass")) / 2**32
        self.whole_from[slot] = self.next_whole_from[slot] = _NOT_YET
        self.streaks[slot] = 0
        self.score[slot] = nan
        if any(name in other for number, other in self._index.items() if number != partition):
            self.shared_count += 1
            self._shared.append(name)
        return slot

    def reserve(self, more: int) -> None:
        """Makes room for so many more streams at once; step by step, each column would be copied at every step."""
        if more > len(self._free):
            self._grow(self.capacity + more - len(self._free))

    def remove(self, slots: Int64) -> None:
        for slot in slots.tolist():
            del self._index[int(self.partition[slot])][self.names[slot]]
            self.names[slot] = ""
        self.partition[slots] = -1
        self.score[slots] = nan
        self._free.extend(slots.tolist())

    def drop(self, partition: int) -> None:
        """Forgets a partition that moved to another member."""
        self.remove(self.slots(partition))
        self._index.pop(partition, None)

    def idle(self, partition: int, clock: float, timeout: float) -> Int64:
        """Streams not heard of for `timeout` s of the partition's event time, longest first."""
        slots = self.slots(partition)
        return self._oldest_first(slots[clock - self.last_clock[slots] > timeout])

    def heard_by(self, partition: int, offset: int) -> Int64:
        """Streams last heard of at or before this offset, longest first."""
        slots = self.slots(partition)
        return self._oldest_first(slots[self.last_offset[slots] <= offset])

    def least_recent(self, partition: int) -> Int64:
        """The sixty-fourth part of a full partition's streams (at least one) that was not heard of for longest.

        Many at once, so that a partition with too many streams does not pay for a search at each of its events.
        """
        slots = self.slots(partition)
        return self._oldest_first(slots)[: max(1, len(slots) // _EVICTED_SHARE)]

    def worst(self, most: int) -> tuple[list[tuple[str, float]], float | None]:
        """The `most` streams with the highest latest score, highest first, and the highest of all the others."""
        scored = np.flatnonzero(~np.isnan(self.score))
        if len(scored) > most + 1:  # of a million streams only these need an order
            scored = scored[np.argpartition(-self.score[scored], most)[: most + 1]]
        ranked = scored[np.argsort(-self.score[scored], kind="stable")]
        top = [(self.names[slot], float(self.score[slot])) for slot in ranked[:most].tolist()]
        return top, float(self.score[ranked[most]]) if len(ranked) > most else None

    def _oldest_first(self, slots: Int64) -> Int64:
        return slots[np.argsort(self.last_offset[slots])]

    def _grow(self, capacity: int) -> None:
        old, self.capacity = self.capacity, capacity
        self.names.extend([""] * (capacity - old))
        # In place: the old column is not kept beside the new one while it is copied.
        for column in (
            self.partition,
            self.count,
            self.last_time,
            self.last_offset,
            self.last_clock,
            self.whole_from,
            self.next_whole_from,
            self.phase,
            self.score,
        ):
            column.resize(capacity, refcheck=False)
        self.streaks.resize((capacity, 2), refcheck=False)
        self.partition[old:] = -1
        self.score[old:] = nan
        self._free.extend(range(capacity - 1, old - 1, -1))
        self._on_grow(capacity)
