"""Where a partition goes on, on a real broker: every policy for what Kafka itself lost, and the incident state."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import NewPartitions, NewTopic

from monitor import config
from monitor.batch import Outcome, StateChange
from monitor.checkpoint import Checkpoint, Eviction
from monitor.errors import MonitorError, UnavailableError
from monitor.kafka.changelog import Changelog, key
from monitor.kafka.recovery import Log, forgotten
from monitor.kafka.sink import KafkaSink
from monitor.kafka.source import KafkaSource
from monitor.local_kafka import FAST_FAILOVER, LocalCluster
from monitor.ports import Polled, Restart
from tests.brokers import Topics, create_topic

PATIENCE = 30.0  # s until a test gives up
Loss = Literal["earliest", "latest", "fail"]


class Member:
    """A source that starts what it gains at its checkpoint, and all that it brought."""

    def __init__(self, source: KafkaSource) -> None:
        self.source = source
        self.polls: list[Polled] = []
        self.restarts: dict[int, Restart] = {}

    @property
    def offsets(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for polled in self.polls:
            for record in polled.records:
                found.setdefault(record.partition, []).append(record.offset)
        return found

    def poll(self) -> Polled:
        polled = self.source.poll()
        self.polls.append(polled)
        for partition, restart in polled.gained.items():
            self.restarts[partition] = restart
            self.source.start(partition, restart.checkpoint.offset)
        return polled

    def until(self, condition: Callable[[], bool], what: str = "the condition") -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come in {PATIENCE:g} s"
            self.poll()

    def owns(self, *partitions: int) -> None:
        self.until(lambda: self.restarts.keys() >= set(partitions), f"partitions {partitions}")


class Place:
    """Topics and a group of a test's own, and the hands to take them apart."""

    def __init__(self, bootstrap: str, name: str) -> None:
        self.bootstrap = bootstrap
        self.input, self.state = f"{name}.events", f"{name}.state"
        self.kafka = config.Kafka(
            bootstrap_servers=bootstrap,
            group=name,
            poll_seconds=0.05,
            options={"heartbeat_interval_ms": 300, "metadata_max_age_ms": 500},
        )
        self.topics = config.Topics(input=config.TopicSpec(name=self.input), state=config.TopicSpec(name=self.state))
        self.admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        self._producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=5)
        self._members: list[Member] = []

    def create(self, partitions: int = 1, states: int | None = None) -> None:
        create_topic(self.bootstrap, self.input, partitions=partitions)
        create_topic(self.bootstrap, self.state, partitions=states or partitions)

    def remake(self, topic: str) -> None:
        """Makes a topic of that name as soon as the old one is gone."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.admin.create_topics([NewTopic(topic, 1, 1)], wait_for_metadata=True)
                break
            except kafka_errors.KafkaError:
                assert time.monotonic() < deadline

    def put(self, count: int, partition: int = 0, size: int = 1) -> None:
        for _ in range(count):
            self._producer.send(self.input, b"x" * size, partition=partition)
        self._producer.flush(PATIENCE)

    def key(self, name: str) -> bytes:
        """`partition/stream` as this group's key; anything else as it stands."""
        number, _, stream = name.partition("/")
        return key(self.kafka.group, int(number), stream) if number.isdecimal() else name.encode()

    def put_state(self, records: list[tuple[str, bytes | None]], partition: int = 0) -> int:
        """The offset behind the last one."""
        sent = [self._producer.send(self.state, value, self.key(key), partition=partition) for key, value in records]
        self._producer.flush(PATIENCE)
        return int(sent[-1].get(PATIENCE).offset) + 1

    def commit(self, checkpoints: Mapping[int, Checkpoint | tuple[int, str]]) -> None:
        """Commits from outside, as a member that is gone has done."""
        consumer = KafkaConsumer(bootstrap_servers=self.bootstrap, group_id=self.kafka.group, enable_auto_commit=False)
        offsets = {}
        for partition, told in checkpoints.items():
            offset, metadata = (told.offset, told.encode()) if isinstance(told, Checkpoint) else told
            offsets[TopicPartition(self.input, partition)] = OffsetAndMetadata(offset, metadata, -1)
        consumer.assign(list(offsets))
        consumer.commit(offsets)
        consumer.close(autocommit=False)

    def committed(self, partition: int = 0) -> int | None:
        consumer = KafkaConsumer(bootstrap_servers=self.bootstrap, group_id=self.kafka.group)
        try:
            found = consumer.committed(TopicPartition(self.input, partition))
            return None if found is None else int(found)
        finally:
            consumer.close(autocommit=False)

    def delete_before(self, offset: int, partition: int = 0) -> None:
        self.admin.delete_records({TopicPartition(self.input, partition): offset})

    def member(self, kafka: Mapping[str, Any] | None = None, **recovery: Any) -> Member:
        settings = self.kafka.model_copy(update=dict(kafka or {}))
        made = Member(KafkaSource(settings, self.topics, config.Recovery(**recovery)))
        self._members.append(made)
        return made

    def end(self, member: Member) -> None:
        self._members.remove(member)
        member.source.close()

    def close(self) -> None:
        for member in self._members:
            member.source.close()
        self._producer.close(5)
        self.admin.close()


