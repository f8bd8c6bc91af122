"""Records into a topic: how the demo produces, and how dead letters go back. One call sends some and waits for all."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType

from kafka import errors as kafka_errors

from monitor import config
from monitor.batch import Record
from monitor.errors import FencedError, MonitorError
from monitor.kafka.connect import translated
from monitor.kafka.messages import Message
from monitor.kafka.producer import Producer, RefusedSizeError

_NO_TIMESTAMP = -1
_LARGE = 2**18  # bytes before compression: a quarter of what a topic takes unless told otherwise
_ABORT_SECONDS = 2.0
_FENCED = (kafka_errors.ProducerFencedError, kafka_errors.InvalidProducerEpochError)


class Feed(AbstractContextManager["Feed"]):
    """An idempotent producer of records; their key picks the partition, whatever partition and offset they name.

    With a transactional id all of a call's records are sent or none, each to the partition it names; -1: its key picks
    one. There is one feed at a time of each id: a new one ends what its predecessor left open, and from then on that
    one can send nothing more (FencedError).
    """

    def __init__(self, kafka: config.Kafka, transactional_id: str | None = None, *, large: bool = False) -> None:
        """Connects; with `large` batches, sending much costs less.

        Raises UnavailableError where no broker answers, RefusedError where one says no.
        """
        self._kafka = kafka
        self._id = transactional_id
        with self._translated("connecting the producer"):
            self._producer = Producer(kafka, transactional_id, **({"batch_bytes": _LARGE} if large else {}))

    def send(self, records: Sequence[Record]) -> None:
        """Acknowledged, and committed, when this returns. A record without a timestamp (-1) gets the time of sending.

        After an error a transactional feed is at its end; after UnavailableError it may be that the records were sent:
        who opens the next one can read what became of them.
        """
        messages = [self._message(record) for record in records]
        deadline = time.monotonic() + self._kafka.publish_timeout
        with self._translated("producing"):
            if self._id is None:
                self._producer.send(messages, deadline)
                return
            self._producer.begin()
            try:
                self._producer.send(messages, deadline)
                self._producer.commit(deadline)
            except BaseException:
                # Or whoever reads what is committed waits behind it until the brokers abort it themselves.
                self._producer.abort(_ABORT_SECONDS)
                raise

    def partitions(self, topic: str) -> frozenset[int]:
        """Numbers of its partitions. Raises MonitorError where the topic does not exist."""
        with self._translated(f"reading {topic}"):
            try:
                return self._producer.partitions(topic)
            except kafka_errors.UnknownTopicOrPartitionError:
                where = self._kafka.bootstrap_servers
                raise MonitorError(f"topic {topic!r} does not exist on {where}", "See: monitor topics") from None

    def close(self) -> None:
        """Everything was acknowledged, so nothing is waited for."""
        self._producer.end()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _message(self, record: Record) -> Message:
        return Message(
            record.topic,
            record.key,
            record.value,
            [(name, value or b"") for name, value in record.headers],
            partition=None if self._id is None or record.partition < 0 else record.partition,
            timestamp=None if record.timestamp == _NO_TIMESTAMP else record.timestamp,
        )

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        with translated(self._kafka, doing):
            try:
                yield
            except _FENCED as error:
                raise FencedError(
                    f"{doing}: another producer has taken over the transactional id {self._id!r}",
                    "Only one may send at a time.",
                ) from error
            except RefusedSizeError as error:
                raise MonitorError(
                    f"{doing}: a record of {error.message.size} bytes is too large for topic {error.message.topic!r}",
                    f"Raise max.message.bytes of topic {error.message.topic!r}.",
                ) from error
