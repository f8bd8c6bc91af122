"""A consumer of its own: reads what is committed, belongs to no group, commits nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from monitor import config
from monitor.errors import MonitorError
from monitor.kafka.connect import options, translated


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
