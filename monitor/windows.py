"""Sliding windows of many streams in one columnar ring buffer.

The rules, each for one stream of one partition, all of them independent of how the records were cut into batches:

- An event enters when it is newer than the stream's newest event. An equal time is a duplicate, an older one is late;
  both are counted and change nothing.
- A silence longer than `max_gap` starts the window anew: no window ever spans a gap.
- A missing value becomes the previous value in the same window, else the feature's mean in training.
- The first window is complete with the T-th event. From then on every event closes one, or, with a stride of k, the
  first event of each span of k usual intervals.
- A stream not heard of for `idle_timeout` seconds of its partition's event time is forgotten. When a partition has
  `max_streams` and one more arrives, the least recently heard sixty-fourth of them are.

None of these rules looks further back than a window, the partition's clock and who was evicted. So the whole state can
be rebuilt by reading on from an earlier place: `resume` says from where, `restore` and `rebuild` do it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monitor import config
from monitor.batch import Batch, Departure, Float32, Float64, Int64, Return, Timing, Windows
from monitor.checkpoint import Checkpoint, Eviction
from monitor.imputation import impute
from monitor.resume import Trail
from monitor.streams import StreamTable
from monitor.timing import Limits, streaks

_PART_BYTES = 32 * 2**20  # most bytes of windows made at once
_PART_EVENTS = 4096
_SWEEPS_PER_TIMEOUT = 4


@dataclass(frozen=True, slots=True)
class Step:
    """What one part of a batch did. Its departures happened before its windows."""

    windows: Windows
    departures: tuple[Departure, ...]
    returns: tuple[Return, ...]  # in arrival order
    late: int
    duplicate: int
    gaps: int
    imputed: int  # values
    started: int  # streams
    moved: int  # streams that are live in another partition too


@dataclass(frozen=True, slots=True)
class Image:
    """The windows of one partition at one offset, as columns; S streams, T window length, F features."""

    partition: int
    offset: int  # next record to read
    clock: float  # the partition's clock, s since the Unix epoch
    names: list[str]  # (S,)
    count: Int64  # (S,) events in the current run
    last_time: Float64  # (S,)
    last_offset: Int64  # (S,)
    last_clock: Float64  # (S,)
    marks: Int64  # (S, 2) where reading must begin for the window to be whole: now, and T events later
    streaks: NDArray[np.int32]  # (S, 2) pace and skew of `Timing`, as of the newest event
    values: Float32  # (S, T, columns) the ring as it stands


class WindowStore:
    """The windows of all live streams: T x F x 4 bytes each, and the columns of `StreamTable`."""

    def __init__(
        self,
        window: int,
        mean: Float32,
        rules: config.Windows,
        interval: float,
        max_gap: float,
        idle_timeout: float,
        limits: Limits | None = None,
        *,
        timed: bool = False,
    ) -> None:
        """`window` is T; `mean` (F,) stands in for a missing value; `interval` is the usual one; times are seconds.

        Windows come with their `timing` where `limits` are given, and with the seconds between their events where they
        are to be `timed`.
        """
        self.window = window
        self.features = len(mean)
        self.columns = self.features + timed  # of a row: the seconds since the event before are the last
        self._timed = timed
        self._mean = np.append(mean, np.zeros(int(timed), np.float32))
        self._span = rules.stride * interval if rules.stride > 1 else 0.0  # s from one window to the next; 0: every one
        self._max_gap = max_gap
        self._limits = limits
        self._idle_timeout = idle_timeout
        self._tick = idle_timeout / _SWEEPS_PER_TIMEOUT
        self._staged = max(1, min(_PART_EVENTS, _PART_BYTES // (4 * window * self.columns)))
        # Rows 0 to staged-1 hold the values of the part being pushed, then T rows a slot: one gather makes every
        # window, whichever of its events are new and whichever are old.
        self._rows: Float32 = np.zeros((self._staged, self.columns), np.float32)
        self._incomplete = False  # whether a missing value was ever seen; most feeds have none
        self._trails: dict[int, Trail] = {}
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
            windows, returns, counts = self._advance(batch[start:stop], slots, clock[start:stop], start)
            yield Step(windows, departures, returns, **counts, started=started, moved=moved)
            start = stop

    def drop(self, partition: int) -> None:
        """Forgets a partition that moved to another member."""
        self.streams.drop(partition)
        self._trails.pop(partition, None)

    def resume(self, partition: int, offset: int, most: int) -> Checkpoint:
        """From where, at most `most` records back, whoever reads on at `offset` must replay this partition."""
        trail = self._trails.get(partition)
        if trail is None:
            return Checkpoint(offset, offset)
        if trail.due(offset, self.streams.live(partition)):
            trail.look_back(offset, self.streams.whole_from[self.streams.partition == partition])
        return trail.checkpoint(offset, self.streams.live(partition), most)

    def restore(self, checkpoint: Checkpoint, partition: int) -> None:
        """Prepares an empty partition for a replay from `checkpoint.replay_from`."""
        self._trails[partition] = Trail.of(checkpoint)

    def rebuild(self, batch: Batch) -> None:
        """Takes events that were handled before: they change the windows as they did then, and close none."""
        clock, ticks = self._clocks(batch)
        cuts = ticks.copy()
        evictions: dict[int, Eviction] = {}  # by row
        for partition in np.unique(batch.partition).tolist():
            rows = np.flatnonzero(batch.partition == partition)
            known = {eviction.at: eviction for eviction in self._trail(partition).evictions}
            for row in rows[np.isin(batch.offset[rows], list(known))].tolist():
                evictions[row] = known[int(batch.offset[row])]
                cuts[row] = True
        start = 0
        while start < len(batch):
            partition = int(batch.partition[start])
            if ticks[start]:
                self.streams.remove(self.streams.idle(partition, float(clock[start]), self._idle_timeout))
            if start in evictions:
                self.streams.remove(self.streams.heard_by(partition, evictions[start].heard))
            following = np.flatnonzero(cuts[start + 1 : start + self._staged])
            stop = start + 1 + int(following[0]) if len(following) else min(len(batch), start + self._staged)
            slots = np.array(
                [
                    self.streams.add(p, name)
                    for p, name in zip(batch.partition[start:stop].tolist(), batch.stream[start:stop], strict=True)
                ],
                np.int64,
            )
            self._advance(batch[start:stop], slots, clock[start:stop], start, closing=False)
            start = stop

    def adopt(self, partition: int, stream: str, time: float, offset: int) -> None:
        """Makes a stream live that could not be rebuilt: its window is empty, what came before `time` is late."""
        slot = self.streams.add(partition, stream)
        table = self.streams
        table.last_time[slot], table.last_clock[slot] = time, max(time, self._trail(partition).clock)
        table.last_offset[slot] = offset

    def image(self, partition: int, offset: int) -> Image:
        """A copy of a partition's windows, when all records before `offset` were pushed."""
        table, slots = self.streams, self.streams.slots(partition)
        ring = self._rows[self._staged :].reshape(-1, self.window, self.columns)
        return Image(
            partition,
            offset,
            self._trail(partition).clock,
            [table.names[slot] for slot in slots.tolist()],
            table.count[slots],
            table.last_time[slots],
            table.last_offset[slots],
            table.last_clock[slots],
            np.stack([table.whole_from[slots], table.next_whole_from[slots]], axis=1),
            table.streaks[slots],
            ring[slots],
        )

    def load(self, image: Image) -> None:
        """Fills an empty partition; records from `image.offset` on go on from there."""
        table, partition = self.streams, image.partition
        table.reserve(len(image.names))
        slots = np.array([table.add(partition, name) for name in image.names], np.int64)
        table.count[slots] = image.count
        table.last_time[slots], table.last_offset[slots] = image.last_time, image.last_offset
        table.last_clock[slots] = image.last_clock
        table.whole_from[slots], table.next_whole_from[slots] = image.marks[:, 0], image.marks[:, 1]
        table.streaks[slots] = image.streaks
        self._rows[self._staged :].reshape(-1, self.window, self.columns)[slots] = image.values
        self._incomplete |= bool(np.isnan(image.values).any())
        self._trail(partition).clock = image.clock

    def _trail(self, partition: int) -> Trail:
        return self._trails.setdefault(partition, Trail())

    def _clocks(self, batch: Batch) -> tuple[Float64, NDArray[np.bool_]]:
        """(N,) each event's partition clock, the newest time so far; (N,) whether the idle leave before it.

        A time ahead of its record's timestamp does not count: one wrong clock shall not make the others look idle.
        """
        clock = np.empty(len(batch), np.float64)
        ticks = np.zeros(len(batch), np.bool_)
        for partition in np.unique(batch.partition).tolist():
            rows = np.flatnonzero(batch.partition == partition)
            told = np.minimum(batch.time[rows], batch.arrival[rows])
            clock[rows], ticks[rows] = self._trail(partition).tell(int(batch.offset[rows[0]]), told, self._tick)
        return clock, ticks

    def _make_room(self, batch: Batch, row: int, clock: float, tick: bool) -> tuple[Departure, ...]:
        """Who must leave before this event: the idle when the clock ticks, the least recent when there is no room."""
        partition = int(batch.partition[row])
        gone: tuple[Departure, ...] = ()
        if tick:
            gone += self._dismiss(row, partition, self.streams.idle(partition, clock, self._idle_timeout), "idle")
        if self.streams.full(partition) and self.streams.find(partition, batch.stream[row : row + 1])[0] < 0:
            slots = self.streams.least_recent(partition)
            heard = int(self.streams.last_offset[slots[-1]])
            self._trail(partition).evict(Eviction(int(batch.offset[row]), heard), clock)
            gone += self._dismiss(row, partition, slots, "evicted")
        return gone

    def _dismiss(self, row: int, partition: int, slots: Int64, reason: str) -> tuple[Departure, ...]:
        names = [self.streams.names[slot] for slot in slots.tolist()]
        heard = self.streams.last_offset[slots].tolist()
        self.streams.remove(slots)
        return tuple(Departure(row, partition, name, reason, offset) for name, offset in zip(names, heard, strict=True))

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

    def _advance(
        self, part: Batch, slots: Int64, clock: Float64, start: int, *, closing: bool = True
    ) -> tuple[Windows, tuple[Return, ...], dict[str, int]]:
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
        counts["imputed"] = int(np.count_nonzero(np.isnan(values)))
        self._incomplete |= counts["imputed"] > 0
        if self._timed:
            step = np.where(count > 1, time - previous, 0).astype(np.float32)  # (M,)
            values = np.column_stack([values, step])
        self._rows[: len(values)] = values
        closes = self._closes(slot, count, time, previous) if closing else np.zeros(0, np.int64)
        closes = closes[np.argsort(order[closes])]  # back to arrival order
        windows = self._gather(start + order, slot, count, position, run, closes)
        back = np.flatnonzero(silent) if closing else np.zeros(0, np.int64)
        returns = sorted(map(Return, (start + order[back]).tolist(), previous[back].tolist()))
        if self._limits is not None:
            interval, ahead = time - previous, time - part.arrival[order]  # (M,)
            opens = silent | np.isinf(previous)
            made = streaks(self._limits, self.window, interval, ahead, first, opens, table.streaks[slot])  # (M, 2)
            pace, skew = made[closes].T.astype(np.int64)
            windows = replace(windows, timing=Timing(interval[closes], ahead[closes], pace, skew))
            table.streaks[slot[last]] = made[last]

        end = np.flatnonzero(last)[np.cumsum(first) - 1]  # of each event, where its stream ends in this part
        kept = (position >= run[end]) & (position > end - self.window)  # of the others nothing is needed any more
        self._rows[self._row(slot[kept], count[kept] - 1)] = values[kept]
        self._mark(slot, count, part.offset[order])
        table.count[slot[last]] = count[last]
        table.last_time[slot[last]] = time[last]
        return windows, tuple(returns), counts

    def _closes(self, slot: Int64, count: Int64, time: Float64, previous: Float64) -> Int64:
        """Which of M events close a window."""
        whole = count >= self.window
        if self._span:
            # By time, not by counting: a count would have to be known from the stream's first event on.
            phase = self.streams.phase[slot] * self._span  # so that not all streams are due at once
            entered_span = np.floor((time + phase) / self._span) > np.floor((previous + phase) / self._span)
            whole &= (count == self.window) | entered_span
        return np.flatnonzero(whole)

    def _gather(self, rows: Int64, slot: Int64, count: Int64, position: Int64, run: Int64, closes: Int64) -> Windows:
        """The windows closed by some of M events: one (W, T) table of row numbers, one gather."""
        ago = np.arange(self.window - 1, -1, -1)
        new = position[closes, None] - ago  # (W, T)
        old = self._row(slot[closes, None], count[closes, None] - 1 - ago)  # (W, T)
        values = self._rows[np.where(new >= run[closes, None], new, old)]
        missing = None
        if self._incomplete:
            missing = np.isnan(values).mean(axis=1, dtype=np.float32)  # (W, F)
            values = impute(values, self._mean)
        if not self._timed:
            return Windows(values, rows[closes], slot[closes], missing)
        missing = None if missing is None else missing[:, :-1]
        return Windows(values[..., :-1], rows[closes], slot[closes], missing, timed=values)

    def _mark(self, slot: Int64, count: Int64, offset: Int64) -> None:
        """Notes, once in T events, where reading would have to begin for the windows of these slots to be whole.

        Whoever begins at an event that entered sees the rest of its run as it was: the event is newer than all before
        it, so it enters again; and if there was a gap before it, there is one from any older event too.
        """
        table = self.streams
        rows = np.flatnonzero((count - 1) % self.window == 0)
        if len(rows):
            opening, place, marked = count[rows] == 1, offset[rows], slot[rows]
            last = np.ones(len(rows), np.bool_)
            last[:-1] = marked[1:] != marked[:-1]
            index = np.flatnonzero(last)
            again = (index > 0) & (marked[index - 1] == marked[index])  # a second mark of the same slot in this part
            earlier = np.where(again, place[index - 1], table.next_whole_from[marked[index]])
            table.whole_from[marked[index]] = np.where(opening[index], place[index], earlier)
            table.next_whole_from[marked[index]] = place[index]

    def _row(self, slot: Int64, index: Int64) -> Int64:
        """Where the index-th event of a slot's run stands in the ring."""
        return self._staged + slot * self.window + index % self.window

    def _grow(self, capacity: int) -> None:
        # In place: the old buffer is not kept beside the new one while it is copied.
        self._rows.resize((self._staged + capacity * self.window, self.columns), refcheck=False)


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
