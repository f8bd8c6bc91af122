"""Records into a topic: how the demo produces, and how dead letters go back. One call sends some and waits for all."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors as kafka_errors

from monitor import config
from monitor.batch import Record
from monitor.errors import FencedError, MonitorError, UnavailableError
from monitor.kafka.connect import options, translated
from monitor.kafka.reader import reader

_NO_TIMESTAMP = -1
_LARGEST_REQUEST = 16 * 2**20
_FENCED = (kafka_errors.ProducerFencedError, kafka_errors.InvalidProducerEpochError)
_MARGIN = 10.0  # s that the brokers may take to abort a transaction that is over time: they look every 10 s


class Feed:
    """An idempotent producer of records; their key picks the partition, whatever partition and offset they name."""

    def __init__(self, kafka: config.Kafka) -> None:
        """Connects; raises UnavailableError where no broker answers, RefusedError where one says no."""
        self._kafka = kafka
        with translated(kafka, "connecting the producer"):
            self._producer = _producer(kafka)

    def send(self, records: Sequence[Record]) -> None:
        """Acknowledged when this returns. A record without a timestamp (-1) gets the time of sending."""
        with translated(self._kafka, "producing"):
            _send(self._producer, self._kafka, records, [None] * len(records))

    def close(self) -> None:
        self._producer.close(timeout=5)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class TransactionalFeed:
    """A producer that sends all of a call's records or none, each to the partition it names; -1: its key picks one.

    There is one at a time of each transactional id: a new one ends what its predecessor left open, and from then on
    that one can send nothing more (FencedError).
    """

    def __init__(self, kafka: config.Kafka, transactional_id: str) -> None:
        """Connects; raises UnavailableError where no broker answers, RefusedError where one says no."""
        self._kafka = kafka
        self._id = transactional_id
        with self._settled("connecting the producer"):
            self._producer = _producer(
                kafka,
                transactional_id=transactional_id,
                transaction_timeout_ms=round(kafka.transaction_timeout * 1000),
            )
            try:
                self._producer.init_transactions()
            except BaseException:
                self._end()
                raise

    def send(self, records: Sequence[Record]) -> None:
        """Sent and committed when this returns. A record without a timestamp (-1) gets the time of sending.

        After an error this feed is at its end; after UnavailableError it may be that the records were sent: who opens
        the next one can read what became of them.
        """
        doing = "producing"
        with self._settled(doing):
            places = [None if record.partition < 0 else record.partition for record in records]
            self._producer.begin_transaction()
            try:
                _send(self._producer, self._kafka, records, places)
                self._finish(self._producer._transaction_manager.begin_commit(), doing)
            except BaseException:
                # Or whoever reads what is committed waits behind it until the brokers abort it themselves.
                with suppress(kafka_errors.KafkaError, UnavailableError):
                    self._finish(self._producer._transaction_manager.begin_abort(), doing)
                raise

    def _finish(self, result: Any, doing: str) -> None:
        # The client's own commit_transaction waits for ever where no broker answers.
        self._producer._sender.wakeup()
        if not result.wait(timeout_ms=round(self._kafka.publish_timeout * 1000)):
            raise UnavailableError(
                f"{doing}: {self._kafka.bootstrap_servers} did not end the transaction in time",
                "It may have been committed or not; whoever tries again must look first.",
            )

    def partitions(self, topic: str) -> frozenset[int]:
        """Numbers of its partitions. Raises MonitorError where the topic does not exist."""
        with self._settled(f"reading {topic}"):
            try:
                return frozenset(self._producer.partitions_for(topic))
            except kafka_errors.UnknownTopicOrPartitionError:
                where = self._kafka.bootstrap_servers
                raise MonitorError(f"topic {topic!r} does not exist on {where}", "See: monitor topics") from None

    def close(self) -> None:
        self._end()

    def _end(self) -> None:
        self._producer._sender.force_close()  # nothing of a transaction that failed is worth waiting for
        self._producer._sender.join(1)
        with suppress(kafka_errors.KafkaError):
            self._producer.close(timeout=0)

    @contextmanager
    def _settled(self, doing: str) -> Iterator[None]:
        with translated(self._kafka, doing):
            try:
                yield
            except _FENCED as error:
                raise FencedError(
                    f"{doing}: another producer has taken over the transactional id {self._id!r}",
                    "Only one may send at a time.",
                ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def wait_for_open_transactions(kafka: config.Kafka, topic: str) -> None:
    """Returns when all that is in the topic now can be read by who reads what is committed.

    A record of a committed transaction stays hidden while an older one, of whatever producer, is open. Raises
    UnavailableError where that lasts longer than a transaction may.
    """
    doing = f"reading {topic}"
    with translated(kafka, doing):
        observer = KafkaConsumer(
            **options(kafka, "consumer", group_id=None, enable_auto_commit=False, isolation_level="read_uncommitted")
        )
        try:
            numbers = observer.partitions_for_topic(topic) or ()
            end = observer.end_offsets([TopicPartition(topic, number) for number in numbers])
        finally:
            observer.close(autocommit=False)
    deadline = time.monotonic() + kafka.transaction_timeout + _MARGIN
    with reader(kafka, topic, doing) as (consumer, partitions), translated(kafka, doing):
        while True:
            committed = consumer.end_offsets(partitions)
            behind = [place.partition for place in partitions if committed[place] < end.get(place, 0)]
            if not behind:
                return
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"{doing}: a transaction is still open in partition {behind[0]}",
                    "The brokers abort it after its producer's time-out; try again later.",
                )
            time.sleep(0.1)


def _producer(kafka: config.Kafka, **chosen: Any) -> Any:
    return KafkaProducer(
        **options(
            kafka,
            "producer",
            acks="all",
            enable_idempotence=True,
            linger_ms=5,
            max_request_size=_LARGEST_REQUEST,
            max_block_ms=round(kafka.publish_timeout * 1000),
            request_timeout_ms=round(kafka.publish_timeout * 500),
            delivery_timeout_ms=round(kafka.publish_timeout * 1000),
            allow_auto_create_topics=False,
            **chosen,
        )
    )


def _send(producer: Any, kafka: config.Kafka, records: Sequence[Record], places: Sequence[int | None]) -> None:
    sent = [
        producer.send(
            record.topic,
            key=record.key,
            value=record.value,
            headers=[(name, value or b"") for name, value in record.headers],
            partition=place,
            timestamp_ms=None if record.timestamp == _NO_TIMESTAMP else record.timestamp,
        )
        for record, place in zip(records, places, strict=True)
    ]
    producer.flush(timeout=kafka.publish_timeout)
    for future in sent:
        if not future.is_done:
            raise UnavailableError(f"producing: {kafka.bootstrap_servers} did not acknowledge in time")
        if future.failed():
            raise future.exception
