"""Source and Sink on lists: the meaning of monitor/ports.py in a page, held to it by tests/contract."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import get_args

from monitor.batch import Outcome, OutputName, RawRecord, Reject
from monitor.checkpoint import Checkpoint
from monitor.errors import FencedError, MonitorError
from monitor.ports import Polled, Progress, Restart


class ListBroker:
    """An input topic, an alert topic, a dead-letter topic, a changelog and one consumer group, in memory.

    A test takes the world apart with `fence` and `faults`.
    """

    def __init__(self, partitions: int = 1, topic: str = "events") -> None:
        self.topic = topic
        self.log: list[list[RawRecord]] = [[] for _ in range(partitions)]
        self.checkpoints: dict[int, Checkpoint] = {}
        self.changelog: list[tuple[int, str, bytes | None]] = []  # one state partition for all
        self.alerts: list[RawRecord] = []
        self.dead_letters: list[RawRecord] = []
        self.outputs: dict[OutputName, list[RawRecord]] = {name: [] for name in get_args(OutputName)}
        self.owner: dict[int, ListSource] = {}
        self.members: list[ListSource] = []
        self.faults: deque[MonitorError] = deque()  # each fails one publish, of which nothing happens

    @property
    def committed(self) -> dict[int, int]:
        return {partition: checkpoint.offset for partition, checkpoint in self.checkpoints.items()}

    @property
    def states(self) -> dict[tuple[int, str], bytes]:
        """What the changelog holds now."""
        return {
            (partition, stream): value
            for partition in range(len(self.log))
            for stream, value in self.states_of(partition, len(self.changelog)).items()
        }

    def states_of(self, partition: int, end: int) -> dict[str, bytes]:
        newest = {stream: value for owner, stream, value in self.changelog[:end] if owner == partition}
        return {stream: value for stream, value in newest.items() if value}

    def put(
        self,
        partition: int,
        value: bytes | None,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        timestamp: int = 0,
    ) -> None:
        log = self.log[partition]
        log.append(RawRecord(self.topic, partition, len(log), timestamp, key, value, headers))

    def share(self, member: ListSource) -> frozenset[int]:
        """The partitions that this member should own: an even part of all."""
        number = self.members.index(member)
        return frozenset(range(number, len(self.log), len(self.members)))

    def fence(self, member: ListSource) -> None:
        """Puts a member out of the group, as if it had not been heard of: it comes back with its next poll."""
        member.out = True


class ListSource:
    """A group member. As in a cooperative rebalance, a partition is gained only after its owner has let go of it."""

    def __init__(self, broker: ListBroker, poll_records: int = 2000) -> None:
        self.out = False
        self._broker = broker
        self._most = poll_records
        self._gained: dict[int, Restart] = {}  # not started
        self._next: dict[int, int] = {}
        self._done: dict[int, int] = {}
        broker.members.append(self)

    def poll(self) -> Polled:
        gained, lost = self._rebalance()
        records: list[RawRecord] = []
        for partition, position in self._next.items():
            taken = self._broker.log[partition][position : position + self._most - len(records)]
            records += taken
            self._next[partition] += len(taken)
        return Polled(records, gained, lost)

    def idle(self, seconds: float) -> Polled:
        return Polled((), *self._rebalance())

    def start(self, partition: int, offset: int) -> None:
        checkpoint = self._gained[partition].checkpoint
        if not checkpoint.replay_from <= offset <= checkpoint.offset:
            raise ValueError(f"offset {offset} is not in [{checkpoint.replay_from}, {checkpoint.offset}]")
        del self._gained[partition]
        self._next[partition] = offset

    def rewind(self) -> None:
        self.out = True

    @property
    def positions(self) -> Mapping[int, int]:
        return {partition: offset for partition, offset in self._next.items() if offset > self._done[partition]}

    def commit(self, checkpoints: Mapping[int, Checkpoint]) -> bool:
        """False while this member still owns a partition that another one waits for."""
        if self.out or not self._done.keys() <= self._broker.share(self):
            return False
        self.commit_with_all(checkpoints)
        return True

    def commit_with_all(self, checkpoints: Mapping[int, Checkpoint]) -> None:
        """The offsets of a transaction: they need no settled group, only a member of it."""
        for partition in checkpoints.keys() & self._done.keys():
            self._broker.checkpoints[partition] = checkpoints[partition]
            self._done[partition] = max(self._done[partition], checkpoints[partition].offset)

    @property
    def pending(self) -> frozenset[int]:
        return frozenset()

    def progress(self) -> Mapping[int, Progress]:
        begun = {partition: restart.checkpoint.replay_from for partition, restart in self._gained.items()}
        return {p: Progress(position, len(self._broker.log[p])) for p, position in (begun | self._next).items()}

    def connected(self) -> bool:
        return True

    def joined(self) -> bool:
        return self in self._broker.members

    def close(self) -> None:
        if self in self._broker.members:
            self._release(frozenset(self._done))
            self._broker.members.remove(self)

    def _rebalance(self) -> tuple[dict[int, Restart], frozenset[int]]:
        mine = self._broker.share(self)
        lost = frozenset(self._done) if self.out else frozenset(self._done) - mine
        self.out = False
        self._release(lost)
        gained = {p: self._restart(p) for p in sorted(mine) if p not in self._broker.owner}
        for partition, restart in gained.items():
            self._broker.owner[partition] = self
            self._gained[partition] = restart
            self._done[partition] = restart.checkpoint.offset
        return gained, lost

    def _restart(self, partition: int) -> Restart:
        checkpoint = self._broker.checkpoints.get(partition, Checkpoint(0, 0))
        return Restart(checkpoint, self._broker.states_of(partition, checkpoint.state_end))

    def _release(self, partitions: frozenset[int]) -> None:
        for partition in partitions:
            del self._done[partition]
            del self._broker.owner[partition]
            self._gained.pop(partition, None)
            self._next.pop(partition, None)


class ListSink:
    """Publishes to the broker's lists and commits for the member: all of it or nothing, or one after the other."""

    def __init__(self, broker: ListBroker, source: ListSource, delivery: str = "exactly_once") -> None:
        self._broker = broker
        self._source = source
        self._at_once = delivery == "exactly_once"
        self._ends: dict[int, int] = {}  # behind the newest state of each partition
        self._quiet: set[tuple[int, str]] = set()  # told at least once, to be forgotten after the next commit

    def publish(self, outcome: Outcome, checkpoints: Mapping[int, Checkpoint]) -> bool:
        broker = self._broker
        if broker.faults:
            raise broker.faults.popleft()
        if self._at_once and self._source.out:
            raise FencedError("another member has taken over")
        for alert in outcome.alerts:
            key, value = alert.stream.encode(), alert.to_bytes()
            broker.alerts.append(RawRecord("alerts", 0, len(broker.alerts), 0, key, value, alert.headers()))
        for output, messages in outcome.outputs.items():
            held = broker.outputs[output]
            held += [RawRecord(output, 0, len(held) + k, 0, *message) for k, message in enumerate(messages)]
        for reject in outcome.rejects:
            broker.dead_letters.append(_dead_letter(reject, len(broker.dead_letters)))
        for (partition, stream), change in outcome.states.items():
            forgotten = change.quiet and self._at_once
            broker.changelog.append((partition, stream, None if forgotten else change.value))
            self._ends[partition] = len(broker.changelog)
        completed = {
            partition: replace(checkpoint, state_end=max(checkpoint.state_end, self._ends.get(partition, 0)))
            for partition, checkpoint in checkpoints.items()
        }
        if self._at_once:
            self._source.commit_with_all(completed)
            return True
        self._quiet = (self._quiet - outcome.states.keys()) | {
            k for k, change in outcome.states.items() if change.quiet
        }
        if not self._source.commit(completed):
            return False
        broker.changelog += [(*key, None) for key in sorted(self._quiet) if key[0] in completed]
        self._quiet = {key for key in self._quiet if key[0] not in completed}
        return True

    def abandon(self) -> None:
        pass

    def forget(self, partition: int) -> None:
        self._ends.pop(partition, None)
        self._quiet = {key for key in self._quiet if key[0] != partition}

    def close(self) -> None:
        pass


def _dead_letter(reject: Reject, offset: int) -> RawRecord:
    record = reject.record
    told = {
        "reason": reject.reason.value,
        "detail": reject.detail,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
    }
    headers = [(name, value or b"") for name, value in record.headers]
    headers += [(f"monitor-{name}", str(value).encode()) for name, value in told.items()]
    value = b"" if record.key is None and record.value is None else record.value
    return RawRecord("events.dead", 0, offset, 0, record.key, value, headers)
