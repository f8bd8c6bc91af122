"""What a contract test needs of a world with a Source and a Sink: records in, members, and what came out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Protocol

from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from monitor import config
from monitor.batch import Outcome, OutputName, Record
from monitor.checkpoint import Checkpoint
from monitor.kafka import history
from monitor.kafka.sink import KafkaSink
from monitor.kafka.source import KafkaSource
from monitor.kafka.topics import Topics
from monitor.ports import Polled, Restart, Sink, Source
from tests.fakes import ListBroker, ListSink, ListSource

PATIENCE = 30.0  # s until a test gives up
Delivery = Literal["exactly_once", "at_least_once"]


class Member:
    """A source with its sink, and everything its polls brought, in order."""

    def __init__(self, source: Source, sink: Sink, lock: threading.Lock | None = None) -> None:
        """`lock` is held in a poll where members share memory."""
        self.source = source
        self.sink = sink
        self.polls: list[Polled] = []
        self.owned: set[int] = set()
        self.restarts: dict[int, Restart] = {}  # of the partitions that are owned
        self.starts = True  # partitions that are gained, at their checkpoint
        self._lock = lock or threading.Lock()

    @property
    def records(self) -> list[Record]:
        return [record for polled in self.polls for record in polled.records]

    def poll(self) -> Polled:
        with self._lock:
            return self._note(self.source.poll())

    def idle(self, seconds: float) -> Polled:
        return self._note(self.source.idle(seconds))

    def commit(self, positions: Mapping[int, int]) -> bool:
        """Publishes nothing but places."""
        return self.sink.publish(Outcome(), {p: Checkpoint(offset, offset) for p, offset in positions.items()})

    def close(self) -> None:
        self.sink.close()
        self.source.close()

    def _note(self, polled: Polled) -> Polled:
        self.owned = (self.owned - polled.lost) | polled.gained.keys()
        self.restarts = {p: restart for p, restart in self.restarts.items() if p not in polled.lost}
        self.restarts |= polled.gained
        self.polls.append(polled)
        for partition, restart in polled.gained.items() if self.starts else ():
            self.source.start(partition, restart.checkpoint.offset)
        return polled


class World(Protocol):
    topic: str

    def put(
        self,
        partition: int,
        value: bytes | None,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        timestamp: int = 0,
    ) -> None: ...

    def member(self, poll_records: int = 2000, delivery: Delivery = "exactly_once") -> Member: ...
    def committed(self) -> dict[int, int]: ...
    def alerts(self) -> list[Record]: ...
    def dead_letters(self) -> list[Record]: ...
    def outputs(self, output: OutputName) -> list[Record]: ...
    def close(self) -> None: ...


class ListWorld:
    """The fake."""

    def __init__(self, partitions: int) -> None:
        self._broker = ListBroker(partitions)
        self.topic = self._broker.topic
        self.put = self._broker.put
        self._lock = threading.Lock()

    def member(self, poll_records: int = 2000, delivery: Delivery = "exactly_once") -> Member:
        source = ListSource(self._broker, poll_records)
        return Member(source, ListSink(self._broker, source, delivery), self._lock)

    def committed(self) -> dict[int, int]:
        return dict(self._broker.committed)

    def alerts(self) -> list[Record]:
        return list(self._broker.alerts)

    def dead_letters(self) -> list[Record]:
        return list(self._broker.dead_letters)

    def outputs(self, output: OutputName) -> list[Record]:
        return list(self._broker.outputs[output])

    def close(self) -> None:
        pass


class KafkaWorld:
    """Real brokers: topics and a group of this world's own."""

    def __init__(self, bootstrap: str, name: str, partitions: int) -> None:
        self.topic = f"{name}.events"
        self._kafka = config.Kafka(
            bootstrap_servers=bootstrap,
            group=name,
            poll_seconds=0.05,
            publish_timeout=10,
            options={"heartbeat_interval_ms": 300},  # a rebalance is noticed sooner
        )
        self._topics = config.Topics(
            input=config.TopicSpec(name=self.topic, partitions=partitions),
            alerts=config.TopicSpec(name=f"{name}.alerts", partitions=2),
            dead_letters=config.TopicSpec(name=f"{name}.dead", partitions=2),
            state=config.TopicSpec(name=f"{name}.state", partitions=partitions),
        )
        self._outputs = config.Outputs(
            scores=f"{name}.scores", denoised=f"{name}.denoised", latent=f"{name}.latent", partitions=1
        )
        with Topics(self._kafka, self._topics, self._outputs) as topics:
            topics.create(topics.inspect())
        self._producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=0)
        self._members: list[Member] = []

    def put(
        self,
        partition: int,
        value: bytes | None,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        timestamp: int = 0,
    ) -> None:
        self._producer.send(
            self.topic,
            value,
            key,
            list(headers),
            partition,
            timestamp or None,
        )

    def member(self, poll_records: int = 2000, delivery: Delivery = "exactly_once") -> Member:
        self._producer.flush(PATIENCE)
        settings = self._kafka.model_copy(update={"poll_records": poll_records})
        source = KafkaSource(settings, self._topics, config.Recovery())
        made = Member(source, KafkaSink(settings, self._topics, delivery, source, self._outputs))
        self._members.append(made)
        return made

    def committed(self) -> dict[int, int]:
        admin = KafkaAdminClient(bootstrap_servers=self._kafka.bootstrap_servers)
        try:
            offsets = admin.list_group_offsets([self._kafka.group])
        finally:
            admin.close()
        return _by_partition(offsets)

    def alerts(self) -> list[Record]:
        return self._read(self._topics.alerts.name)

    def dead_letters(self) -> list[Record]:
        return self._read(self._topics.dead_letters.name)

    def outputs(self, output: OutputName) -> list[Record]:
        return self._read(self._outputs.topics[output].name)

    def _read(self, topic: str) -> list[Record]:
        return [record for batch in history.read(self._kafka, topic) for record in batch]

    def close(self) -> None:
        for member in self._members:
            member.close()
        self._producer.close(5)


def _by_partition(answer: Any) -> dict[int, int]:
    found: dict[int, int] = {}
    for name, value in answer.items():
        if isinstance(name, TopicPartition):
            found[name.partition] = value.offset
        else:
            found |= _by_partition(value)
    return found


def until(
    condition: Callable[[], bool],
    *members: Member,
    each: Callable[[Member], object] = lambda _member: None,
    what: str = "the condition",
) -> None:
    """Polls the members, each on a thread of its own as in processes of their own, until the condition holds.

    `each` is called by that thread after every poll.
    """
    enough = threading.Event()
    deadline = time.monotonic() + PATIENCE

    def serve(member: Member) -> None:
        while not enough.is_set():
            polled = member.poll()
            each(member)
            if not polled.records:
                enough.wait(0.001)  # a poll of the fake does not wait

    with ThreadPoolExecutor(max(1, len(members))) as pool:
        try:
            threads = [pool.submit(serve, member) for member in members]
            while not condition() and not any(thread.done() for thread in threads):
                assert time.monotonic() < deadline, f"{what} did not come in {PATIENCE:g} s"
                enough.wait(0.01)
        finally:
            enough.set()
        for thread in threads:
            thread.result()
