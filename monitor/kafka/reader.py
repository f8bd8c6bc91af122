"""A consumer of its own: reads what is committed, belongs to no group, commits nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from monitor import config
from monitor.errors import MonitorError, UnavailableError
from monitor.kafka.connect import options, translated

_MARGIN = 10.0  # s that the brokers may take to abort a transaction that is over time: they look every 10 s


@contextmanager
def reader(kafka: config.Kafka, topic: str, doing: str) -> Iterator[tuple[Any, list[TopicPartition]]]:
    """The consumer, and all partitions of the topic; `doing` begins its errors. Raises MonitorError without a topic."""
    with translated(kafka, doing):
        consumer = KafkaConsumer(
            **options(
                kafka,
                "consumer",
                group_id=None,
                enable_auto_commit=False,
                isolation_level="read_committed",
                auto_offset_reset="earliest",
                max_poll_records=kafka.poll_records,
                allow_auto_create_topics=False,
            )
        )
    try:
        with translated(kafka, doing):
            numbers = consumer.partitions_for_topic(topic)
        if not numbers:
            raise MonitorError(f"topic {topic!r} does not exist on {kafka.bootstrap_servers}", "See: monitor topics")
        yield consumer, [TopicPartition(topic, number) for number in sorted(numbers)]
    finally:
        consumer.close(autocommit=False)


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
