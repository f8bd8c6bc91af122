"""Records into a topic: how the demo produces. One call sends some and waits until the brokers have them."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from kafka import KafkaProducer

from monitor import config
from monitor.batch import Record
from monitor.errors import UnavailableError
from monitor.kafka.connect import options, translated

_NO_TIMESTAMP = -1


class Feed:
    """An idempotent producer of records; their key picks the partition, whatever partition and offset they name."""

    def __init__(self, kafka: config.Kafka) -> None:
        """Connects; raises UnavailableError where no broker answers, RefusedError where one says no."""
        self._kafka = kafka
        with translated(kafka, "connecting the producer"):
            self._producer: Any = KafkaProducer(
                **options(
                    kafka,
                    "producer",
                    acks="all",
                    enable_idempotence=True,
                    linger_ms=5,
                    max_block_ms=round(kafka.publish_timeout * 1000),
                    request_timeout_ms=round(kafka.publish_timeout * 500),
                    delivery_timeout_ms=round(kafka.publish_timeout * 1000),
                    allow_auto_create_topics=False,
                )
            )

    def send(self, records: Sequence[Record]) -> None:
        """Acknowledged when this returns. A record without a timestamp (-1) gets the time of sending."""
        with translated(self._kafka, "producing"):
            sent = [
                self._producer.send(
                    record.topic,
                    key=record.key,
                    value=record.value,
                    headers=[(name, value or b"") for name, value in record.headers],
                    timestamp_ms=None if record.timestamp == _NO_TIMESTAMP else record.timestamp,
                )
                for record in records
            ]
            self._producer.flush(timeout=self._kafka.publish_timeout)
            for future in sent:
                if not future.is_done:
                    raise UnavailableError(f"producing: {self._kafka.bootstrap_servers} did not acknowledge in time")
                if future.failed():
                    raise future.exception

    def close(self) -> None:
        self._producer.close(timeout=5)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
