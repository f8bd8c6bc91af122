"""The end that publishes: alerts, outputs, dead letters, incident state, and the places of what they came from.

Exactly once, all of it is one transaction. At least once, it is acknowledged first and the places are committed then.
"""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Literal, Protocol, TypeVar

from kafka import OffsetAndMetadata, TopicPartition
from kafka.structs import ConsumerGroupMetadata

from monitor import config
from monitor.batch import Outcome
from monitor.checkpoint import Checkpoint
from monitor.errors import MonitorError, UnavailableError
from monitor.kafka.delivery import fenced, what_to_do
from monitor.kafka.messages import Message, alert_message, dead_letter, output_message, smaller, state_record
from monitor.kafka.producer import Producer, RefusedSizeError

_T = TypeVar("_T")
_Key = tuple[int, str]  # input partition, stream
_ABORT_SECONDS = 2.0  # longest wait for an abort; where it fails, the next producer's start is one


class Group(Protocol):
    """What a sink needs of the member whose records it publishes for: `KafkaSource` is one."""

    @property
    def membership(self) -> ConsumerGroupMetadata:
        """As of the last poll; a generation below 0 is none."""

    @property
    def topic_id(self) -> str: ...

    def committed(self, partitions: Sequence[int]) -> Mapping[int, int | None]:
        """Next offsets, when no transaction that could change them is open any more."""

    def commit(self, checkpoints: Mapping[int, Checkpoint]) -> bool: ...

    def committed_now(self, checkpoints: Mapping[int, Checkpoint]) -> None:
        """Tells it what was committed past it, in a transaction, as it was committed."""


