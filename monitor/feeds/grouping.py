"""Keys of packets -> rows of a table of bounded size, and running sums per row: the two tools of `damped`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Float64, Int64

LONG = 48
"""Packets of one key in a batch from which on its sum is a call of its own; shorter ones are added up side by side."""


class Rows:
    """Gives each key a row, and takes it from the key that was not seen for longest once there are `most` keys.

    Who has to go is decided packet by packet, so it does not depend on how packets are cut into batches.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.evicted = 0
        self.capacity = 0  # rows that have ever been given
        self._rows: dict[bytes, int] = {}  # least recently seen first
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._rows)

    def of(self, keys: Sequence[bytes]) -> tuple[Int64, Int64]:
        """The row of each key (n,), and those rows among them that are new, so that they hold nothing yet.

        A row that is taken within these keys goes to another key only in the next call: what belongs to the two is
        never mixed.
        """
        rows, taken = self._rows, []
        given: list[int] = []
        fresh: list[int] = []
        for key in keys:
            row = rows.pop(key, -1)
            if row < 0:
                if len(rows) >= self.most:
                    taken.append(rows.pop(next(iter(rows))))
                if self._free:
                    row = self._free.pop()
                else:
                    row = self.capacity
                    self.capacity += 1
                fresh.append(row)
            rows[key] = row
            given.append(row)
        self._free.extend(taken)
        self.evicted += len(taken)
        return np.array(given, np.int64), np.array(fresh, np.int64)


@dataclass(frozen=True, slots=True)
class Groups:
    """n packets sorted by row, in their order within each: g groups."""

    order: Int64  # (n,) where the k-th sorted packet stood
    first: Int64  # (n,) where its group begins among the sorted
    starts: Int64  # (g,)
    ends: Int64  # (g,) one after the last
    rows: Int64  # (g,) row of each group

    @staticmethod
    def of(rows: Int64) -> Groups:
        """Groups of the packets whose rows are given; n > 0."""
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
        ends = np.append(starts[1:], len(rows))
        return Groups(order, np.repeat(starts, ends - starts), starts, ends, ordered[starts])


def running_sums(terms: Float64, before: Float64, groups: Groups) -> Float64:
    """Sums of each group's terms up to and with each packet, from what was there before; in place.

    `terms` (n, ...) sorted, `before` (g, ...). Terms are added one after the other in the order of the packets, so the
    bits are the same however the packets are cut into batches.
    """
    terms[groups.starts] += before
    lengths = groups.ends - groups.starts
    for group in np.flatnonzero(lengths >= LONG).tolist():
        part = terms[groups.starts[group] : groups.ends[group]]
        np.add.accumulate(part, axis=0, out=part)
    short = lengths < LONG
    at, ends = groups.starts[short] + 1, groups.ends[short]
    while True:
        left = at < ends
        at, ends = at[left], ends[left]
        if not len(at):
            return terms
        terms[at] += terms[at - 1]
        at = at + 1


def latest(marked: NDArray[np.bool_], groups: Groups) -> Int64:
    """(n,) the last marked packet of the same group up to and with each sorted packet, -1 where there is none."""
    places = np.maximum.accumulate(np.where(marked, np.arange(len(marked)), -1))
    return np.where(places >= groups.first, places, -1)
