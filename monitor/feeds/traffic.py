"""Frames -> vectors: packets decoded, put in order of time, and summed up as damped statistics, as flows or by host."""

from __future__ import annotations

import numpy as np

from monitor import config
from monitor.batch import Int64
from monitor.feeds.damped import Damped
from monitor.feeds.flows import Flows
from monitor.feeds.frames import Fault, Frames, Tally
from monitor.feeds.hosts import Hosts
from monitor.feeds.packets import Mask, Packets, decode
from monitor.feeds.vectors import Ascending, Vectors

JUMP = 86_400 * 10**9
"""ns: a packet this far ahead of the one before has a broken time, unless the next one agrees."""


class Traffic:
    """One feed's packets. What comes out depends on the frames and their order alone, not on their batches."""

    def __init__(self, feed: config.Feed, tally: Tally) -> None:
        self._feed = feed
        self._tally = tally
        self._clock = _Clock()
        self._ascending = Ascending()
        self._damped = Damped(feed.decays, feed.max_keys) if feed.vectors == "packets" else None
        self._sums = (
            Hosts(feed.hosts.interval, feed.max_keys)
            if feed.vectors == "hosts"
            else Flows(feed.stream, feed.flows.active, feed.flows.idle, feed.max_keys)
        )
        self.frames = 0
        self.packets = 0

    @property
    def disordered(self) -> int:
        """Packets that were older than one before them; they count as if they were just as old."""
        return self._clock.disordered

    @property
    def evicted(self) -> int:
        """Hosts, channels, connections or flows that were forgotten, or reported early, for lack of room."""
        return self._damped.evicted if self._damped else self._sums.evicted

    def push(self, frames: Frames) -> Vectors:
        """Vectors that these frames complete."""
        packets = decode(frames, self.frames, self._tally)
        self.frames += len(frames)
        keep, time = self._clock.read(packets.time)
        if not keep.all():
            self._tally[Fault.TIME_JUMP] += int(np.count_nonzero(~keep))
            packets, time = packets.take(keep), time[keep]
        packets = packets.at(time)
        self.packets += len(packets)
        if self._damped is None:
            return self._sums.update(packets)
        streams = self._streams(packets)
        values = self._damped.update(packets)
        return Vectors(self._damped.names, streams, self._ascending.times(streams, time), values)

    def end(self) -> Vectors:
        """The flows that are still going on, or the hosts' last interval, where these are what is summed up."""
        return self._sums.end()

    def _streams(self, packets: Packets) -> list[str]:
        return packets.sources() if self._feed.stream == "host" else packets.channels()


class _Clock:
    """The newest time so far; it never goes back, and never follows a single packet far ahead."""

    def __init__(self) -> None:
        self._now = -1
        self._doubtful = -1  # the time of a packet that was set aside, if the last one was
        self.disordered = 0

    def read(self, time: Int64) -> tuple[Mask, Int64]:
        """(n,) which packets are kept, and (n,) the time at which each of them counts."""
        keep = np.ones(len(time), np.bool_)
        if not len(time):
            return keep, time
        start = self._now if self._now >= 0 else int(time[0])
        now = np.maximum.accumulate(np.maximum(time, start))
        before = np.concatenate(([start], now[:-1]))
        if (now - before > JUMP).any() or self._doubtful >= 0:
            return self._one_by_one(time, keep)
        self.disordered += int(np.count_nonzero(time < before))
        self._now = int(now[-1])
        return keep, now

    def _one_by_one(self, time: Int64, keep: Mask) -> tuple[
        Mask, Int64
    ]:  # fmt: skip
        found = np.empty(len(time), np.int64)
        for row, moment in enumerate(time.tolist()):
            if self._now < 0:
                self._now = moment
            agrees = self._doubtful >= 0 and abs(moment - self._doubtful) <= JUMP
            if moment - self._now > JUMP and not agrees:
                self._doubtful, keep[row] = moment, False
                continue
            self._doubtful = -1
            self.disordered += moment < self._now
            self._now = found[row] = max(self._now, moment)
        return keep, found
