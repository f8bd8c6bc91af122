"""The end that reads: a consumer group member, its positions and its rebalances."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Literal

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import MemberState

from monitor import config
from monitor.batch import Record
from monitor.kafka.connect import options, translated
from monitor.ports import Polled, Progress

_Move = tuple[Literal["gained", "lost"], frozenset[int]]


class KafkaSource:
    """One member of the consumer group. Partitions are won and lost only inside `poll` and `idle`."""

    def __init__(self, settings: config.Kafka, topic: str) -> None:
        """Connects; raises UnavailableError where no broker answers, RefusedError where one says no."""
        self._settings = settings
        self._topic = topic
        self._moves: deque[_Move] = deque()
        self._positions: dict[int, int] = {}
        self._stash: list[Record] = []
        self._coordinator_met = False
        self._unanchored: set[int] = set()
        with translated(settings, "joining the group"):
            self._consumer = KafkaConsumer(
                **options(
                    settings,
                    "consumer",
                    group_id=settings.group,
                    group_instance_id=settings.instance_id,
                    enable_auto_commit=False,
                    auto_offset_reset=settings.start_at,
                    isolation_level="read_committed",
                    partition_assignment_strategy=(CooperativeStickyAssignor,),
                    max_poll_records=settings.poll_records,
                    max_poll_interval_ms=round(settings.max_poll_interval * 1000),
                    session_timeout_ms=round(settings.session_timeout * 1000),
                    heartbeat_interval_ms=min(3000, round(settings.session_timeout * 1000 / 3)),
                    allow_auto_create_topics=False,
                )
            )
            self._consumer.subscribe([topic], listener=_Listener(self._moves))

    @property
    def assigned(self) -> frozenset[int]:
        return frozenset(partition.partition for partition in self._consumer.assignment())

    @property
    def positions(self) -> Mapping[int, int]:
        """Next offset to read of each partition that brought records: what a commit of all that was polled says."""
        return dict(self._positions)

    def poll(self) -> Polled:
        """Waits for records at most `poll_seconds`, takes at most `poll_records`; both bounds are settings."""
        paused = self._consumer.paused()
        if paused:
            self._consumer.resume(*paused)
        # What is taken now was fetched after the moves that this same poll brings, and belongs to this member.
        taken = [] if self._stash else self._take(self._settings.poll_seconds)
        gained, lost = self._drain()
        records = [record for record in self._stash if record.partition not in lost] + taken
        self._stash = []
        self._anchor()
        for record in records:  # in offset order within each partition, so the last one stands
            self._positions[record.partition] = record.offset + 1
        return Polled(records, gained, lost)

    def idle(self, seconds: float) -> Polled:
        """Stays a member of the group without taking records: back pressure while the sink cannot publish."""
        self._consumer.pause(*self._consumer.assignment())
        # A partition that is gained here is not paused yet: what it brings waits for the next poll.
        taken = self._take(seconds)
        gained, lost = self._drain()
        self._stash = [record for record in self._stash if record.partition not in lost] + taken
        return Polled((), gained, lost)

    def commit(self, positions: Mapping[int, int]) -> bool:
        """Commits next offsets. Raises UnavailableError while the coordinator does not answer.

        False when the group is being rebalanced: a later commit will cover them, or another member reads them again.
        """
        mine = {
            TopicPartition(self._topic, partition): OffsetAndMetadata(offset, "", -1)
            for partition, offset in positions.items()
            if partition in self.assigned
        }
        if not mine:
            return True
        with translated(self._settings, "committing offsets"):
            try:
                self._consumer.commit(mine, timeout_ms=round(self._settings.publish_timeout * 1000))
            except (
                kafka_errors.CommitFailedError,
                kafka_errors.RebalanceInProgressError,
                kafka_errors.IllegalGenerationError,
                kafka_errors.UnknownMemberIdError,
            ):
                return False
        return True

    def progress(self) -> dict[int, Progress]:
        """Position and end of every assigned partition, as far as the client knows them without asking."""
        found = {}
        for partition in self._consumer.assignment():
            position = self._positions.get(partition.partition)
            try:
                end = self._consumer.highwater(partition)
                known = self._consumer.position(partition, timeout_ms=0)
            except kafka_errors.KafkaError:  # the partition is just moving
                continue
            if position is None:
                position = known
            elif known is not None and not self._stash:
                position = max(position, known)  # beyond transaction markers, which are never delivered
            if position is not None:
                found[partition.partition] = Progress(position, end)
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
        """Leaves the group at once; what was not committed will be read again."""
        with translated(self._settings, "leaving the group"):
            self._consumer.close(autocommit=False, timeout_ms=5000)

    def _take(self, seconds: float) -> list[Record]:
        with translated(self._settings, "polling"):
            self._keep_joining()
            polled = self._consumer.poll(timeout_ms=round(seconds * 1000))
        return [record for records in polled.values() for record in records]

    def _keep_joining(self) -> None:
        # Where a rebalance that this member asked for (a partition was added) outlasts a poll, kafka-python 3.0.12
        # forgets in the next one that it is under way: the member would stay without partitions and heartbeat for ever.
        coordinator = self._consumer._coordinator
        if coordinator._join_task is not None:
            coordinator.request_rejoin()

    def _anchor(self) -> None:
        # A partition that nobody committed begins at its end, wherever that is by then: said at once, or a successor
        # would begin at a later end and skip what came in between.
        places = {TopicPartition(self._topic, partition) for partition in self._unanchored}
        found = {
            place.partition: position
            for place in places & self._consumer.assignment()
            if (position := self._consumer.position(place, timeout_ms=0)) is not None
        }
        if found and self.commit(found):
            self._unanchored -= found.keys()

    def _drain(self) -> tuple[frozenset[int], frozenset[int]]:
        gained: set[int] = set()
        lost: set[int] = set()
        while self._moves:
            what, partitions = self._moves.popleft()
            if what == "gained":
                gained |= partitions
            else:
                lost |= partitions
                gained -= partitions
        for partition in lost:
            self._positions.pop(partition, None)
        self._unanchored = (self._unanchored - lost) | (gained if self._settings.start_at == "latest" else set())
        return frozenset(gained), frozenset(lost)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # the client ships no types
    """Notes the moves, from whichever thread of the client calls; the loop reads them after its poll."""

    def __init__(self, moves: deque[_Move]) -> None:
        self._moves = moves

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        self._note("gained", assigned)

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        self._note("lost", revoked)

    def on_partitions_lost(self, lost: Sequence[TopicPartition]) -> None:
        self._note("lost", lost)

    def _note(self, what: Literal["gained", "lost"], partitions: Sequence[TopicPartition]) -> None:
        if partitions:
            self._moves.append((what, frozenset(partition.partition for partition in partitions)))
