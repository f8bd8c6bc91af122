"""What the loop needs of the world: a source of records, a sink for outcomes. Kafka is one of each; tests have others.

One contract suite holds every implementation to the same meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from monitor.batch import Outcome, Record


@dataclass(frozen=True, slots=True)
class Polled:
    """What one poll brought. Moves come first: forget the lost partitions before looking at the records."""

    records: Sequence[Record]
    gained: frozenset[int]
    lost: frozenset[int]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a partition was read."""

    position: int  # next offset to read
    end: int | None  # end of the log as last seen


class Source(Protocol):
    """Records of the partitions this member owns, each partition in offset order, each record once."""

    def poll(self) -> Polled:
        """Waits a bounded time for a bounded number of records. Partitions move only here and in `idle`."""

    def idle(self, seconds: float) -> Polled:
        """Stays a member for a while without taking records."""

    @property
    def positions(self) -> Mapping[int, int]:
        """Next offset of each owned partition that has brought records; given to the sink after each poll."""

    def progress(self) -> Mapping[int, Progress]:
        """Position and end of every owned partition."""

    def connected(self) -> bool:
        """Whether the brokers answer, as far as is known."""

    def joined(self) -> bool:
        """Whether the group has given this member its share of the partitions, which may be none."""

    def close(self) -> None:
        """Leaves; what was not committed is read again by whoever comes next."""


class Sink(Protocol):
    """Where outcomes go, together with the positions of what they came from."""

    def publish(self, outcome: Outcome, positions: Mapping[int, int]) -> bool:
        """All of it or UnavailableError; then the same call may be made again. False: published, but not committed."""

    def close(self) -> None: ...
