"""Takes back what a run made on brokers that others use too."""

from __future__ import annotations

from collections.abc import Sequence

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors

from monitor import config
from monitor.kafka.connect import options, translated


def remove(kafka: config.Kafka, topics: Sequence[str], group: str) -> None:
    """Deletes the topics, and the consumer group with its offsets; one that does not exist is not an error."""
    with translated(kafka, f"deleting {', '.join(topics)}"):
        admin = KafkaAdminClient(**options(kafka, "admin"))
        try:
            for topic in topics:
                try:
                    admin.delete_topics([topic])
                except kafka_errors.UnknownTopicOrPartitionError:
                    continue
            for _, error in admin.delete_groups([group]):
                if error not in (kafka_errors.NoError, kafka_errors.GroupIdNotFoundError):
                    raise error
        finally:
            admin.close()
