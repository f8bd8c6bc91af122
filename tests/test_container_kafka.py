"""A container of the Kafka image, made with apache/kafka's `KAFKA_*` contract, is a whole Kafka."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

from tests.brokers import Topics

pytestmark = pytest.mark.container


@pytest.fixture
def box(docker_kafka: str) -> Topics:
    return Topics(docker_kafka)


@contextmanager
def reading(bootstrap: str, topic: str, group: str) -> Iterator[KafkaConsumer]:
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    try:
        yield consumer
    finally:
        consumer.close()


def take(consumer: KafkaConsumer, count: int, timeout: float = 30) -> list[tuple[bytes, list[tuple[str, bytes]]]]:
    """(value, headers) of `count` records, and of any that come in the half second after them."""
    got: list[tuple[bytes, list[tuple[str, bytes]]]] = []
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        batch = consumer.poll(500)
        got += [(record.value, list(record.headers)) for records in batch.values() for record in records]
        if len(got) >= count and not batch:
            break
    return got


def test_a_group_reads_what_was_produced_and_goes_on_where_it_committed(box: Topics) -> None:
    """Values, headers and committed offsets come back from the container."""
    topic = box.create("plain", partitions=1)
    producer = KafkaProducer(bootstrap_servers=box.bootstrap, acks="all")
    try:
        for number in range(100):
            producer.send(topic, b"%d" % number, headers=[("n", b"%d" % number)])
        producer.flush(30)
        with reading(box.bootstrap, topic, topic) as consumer:
            assert take(consumer, 100) == [(b"%d" % n, [("n", b"%d" % n)]) for n in range(100)]
            consumer.commit()
        producer.send(topic, b"later").get(30)
        with reading(box.bootstrap, topic, topic) as consumer:
            assert take(consumer, 1) == [(b"later", [])]
    finally:
        producer.close()


def test_readers_see_committed_transactions_with_their_offsets_and_no_aborted_ones(box: Topics) -> None:
    """A transaction's records and consumed offsets become visible together, an aborted one's never."""
    source, target = box.create("source"), box.create("target")
    producer = KafkaProducer(bootstrap_servers=box.bootstrap, transactional_id=target)
    try:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(source, b"in")
        producer.commit_transaction()
        with reading(box.bootstrap, source, source) as consumer:
            assert [value for value, _ in take(consumer, 1)] == [b"in"]
            partition = TopicPartition(source, 0)
            producer.begin_transaction()
            producer.send(target, b"aborted")
            producer.abort_transaction()
            producer.begin_transaction()
            producer.send(target, b"committed")
            position = {partition: OffsetAndMetadata(1, "replay from 0", -1)}
            producer.send_offsets_to_transaction(position, consumer.group_metadata())
            producer.commit_transaction()
            committed = consumer.committed(partition, metadata=True)
        assert (committed.offset, committed.metadata) == (1, "replay from 0")
        with reading(box.bootstrap, target, target) as consumer:
            assert [value for value, _ in take(consumer, 1)] == [b"committed"]
    finally:
        producer.close()