@pytest.fixture
def place(topics: Topics) -> Iterator[Place]:
    made = Place(topics.bootstrap, topics("recovery"))
    yield made
    made.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """An end before the commit is believed sooner: this broker has no followers that could be behind."""
    monkeypatch.setattr("monitor.kafka.recovery._BEYOND_PATIENCE", 0.2)


def test_without_a_commit_earliest_begins_with_the_first_record_that_is_left(place: Place) -> None:
    place.create()
    place.put(10)
    place.delete_before(4)
    member = place.member()
    member.until(lambda: 0 in member.offsets)
    assert member.restarts[0] == Restart(Checkpoint(4, 4, topic=member.source.topic_id))
    assert member.offsets[0] == [4, 5, 6, 7, 8, 9]
    assert member.source.topic_id


def test_without_a_commit_latest_begins_at_the_end_and_a_successor_skips_nothing(place: Place) -> None:
    place.create()
    place.put(10)
    first = place.member({"start_at": "latest"})
    first.owns(0)
    assert first.restarts[0].checkpoint.offset == 10
    assert place.committed() == 10
    place.end(first)
    place.put(3)
    second = place.member({"start_at": "latest"})
    second.until(lambda: 0 in second.offsets)
    assert second.offsets == {0: [10, 11, 12]}


def test_a_partition_that_is_added_is_read_from_its_first_record_even_where_a_group_begins_at_the_end(
    place: Place,
) -> None:
    place.create()
    place.put(5)
    member = place.member({"start_at": "latest"})
    member.owns(0)
    place.put(2)
    member.until(lambda: member.offsets == {0: [5, 6]})
    assert member.source.commit({0: Checkpoint(7, 7, features="f")})
    place.admin.create_partitions({place.input: NewPartitions(2)})
    late = KafkaProducer(bootstrap_servers=place.bootstrap)  # the other one does not know the partition yet
    for _ in range(4):
        late.send(place.input, b"x", partition=1)
    late.close(5)
    member.until(lambda: member.offsets.get(1) == [0, 1, 2, 3])
    assert not any(polled.lost for polled in member.polls)


def test_members_that_begin_together_at_the_end_do_not_take_each_other_for_a_running_group(place: Place) -> None:
    place.create(partitions=2)
    place.put(5, partition=0)
    place.put(5, partition=1)
    first = place.member({"start_at": "latest"})
    first.owns(0, 1)
    place.end(first)
    place.commit({0: Checkpoint(5, 5, topic=first.source.topic_id), 1: (5, "")})
    place.admin.delete_group_offsets(place.kafka.group, [TopicPartition(place.input, 1)])
    second = place.member({"start_at": "latest"})
    second.owns(0, 1)
    assert second.restarts[1].checkpoint.offset == 5


@pytest.mark.parametrize(
    ("policy", "offset", "missing", "brought"), [("earliest", 6, 3, [6, 7, 8, 9]), ("latest", 10, 7, [])]
)
def test_a_commit_before_the_first_record_that_is_left_goes_on_by_policy(
    place: Place, policy: Loss, offset: int, missing: int, brought: list[int]
) -> None:
    place.create()
    place.put(10)
    place.commit({0: Checkpoint(3, 1, clock=5.0, evictions=(Eviction(2, 1),), live=4)})
    place.delete_before(6)
    member = place.member(data_loss=policy)
    member.owns(0)
    found = member.restarts[0]
    assert found == Restart(Checkpoint(offset, offset, clock=5.0, live=4), missing=missing)
    if policy == "latest":
        assert place.committed() == 10, "a successor would begin at a later end"
    for _ in range(5):
        member.poll()
    assert member.offsets.get(0, []) == brought


