"""Source and Sink on lists: the meaning of monitor/ports.py in a page, held to it by tests/contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from monitor.batch import Outcome, RawRecord, Reject
from monitor.ports import Polled, Progress


class ListBroker:
    """An input topic, an alert topic, a dead-letter topic and one consumer group, in memory."""

    def __init__(self, partitions: int = 1, topic: str = "events") -> None:
        self.topic = topic
        self.log: list[list[RawRecord]] = [[] for _ in range(partitions)]
        self.committed: dict[int, int] = {}
        self.alerts: list[RawRecord] = []
        self.dead_letters: list[RawRecord] = []
        self.owner: dict[int, ListSource] = {}
        self.members: list[ListSource] = []

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


class ListSource:
    """A group member. As in a cooperative rebalance, a partition is gained only after its owner has let go of it."""

    def __init__(self, broker: ListBroker, poll_records: int = 2000) -> None:
        self._broker = broker
        self._most = poll_records
        self._next: dict[int, int] = {}
        self._brought: set[int] = set()
        broker.members.append(self)

    def poll(self) -> Polled:
        gained, lost = self._rebalance()
        records: list[RawRecord] = []
        for partition, position in self._next.items():
            taken = self._broker.log[partition][position : position + self._most - len(records)]
            if taken:
                records += taken
                self._next[partition] += len(taken)
                self._brought.add(partition)
        return Polled(records, gained, lost)

    def idle(self, seconds: float) -> Polled:
        return Polled((), *self._rebalance())

    @property
    def positions(self) -> Mapping[int, int]:
        return {partition: self._next[partition] for partition in self._brought}

    def commit(self, positions: Mapping[int, int]) -> bool:
        """False while this member still owns a partition that another one waits for."""
        if not self._next.keys() <= self._broker.share(self):
            return False
        self._broker.committed |= {p: offset for p, offset in positions.items() if p in self._next}
        return True

    def progress(self) -> Mapping[int, Progress]:
        return {p: Progress(position, len(self._broker.log[p])) for p, position in self._next.items()}

    def connected(self) -> bool:
        return True

    def joined(self) -> bool:
        return self in self._broker.members

    def close(self) -> None:
        if self in self._broker.members:
            self._release(frozenset(self._next))
            self._broker.members.remove(self)

    def _rebalance(self) -> tuple[frozenset[int], frozenset[int]]:
        mine = self._broker.share(self)
        lost = frozenset(self._next) - mine
        self._release(lost)
        gained = frozenset(p for p in mine if p not in self._broker.owner)
        for partition in gained:
            self._broker.owner[partition] = self
            self._next[partition] = self._broker.committed.get(partition, 0)
        return gained, lost

    def _release(self, partitions: frozenset[int]) -> None:
        for partition in partitions:
            del self._next[partition]
            del self._broker.owner[partition]
            self._brought.discard(partition)


class ListSink:
    """Publishes to the broker's lists, then commits for the member."""

    def __init__(self, broker: ListBroker, source: ListSource) -> None:
        self._broker = broker
        self._source = source

    def publish(self, outcome: Outcome, positions: Mapping[int, int]) -> bool:
        alerts, dead = self._broker.alerts, self._broker.dead_letters
        for alert in outcome.alerts:
            key, value = alert.stream.encode(), alert.to_bytes()
            alerts.append(RawRecord("alerts", 0, len(alerts), 0, key, value, alert.headers()))
        for reject in outcome.rejects:
            dead.append(_dead_letter(reject, len(dead)))
        return self._source.commit(positions)

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
