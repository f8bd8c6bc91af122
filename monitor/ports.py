"""What the loops need of the world: a source of records, a sink for outcomes. Kafka is one of each; tests have others.

One contract suite holds every implementation to the same meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from monitor.batch import Outcome, Record
from monitor.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class Restart:
    """What is known of a partition that this member has just gained."""

    checkpoint: Checkpoint  # where it goes on; `replay_from` is not before the oldest record that is still there
    states: Mapping[str, bytes] = field(default_factory=dict)  # incident state by stream, as it was committed
    void: frozenset[str] = frozenset()  # streams with a state that belongs to no commit; it must be forgotten
    missing: int = 0  # records between the commit and what is still there: lost to retention or to the brokers


@dataclass(frozen=True, slots=True)
class Polled:
    """What one poll brought. Moves come first: forget the lost partitions before looking at the records."""

    records: Sequence[Record]
    gained: Mapping[int, Restart]  # they bring no records until they are started
    lost: frozenset[int]  # one that is in both was rewound: what is known of it is void


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a partition was read."""

    position: int  # next offset to read
    end: int | None  # end of the log as last seen


class Source(Protocol):
    """Records of the partitions this member owns, each partition in offset order, each record once since its start."""

    def poll(self) -> Polled:
        """Waits a bounded time for a bounded number of records. Partitions move only here and in `idle`."""

    def idle(self, seconds: float) -> Polled:
        """Stays a member for a while without taking records."""

    def start(self, partition: int, offset: int) -> None:
        """Lets a gained partition bring records, from this offset on."""

    def rewind(self) -> None:
        """Makes all that was polled since the last commit unread: the next polls give every partition as if new."""

    @property
    def positions(self) -> Mapping[int, int]:
        """Next offset of each owned partition that brought records which are not committed yet."""

    @property
    def pending(self) -> frozenset[int]:
        """Partitions that this member owns and has not reported as gained: what is committed is not known yet."""

    def progress(self) -> Mapping[int, Progress]:
        """Position and end of every owned partition."""

    def connected(self) -> bool:
        """Whether the brokers answer, as far as is known."""

    def joined(self) -> bool:
        """Whether the group has given this member its share of the partitions, which may be none."""

    def close(self) -> None:
        """Leaves; what was not committed is read again by whoever comes next."""


class Sink(Protocol):
    """Where outcomes go, together with the places of what they came from."""

    def publish(self, outcome: Outcome, checkpoints: Mapping[int, Checkpoint]) -> bool:
        """All of it, or an error; False where all was published but the places could not be committed yet.

        Raises UnavailableError where it is not done and not known to be impossible: the same call may be made again.
        Raises FencedError where this member may not do it any more: what it knows is void, see `Source.rewind`.
        """

    def abandon(self) -> None:
        """Gives up an outcome that could not be published, and ends what it left open."""

    def forget(self, partition: int) -> None:
        """Drops what it knows of a partition that went to another member, or is read anew."""

    def close(self) -> None: ...


class Place(NamedTuple):
    """How far a partition of the alert topic was forwarded."""

    next: int
    """Offset of the next record to take."""
    begins: int
    """Offset from which a successor must read again to know what its predecessor knew; at most `next`."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What one poll of a subscription brought, each partition in the order of its offsets."""

    known: Sequence[Record]  # before the committed offset: read again
    new: Sequence[Record]
    lost: frozenset[int]  # partitions that went to another member: forget them before looking at the records


class Subscription(Protocol):
    """A member of a group that forwards a topic. Partitions are won and lost only inside `poll` and `idle`."""

    def poll(self, seconds: float) -> Taken:
        """Waits at most so long for a bounded number of records."""

    def idle(self, seconds: float) -> frozenset[int]:
        """Stays a member for a while without taking records; the partitions that were lost meanwhile."""

    def positions(self) -> Mapping[int, int]:
        """Next offset of each partition that is read; all before it was taken."""

    def lag(self) -> Mapping[int, int]:
        """Records between position and end, as far as they are known without asking."""

    def commit(self, places: Mapping[int, Place]) -> bool:
        """Commits those that this member still has; False where that must be tried again later."""

    def connected(self) -> bool:
        """Whether the brokers answer, as far as is known."""

    def joined(self) -> bool:
        """Whether the group has given this member its share, and it is known where to go on."""

    def close(self) -> None:
        """Leaves; what was not committed is taken again by whoever comes next."""