def test_a_commit_before_the_first_record_that_is_left_stops_where_loss_is_to_stop(place: Place) -> None:
    place.create()
    place.put(10)
    place.commit({0: Checkpoint(3, 3)})
    place.delete_before(6)
    member = place.member(data_loss="fail")
    with pytest.raises(MonitorError, match="offset 3 is before the first record that is left, 6") as error:
        member.owns(0)
    assert f"partition 0 of topic '{place.input}'" in error.value.message
    assert "recovery.data_loss" in error.value.hint


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("policy", ["earliest", "latest"])
def test_a_commit_beyond_the_end_goes_on_at_the_end(place: Place, policy: Loss) -> None:
    place.create()
    place.put(10)
    place.commit({0: Checkpoint(25, 8)})
    member = place.member(data_loss=policy)
    member.owns(0)
    replay_from = 8 if policy == "earliest" else 10
    assert member.restarts[0] == Restart(Checkpoint(10, replay_from), missing=15)
    place.put(2)
    member.until(lambda: member.offsets == {0: [10, 11]})


@pytest.mark.usefixtures("quick")
def test_a_commit_beyond_the_end_stops_where_loss_is_to_stop(place: Place) -> None:
    place.create()
    place.put(10)
    place.commit({0: Checkpoint(25, 8)})
    member = place.member(data_loss="fail")
    with pytest.raises(MonitorError, match="offset 25 is beyond the end of the log, 10"):
        member.owns(0)


def test_records_that_vanish_while_they_are_read_are_a_loss_too(place: Place) -> None:
    place.create(partitions=2)
    place.put(10)
    place.put(3, partition=1)
    member = place.member({"poll_records": 2, "options": place.kafka.options | {"max_partition_fetch_bytes": 150}})
    member.until(lambda: len(member.offsets.get(0, [])) >= 2)
    assert member.source.commit({0: Checkpoint(2, 0)})
    member.source.idle(0.05)
    place.put(200, size=100)
    place.delete_before(205)
    member.until(lambda: 209 in member.offsets[0])
    voided = [polled for polled in member.polls if 0 in polled.lost]
    assert len(voided) == 1
    assert member.restarts[0].checkpoint.offset == 205
    assert member.restarts[0].missing == 203
    assert [offset for offset in member.offsets[0] if offset >= 205] == [205, 206, 207, 208, 209]
    assert member.offsets[1] == [0, 1, 2], "the other partition went on"


def test_a_commit_of_a_topic_that_was_made_anew_stops(place: Place) -> None:
    place.create()
    place.put(10)
    place.commit({0: Checkpoint(5, 5, topic="11111111-2222-3333-4444-555555555555")})
    member = place.member()
    with pytest.raises(MonitorError, match="was deleted and made anew") as error:
        member.owns(0)
    assert "--reset-offsets --to-earliest" in error.value.hint
    place.end(member)
    place.commit({0: (0, "")})  # what that tool does
    again = place.member()
    again.until(lambda: again.offsets == {0: list(range(10))})


def test_a_topic_that_is_made_anew_while_it_is_read_stops(place: Place) -> None:
    place.create()
    place.put(10)
    member = place.member()
    member.until(lambda: len(member.offsets.get(0, [])) == 10)
    before = member.source.topic_id
    place.admin.delete_topics([place.input])
    time.sleep(0.5)
    place.remake(place.input)
    place.put(30)
    with pytest.raises(MonitorError, match="was deleted and made anew while"):
        member.until(lambda: False)
    assert member.source.topic_id == before
    assert len(member.offsets[0]) == 10, "nothing of the new topic was brought"


@pytest.mark.parametrize("metadata", ["", "by hand", '{"v":99}'])
def test_a_commit_without_a_readable_checkpoint_goes_on_at_its_offset_with_nothing_to_replay(
    place: Place, metadata: str
) -> None:
    place.create()
    place.put(10)
    place.commit({0: (7, metadata)})
    member = place.member()
    member.until(lambda: 0 in member.offsets)
    assert member.restarts[0] == Restart(Checkpoint(7, 7))
    assert member.offsets == {0: [7, 8, 9]}


