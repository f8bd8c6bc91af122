"""The incident state of partitions, read back from the compacted topic that keeps it."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors

from monitor import config, logs
from monitor.errors import MonitorError, UnavailableError
from monitor.kafka.connect import options, translated

log = logs.get("kafka.changelog")

_STALLED = 5.0  # s without a step forward, after which it is asked whether there is anything left to come


def key(group: str, partition: int, stream: str) -> bytes:
    """Key of a stream's record in the state topic, which several groups may share."""
    return msgspec.json.encode([group, partition, stream])


class _Read:
    """One partition of the state topic, for the input partitions that began together."""

    def __init__(self) -> None:
        self.ends: dict[int, int] = {}  # by input partition: the records before this offset are its state
        self.states: dict[int, dict[str, bytes]] = {}
        self.position = -1
        self.moved = time.monotonic()


class Changelog:
    """Reads, bit by bit, the state of input partitions up to where their commits say. Waits for nothing else.

    Partition p's records are in state partition p % N, under keys that name group, p and stream. The newest one of a
    stream holds; an empty one means that it is quiet. Records behind the end that was asked for belong to a commit that
    did not come about.
    """

    def __init__(self, settings: config.Kafka, topic: str) -> None:
        """Connects when something is wanted, and leaves when all of it was read."""
        self._settings = settings
        self._topic = topic
        self._consumer: Any = None
        self._absent: float | None = None  # since when there seems to be no such topic
        self._waiting: dict[int, int | None] = {}
        self._reads: dict[int, _Read] = {}  # by state partition
        self._done: dict[int, dict[str, bytes]] = {}  # read, not given out
        self.anew: set[int] = set()  # input partitions whose commit is of an older topic of that name

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._reads or self._done)

    def want(self, partition: int, end: int | None) -> None:
        """State of an input partition, from the records before the offset `end` of its state partition; None: all."""
        self.drop(partition)
        self._waiting[partition] = end

    def drop(self, partition: int) -> None:
        self._waiting.pop(partition, None)
        self._done.pop(partition, None)
        self.anew.discard(partition)
        for read in self._reads.values():
            read.ends.pop(partition, None)
            read.states.pop(partition, None)

    def step(self, seconds: float) -> dict[int, dict[str, bytes]]:
        """States by stream of the input partitions that were read to their end now; waits at most so long for records.

        Raises UnavailableError where no broker answers, MonitorError where there is no state topic.
        """
        with translated(self._settings, f"reading {self._topic}"):
            if self._begin():
                polled = self._consumer.poll(timeout_ms=round(seconds * 1000))
                for place, records in polled.items():
                    if place.partition in self._reads:
                        self._take(self._reads[place.partition], records)
        for number, read in list(self._reads.items()):
            with translated(self._settings, f"reading {self._topic}"):
                self._done |= self._ended(number, read)  # kept: the next one may fail
            if not read.ends:
                del self._reads[number]
        done, self._done = self._done, {}
        if not self.busy:
            self.close()
        return done

    def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        self._reads, self._waiting, self._done = {}, {}, {}
        if consumer is not None:
            with suppress(kafka_errors.KafkaError):
                consumer.close(autocommit=False, timeout_ms=1000)

    def _begin(self) -> bool:
        """Whether there is anything to read; begins with what waits for a state partition that is free."""
        count = self._connect() if self._waiting else 0
        for partition, end in list(self._waiting.items()):
            number = partition % count if count else -1
            read = self._reads.get(number)
            if number < 0 or (read is not None and read.position >= 0):
                continue  # it is being read for others already, from the beginning
            place = self._place(number)
            if end is None and not self._led(place):
                continue
            known = self._consumer.end_offsets([place], timeout_ms=1000)[place] if end is None else end
            read = self._reads.setdefault(number, _Read())
            read.ends[partition] = known
            read.states[partition] = {}
            del self._waiting[partition]
        fresh = {self._place(number) for number, read in self._reads.items() if read.position < 0}
        if self._reads:
            wanted = {self._place(number) for number in self._reads}
            held = self._consumer.assignment()
            if held != wanted:
                self._consumer.assign(sorted(wanted))
            for place in fresh:
                self._reads[place.partition].position = 0
                self._consumer.seek_to_beginning(place)
        return bool(self._reads)

    def _connect(self) -> int:
        """The number of partitions of the state topic; 0 while it is not known."""
        if self._consumer is None:
            self._consumer = KafkaConsumer(
                **options(
                    self._settings,
                    "consumer",
                    group_id=None,
                    enable_auto_commit=False,
                    isolation_level="read_committed",
                    auto_offset_reset="earliest",
                    max_poll_records=10_000,
                    allow_auto_create_topics=False,
                )
            )
        consumer = self._consumer
        found = consumer._cluster.partitions_for_topic(self._topic)
        if found is None:
            consumer._cluster.add_topic(self._topic)
            with suppress(kafka_errors.UnknownTopicOrPartitionError):
                consumer._net.run(consumer._manager.wait_for, consumer._cluster.request_update(), 1000)
            found = consumer._cluster.partitions_for_topic(self._topic)
        if found:
            self._absent = None
            return len(found)
        now = time.monotonic()
        self._absent = now if self._absent is None else self._absent
        said = f"topic {self._topic!r} (topics.state) does not exist on {self._settings.bootstrap_servers}"
        if now - self._absent < _STALLED:  # a broker that has just begun may not know its topics yet
            raise UnavailableError(said)
        raise MonitorError(said, "Make it with: monitor topics --create")

    def _take(self, read: _Read, records: list[Any]) -> None:
        for record in records:
            partition, stream = self._owner(record.key)
            if record.offset >= read.ends.get(partition, 0):
                continue
            if record.value:
                read.states[partition][stream] = record.value
            else:
                read.states[partition].pop(stream, None)

    def _owner(self, key: bytes | None) -> tuple[int, str]:
        """Input partition and stream of a record of this group; -1 of any other."""
        try:
            group, partition, stream = msgspec.json.decode(key or b"", type=tuple[str, int, str])
        except (msgspec.MsgspecError, UnicodeError):
            return -1, ""
        return (partition, stream) if group == self._settings.group else (-1, "")

    def _ended(self, number: int, read: _Read) -> dict[int, dict[str, bytes]]:
        """The input partitions whose end is reached; those whose end will never come have no state."""
        place = self._place(number)
        state = self._consumer._subscription.assignment[place]
        position = state.position.offset if state.position is not None else 0
        now = time.monotonic()
        if position > read.position:
            read.position, read.moved = position, now
        done = {partition: read.states[partition] for partition, end in read.ends.items() if position >= end}
        stalled = now - read.moved > _STALLED and state.highwater is not None
        if len(done) < len(read.ends) and stalled and self._led(place):
            # The newest records may have been compacted away; or the log is shorter than the commit says.
            stable = self._consumer.end_offsets([place], timeout_ms=1000)[place]
            read.moved = now
            for partition, end in read.ends.items():
                if position < end <= stable:
                    done[partition] = read.states[partition]
                elif end > state.highwater:
                    log.warning(
                        "incident state is lost: the state topic is shorter than the commit says; was it made anew?",
                        partition=partition,
                        state_end=end,
                        end=state.highwater,
                    )
                    self.anew.add(partition)
                    done[partition] = read.states[partition]
        for partition in done:
            del read.ends[partition]
            del read.states[partition]
        return done

    def _led(self, place: TopicPartition) -> bool:
        """Whether it has a leader to ask; one that has none must hold up no other."""
        led = self._consumer._cluster.leader_for_partition(place) not in (None, -1)
        if not led:
            self._consumer._cluster.request_update()
        return led

    def _place(self, number: int) -> TopicPartition:
        return TopicPartition(self._topic, number)
