"""The end that publishes: alerts and dead letters first, acknowledged, then the offsets of what they came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from kafka import KafkaProducer
from kafka import errors as kafka_errors

from monitor import config
from monitor.batch import Outcome, Reject
from monitor.errors import UnavailableError
from monitor.kafka.connect import options, translated

_LARGEST_REQUEST = 16 * 2**20
_OURS = "monitor-"  # what we add to a record's headers begins so
_TOO_LARGE = (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError)
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
        self._end_producer()

    def _send(self, messages: Sequence[_Message]) -> None:
        try:
            while True:
                self.open()
                with translated(self._settings, "publishing"):
                    limit = self._attempt(messages)
                if limit is None:
                    return
                # One record that fits no dead letter must not stop all others for ever. A refusal is the end of an
                # idempotent producer and of all it holds: all is sent again.
                self._end_producer()
                messages = [(self._smaller(entry) or entry) if _size(entry) >= limit else entry for entry in messages]
        except BaseException:
            # What is still queued in this producer must not arrive after a second attempt has succeeded.
            self._end_producer()
            raise

    def _attempt(self, messages: Sequence[_Message]) -> int | None:
        """Sends and waits for all. The size of a dead letter that was refused as too large, None for none."""
        sent = []
        for message in messages:
            topic, key, value, headers = message
            try:
                sent.append(self._producer.send(topic, value=value, key=key, headers=headers))
            except kafka_errors.MessageSizeTooLargeError:
                if self._smaller(message) is None:
                    raise
                return _size(message)
        self._producer.flush(timeout=self._settings.publish_timeout)
        for message, future in zip(messages, sent, strict=True):
            if future.is_done and isinstance(future.exception, _TOO_LARGE) and self._smaller(message) is not None:
                return _size(message)
        for message, future in zip(messages, sent, strict=True):
            _raise_if_failed(message[0], future)
        return None

    def _smaller(self, message: _Message) -> _Message | None:
        """A dead letter without its value, else without the record's own headers, else without its key; else None."""
        topic, key, value, headers = message
        if topic != self._topics.dead_letters.name:
            return None
        ours = [header for header in headers if header[0].startswith(_OURS)]
        if value:
            return topic, key, b"", [*headers, (f"{_OURS}value-bytes", b"%d" % len(value))]
        if len(ours) < len(headers):
            return topic, key, value, [*ours, (f"{_OURS}headers-left-out", b"%d" % (len(headers) - len(ours)))]
        if key:
            return topic, None, b"", [*headers, (f"{_OURS}key-bytes", b"%d" % len(key))]
        return None

    def _end_producer(self) -> None:
        """Ends the producer, if there is one, without sending what it still holds."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        # close() waits for what is queued even with a time-out of 0, and where that fails it leaves the sender running.
        producer._sender.force_close()
        producer._sender.join(1)
        with suppress(kafka_errors.KafkaError):
            producer.close(timeout=0)

    def _alert(self, alert: Any) -> _Message:
        return self._topics.alerts.name, alert.stream.encode(), alert.to_bytes(), alert.headers()

    def _dead_letter(self, reject: Reject) -> _Message:
        record = reject.record
        headers = [(name, value or b"") for name, value in record.headers]
        facts = {
            "reason": reject.reason.value,
            "detail": reject.detail,
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp": record.timestamp,
        }
        headers += [(_OURS + name, str(fact).encode()) for name, fact in facts.items()]
        value = record.value
        if value is None and record.key is None:
            value = b""  # the client sends no record without both; `monitor-reason: tombstone` says what it was
        return self._topics.dead_letters.name, record.key, value, headers


def _size(message: _Message) -> int:
    """Bytes that somebody else chose."""
    _, key, value, headers = message
    return len(key or b"") + len(value or b"") + sum(len(name) + len(content) for name, content in headers)


def _raise_if_failed(topic: str, future: Any) -> None:
    if not future.is_done:
        raise UnavailableError(f"publishing: {topic} did not acknowledge in time")
    if future.failed():
        if isinstance(future.exception, kafka_errors.KafkaError):
            raise future.exception
        raise UnavailableError(f"publishing: {topic}: {future.exception!r}")
