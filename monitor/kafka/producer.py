"""A producer whose every wait ends: with or without transactions, for one publish after the other.

The client's own transactional calls wait for ever, so this takes the results that they wait for. A producer that failed
is ended, never used again: what the client keeps of a failed transaction (offsets, sequence numbers) would leak into
the next one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from kafka import KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors
from kafka.producer.transaction_manager import TransactionState
from kafka.structs import ConsumerGroupMetadata

from monitor import config
from monitor.kafka.connect import options
from monitor.kafka.messages import Message

_LARGEST_REQUEST = 16 * 2**20
_BATCH_BYTES = 2**14  # before compression
_ABORTABLE = (TransactionState.IN_TRANSACTION, TransactionState.ABORTABLE_ERROR)

TOO_LARGE = (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError)


class RefusedSizeError(Exception):
    """The brokers, or the client, refused a message as too large; of several, the first."""

    def __init__(self, message: Message) -> None:
        super().__init__(message.topic)
        self.message = message


class Producer:
    """Raises what the client raises, with the cause where the client only says that it is in an error state.

    `deadline` is a time of `time.monotonic`.
    """

    def __init__(
        self, settings: config.Kafka, transactional_id: str | None, *, batch_bytes: int = _BATCH_BYTES
    ) -> None:
        """Connects. With a transactional id, ends whatever an earlier producer of that id left open, and fences it."""
        transactional = {
            "transactional_id": transactional_id,
            "transaction_timeout_ms": round(settings.transaction_timeout * 1000),
            "retry_backoff_ms": 20,  # how long the next transaction waits while the brokers still close this one
        }
        self._client: Any = KafkaProducer(
            **options(
                settings,
                "producer",
                acks="all",
                enable_idempotence=True,
                compression_type="gzip",
                linger_ms=0 if transactional_id else 5,
                batch_size=batch_bytes,
                max_request_size=_LARGEST_REQUEST,
                max_block_ms=round(settings.publish_timeout * 1000),
                request_timeout_ms=round(settings.publish_timeout * 500),
                delivery_timeout_ms=round(settings.publish_timeout * 1000),
                allow_auto_create_topics=False,
                **(transactional if transactional_id else {}),
            )
        )
        if transactional_id:
            try:
                self._client.init_transactions()
            except BaseException:
                self.end()
                raise

    def partitions(self, topic: str) -> frozenset[int]:
        """Numbers of the partitions that a topic has."""
        return frozenset(self._client.partitions_for(topic))

    def begin(self) -> None:
        """Begins a transaction, which costs nothing until something is sent."""
        self._client.begin_transaction()

    def send(self, messages: Sequence[Message], deadline: float) -> list[int]:
        """The offset of each message, once all in-sync replicas have it. Raises RefusedSizeError too."""
        sent: list[Any] = []
        try:
            for message in messages:
                topic, key, value, headers, partition, _, timestamp = message
                sent.append(self._client.send(topic, value, key, headers, partition, timestamp))
        except TOO_LARGE as error:
            raise RefusedSizeError(messages[len(sent)]) from error
        except kafka_errors.KafkaError as error:
            # After one batch has failed the client takes no more: that batch says why.
            self._raise_first(messages, sent)
            raise self._cause(error) from error
        self._client._sender.wakeup()
        # The client's flush() raises where a batch is split, and waits on for what it will never send where one failed.
        for future in sent:
            while not future.is_done:
                self._raise_first(messages, sent)
                left = deadline - time.monotonic()
                if left <= 0:
                    raise kafka_errors.KafkaTimeoutError("not acknowledged in time")
                with suppress(kafka_errors.KafkaError):  # its failure is told by _raise_first
                    future.get(min(left, 0.25))
        self._raise_first(messages, sent)
        return [future.value.offset for future in sent]

    def add_offsets(
        self,
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        membership: ConsumerGroupMetadata,
        deadline: float,
    ) -> None:
        """Consumed offsets into the transaction; the brokers refuse those of a member of an older generation."""
        self._wait(lambda manager: manager.send_offsets_to_transaction(dict(offsets), membership), deadline)

    def commit(self, deadline: float) -> None:
        """Where this raises, the transaction may have been committed, or may still be."""
        self._wait(lambda manager: manager.begin_commit(), deadline)

    def void_offsets(self, group: str, place: TopicPartition, deadline: float) -> None:
        """Aborts a transaction over the group's offsets, and with it what an ended one of this id may have left there.

        Brokers that were frozen while they took offsets in can add them when that transaction has been aborted already
        (the hanging transactions of KIP-890). Until the next transaction of this id ends, nobody then learns what is
        committed, and if that one is committed, so are the late offsets, whose alerts were aborted.
        """
        self.begin()
        # Without a membership the brokers take it from anybody.
        self.add_offsets({place: OffsetAndMetadata(0, "", -1)}, ConsumerGroupMetadata(group), deadline)
        self._wait(lambda manager: manager.begin_abort(), deadline)

    def abort(self, seconds: float) -> None:
        """Aborts an open transaction, if there is one and it can be, in at most about so many seconds."""
        if self._client._transaction_manager._current_state in _ABORTABLE:
            with suppress(kafka_errors.KafkaError):
                self._wait(lambda manager: manager.begin_abort(), time.monotonic() + seconds)

    def end(self) -> None:
        """Ends the producer without sending what it still holds."""
        # close() waits for what is queued even with a time-out of 0, and where that fails it leaves the sender running.
        self._client._sender.force_close()
        self._client._sender.join(1)
        with suppress(kafka_errors.KafkaError):
            self._client.close(timeout=0)

    def _wait(self, begin: Any, deadline: float) -> None:
        try:
            result = begin(self._client._transaction_manager)
            self._client._sender.wakeup()
            if not result.wait(timeout_ms=max(0.0, deadline - time.monotonic()) * 1000):
                raise kafka_errors.KafkaTimeoutError("no answer in time")
        except kafka_errors.KafkaError as error:
            raise self._cause(error) from error

    def _raise_first(self, messages: Sequence[Message], sent: Sequence[Any]) -> None:
        failed = [
            (message, future.exception) for message, future in zip(messages, sent, strict=False) if future.failed()
        ]
        for message, error in failed:
            if isinstance(error, TOO_LARGE):  # the others of its batch failed because of it
                raise RefusedSizeError(message) from error
        if failed:
            error = failed[0][1]
            raise self._cause(error) if isinstance(error, kafka_errors.KafkaError) else error

    def _cause(self, error: Exception) -> Exception:
        """What is behind an error that only says that there was one before."""
        if type(error) is not kafka_errors.KafkaError:
            return error
        inner = next((part for part in error.args if isinstance(part, kafka_errors.KafkaError)), None)
        found: Exception | None = inner or self._client._transaction_manager.last_error
        return error if found is None else found
