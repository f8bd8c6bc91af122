"""The end that reads: a consumer group member, its positions, its rebalances, and how it goes on where others stopped.

What a sink needs of the source it commits for:

- `membership`: who this member was when it last took records; a transaction carries it, so that the brokers refuse the
  offsets of a member that has been replaced. `generation_id` < 0 means that the group has put this member out.
- `topic_id`: the brokers' id of the input topic, for the checkpoints.
- `commit(checkpoints)`: commits without a transaction; False while the group is being rebalanced.
- `committed(partitions)`: what is committed and can change no more: no transaction is open on it.
- `committed_now(checkpoints)`: to be called after a transaction that carried these; `positions` then leaves them out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate, takewhile
from typing import Any

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import ConsumerGroupMetadata, MemberState

from monitor import config, logs
from monitor.batch import Record
from monitor.checkpoint import Checkpoint
from monitor.errors import MonitorError
from monitor.kafka.connect import options, translated
from monitor.kafka.moves import Listener, Move, keep_joining
from monitor.kafka.orphans import Orphans
from monitor.kafka.recovery import Recovery
from monitor.ports import Polled, Progress, Restart

log = logs.get("kafka.source")

_METADATA_AGE = 60.0  # s; added partitions, and a topic that was made anew, are noticed so soon at the latest
_RECOVERING_WAIT = 0.05  # s; how long a poll waits for records, or for incident state, while partitions are recovered
_LEAVING = 2.0  # s; a coordinator that is amid a rebalance answers when that is over, and need not be waited for


class KafkaSource:
    """One member of the consumer group. Partitions are won and lost only inside `poll` and `idle`.

    A partition that the group gives to this member is paused, looked up and recovered (see `recovery`), which may take
    many polls; the partitions that stay keep bringing records meanwhile. Then it is reported as gained, and brings its
    first record after `start`.
    """

    def __init__(self, settings: config.Kafka, topics: config.Topics, recovery: config.Recovery) -> None:
        """Connects; raises UnavailableError where no broker answers, RefusedError where one says no."""
        self._settings = settings
        self._topic = topics.input.name
        self._topic_id: Any = None
        self._moves: deque[Move] = deque()
        self._gained: dict[int, Restart] = {}  # reported, not started
        self._next: dict[int, int] = {}  # started: next offset to bring
        self._done: dict[int, int] = {}  # gained or started: next offset as far as is known to be committed
        self._voided: set[int] = set()  # to be reported as lost
        self._stash: list[Record] = []
        self._coordinator_met = False
        self._membership = ConsumerGroupMetadata(settings.group)
        with translated(settings, "joining the group"):
            self._consumer: Any = KafkaConsumer(
                **options(
                    settings,
                    "consumer",
                    group_id=settings.group,
                    group_instance_id=settings.instance_id,
                    enable_auto_commit=False,
                    auto_offset_reset="none",  # what to do about an offset that is gone is decided here, and counted
                    isolation_level="read_committed",
                    partition_assignment_strategy=(CooperativeStickyAssignor,),
                    max_poll_records=settings.poll_records,
                    max_poll_interval_ms=round(settings.max_poll_interval * 1000),
                    session_timeout_ms=round(settings.session_timeout * 1000),
                    heartbeat_interval_ms=min(3000, round(settings.session_timeout * 1000 / 3)),
                    metadata_max_age_ms=round(_METADATA_AGE * 1000),
                    allow_auto_create_topics=False,
                )
            )
            self._recovery = Recovery(self._consumer, settings, topics, recovery, self._commit, self._check_topic)
            self._orphans = Orphans(self._consumer, settings.group, self._topic)
            self._consumer.subscribe([self._topic], listener=Listener(self._consumer, self._moves))

    @property
    def membership(self) -> Any:
        """The client's ConsumerGroupMetadata as of the last `poll` or `idle`, from before its moves were known."""
        return self._membership

    @property
    def topic_id(self) -> str:
        """The brokers' id of the topic that the records come from; empty where they have none (Kafka before 2.8)."""
        return "" if self._topic_id is None else str(self._topic_id)

    @property
    def positions(self) -> Mapping[int, int]:
        """Next offset of each partition that brought records which are not committed; replayed ones are committed."""
        return {partition: offset for partition, offset in self._next.items() if offset > self._done[partition]}

    def poll(self) -> Polled:
        """Waits for records at most `poll_seconds`, takes at most `poll_records` and `poll_bytes`: all are settings."""
        if self._stash:  # it is brought first; the turn keeps this member in its group
            self._turn(0, ())
        else:
            wait = self._settings.poll_seconds
            if self._recovery.busy:
                wait = 0 if self._recovery.reading else min(wait, _RECOVERING_WAIT)
            self._turn(wait, self._next)
        gained, lost = self._settle(0 if self._stash else min(self._settings.poll_seconds, _RECOVERING_WAIT))
        records = self._cut()
        for record in records:  # in offset order within each partition, so the last one stands
            self._next[record.partition] = record.offset + 1
        return Polled(records, gained, lost)

    def idle(self, seconds: float) -> Polled:
        """Stays a member of the group without taking records: back pressure while the sink cannot publish."""
        self._turn(seconds, ())
        gained, lost = self._settle(0)
        return Polled((), gained, lost)

    def start(self, partition: int, offset: int) -> None:
        """Lets a partition that was reported as gained bring records, from an offset of its replay on."""
        checkpoint = self._gained[partition].checkpoint
        if not checkpoint.replay_from <= offset <= checkpoint.offset:
            raise ValueError(f"offset {offset} is not in [{checkpoint.replay_from}, {checkpoint.offset}]")
        del self._gained[partition]
        self._next[partition] = offset
        self._consumer.seek(self._place(partition), offset)

    def rewind(self) -> None:
        """Forgets all that was polled: the next polls report every partition as lost, and as gained when recovered."""
        self._void([*self._next, *self._gained])
        self._recovery.again()

    def commit(self, checkpoints: Mapping[int, Checkpoint]) -> bool:
        """Commits without a transaction. Raises UnavailableError while the coordinator does not answer.

        False when the group is being rebalanced: a later commit will cover them, or another member reads them again.
        """
        mine = {partition: checkpoints[partition] for partition in checkpoints.keys() & self._done.keys()}
        if not self._commit(mine):
            return False
        self.committed_now(mine)
        return True

    def committed(self, partitions: Iterable[int]) -> dict[int, int | None]:
        """Committed next offsets, None where there is none, once no transaction is open on any of them.

        Raises UnavailableError where the coordinator does not answer, or a transaction stays open, for too long.
        """
        places = [self._place(partition) for partition in partitions]
        with self._translated("reading committed offsets"):
            found = self._consumer._coordinator.fetch_committed_offsets(
                places, timeout_ms=round(self._settings.publish_timeout * 1000)
            )
        return {place.partition: found[place].offset if place in found else None for place in places}

    def committed_now(self, checkpoints: Mapping[int, Checkpoint]) -> None:
        """Notes that these were committed."""
        for partition, checkpoint in checkpoints.items():
            self._recovery.remember(partition, checkpoint)
            if partition in self._done:
                self._done[partition] = max(self._done[partition], checkpoint.offset)

    @property
    def pending(self) -> frozenset[int]:
        """Partitions of this member that are not recovered yet: nobody reads them meanwhile."""
        return self._recovery.partitions

    def progress(self) -> dict[int, Progress]:
        """Position and end of every partition that was reported as gained, as far as they are known without asking."""
        stashed = {record.partition for record in self._stash}
        assignment = self._consumer._subscription.assignment
        found = {}
        for partition in self._done:
            position = self._next.get(partition)
            state = assignment.get(self._place(partition))
            end = self._recovery.ends.get(partition)
            if state is not None and state.highwater is not None:
                end = state.highwater
            if position is None:
                position = self._gained[partition].checkpoint.replay_from
            elif state is not None and state.position is not None and partition not in stashed:
                position = max(position, state.position.offset)  # beyond transaction markers, which are never delivered
            found[partition] = Progress(position, end)
        return found

    def connected(self) -> bool:
        """Whether the group's coordinator answers; a rebalance does not count against it."""
        # The client keeps polling in silence while its brokers are away; only its coordinator knows. It has none yet
        # when it begins, which is no sign of trouble.
        known = not self._consumer._coordinator.coordinator_unknown()
        self._coordinator_met |= known
        return known or not self._coordinator_met

    def joined(self) -> bool:
        """Whether the group has given this member its share; with more members than partitions that is nothing."""
        return bool(self._consumer.group_metadata().state == MemberState.STABLE)

    def close(self) -> None:
        """Leaves the group at once (a static member keeps its place); what was not committed will be read again."""
        self._recovery.close()
        with self._translated("leaving the group"):
            self._consumer.close(autocommit=False, timeout_ms=round(_LEAVING * 1000))

    def _turn(self, seconds: float, flowing: Iterable[int]) -> None:
        """One poll of the client, in which only these partitions bring records; all of it goes to the stash."""
        places = {self._place(partition) for partition in flowing} & self._consumer.assignment()
        self._consumer.pause(*(self._consumer.assignment() - places))
        self._consumer.resume(*places)
        polled: dict[TopicPartition, list[Record]] = {}
        with self._translated("polling"):
            keep_joining(self._consumer)
            self._orphans.look()
            try:
                polled = self._consumer.poll(timeout_ms=round(seconds * 1000))
            except (kafka_errors.OffsetOutOfRangeError, kafka_errors.LogTruncationError) as error:
                self._out_of_range(error)
            except kafka_errors.NoOffsetForPartitionError:
                pass  # seen in the instant between an assignment and the listener's seek
        # Before the moves are drained: it is never newer than what is known of the moves.
        self._membership = self._consumer.group_metadata()
        self._check_instance()
        self._check_topic()
        for records in polled.values():
            self._stash.extend(records)

    def _settle(self, seconds: float) -> tuple[dict[int, Restart], frozenset[int]]:
        """Takes note of the moves, and takes recovery a step further."""
        moved = bool(self._moves)
        while self._moves:
            what, partitions = self._moves.popleft()
            if what == "gained":
                self._recovery.add(partitions)
            else:
                self._voided |= self._forget(partitions)
                self._recovery.drop(partitions)
        if moved:  # what was taken in the same turn may be from before it
            self._stash = [record for record in self._stash if record.partition in self._next]
        with self._translated("recovering"):
            gained = self._recovery.step(seconds) if self._recovery.busy else {}
        for partition, restart in gained.items():
            self._gained[partition] = restart
            self._done[partition] = restart.checkpoint.offset
        lost, self._voided = frozenset(self._voided), set()  # not before: recovering may have raised
        return gained, lost

    def _cut(self) -> list[Record]:
        """What one poll brings of the stash, in its order."""
        records, most = self._stash[: self._settings.poll_records], self._settings.poll_bytes
        if sum(map(_size, records)) > most:
            sizes = accumulate(map(_size, records))
            records = records[: max(1, sum(1 for _ in takewhile(lambda size: size <= most, sizes)))]
        self._stash = self._stash[len(records) :]
        return records

    def _void(self, partitions: Iterable[int]) -> None:
        """Gives up what is known of partitions that this member keeps."""
        known = self._forget(partitions)
        self._stash = [record for record in self._stash if record.partition in self._next]
        self._voided |= known
        self._recovery.add(known)

    def _forget(self, partitions: Iterable[int]) -> set[int]:
        """Those of them that had been reported as gained."""
        known = self._done.keys() & set(partitions)
        for partition in known:
            del self._done[partition]
            self._next.pop(partition, None)
            self._gained.pop(partition, None)
        return known

    def _out_of_range(self, error: Exception) -> None:
        places = error.args[0] if isinstance(error, kafka_errors.OffsetOutOfRangeError) else error.divergent_offsets  # type: ignore[attr-defined]  # the client ships no types
        partitions = sorted(place.partition for place in places)
        log.warning("the log is not as it was where it is being read", partitions=partitions, why=str(error))
        self._void(partitions)

    def _commit(self, checkpoints: Mapping[int, Checkpoint]) -> bool:
        if not checkpoints:
            return True
        offsets = {
            self._place(partition): OffsetAndMetadata(checkpoint.offset, checkpoint.encode(), -1)
            for partition, checkpoint in checkpoints.items()
        }
        with self._translated("committing offsets"):
            try:
                self._consumer.commit(offsets, timeout_ms=round(self._settings.publish_timeout * 1000))
            except (
                kafka_errors.CommitFailedError,
                kafka_errors.RebalanceInProgressError,
                kafka_errors.IllegalGenerationError,
                kafka_errors.UnknownMemberIdError,
            ):
                return False
        return True

    def _check_topic(self) -> str:
        """The topic's id, which must stay what it was."""
        found = self._consumer._cluster.topic_id(self._topic)
        if not found or not found.int:  # the brokers have no ids, or no such topic just now
            return self.topic_id
        if self._topic_id is None:
            self._topic_id = found
        elif found != self._topic_id:
            raise MonitorError(
                f"topic {self._topic!r} was deleted and made anew while it was being read",
                "Start again to read the new topic from kafka.start_at on: the brokers drop the committed offsets of a "
                "topic that is deleted.",
            )
        return self.topic_id

    def _check_instance(self) -> None:
        # kafka-python 3.0.12 stops its heartbeats for ever where they find that another process has taken over the
        # name, and says so in its log only: the member would look healthy and read nothing.
        coordinator = self._consumer._coordinator
        settled = coordinator.state is MemberState.STABLE and not coordinator.rejoining  # a join stops them too
        if self._settings.instance_id is not None and settled and not coordinator._heartbeat_enabled:
            raise self._fenced()

    def _fenced(self) -> MonitorError:
        return MonitorError(
            f"another process runs under kafka.instance_id {self._settings.instance_id!r} "
            f"in group {self._settings.group!r}",
            "Give each member an instance_id of its own (a pod name), or none.",
        )

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        with translated(self._settings, doing):
            try:
                yield
            except kafka_errors.FencedInstanceIdError as error:
                raise self._fenced() from error

    def _place(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)


def _size(record: Record) -> int:
    size = len(record.key or b"") + len(record.value or b"")
    return size + sum(len(name) + len(value or b"") for name, value in record.headers) if record.headers else size
