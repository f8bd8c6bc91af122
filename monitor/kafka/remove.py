"""Takes back what a run made on brokers that others use too."""

from __future__ import annotations

from collections.abc import Sequence

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors

from monitor import config
from monitor.errors import MonitorError
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
            said = admin.delete_groups([group])[group]  # "OK", or the name of the error
            if said not in ("OK", kafka_errors.GroupIdNotFoundError.__name__):
                raise MonitorError(f"deleting group {group}: the brokers say {said}")
        finally:
            admin.close()
