"""Where a partition goes on: the commit, what the log still has of it, and the incident state that belongs to it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kafka import OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors

from monitor import config, logs
from monitor.checkpoint import Checkpoint, UnreadableCheckpointError, decode
from monitor.errors import MonitorError, UnavailableError
from monitor.kafka.changelog import Changelog
from monitor.ports import Restart

log = logs.get("kafka.recovery")

_PATIENCE = 1.0  # s; longest wait for one answer, so that partitions that stay keep flowing
_BEYOND_PATIENCE = 3.0  # s; an end before the commit is believed when it is still seen after this long


@dataclass(frozen=True, slots=True)
class Log:
    """What a partition's log has: offsets [begin, end) and the brokers' id of its topic, empty where they have none."""

    begin: int
    end: int
    topic: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """Where a partition goes on."""

    checkpoint: Checkpoint
    missing: int = 0  # records that are lost, as in Restart
    anchor: bool = False  # the end as of now: to be committed at once, a successor would begin at a later one
    void: bool = False  # there is no checkpoint: whatever incident state there is belongs to none
    why: str = ""  # what happened to the commit, where something did


def begin(log: Log, start_at: str, running: bool) -> Start:
    """A partition without a commit. In a group that is running already it was added: all its records are new."""
    at_end = start_at == "latest" and not running
    offset = log.end if at_end else log.begin
    return Start(Checkpoint(offset, offset, topic=log.topic), anchor=at_end, void=True)


def resume(name: str, checkpoint: Checkpoint, log: Log, policy: config.Recovery) -> Start:
    """A partition with a commit; `name` is for errors. Raises MonitorError where the commit fits no log, or may not."""
    if checkpoint.topic and log.topic and checkpoint.topic != log.topic:
        raise MonitorError(
            f"{name}: the topic was deleted and made anew: committed offset {checkpoint.offset} belongs to the old one",
            "To read the new topic from its beginning use another kafka.group, or stop all members and run "
            "kafka-consumer-groups.sh --reset-offsets --to-earliest --execute for this group and topic.",
        )
    if log.begin <= checkpoint.offset <= log.end:
        return Start(_bounded(checkpoint, log, policy.max_replay))
    below = checkpoint.offset < log.begin
    why = f"committed offset {checkpoint.offset} is " + (
        f"before the first record that is left, {log.begin}" if below else f"beyond the end of the log, {log.end}"
    )
    if policy.data_loss == "fail":
        raise MonitorError(
            f"{name}: {why}",
            "Records were lost before they were read. To go on without them set recovery.data_loss to earliest (go on "
            "with what is left) or latest (skip to the end).",
        )
    skips = policy.data_loss == "latest"
    offset = log.begin if below and not skips else log.end
    found = replace(checkpoint, offset=offset)
    if skips:  # what lies between was never read: a replay of it would make windows with a hole
        found = replace(found, replay_from=offset)
    return Start(_bounded(found, log, policy.max_replay), abs(offset - checkpoint.offset), skips, why=why)


def forgotten(found: int | None, remembered: Checkpoint | None, log: Log) -> Checkpoint | None:
    """What this member has committed, where the brokers know of no commit of this topic (`found`), or of an older one.

    A group's commits never go back while it has members. But a coordinator of Kafka 4 whose partition changes hands
    while it is being loaded can take a load that was cut short for a whole one, and knows less than its log until it is
    loaded again. To believe it would be to publish again what has been published.
    """
    if remembered is None or remembered.topic != log.topic:
        return None
    return remembered if found is None or found < remembered.offset else None


def _bounded(checkpoint: Checkpoint, log: Log, most: int) -> Checkpoint:
    first = max(checkpoint.replay_from, log.begin, checkpoint.offset - most)
    first = min(first, checkpoint.offset)
    left = tuple(eviction for eviction in checkpoint.evictions if first <= eviction.at <= checkpoint.offset)
    return replace(checkpoint, replay_from=first, evictions=left)


class Recovery:
    """The partitions that are being recovered; one whose commit is not settled yet holds up no other.

    `step` never waits long: an answer that does not come is asked for again in the next step.
    """

    def __init__(
        self,
        consumer: Any,
        settings: config.Kafka,
        topics: config.Topics,
        policy: config.Recovery,
        commit: Callable[[Mapping[int, Checkpoint]], bool],
        topic_id: Callable[[], str],
    ) -> None:
        """`consumer` is the group member; it is used only inside `step`. `commit` says False to be asked again."""
        self.ends: dict[int, int] = {}  # end of each partition's log when it was last looked up
        self._consumer = consumer
        self._settings = settings
        self._topic = topics.input.name
        self._policy = policy
        self._commit = commit
        self._topic_id = topic_id
        self._changelog = Changelog(settings, topics.state.name)
        self._new: set[int] = set()
        self._beyond: dict[int, float] = {}  # since when the end is seen before the commit
        self._started: dict[int, Start] = {}
        self._remembered: dict[int, Checkpoint] = {}  # the newest that this member has committed, of any partition
        logging.getLogger("kafka.coordinator.consumer").addFilter(_expected)

    @property
    def busy(self) -> bool:
        return bool(self._new or self._started)

    @property
    def partitions(self) -> frozenset[int]:
        """Those that are not recovered yet."""
        return frozenset({*self._new, *self._started})

    @property
    def reading(self) -> bool:
        """Whether incident state is being read: a step waits for it."""
        return self._changelog.busy

    def add(self, partitions: Iterable[int]) -> None:
        self._new |= set(partitions)

    def drop(self, partitions: Iterable[int]) -> None:
        for partition in partitions:
            self._new.discard(partition)
            self._started.pop(partition, None)
            self._beyond.pop(partition, None)
            self._changelog.drop(partition)

    def remember(self, partition: int, checkpoint: Checkpoint) -> None:
        """That it has been committed by this member, whatever the brokers say of it later."""
        self._remembered[partition] = checkpoint

    def again(self) -> None:
        """Begins anew with all of them."""
        partitions = {*self._new, *self._started}
        self.drop(partitions)
        self.add(partitions)

    def step(self, seconds: float) -> dict[int, Restart]:
        """Those that are recovered now; waits for incident state for at most this long."""
        read: dict[int, dict[str, bytes]] = {}
        try:
            if self._new:
                self._look_up()
            self._anchor()
            if self._changelog.busy:
                read = self._changelog.step(seconds)
        except (kafka_errors.RetriableError, UnavailableError) as error:
            log.debug("recovering is held up", why=str(error))
        for partition, start in self._started.items():
            if not (start.anchor or start.checkpoint.state_end or start.void):
                read[partition] = {}
        found = {}
        for partition, states in read.items():
            start = self._started.pop(partition)
            if partition in self._changelog.anew:
                # What the new topic holds belongs to no commit, and the commit's end is one of the old topic.
                start = replace(start, checkpoint=replace(start.checkpoint, state_end=0), void=True)
            if start.void:
                found[partition] = Restart(start.checkpoint, {}, frozenset(states), start.missing)
            else:
                found[partition] = Restart(start.checkpoint, states, missing=start.missing)
        return found

    def close(self) -> None:
        self._changelog.close()

    def _look_up(self) -> None:
        # One without a leader must not hold up the others; and kafka-python 3.0.12 answers a KeyError for it.
        cluster = self._consumer._cluster
        led = {p for p in self._new if cluster.leader_for_partition(self._place(p)) not in (None, -1)}
        if led != self._new:
            cluster.request_update()
        commits = self._stable(led) if led else {}
        if not commits:
            return
        places = [self._place(partition) for partition in commits]
        try:
            begins = self._consumer.beginning_offsets(places, timeout_ms=round(_PATIENCE * 1000))
            ends = self._consumer.end_offsets(places, timeout_ms=round(_PATIENCE * 1000))
        except KeyError as error:  # it has just lost its leader
            raise kafka_errors.LeaderNotAvailableError(str(error)) from error
        running = self._settings.start_at == "latest" and None in commits.values() and self._is_running()
        for partition, commit in commits.items():
            place = self._place(partition)
            known = Log(begins[place], ends[place], self._topic_id())
            found = None if commit is None else commit.offset
            kept = forgotten(found, self._remembered.get(partition), known)
            committed = found if kept is None else kept.offset
            if committed is not None and self._may_be_late(partition, committed, known.end):
                continue
            self._new.discard(partition)
            self._beyond.pop(partition, None)
            self.ends[partition] = known.end
            if kept is not None:
                log.warning("the brokers have forgotten a commit", partition=partition, found=found, made=kept.offset)
                start = self._told(partition, self._resumed(partition, kept, known))
            else:
                start = self._start(partition, commit, known, running)
            self._started[partition] = start
            if not start.anchor:
                self._want(partition, start)

    def _start(self, partition: int, commit: OffsetAndMetadata | None, known: Log, running: bool) -> Start:
        if commit is None:
            start = begin(known, self._settings.start_at, running)
            log.info("nothing is committed", partition=partition, offset=start.checkpoint.offset)
            return start
        try:
            checkpoint = decode(commit.offset, commit.metadata or "")
        except UnreadableCheckpointError as error:
            checkpoint = Checkpoint(commit.offset, commit.offset)
            why = str(error) if commit.metadata else "none was committed with the offset"
            log.warning("no checkpoint: windows warm up again", partition=partition, offset=commit.offset, why=why)
            return self._told(partition, replace(self._resumed(partition, checkpoint, known), void=True))
        return self._told(partition, self._resumed(partition, checkpoint, known))

    def _resumed(self, partition: int, checkpoint: Checkpoint, known: Log) -> Start:
        return resume(f"partition {partition} of topic {self._topic!r}", checkpoint, known, self._policy)

    def _want(self, partition: int, start: Start) -> None:
        if start.void:
            self._changelog.want(partition, None)
        elif start.checkpoint.state_end:
            self._changelog.want(partition, start.checkpoint.state_end)

    def _told(self, partition: int, start: Start) -> Start:
        if start.why:
            going_on = start.checkpoint.offset
            log.warning(start.why, partition=partition, missing=start.missing, going_on_at=going_on)
        return start

    def _anchor(self) -> None:
        anchors = {partition: start.checkpoint for partition, start in self._started.items() if start.anchor}
        if not anchors or not self._commit(anchors):
            return
        for partition in anchors:
            self._started[partition] = replace(self._started[partition], anchor=False)
            self._want(partition, self._started[partition])

    def _may_be_late(self, partition: int, committed: int, end: int) -> bool:
        # A leader that was just elected may not know its end yet. To believe it would be to read records again.
        if committed <= end:
            return False
        now = time.monotonic()
        return now - self._beyond.setdefault(partition, now) < _BEYOND_PATIENCE

    def _stable(self, partitions: Iterable[int]) -> dict[int, Any]:
        """Commits, None where there is none, of those partitions on which no transaction is open."""
        wanted = sorted(partitions)
        try:
            found = self._fetch(wanted)
            return {partition: found.get(self._place(partition)) for partition in wanted}
        except kafka_errors.UnstableOffsetCommitError:
            if len(wanted) == 1:
                return {}
        stable: dict[int, Any] = {}
        for partition in wanted:
            stable |= self._stable([partition])
        return stable

    def _is_running(self) -> bool:
        """Whether the group has read any of this topic. Other members may be just committing where they begin."""
        partitions = self._consumer._cluster.partitions_for_topic(self._topic) or set()
        try:
            commits = self._fetch(sorted(partitions)).values()
        except kafka_errors.UnstableOffsetCommitError:
            return True
        return not all(_is_beginning(commit) for commit in commits)

    def _fetch(self, partitions: Iterable[int]) -> dict[TopicPartition, OffsetAndMetadata]:
        # As the client's fetch_committed_offsets, but an unstable offset is told instead of waited for.
        consumer = self._consumer
        places = [self._place(partition) for partition in partitions]
        answer = consumer._manager.call_soon(consumer._coordinator._send_offset_fetch_request, places)
        found: dict[TopicPartition, OffsetAndMetadata]
        found = consumer._net.run(consumer._manager.wait_for, answer, _PATIENCE * 1000)
        return found

    def _place(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)


def _is_beginning(commit: OffsetAndMetadata) -> bool:
    """Whether it says no more than where a member begins, as `begin` makes it."""
    try:
        found = decode(commit.offset, commit.metadata or "")
    except UnreadableCheckpointError:
        return False
    return found == Checkpoint(commit.offset, commit.offset, topic=found.topic)


def _expected(record: logging.LogRecord) -> bool:
    """Keeps one line of the client out of the log: an offset on which a transaction is open is no error."""
    unknown = isinstance(record.msg, str) and record.msg.startswith("Unknown error fetching offsets")
    return not (
        unknown and any(isinstance(value, kafka_errors.UnstableOffsetCommitError) for value in record.args or ())
    )