def test_a_replay_begins_not_before_the_log_and_not_before_its_bound(place: Place) -> None:
    place.create(partitions=2)
    for partition in range(2):
        place.put(20, partition)
    steps = (Eviction(3, 1), Eviction(9, 2), Eviction(15, 8))
    place.commit({p: Checkpoint(18, 2, evictions=steps) for p in range(2)})
    place.delete_before(8, partition=0)
    member = place.member(max_replay=6)
    member.owns(0, 1)
    assert member.restarts[1].checkpoint == Checkpoint(18, 12, evictions=(Eviction(15, 8),))
    place.end(member)
    again = place.member(max_replay=100)
    again.owns(0, 1)
    assert again.restarts[0].checkpoint == Checkpoint(18, 8, evictions=(Eviction(9, 2), Eviction(15, 8)))
    assert again.restarts[1].checkpoint == Checkpoint(18, 2, evictions=steps)


def test_the_newest_state_of_each_stream_comes_back_and_what_is_quiet_does_not(place: Place) -> None:
    place.create(partitions=3, states=2)
    for partition in range(3):
        place.put(5, partition)
    end = place.put_state(
        [
            ("0/a", b"old"),
            ("2/a", b"other partition"),
            ("0/b", b"1"),
            ("0/quiet", b"1"),
            ("0/quieter", b"1"),
            ("0/a", b"new"),
            ("0/quiet", None),
            ("0/quieter", b""),
            ("0/with/slash", b"s"),
            ("no key of ours", b"?"),
            ("0/again", None),
            ("0/again", b"back"),
        ]
    )
    place.put_state([("0/a", b"of a commit that did not come about"), ("0/b", None), ("2/late", b"in time")])
    place.commit({0: Checkpoint(2, 2, state_end=end), 1: Checkpoint(2, 2), 2: Checkpoint(2, 2, state_end=end + 3)})
    member = place.member()
    member.owns(0, 1, 2)
    assert member.restarts[0].states == {"a": b"new", "b": b"1", "with/slash": b"s", "again": b"back"}
    assert member.restarts[1].states == {}
    assert member.restarts[2].states == {"a": b"other partition", "late": b"in time"}


@pytest.mark.parametrize("metadata", [None, "by hand"])
def test_state_without_a_checkpoint_belongs_to_nobody(place: Place, metadata: str | None) -> None:
    """Offsets were reset: what was open then must not come back with a later commit."""
    place.create(partitions=1, states=1)
    place.put(5, 0)
    place.put_state([("0/open", b"1"), ("0/closed", b"1"), ("0/closed", None)])
    if metadata is not None:
        place.commit({0: (2, metadata)})
    member = place.member()
    member.owns(0)
    assert not member.restarts[0].states
    assert member.restarts[0].void == {"open"}


