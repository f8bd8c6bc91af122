"""Partitions that stand still though there is more to read: what a lag that only grows does not tell apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from monitor.ports import Progress

_LONGEST_STEP = 5.0
"""Seconds that the time between two looks counts for at most. A process that was stopped, or a loop that did not turn,
says nothing about its partitions; that it did not turn is told by /livez."""


@dataclass(frozen=True, slots=True)
class _Stand:
    position: int
    seconds: float = 0.0  # for how long it was seen there with more to read


class Standstill:
    """A partition is stuck when its position stands before its end for `stuck_after` seconds without moving.

    The end may move or not: an open transaction of a producer holds a `read_committed` reader where it is while the
    log grows, and a record that the client cannot get past holds it at a log that does not. Transaction markers at the
    end are no standstill: the client's position moves beyond them. A partition whose end was never learned is taken to
    have more to read, for whoever leads it has not answered.
    """

    def __init__(self, stuck_after: float) -> None:
        """`stuck_after` in seconds."""
        self._stuck_after = stuck_after
        self._looked: float | None = None
        self._stands: dict[int, _Stand] = {}

    def observe(self, now: float, progress: Mapping[int, Progress], *, waiting: bool) -> frozenset[int]:
        """The stuck ones among the partitions of `progress`; those that are not in it any more are forgotten.

        `now` is monotonic, in seconds; about one look a second. `waiting`: this member takes no records by its own
        will since the last look (the brokers are away, or take no alerts). Such time is nobody's standstill, and does
        not end one either.
        """
        passed = 0.0 if self._looked is None or waiting else min(max(0.0, now - self._looked), _LONGEST_STEP)
        self._looked = now
        self._stands = {
            partition: self._seen(self._stands.get(partition), place, passed) for partition, place in progress.items()
        }
        return frozenset(partition for partition, stand in self._stands.items() if stand.seconds >= self._stuck_after)

    def seconds(self, partition: int) -> float:
        """For how long it stands still with more to read; 0 where it moves, has read all, or is not of this member."""
        stand = self._stands.get(partition)
        return 0.0 if stand is None else stand.seconds

    @staticmethod
    def _seen(before: _Stand | None, place: Progress, passed: float) -> _Stand:
        read_all = place.end is not None and place.end <= place.position
        if before is None or before.position != place.position or read_all:
            return _Stand(place.position)
        return replace(before, seconds=before.seconds + passed)
