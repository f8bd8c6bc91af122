"""Sliding windows of many streams in one columnar ring buffer.

The rules, each for one stream of one partition, all of them independent of how the records were cut into batches:

- An event enters when it is newer than the stream's newest event. An equal time is a duplicate, an older one is late;
  both are counted and change nothing.
- A silence longer than `max_gap` starts the window anew: no window ever spans a gap.
- A missing value becomes the stream's previous value since the last gap, else the feature's mean in training.
- The first window is complete with the T-th event; from then on every `stride`-th event closes one.
- A stream not heard of for `idle_timeout` seconds of its partition's event time is forgotten. When a partition has
  `max_streams` and one more arrives, the least recently heard sixty-fourth of them are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor import config
from monitor.batch import Batch, Departure, Float32, Float64, Int64, Windows
from monitor.streams import StreamTable

_PART_BYTES = 32 * 2**20  # most bytes of windows made at once
_PART_EVENTS = 4096
_SWEEPS_PER_TIMEOUT = 4


@dataclass(frozen=True, slots=True)
class Step:
    """What one part of a batch did. Its departures happened before its windows."""

    windows: Windows
    departures: tuple[Departure, ...]
    late: int
    duplicate: int
    gaps: int
    imputed: int  # values
    started: int  # streams
    moved: int  # streams that are live in another partition too


class WindowStore:
    """The windows of all live streams: T x F x 4 bytes each, and the columns of `StreamTable`."""

    def __init__(self, window: int, fill: Float32, rules: config.Windows, max_gap: float, idle_timeout: float) -> None:
        """`window` is T; `fill` (F,) stands in for a missing value that has no predecessor; times are seconds."""
        self.window = window
        self.features = len(fill)
        self._fill = fill
        self._stride = rules.stride
        self._max_gap = max_gap
        self._idle_timeout = idle_timeout
        self._tick = idle_timeout / _SWEEPS_PER_TIMEOUT
        self._staged = max(1, min(_PART_EVENTS, _PART_BYTES // (4 * window * self.features)))
        # Rows 0 to staged-1 hold the values of the part being pushed, then T rows a slot: one gather makes every
        # window, whichever of its events are new and whichever are old.
        self._rows: Float32 = np.zeros((self._staged, self.features), np.float32)
        self._clock: dict[int, float] = {}  # newest event time of a partition
        self.streams = StreamTable(rules.max_streams, self._grow)

    def push(self, batch: Batch) -> Iterator[Step]:
        """Takes N events; yields the windows they close, in parts of bounded size; rows are rows of the batch."""
        clock, ticks = self._clocks(batch)
        start = 0
        while start < len(batch):
            departures = self._make_room(batch, start, float(clock[start]), bool(ticks[start]))
            following = np.flatnonzero(ticks[start + 1 : start + self._staged])
            stop = start + 1 + int(following[0]) if len(following) else min(len(batch), start + self._staged)
            slots, started, moved = self._admit(batch, start, stop)
            stop = start + len(slots)
            windows, counts = self._advance(batch[start:stop], slots, clock[start:stop], start)
            yield Step(windows, departures, **counts, started=started, moved=moved)
            start = stop

    def drop(self, partition: int) -> None:
        """Forgets a partition that moved to another member."""
        self.streams.drop(partition)
        self._clock.pop(partition, None)

    def filled(self, slots: Int64) -> Int64:
        """Events in the window of each slot so far, at most T."""
        return np.minimum(self.streams.count[slots], self.window)

    def _clocks(self, batch: Batch) -> tuple[Float64, NDArray[np.bool_]]:
        """(N,) each event's partition clock, the newest time so far; (N,) whether the idle leave before it.

        A time ahead of its record's timestamp does not count: one wrong clock shall not make the others look idle.
        """
        clock = np.empty(len(batch), np.float64)
        ticks = np.zeros(len(batch), np.bool_)
        for partition in np.unique(batch.partition).tolist():
            rows = np.flatnonzero(batch.partition == partition)
            told = np.minimum(batch.time[rows], batch.arrival[rows])
            before = self._clock.get(partition, float(told[0]))
            times = np.maximum.accumulate(np.concatenate(([before], told)))
            clock[rows] = times[1:]
            ticks[rows] = np.diff(np.floor(times / self._tick)) > 0
            self._clock[partition] = float(times[-1])
        return clock, ticks

    def _make_room(self, batch: Batch, row: int, clock: float, tick: bool) -> tuple[Departure, ...]:
        """Who must leave before this event: the idle when the clock ticks, the least recent when there is no room."""
        partition = int(batch.partition[row])
        gone: tuple[Departure, ...] = ()
        if tick:
            gone += self._dismiss(row, partition, self.streams.idle(partition, clock, self._idle_timeout), "idle")
        if self.streams.full(partition) and self.streams.find(partition, batch.stream[row : row + 1])[0] < 0:
            gone += self._dismiss(row, partition, self.streams.least_recent(partition), "evicted")
        return gone

    def _dismiss(self, row: int, partition: int, slots: Int64, reason: str) -> tuple[Departure, ...]:
        names = [self.streams.names[slot] for slot in slots.tolist()]
        self.streams.remove(slots)
        return tuple(Departure(row, partition, name, reason) for name in names)

    def _admit(self, batch: Batch, start: int, stop: int) -> tuple[Int64, int, int]:
        """Slots of the events from `start` on, up to `stop` or to the first new stream for which there is no room."""
        slots = np.empty(stop - start, np.int64)
        partitions = batch.partition[start:stop]
        for partition in np.unique(partitions).tolist():
            rows = np.flatnonzero(partitions == partition)
            slots[rows] = self.streams.find(partition, [batch.stream[start + row] for row in rows.tolist()])
        started, shared = 0, self.streams.shared_count
        for row in np.flatnonzero(slots < 0).tolist():
            partition, name = int(partitions[row]), batch.stream[start + row]
            known = len(self.streams)
            if self.streams.full(partition) and self.streams.find(partition, [name])[0] < 0:
                return slots[:row], started, self.streams.shared_count - shared
            slots[row] = self.streams.add(partition, name)
            started += len(self.streams) - known
        return slots, started, self.streams.shared_count - shared

    def _advance(self, part: Batch, slots: Int64, clock: Float64, start: int) -> tuple[Windows, dict[str, int]]:
        """Writes the events that enter, and gathers the windows they close; `start` is the part's first row."""
        table = self.streams
        order = np.argsort(slots, kind="stable")  # streams side by side, each in arrival order
        slot, time = slots[order], part.time[order]
        first, last = _runs(slot)
        previous = _newest_before(time, first, table.last_time[slot])
        enters = time > previous
        table.last_offset[slot[last]] = part.offset[order][last]
        table.last_clock[slot[last]] = clock[order][last]
        counts = {
            "late": int(np.count_nonzero(time < previous)),
            "duplicate": int(np.count_nonzero(time == previous)),
        }

        # From here on only the events that enter, M of them, still stream by stream.
        order, slot, time, previous = order[enters], slot[enters], time[enters], previous[enters]
        first, last = _runs(slot)
        position = np.arange(len(slot))
        silent = np.isfinite(previous) & (time - previous > self._max_gap)
        run = np.maximum.accumulate(np.where(first | silent, position, 0))  # where each event's run begins in this part
        before = np.where(first & ~silent, table.count[slot], 0)[run]  # events of that run before this part
        count = before + position - run + 1

        values = part.values[order]
        counts["gaps"] = int(np.count_nonzero(silent))
        counts["imputed"] = self._impute(values, slot, position - run, before)
        self._rows[: len(values)] = values
        windows = self._gather(start + order, slot, count, position, run)

        end = np.flatnonzero(last)[np.cumsum(first) - 1]  # of each event, where its stream ends in this part
        kept = (position >= run[end]) & (position > end - self.window)  # of the others nothing is needed any more
        self._rows[self._row(slot[kept], count[kept] - 1)] = values[kept]
        table.count[slot[last]] = count[last]
        table.last_time[slot[last]] = time[last]
        return windows, counts

    def _gather(self, rows: Int64, slot: Int64, count: Int64, position: Int64, run: Int64) -> Windows:
        """The windows closed by M events: one (W, T) table of row numbers, one gather."""
        closes = np.flatnonzero((count >= self.window) & ((count - self.window) % self._stride == 0))
        closes = closes[np.argsort(rows[closes])]  # back to arrival order
        ago = np.arange(self.window - 1, -1, -1)
        new = position[closes, None] - ago  # (W, T)
        old = self._row(slot[closes, None], count[closes, None] - 1 - ago)  # (W, T)
        source = np.where(new >= run[closes, None], new, old)
        return Windows(self._rows[source], rows[closes], slot[closes])

    def _row(self, slot: Int64, index: Int64) -> Int64:
        """Where the index-th event of a slot's run stands in the ring."""
        return self._staged + slot * self.window + index % self.window

    def _impute(self, values: Float32, slot: Int64, since: Int64, before: Int64) -> int:
        """Fills missing values of (M, F) in place; `since` events of the run stand above, `before` in the ring."""
        missing = np.isnan(values)
        for row in np.flatnonzero(missing.any(axis=1)).tolist():
            if since[row]:
                filler = values[row - 1]
            elif before[row]:
                filler = self._rows[self._row(slot[row], before[row] - 1)]
            else:
                filler = self._fill
            values[row, missing[row]] = filler[missing[row]]
        return int(np.count_nonzero(missing))

    def _grow(self, capacity: int) -> None:
        # In place: the old buffer is not kept beside the new one while it is copied.
        self._rows.resize((self._staged + capacity * self.window, self.features), refcheck=False)


def _runs(slot: Int64) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of sorted slots: which are the first, and which the last, of their stream."""
    first = np.ones(len(slot), np.bool_)
    last = np.ones(len(slot), np.bool_)
    first[1:] = last[:-1] = slot[1:] != slot[:-1]
    return first, last


def _newest_before(time: Float64, first: NDArray[np.bool_], stored: Float64) -> Float64:
    """(M,) the newest time of the same stream before each event; `stored` is each stream's newest before this part.

    A running maximum that starts anew at each `first`, by doubling: after step k an event has seen 2^k events above.
    """
    newest = np.where(first, np.maximum(time, stored), time)
    begin = np.maximum.accumulate(np.where(first, np.arange(len(time)), 0))
    longest = int((np.arange(len(time)) - begin).max(initial=0))
    distance = 1
    while distance <= longest:
        above = np.arange(len(time)) - distance
        newest = np.where(above >= begin, np.maximum(newest, newest[above]), newest)
        distance *= 2
    return np.where(first, stored, np.roll(newest, 1))