def test_a_state_topic_that_is_shorter_than_the_commit_says_gives_no_states(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.kafka.changelog._STALLED", 0.5)
    place.create()
    place.put(5)
    place.put_state([("0/a", b"1")])
    place.commit({0: Checkpoint(2, 2, state_end=1000)})
    member = place.member()
    member.owns(0)
    assert member.restarts[0].states == {}
    assert member.restarts[0].checkpoint.offset == 2


def test_a_state_topic_that_was_made_anew_keeps_what_is_written_to_it_and_nothing_of_before(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is shorter than the commit says until it has grown as long, and from its first commit on that is forgotten."""
    monkeypatch.setattr("monitor.kafka.changelog._STALLED", 0.5)
    place.create()
    place.put(20)

    def take_over(offset: int, changes: Callable[[Restart], Mapping[str, StateChange]]) -> Restart:
        """A member gains the partition, publishes state and commits, and is gone."""
        member = place.member()
        member.owns(0)
        restart = member.restarts[0]
        sink = KafkaSink(place.kafka, place.topics, "exactly_once", member.source)
        states = {(0, stream): change for stream, change in changes(restart).items()}
        assert sink.publish(
            Outcome(states=states), {0: Checkpoint(offset, offset, state_end=restart.checkpoint.state_end)}
        )
        sink.close()
        place.end(member)
        return restart

    old = {f"old-{number}": StateChange(b"old", quiet=False) for number in range(30)}
    take_over(5, lambda _: old)
    place.admin.delete_topics([place.state])
    place.remake(place.state)
    place.put_state([("0/stray", b"of no commit")])

    def first(restart: Restart) -> dict[str, StateChange]:
        return {stream: StateChange(b"", quiet=True) for stream in restart.void} | {
            "new": StateChange(b"1", quiet=False)
        }

    found = take_over(6, first)
    assert (found.checkpoint.offset, found.checkpoint.state_end) == (5, 0)
    assert not found.states
    assert found.void == {"stray"}
    found = take_over(7, lambda _: {"newer": StateChange(b"2", quiet=False)})
    assert (found.states, found.void) == ({"new": b"1"}, frozenset())
    found = take_over(8, lambda _: {})
    assert (found.states, found.void) == ({"new": b"1", "newer": b"2"}, frozenset())


def test_state_that_was_read_is_given_out_though_the_next_look_fails(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.kafka.changelog._STALLED", -1)  # looks for the end in each step
    place.create(partitions=2)
    end = place.put_state([("0/a", b"1")], partition=0)
    place.put_state([("1/b", b"2")], partition=1)
    changelog = Changelog(place.kafka, place.state)
    changelog.want(0, end)
    changelog.want(1, 1000)
    found: dict[int, dict[str, bytes]] = {}

    def away(*_: Any, **__: Any) -> None:
        raise kafka_errors.KafkaTimeoutError("its leader is away")

    deadline = time.monotonic() + PATIENCE
    with monkeypatch.context() as patch:
        patch.setattr(KafkaConsumer, "end_offsets", away)
        while changelog._waiting or 0 in changelog._reads:
            assert time.monotonic() < deadline
            try:
                found |= changelog.step(0.05)
            except UnavailableError:
                assert 0 not in found
    while changelog.busy:
        assert time.monotonic() < deadline
        found |= changelog.step(0.05)
    assert found == {0: {"a": b"1"}, 1: {"b": b"2"}}
    assert changelog.anew == {1}


@pytest.mark.parametrize("which", ["input", "state"])
def test_a_partition_without_a_leader_holds_up_no_other_and_comes_with_its_leader(tmp_path: Path, which: str) -> None:
    """Of the input, or of the state: partition p of the one goes with partition p of the other."""
    with LocalCluster(tmp_path, 3, settings=FAST_FAILOVER) as cluster:
        place = Place(cluster.bootstrap, "leaderless")
        try:
            single = place.input if which == "input" else place.state
            for name in (place.input, place.state):
                create_topic(cluster.bootstrap, name, partitions=6, replicas=1 if name == single else 3)
            for partition in range(6):
                place.put(1, partition)
            (told,) = place.admin.describe_topics([single])
            leaders = {found["partition_index"]: found["leader_id"] for found in told["partitions"]}
            away = {partition for partition, leader in leaders.items() if leader == 3}
            others = leaders.keys() - away
            assert away
            assert others
            cluster.nodes[2].kill()
            member = place.member()
            member.until(lambda: member.offsets.keys() == others, "the partitions with a leader")
            assert member.source.pending == away
            assert member.restarts.keys() == others
            cluster.nodes[2].start()
            member.until(lambda: member.offsets == {partition: [0] for partition in range(6)}, "the others")
            assert member.source.pending == frozenset()
            assert not any(polled.lost for polled in member.polls)
        finally:
            place.close()


def test_without_a_state_topic_it_says_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.kafka.changelog._STALLED", 0.5)
    create_topic(place.bootstrap, place.input)
    place.commit({0: Checkpoint(0, 0, state_end=1)})
    member = place.member()
    with pytest.raises(MonitorError, match=r"topics\.state"):
        member.owns(0)


def test_an_offset_on_which_a_transaction_is_open_is_waited_for_and_others_flow(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.create(partitions=2)
    place.put(5, partition=0)
    place.put(5, partition=1)
    place.commit({0: Checkpoint(1, 1), 1: Checkpoint(1, 1)})
    predecessor = KafkaProducer(bootstrap_servers=place.bootstrap, transactional_id=place.kafka.group)
    predecessor.init_transactions()
    predecessor.begin_transaction()
    told = Checkpoint(4, 3, live=7)
    predecessor.send_offsets_to_transaction(
        {TopicPartition(place.input, 0): OffsetAndMetadata(4, told.encode(), -1)}, place.kafka.group
    )
    try:
        member = place.member()
        member.until(lambda: member.offsets == {1: [1, 2, 3, 4]})
        place.put(2, partition=1)
        member.until(lambda: member.offsets == {1: [1, 2, 3, 4, 5, 6]})
        assert 0 not in member.restarts
        predecessor.commit_transaction()
        member.owns(0)
        assert member.restarts[0].checkpoint == told
        member.until(lambda: member.offsets.get(0) == [4])
        assert "Unstable" not in caplog.text, "the client calls it an unknown error"
    finally:
        predecessor.close(5)


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_what_a_member_has_committed_stands_though_the_brokers_have_forgotten_it(
    place: Place, delivery: Literal["exactly_once", "at_least_once"], caplog: pytest.LogCaptureFixture
) -> None:
    place.create()
    place.put(9)
    member = place.member()
    member.until(lambda: member.offsets == {0: list(range(9))})
    sink = KafkaSink(place.kafka, place.topics, delivery, member.source)
    outcome = Outcome(states={(0, "s"): StateChange(b"open", quiet=False)})
    assert sink.publish(outcome, {0: Checkpoint(6, 4, live=1)})
    sink.close()
    forget(place, 2)
    assert place.committed() == 2
    member.restarts.clear()
    member.source.rewind()
    member.owns(0)
    found = member.restarts[0]
    assert (found.checkpoint.offset, found.checkpoint.replay_from, found.missing) == (6, 4, 0)
    assert found.states == {"s": b"open"}
    assert "forgotten a commit" in caplog.text


def forget(place: Place, offset: int) -> None:
    """Puts an older commit in the place of the newest, as brokers have it that did not read their log to its end."""
    producer = KafkaProducer(bootstrap_servers=place.bootstrap, transactional_id=f"{place.kafka.group}.forget")
    try:
        producer.init_transactions()
        producer.begin_transaction()
        commit = OffsetAndMetadata(offset, Checkpoint(offset, offset).encode(), -1)
        producer.send_offsets_to_transaction({TopicPartition(place.input, 0): commit}, place.kafka.group)
        producer.commit_transaction()
    finally:
        producer.close(5)


@pytest.mark.parametrize(
    ("found", "remembered", "kept"),
    [
        (None, None, False),
        (None, Checkpoint(5, 5, topic="t"), True),
        (4, Checkpoint(5, 5, topic="t"), True),
        (5, Checkpoint(5, 5, topic="t"), False),
        (6, Checkpoint(5, 5, topic="t"), False),
        (None, Checkpoint(5, 5, topic="the one before it was made anew"), False),
    ],
)
def test_the_brokers_are_believed_unless_they_know_of_less_than_this_member_has_committed(
    found: int | None, remembered: Checkpoint | None, kept: bool
) -> None:
    assert forgotten(found, remembered, Log(0, 9, "t")) is (remembered if kept else None)


def test_a_poll_brings_no_more_bytes_than_asked_for_and_a_larger_record_alone(place: Place) -> None:
    place.create()
    place.put(30, size=500)
    place.put(1, size=5000)
    place.put(10, size=500)
    member = place.member({"poll_bytes": 2048})
    member.until(lambda: len(member.offsets.get(0, [])) == 41)
    assert member.offsets[0] == list(range(41))
    sizes = [[len(record.value or b"") for record in polled.records] for polled in member.polls]
    assert all(sum(found) <= 2048 or found == [5000] for found in sizes)
    assert member.source.positions == {0: 41}


def test_another_process_under_the_same_instance_id_stops_the_first(place: Place) -> None:
    place.create()
    first = place.member({"instance_id": "pod-0"})
    first.owns(0)
    second = place.member({"instance_id": "pod-0"})
    second.owns(0)
    with pytest.raises(MonitorError, match=r"another process runs under kafka\.instance_id 'pod-0'"):
        first.until(lambda: False)
    place.put(1)
    second.until(lambda: second.offsets == {0: [0]})


def test_what_a_static_member_gave_up_when_it_was_killed_is_read_by_somebody(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is handed its old share when it comes back, without a rebalance: what it gave up would be nobody's."""
    monkeypatch.setattr("monitor.kafka.orphans._EVERY", 0.5)
    place.create(partitions=2)
    first = place.member({"instance_id": "pod-0"})
    first.owns(0, 1)
    second = place.member({"instance_id": "pod-1"})

    def gave_up() -> bool:
        second.poll()
        return any(polled.lost for polled in first.polls)

    first.until(gave_up)
    place.end(first)  # before it could join again; a static member leaves without a word
    again = place.member({"instance_id": "pod-0"})

    def shared() -> bool:
        second.poll()
        return {0, 1} == again.restarts.keys() | second.restarts.keys()

    again.until(shared, "the partition that was given up")
    assert len(again.restarts) == len(second.restarts) == 1