class KafkaSink:
    """`publish` did all of it, or raises UnavailableError and can be called again with the same arguments.

    FencedError and other errors mean that this outcome must not be published any more. Exactly once, a retry doubles
    nothing; at least once, messages may then stand twice in the topic, with equal ids. Nothing is ever committed that
    was not acknowledged.
    """

    def __init__(
        self,
        kafka: config.Kafka,
        topics: config.Topics,
        delivery: Literal["exactly_once", "at_least_once"],
        source: Group,
        outputs: config.Outputs | None = None,
    ) -> None:
        self._settings = kafka
        self._topics = topics
        self._outputs = outputs.topics if outputs else {}
        self._source = source
        self._producer: Producer | None = None
        self._transactional_id = _transactional_id(kafka) if delivery == "exactly_once" else None
        self._member: tuple[int, str] | None = None  # generation and member that all of the below is about
        self._committed: dict[int, int | None] = {}
        self._doubt: tuple[dict[int, int], dict[int, int]] | None = None
        """Offsets and state ends of the transaction of which nobody knows how it ended."""
        self._state_ends: dict[int, int] = {}  # offset behind the newest state record, by input partition
        self._quiet: set[_Key] = set()  # at least once: said to be quiet, not committed yet
        self._tombstones: set[_Key] = set()  # at least once: committed as quiet, can be forgotten

    def open(self) -> None:
        """Connects, and ends what a predecessor left open; `publish` does so too where it is needed."""
        self._opened()

    def publish(self, outcome: Outcome, checkpoints: Mapping[int, Checkpoint]) -> bool:
        """Everything of an outcome, and the checkpoints of the partitions that it came from.

        False when, at least once, the checkpoints could not be committed because the group is being rebalanced.
        """
        if not (outcome.alerts or outcome.outputs or outcome.rejects or outcome.states or checkpoints):
            return True
        if self._transactional_id is None:
            return self._publish_then_commit(outcome, checkpoints)
        try:
            self._publish_at_once(outcome, checkpoints)
        except UnavailableError:
            raise
        except BaseException:  # whatever comes next does not follow on this
            self._end_producer()
            self._doubt, self._committed = None, {}
            raise
        self._committed |= {partition: checkpoint.offset for partition, checkpoint in checkpoints.items()}
        self._source.committed_now(self._completed(checkpoints, {}))
        return True

    def abandon(self) -> None:
        """Gives up what could not be published. A transaction that may be open would hold up whoever recovers."""
        self._doubt, self._committed = None, {}
        if self._transactional_id is not None:
            self._end_producer()
            with suppress(MonitorError):
                self.open()

    def forget(self, partition: int) -> None:
        """Drops what is known of a partition that went: what is committed of it may change elsewhere."""
        self._committed.pop(partition, None)
        self._state_ends.pop(partition, None)
        self._quiet = {key for key in self._quiet if key[0] != partition}
        self._tombstones = {key for key in self._tombstones if key[0] != partition}

    def close(self) -> None:
        """Ends the producer; a transaction that is still open is aborted if that takes no more than 2 s."""
        self._end_producer()

    def _publish_at_once(self, outcome: Outcome, checkpoints: Mapping[int, Checkpoint]) -> None:
        membership = self._source.membership
        if membership.generation_id < 0:
            raise fenced("it is not a member of the group at present")
        self.open()
        if not self._settled(membership, checkpoints):
            states = {key: None if change.quiet else change.value for key, change in outcome.states.items()}
            messages = self._messages(outcome, states)
            self._try(messages, lambda fitting: self._transact(fitting, checkpoints, membership))

    def _transact(
        self, messages: Sequence[Message], checkpoints: Mapping[int, Checkpoint], membership: ConsumerGroupMetadata
    ) -> None:
        deadline = self._deadline()
        self._opened().begin()
        state_ends = self._send_messages(messages, deadline)
        if checkpoints:
            self._send_offsets(self._completed(checkpoints, state_ends), membership, deadline)
        self._doubt = {partition: checkpoint.offset for partition, checkpoint in checkpoints.items()}, state_ends
        self._commit_transaction(deadline)
        self._doubt = None
        self._state_ends |= state_ends

    def _settled(self, membership: ConsumerGroupMetadata, checkpoints: Mapping[int, Checkpoint]) -> bool:
        """Whether the transaction in doubt has published this already: it ended when the producer was opened anew.

        How it ended the committed offsets tell, if it is known what they were before.
        """
        wanted = {partition: checkpoint.offset for partition, checkpoint in checkpoints.items()}
        offsets, state_ends = self._doubt or (None, {})
        doubtful = wanted == offsets  # else the caller has recovered meanwhile, from what was committed
        if not self._same_member(membership):  # a partition may have been elsewhere meanwhile
            if doubtful:
                raise fenced("the group was rebalanced before it was known how a transaction had ended")
            self._committed = {}
        if unknown := [partition for partition in wanted if partition not in self._committed]:
            self._committed |= self._source.committed(unknown)
        if not doubtful:
            self._doubt = None
            return False
        before = {partition: self._committed[partition] for partition in wanted}
        found = dict(self._source.committed(list(wanted)))
        if before == wanted or found not in (before, wanted):
            raise fenced("the committed offsets do not tell how a transaction ended")
        self._doubt = None
        if found != wanted:
            return False
        self._state_ends |= state_ends
        return True

    def _publish_then_commit(self, outcome: Outcome, checkpoints: Mapping[int, Checkpoint]) -> bool:
        """A stream that is quiet again is said to be so first, and forgotten after a commit.

        A tombstone at once would outlive a crash before the commit, and with it the state that the stream had.
        """
        if not self._same_member(self._source.membership):  # newer state may have been written elsewhere meanwhile
            self._quiet.clear()
            self._tombstones.clear()
        states: dict[_Key, bytes | None] = {key: change.value for key, change in outcome.states.items()}
        forgotten = {key for key in self._tombstones - states.keys() if key[0] in checkpoints}
        # One after the other: state that stands without its alerts would say that they were told.
        told = self._messages(outcome, {})
        kept = self._messages(Outcome(), states | dict.fromkeys(sorted(forgotten)))
        state_ends: dict[int, int] = {}
        for messages in filter(None, (told, kept)):
            state_ends |= self._try(messages, lambda fitting: self._send_messages(fitting, self._deadline()))
        self._state_ends |= state_ends
        self._tombstones -= forgotten | states.keys()
        self._quiet = (self._quiet - states.keys()) | {key for key, change in outcome.states.items() if change.quiet}
        if not self._source.commit(self._completed(checkpoints, state_ends)):
            return False
        committed = {key for key in self._quiet if key[0] in checkpoints}
        self._quiet -= committed
        self._tombstones |= committed
        return True

    def _same_member(self, membership: ConsumerGroupMetadata) -> bool:
        """Whether the group has not been rebalanced since this was asked last."""
        before, self._member = self._member, (membership.generation_id, membership.member_id)
        return self._member == before

    def _try(self, messages: Sequence[Message], attempt: Callable[[Sequence[Message]], _T]) -> _T:
        """One attempt; where a dead letter is too large for its topic, another one with less of it.

        A producer whose attempt failed is ended: what it still holds must not arrive after a second attempt.
        """
        while True:
            try:
                return attempt(messages)
            except RefusedSizeError as error:
                self._end_producer()
                messages = self._shrunk(messages, error.message)
            except Exception as error:
                self._end_producer()
                raise self._what_to_do(error) from error
            except BaseException:
                self._end_producer()
                raise

    def _send_messages(self, messages: Sequence[Message], deadline: float) -> dict[int, int]:
        """Acknowledged by all in-sync replicas. The offset behind the newest state record, by input partition."""
        ends: dict[int, int] = {}
        for message, offset in zip(messages, self._opened().send(messages, deadline), strict=True):
            if message.owner is not None:
                ends[message.owner] = max(ends.get(message.owner, 0), offset + 1)
        return ends

    def _send_offsets(
        self, checkpoints: Mapping[int, Checkpoint], membership: ConsumerGroupMetadata, deadline: float
    ) -> None:
        offsets = {
            TopicPartition(self._topics.input.name, partition): OffsetAndMetadata(
                checkpoint.offset, checkpoint.encode(), -1
            )
            for partition, checkpoint in checkpoints.items()
        }
        self._opened().add_offsets(offsets, membership, deadline)

    def _commit_transaction(self, deadline: float) -> None:
        self._opened().commit(deadline)

    def _completed(self, checkpoints: Mapping[int, Checkpoint], state_ends: dict[int, int]) -> dict[int, Checkpoint]:
        ends, topic = self._state_ends | state_ends, self._source.topic_id
        return {
            partition: replace(checkpoint, topic=topic, state_end=max(checkpoint.state_end, ends.get(partition, 0)))
            for partition, checkpoint in checkpoints.items()
        }

    def _messages(self, outcome: Outcome, states: Mapping[_Key, bytes | None]) -> list[Message]:
        topics = self._topics
        messages = [alert_message(topics.alerts.name, alert) for alert in outcome.alerts]
        for output, records in outcome.outputs.items():
            name = self._outputs[output].name
            messages += [output_message(name, record) for record in records]
        messages += [dead_letter(topics.dead_letters.name, reject) for reject in outcome.rejects]
        if states:
            name = topics.state.name
            try:
                partitions = len(self._opened().partitions(name))
            except Exception as error:
                self._end_producer()
                raise self._what_to_do(error) from error
            messages += [
                state_record(name, partitions, self._settings.group, *key, state) for key, state in states.items()
            ]
        return messages

    def _shrunk(self, messages: Sequence[Message], refused: Message) -> list[Message]:
        """One record that fits no dead letter must not stop all others for ever; anything else stops the service."""
        letters = self._topics.dead_letters.name
        if refused.topic != letters or smaller(refused) is None:
            raise MonitorError(
                f"publishing: a message of {refused.size} bytes is too large for topic {refused.topic!r}",
                f"Raise max.message.bytes of topic {refused.topic!r}.",
            )
        return [
            (smaller(message) or message) if message.topic == letters and message.size >= refused.size else message
            for message in messages
        ]

    def _opened(self) -> Producer:
        if self._producer is None:
            try:
                producer = Producer(self._settings, self._transactional_id)
                if self._transactional_id is not None:
                    self._void(producer)
            except Exception as error:
                raise self._what_to_do(error) from error
            self._producer = producer
        return self._producer

    def _void(self, producer: Producer) -> None:
        # The place must be one that this group never reads on from: were this transaction the one that hangs, and its
        # offset committed with the next, nothing would come of it.
        nowhere = TopicPartition(self._topics.state.name, 0)
        try:
            producer.void_offsets(self._settings.group, nowhere, self._deadline())
        except BaseException:
            producer.end()
            raise

    def _deadline(self) -> float:
        return time.monotonic() + self._settings.publish_timeout

    def _end_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.abort(_ABORT_SECONDS)
            producer.end()

    def _what_to_do(self, error: Exception) -> Exception:
        names = [spec.name for spec in (self._topics.alerts, self._topics.dead_letters, *self._outputs.values())]
        return what_to_do(self._settings, (*names, self._topics.state.name), self._transactional_id, error)


def _transactional_id(kafka: config.Kafka) -> str:
    """Of a static member, its own for ever: its restart ends at once what it left open. Else this process's own."""
    return f"{kafka.group}.{kafka.instance_id or f'{socket.gethostname()}.{uuid.uuid4()}'}"
