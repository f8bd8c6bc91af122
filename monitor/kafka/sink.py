"""The end that publishes: alerts and dead letters first, acknowledged, then the offsets of what they came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kafka import KafkaProducer
from kafka import errors as kafka_errors

from monitor import config
from monitor.batch import Outcome, Reject
from monitor.errors import UnavailableError
from monitor.kafka.connect import options, translated

_LARGEST_REQUEST = 16 * 2**20
_Message = tuple[str, bytes | None, bytes | None, list[tuple[str, bytes]]]  # topic, key, value, headers


class KafkaSink:
    """An idempotent producer and the order of a publish.

    `publish` either did all of it, or raises UnavailableError and can be called again with the same arguments: messages
    may then stand twice in the topic, with equal ids. Nothing is committed that was not acknowledged.
    """

    def __init__(
        self, settings: config.Kafka, topics: config.Topics, commit: Callable[[Mapping[int, int]], bool]
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._commit = commit
        self._producer: Any = None

    def open(self) -> None:
        """Connects; `publish` does so too where it is needed."""
        if self._producer is None:
            with translated(self._settings, "connecting the producer"):
                self._producer = KafkaProducer(
                    **options(
                        self._settings,
                        "producer",
                        acks="all",
                        enable_idempotence=True,
                        compression_type="gzip",
                        linger_ms=5,
                        max_request_size=_LARGEST_REQUEST,
                        max_block_ms=round(self._settings.publish_timeout * 1000),
                        request_timeout_ms=round(self._settings.publish_timeout * 500),
                        delivery_timeout_ms=round(self._settings.publish_timeout * 1000),
                        allow_auto_create_topics=False,
                    )
                )

    def publish(self, outcome: Outcome, positions: Mapping[int, int]) -> bool:
        """Alerts and dead letters, acknowledged by all in-sync replicas; then the offsets.

        False when the offsets could not be committed because the group is being rebalanced.
        """
        messages = [self._alert(alert) for alert in outcome.alerts]
        messages += [self._dead_letter(reject) for reject in outcome.rejects]
        if messages:
            self._send(messages)
        return self._commit(positions)

    def close(self) -> None:
        if self._producer is not None:
            self._producer.close(timeout=5)
            self._producer = None

    def _send(self, messages: list[_Message]) -> None:
        self.open()
        try:
            with translated(self._settings, "publishing"):
                futures = [
                    self._producer.send(topic, value=value, key=key, headers=headers)
                    for topic, key, value, headers in messages
                ]
                self._producer.flush(timeout=self._settings.publish_timeout)
                for (topic, *_), future in zip(messages, futures, strict=True):
                    _raise_if_failed(topic, future)
        except Exception:
            # What is still queued in this producer must not arrive after a second attempt has succeeded.
            self._producer.close(timeout=0)
            self._producer = None
            raise

    def _alert(self, alert: Any) -> _Message:
        return self._topics.alerts.name, alert.stream.encode(), alert.to_bytes(), alert.headers()

    def _dead_letter(self, reject: Reject) -> _Message:
        record = reject.record
        headers = [(name, value or b"") for name, value in record.headers]
        headers += [
            ("monitor-reason", reject.reason.encode()),
            ("monitor-detail", reject.detail.encode()),
            ("monitor-topic", record.topic.encode()),
            ("monitor-partition", str(record.partition).encode()),
            ("monitor-offset", str(record.offset).encode()),
            ("monitor-timestamp", str(record.timestamp).encode()),
        ]
        value = record.value
        if value is None and record.key is None:
            value = b""  # the client sends no record without both; `monitor-reason: tombstone` says what it was
        return self._topics.dead_letters.name, record.key, value, headers


def _raise_if_failed(topic: str, future: Any) -> None:
    if not future.is_done:
        raise UnavailableError(f"publishing: {topic} did not acknowledge in time")
    if future.failed():
        if isinstance(future.exception, kafka_errors.KafkaError):
            raise future.exception
        raise UnavailableError(f"publishing: {topic}: {future.exception!r}")
