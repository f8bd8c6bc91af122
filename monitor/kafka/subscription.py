"""A member of a consumer group on one topic: reads what is committed, in order, and commits places when told to.

For `monitor forward`. A committed place has two offsets: the next record, and the one from which a successor must read
again to know what its predecessor knew. The second is kept in the metadata of the commit.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import MemberState

from monitor import config, logs
from monitor.batch import Record
from monitor.errors import MonitorError
from monitor.kafka.connect import options, translated
from monitor.kafka.moves import Listener, Move, keep_joining
from monitor.kafka.orphans import Orphans
from monitor.ports import Place, Taken

log = logs.get("kafka.subscription")

_RECORDS = 500  # at once
_BYTES = 4 * 2**20  # that the client fetches at once
_LEAVING = 2.0  # s; a coordinator that is amid a rebalance need not be waited for


class Subscription:
    """Partitions are won and lost only inside `poll` and `idle`."""

    def __init__(self, kafka: config.Kafka, topic: str, group: str, start_at: Literal["earliest", "latest"]) -> None:
        """Connects. Raises UnavailableError where no broker answers, MonitorError where there is no such topic."""
        self._kafka = kafka
        self._topic = topic
        self._start_at = start_at
        self._moves: deque[Move] = deque()
        self._gained: set[int] = set()  # what is committed is not known yet
        self._done: dict[int, int] = {}  # of those that are read: records before this offset are known
        self._coordinator_met = False
        with translated(kafka, f"joining group {group}"):
            self._consumer: Any = KafkaConsumer(
                **options(
                    kafka,
                    "consumer",
                    group_id=group,
                    group_instance_id=kafka.instance_id,
                    enable_auto_commit=False,
                    auto_offset_reset="none",  # what to do about an offset that is gone is decided here
                    isolation_level="read_committed",
                    partition_assignment_strategy=(CooperativeStickyAssignor,),
                    max_poll_records=_RECORDS,
                    fetch_max_bytes=_BYTES,
                    max_poll_interval_ms=round(kafka.max_poll_interval * 1000),
                    session_timeout_ms=round(kafka.session_timeout * 1000),
                    heartbeat_interval_ms=min(3000, round(kafka.session_timeout * 1000 / 3)),
                    allow_auto_create_topics=False,
                )
            )
        try:
            self._require_topic()
            self._orphans = Orphans(self._consumer, group, topic)
            self._consumer.subscribe([topic], listener=Listener(self._consumer, self._moves))
        except BaseException:
            self._consumer.close(autocommit=False)
            raise

    def poll(self, seconds: float) -> Taken:
        """Waits at most so long for records. Raises UnavailableError or RefusedError."""
        polled = self._turn(seconds, self._done)
        lost = self._settle()
        known: list[Record] = []
        new: list[Record] = []
        for place, records in polled.items():
            if place.partition in self._done:
                done = self._done[place.partition]
                known.extend(record for record in records if record.offset < done)
                new.extend(record for record in records if record.offset >= done)
        return Taken(known, new, lost)

    def idle(self, seconds: float) -> frozenset[int]:
        """Stays a member for a while without taking records; the partitions that were lost meanwhile."""
        self._turn(seconds, ())
        return self._settle()

    def positions(self) -> dict[int, int]:
        """Next offset of each partition that is read, beyond the marks of transactions; all before it was taken."""
        found = {}
        for partition, done in self._done.items():
            state = self._consumer._subscription.assignment.get(self._place(partition))
            if state is not None and state.position is not None:
                found[partition] = max(done, state.position.offset)
        return found

    def lag(self) -> dict[int, int]:
        """Records between position and end, as far as they are known without asking."""
        found = {}
        for partition, position in self.positions().items():
            state = self._consumer._subscription.assignment.get(self._place(partition))
            if state is not None and state.highwater is not None:
                found[partition] = max(0, state.highwater - position)
        return found

    def commit(self, places: Mapping[int, Place]) -> bool:
        """Commits those that this member still has. False while the group is being rebalanced: commit again later.

        Raises UnavailableError where the coordinator does not answer within `kafka.publish_timeout`.
        """
        offsets = {
            self._place(partition): OffsetAndMetadata(place.next, _metadata(place), -1)
            for partition, place in places.items()
            if partition in self._done
        }
        if not offsets:
            return True
        with translated(self._kafka, "committing offsets"):
            try:
                self._consumer.commit(offsets, timeout_ms=round(self._kafka.publish_timeout * 1000))
            except (
                kafka_errors.CommitFailedError,
                kafka_errors.RebalanceInProgressError,
                kafka_errors.IllegalGenerationError,
                kafka_errors.UnknownMemberIdError,
            ):
                return False
        return True

    def connected(self) -> bool:
        """Whether the group's coordinator answers, as far as is known; there is none yet when it begins."""
        known = not self._consumer._coordinator.coordinator_unknown()
        self._coordinator_met |= known
        return known or not self._coordinator_met

    def joined(self) -> bool:
        """Whether the group has given this member its share, and it is known where to go on."""
        return not self._gained and bool(self._consumer.group_metadata().state == MemberState.STABLE)

    def close(self) -> None:
        """Leaves the group at once (a static member keeps its place)."""
        with translated(self._kafka, "leaving the group"):
            self._consumer.close(autocommit=False, timeout_ms=round(_LEAVING * 1000))

    def _turn(self, seconds: float, flowing: Any) -> dict[TopicPartition, list[Record]]:
        places = {self._place(partition) for partition in flowing} & self._consumer.assignment()
        self._consumer.pause(*(self._consumer.assignment() - places))
        self._consumer.resume(*places)
        with translated(self._kafka, f"reading {self._topic}"):
            keep_joining(self._consumer)
            self._orphans.look()
            try:
                polled: dict[TopicPartition, list[Record]] = self._consumer.poll(timeout_ms=round(seconds * 1000))
            except (kafka_errors.OffsetOutOfRangeError, kafka_errors.LogTruncationError):
                self._gained |= self._done.keys()  # look again where to go on, of all of them
                self._done.clear()
            except kafka_errors.NoOffsetForPartitionError:
                pass  # seen in the instant between an assignment and the listener's seek
            else:
                return polled
        return {}

    def _settle(self) -> frozenset[int]:
        lost: set[int] = set()
        while self._moves:
            what, partitions = self._moves.popleft()
            if what == "gained":
                self._gained |= partitions
            else:
                self._gained -= partitions
                lost |= self._done.keys() & partitions
                for partition in partitions:
                    self._done.pop(partition, None)
        if self._gained:
            self._begin()
        return frozenset(lost)

    def _begin(self) -> None:
        """Looks up where to go on, and goes there. Where it cannot be known now, the next poll tries again."""
        places = [self._place(partition) for partition in sorted(self._gained)]
        wait = round(self._kafka.publish_timeout * 1000)
        with translated(self._kafka, "reading committed offsets"):
            committed = self._consumer._coordinator.fetch_committed_offsets(places, timeout_ms=wait)
            first, end = self._consumer.beginning_offsets(places), self._consumer.end_offsets(places)
        fresh: dict[int, Place] = {}
        for place in places:
            found = committed.get(place)
            if found is None or found.offset < 0:
                begin = first[place] if self._start_at == "earliest" else end[place]
                where = fresh[place.partition] = Place(begin, begin)
            else:
                where = _place_of(found.offset, found.metadata)
            if where.next < first[place]:
                log.warning(
                    "alerts were removed from the topic before they were forwarded",
                    topic=self._topic,
                    partition=place.partition,
                    offset=where.next,
                    first=first[place],
                )
            if where.next > end[place]:
                log.warning(
                    "the topic is shorter than it was; going on at its beginning",
                    topic=self._topic,
                    partition=place.partition,
                )
                where = Place(first[place], first[place])
            self._done[place.partition] = max(where.next, first[place])
            self._consumer.seek(place, max(where.begins, first[place]))
        self.commit(fresh)  # so that "latest" stays where it was when this began, also if no alert comes
        self._gained.clear()

    def _require_topic(self) -> None:
        where = self._kafka.bootstrap_servers
        with translated(self._kafka, f"reading {self._topic}"):
            if not self._consumer.partitions_for_topic(self._topic):
                raise MonitorError(
                    f"topic {self._topic!r} (topics.alerts) does not exist on {where}, or this user may not see it",
                    "See: monitor topics",
                )

    def _place(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)


def _metadata(place: Place) -> str:
    return json.dumps({"again": place.next - place.begins}) if place.begins < place.next else ""


def _place_of(offset: int, metadata: str | None) -> Place:
    """What another program has committed, or a reset of the offsets, names no second offset."""
    try:
        again = json.loads(metadata or "{}")["again"]
    except (ValueError, KeyError, TypeError):
        again = 0
    return Place(offset, max(0, offset - again) if isinstance(again, int) else offset)
