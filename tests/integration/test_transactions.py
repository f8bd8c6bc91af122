"""The sink on real brokers: one publish is one transaction, whatever fails in it, and what a failure asks for."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import ACLOperation, ConfigResource, ConfigResourceType, ResourceType
from kafka.structs import ConsumerGroupMetadata
from pydantic import SecretStr

from monitor import config
from monitor.batch import Outcome, RawRecord, Reason, Record, Reject, StateChange
from monitor.checkpoint import Checkpoint, decode
from monitor.errors import FencedError, MonitorError, RefusedError, UnavailableError
from monitor.kafka import history
from monitor.kafka.connect import options
from monitor.kafka.sink import KafkaSink
from monitor.local_kafka import FAST_FAILOVER, LocalKafka
from tests.brokers import Topics
from tests.secured import PASSWORDS, allow, secured_kafka
from tests.test_alerts import example

PATIENCE = 30.0  # s until a test gives up
PARTITIONS = 3


class Member:
    """A member of a group that reads nothing: what a sink needs of a source, and no more."""

    topic_id = "the-topic"

    def __init__(self, kafka: config.Kafka, topic: str) -> None:
        self._topic = topic
        self._timeout = kafka.publish_timeout * 1000
        self.told: dict[int, int] = {}
        self.before_commit: Callable[[], None] = lambda: None
        self.consumer = KafkaConsumer(
            **options(
                kafka,
                "consumer",
                group_id=kafka.group,
                group_instance_id=kafka.instance_id,
                enable_auto_commit=False,
                isolation_level="read_committed",
                heartbeat_interval_ms=300,
            )
        )
        self.consumer.subscribe([topic])
        self.membership = ConsumerGroupMetadata(kafka.group)
        self.wait_for_partitions()

    def wait_for_partitions(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self.consumer.assignment():
            _poll(self.consumer)
            assert time.monotonic() < deadline
        self.membership = self.consumer.group_metadata()

    def committed(self, partitions: Sequence[int]) -> dict[int, int | None]:
        return {partition: offset.offset if offset else None for partition, offset in self.found(partitions).items()}

    def found(self, partitions: Sequence[int]) -> dict[int, OffsetAndMetadata | None]:
        return {
            partition: self.consumer.committed(
                TopicPartition(self._topic, partition), metadata=True, timeout_ms=self._timeout
            )
            for partition in partitions
        }

    def committed_now(self, checkpoints: Mapping[int, Checkpoint]) -> None:
        self.told |= {partition: checkpoint.offset for partition, checkpoint in checkpoints.items()}

    def commit(self, checkpoints: Mapping[int, Checkpoint]) -> bool:
        self.before_commit()
        self.consumer.commit(
            {
                TopicPartition(self._topic, partition): OffsetAndMetadata(checkpoint.offset, checkpoint.encode(), -1)
                for partition, checkpoint in checkpoints.items()
            },
            timeout_ms=self._timeout,
        )
        return True

    def close(self) -> None:
        self.consumer.close(autocommit=False)


def _poll(consumer: KafkaConsumer) -> None:
    if consumer._coordinator._join_task is not None:  # or the client forgets it: see KafkaSource
        consumer._coordinator.request_rejoin()
    consumer.poll(timeout_ms=50)


class Sink(KafkaSink):
    """One that can be made to fail, once, before or after each step of a transaction."""

    fault: Callable[[str], None] = staticmethod(lambda _: None)

    def _send_messages(self, *args: Any) -> Any:
        return self._step("messages", super()._send_messages, *args)

    def _send_offsets(self, *args: Any) -> Any:
        return self._step("offsets", super()._send_offsets, *args)

    def _commit_transaction(self, *args: Any) -> Any:
        return self._step("commit", super()._commit_transaction, *args)

    def _step(self, name: str, step: Callable[..., Any], *args: Any) -> Any:
        self.fault(f"before {name}")
        found = step(*args)
        self.fault(f"after {name}")
        return found

    def fail_once(self, where: str, action: Callable[[], None]) -> None:
        def fault(now: str) -> None:
            if now == where:
                self.fault = lambda _: None
                action()

        self.fault = fault

    def vanish(self) -> None:
        """Ends as a killed process does: without a word to the brokers."""
        assert self._producer is not None
        self._producer.abort = lambda seconds: None  # type: ignore[method-assign]  # a dead process aborts nothing
        self._end_producer()


def time_out() -> None:
    raise kafka_errors.KafkaTimeoutError("cut here")


class World:
    """Topics and a group of a test's own, with sinks and members that are closed behind it."""

    def __init__(self, names: Topics, **changes: Any) -> None:
        create = names.create
        self.kafka = config.Kafka(
            bootstrap_servers=names.bootstrap, group=names("group"), publish_timeout=10, **changes
        )
        self.topics = config.Topics(
            input=config.TopicSpec(name=create("in", partitions=PARTITIONS)),
            alerts=config.TopicSpec(name=create("alerts")),
            dead_letters=config.TopicSpec(name=create("dead")),
            state=config.TopicSpec(name=create("state", partitions=2)),
        )
        self._open: list[Any] = []

    def member(self, **changes: Any) -> Member:
        made = Member(self.kafka.model_copy(update=changes), self.topics.input.name)
        self._open.append(made)
        return made

    def sink(self, member: Member, delivery: Any = "exactly_once", **changes: Any) -> Sink:
        made = Sink(self.kafka.model_copy(update=changes), self.topics, delivery, member)
        self._open.append(made)
        return made

    def read(self, topic: str) -> list[Record]:
        return [record for batch in history.read(self.kafka, topic) for record in batch]

    @property
    def streams(self) -> list[str]:
        """Keys of the alert topic, as a `read_committed` reader has them."""
        return [(record.key or b"").decode() for record in self.read(self.topics.alerts.name)]

    @property
    def states(self) -> list[tuple[int, str, bytes | None]]:
        """State partition, `input partition/stream`, value."""
        return [(record.partition, self.owner(record), record.value) for record in self.read(self.topics.state.name)]

    def owner(self, record: Record) -> str:
        """Of a state record of this group: `input partition/stream`."""
        group, partition, stream = json.loads(record.key or b"")
        assert group == self.kafka.group
        return f"{partition}/{stream}"

    def limit(self, topic: str, size: int) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self.kafka.bootstrap_servers)
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": str(size)})])
        admin.close()

    def close(self) -> None:
        for made in reversed(self._open):
            made.close()


@pytest.fixture
def world(topics: Topics) -> Iterator[World]:
    made = World(topics)
    yield made
    made.close()


@pytest.fixture
def own_world(local_kafka: LocalKafka) -> Iterator[World]:
    """On a broker of the test's own, to be paused; a publish gives up after 2 s."""
    made = World(Topics(local_kafka.bootstrap))
    made.kafka = made.kafka.model_copy(update={"publish_timeout": 2.0})
    yield made
    made.close()


def opened(stream: str, partition: int = 0, value: bytes = b"open") -> Outcome:
    return Outcome(alerts=[example(stream=stream)], states={(partition, stream): StateChange(value, quiet=False)})


def quiet(stream: str, partition: int = 0) -> Outcome:
    return Outcome(states={(partition, stream): StateChange(b"quiet", quiet=True)})


def at(offset: int, partition: int = 0) -> dict[int, Checkpoint]:
    return {partition: Checkpoint(offset, offset)}


def test_alerts_dead_letters_state_and_offsets_appear_together(world: World) -> None:
    member = world.member()
    sink = world.sink(member)
    seen: list[int] = []

    def look() -> None:
        topics = (world.topics.alerts, world.topics.dead_letters, world.topics.state)
        seen.extend(len(world.read(topic.name)) for topic in topics)

    sink.fail_once("before commit", look)
    letter = Reject(Reason.NOT_JSON, "no", RawRecord("in", 2, 7, 5, b"k", b"v", [("h", None)]))
    outcome = replace(opened("a", 2), rejects=[letter])
    assert sink.publish(outcome, at(8, 2) | at(3, 0))
    assert seen == [0, 0, 0]
    assert world.streams == ["a"]
    (dead,) = world.read(world.topics.dead_letters.name)
    assert (dead.key, dead.value, dict(dead.headers)["monitor-reason"]) == (b"k", b"v", b"not_json")
    assert world.states == [(0, "2/a", b"open")]
    found = member.found([0, 1, 2])
    assert found[1] is None
    assert member.told == {0: 3, 2: 8}
    commit = found[2]
    assert commit is not None
    checkpoint = decode(commit.offset, commit.metadata)
    assert (checkpoint.offset, checkpoint.topic) == (8, "the-topic")


def test_state_goes_where_its_partition_belongs_and_its_end_is_kept_for_each(world: World) -> None:
    member = world.member()
    sink = world.sink(member)
    change = StateChange(b"x", quiet=False)
    states = {(0, "a"): change, (1, "a"): change, (2, "a"): change, (2, "b"): change}
    sink.publish(Outcome(states=states), at(1, 0) | at(1, 1) | at(1, 2))
    assert sorted(world.states) == [(0, "0/a", b"x"), (0, "2/a", b"x"), (0, "2/b", b"x"), (1, "1/a", b"x")]
    assert _state_ends(member) == {0: 1, 1: 1, 2: 3}
    sink.publish(quiet("a", 1), at(2, 0) | at(2, 1) | {2: Checkpoint(2, 2, state_end=9)})
    assert _state_ends(member) == {0: 1, 1: 3, 2: 9}  # behind the marker of the first transaction
    assert world.states[-1] == (1, "1/a", None)


def _state_ends(member: Member) -> dict[int, int]:
    commits = member.found(range(PARTITIONS))
    return {partition: decode(found.offset, found.metadata).state_end for partition, found in commits.items() if found}


def test_an_idle_loop_opens_no_transaction_and_connects_to_nobody(world: World) -> None:
    sink = world.sink(world.member())
    assert sink.publish(Outcome(), {})
    assert sink._producer is None


@pytest.mark.parametrize("where", ["before messages", "after messages", "before offsets", "after offsets"])
def test_what_failed_before_the_commit_is_never_seen_and_a_retry_doubles_nothing(world: World, where: str) -> None:
    member = world.member()
    sink = world.sink(member)
    sink.fail_once(where, time_out)
    with pytest.raises(UnavailableError):
        sink.publish(opened("a"), at(1))
    assert (world.streams, world.states, member.committed([0])) == ([], [], {0: None})
    assert sink.publish(opened("a"), at(1))
    assert sink.publish(opened("b"), at(2))
    assert (world.streams, member.committed([0])) == (["a", "b"], {0: 2})


@pytest.mark.parametrize("where", ["before commit", "after commit"])
def test_a_commit_whose_answer_was_lost_is_settled_without_doubling(world: World, where: str) -> None:
    """Before it the transaction is aborted by the next producer, after it the offsets tell that it was committed."""
    member = world.member()
    sink = world.sink(member)
    sink.publish(opened("first"), at(1))
    sink.fail_once(where, time_out)
    with pytest.raises(UnavailableError):
        sink.publish(opened("a"), at(2))
    assert sink.publish(opened("a"), at(2))
    assert member.told == {0: 2}
    assert sink.publish(Outcome(), at(3))
    newest = world.read(world.topics.state.name)[-1]
    assert (world.owner(newest), _state_ends(member)) == ("0/a", {0: newest.offset + 1})
    assert sink.publish(opened("b"), at(4))
    assert (world.streams, member.committed([0])) == (["first", "a", "b"], {0: 4})


def test_where_the_offsets_cannot_tell_how_a_transaction_ended_the_member_starts_over(world: World) -> None:
    sink = world.sink(world.member())
    sink.publish(opened("first"), at(1))
    sink.fail_once("after commit", time_out)
    with pytest.raises(UnavailableError):
        sink.publish(opened("a"), at(1))
    with pytest.raises(FencedError, match="do not tell how a transaction ended"):
        sink.publish(opened("a"), at(1))
    assert sink.publish(opened("b"), at(2))
    assert world.streams == ["first", "a", "b"]


def test_a_caller_that_recovered_meanwhile_is_not_taken_for_a_retry(world: World) -> None:
    sink = world.sink(world.member())
    sink.fail_once("after commit", time_out)
    with pytest.raises(UnavailableError):
        sink.publish(opened("a"), at(1))
    assert sink.publish(opened("b"), at(2))
    assert world.streams == ["a", "b"]


@pytest.mark.parametrize("where", ["before messages", "before offsets", "before commit"])
def test_a_broker_that_hangs_in_a_publish_loses_and_doubles_nothing(
    own_world: World, local_kafka: LocalKafka, where: str
) -> None:
    member = own_world.member()
    sink = own_world.sink(member)
    sink.publish(opened("first"), at(1))
    sink.fail_once(where, local_kafka.pause)
    with pytest.raises(UnavailableError):
        sink.publish(opened("a"), at(2))
    with pytest.raises(UnavailableError):
        sink.publish(opened("a"), at(2))
    local_kafka.resume()
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            assert sink.publish(opened("a"), at(2))
            break
        except UnavailableError:
            assert time.monotonic() < deadline
    assert (own_world.streams, member.committed([0])) == (["first", "a"], {0: 2})


def test_a_broker_killed_in_a_publish_loses_and_doubles_nothing(own_world: World, local_kafka: LocalKafka) -> None:
    member = own_world.member()
    sink = own_world.sink(member)
    sink.publish(opened("first"), at(1))
    sink.fail_once("before commit", local_kafka.kill)
    with pytest.raises(UnavailableError):
        sink.publish(opened("a"), at(2))
    local_kafka.start()
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            assert sink.publish(opened("a"), at(2))
            break
        except UnavailableError:
            assert time.monotonic() < deadline
    assert (own_world.streams, member.committed([0])) == (["first", "a"], {0: 2})


def test_a_member_of_an_older_generation_is_fenced_and_nothing_of_it_is_seen(world: World) -> None:
    first = world.member()
    zombie = world.sink(first)
    zombie.publish(opened("a"), at(1))
    old = first.membership
    second = _join(world, first)
    assert second.membership.generation_id > old.generation_id
    first.membership = old
    with pytest.raises(FencedError, match="the group has moved on"):
        zombie.publish(opened("zombie"), at(2))
    assert zombie._producer is None
    assert world.sink(second).publish(opened("b"), at(2))
    assert world.streams == ["a", "b"]


def _join(world: World, first: Member) -> Member:
    """A second member; the first one keeps polling until it has given up partitions."""
    consumer = KafkaConsumer(
        bootstrap_servers=world.kafka.bootstrap_servers, group_id=world.kafka.group, enable_auto_commit=False
    )
    consumer.subscribe([world.topics.input.name])
    deadline = time.monotonic() + PATIENCE
    while not (consumer.assignment() and len(first.consumer.assignment()) < PARTITIONS):
        _poll(consumer)
        _poll(first.consumer)
        assert time.monotonic() < deadline
    made = Member.__new__(Member)
    made.consumer, made.told, made._topic, made._timeout = consumer, {}, world.topics.input.name, 10_000
    made.membership = consumer.group_metadata()
    world._open.append(made)
    return made


def test_a_member_that_the_group_has_put_out_publishes_nothing(world: World) -> None:
    member = world.member()
    member.membership = ConsumerGroupMetadata(world.kafka.group)
    with pytest.raises(FencedError, match="not a member"):
        world.sink(member).publish(opened("a"), at(1))
    assert world.streams == []


def test_a_second_process_of_the_same_instance_fences_the_first_which_does_not_fence_it_back(world: World) -> None:
    member = world.member()
    first, second = (world.sink(member, instance_id="pod-0") for _ in range(2))
    assert first.publish(opened("a"), at(1))
    assert second.publish(opened("b"), at(2))
    with pytest.raises(FencedError, match="another process publishes under its transactional id"):
        first.publish(opened("zombie"), at(3))
    assert second.publish(opened("c"), at(3))
    assert world.streams == ["a", "b", "c"]


def test_a_successor_of_the_same_instance_ends_what_a_killed_one_left_open(world: World) -> None:
    member = world.member()
    first = world.sink(member, instance_id="pod-0")

    def killed() -> None:
        first.vanish()
        time_out()

    first.fail_once("after offsets", killed)
    with pytest.raises(UnavailableError):
        first.publish(opened("lost"), at(1))
    other = KafkaProducer(bootstrap_servers=world.kafka.bootstrap_servers)
    other.send(world.topics.alerts.name, key=b"other", value=b"").get(10)
    other.close()
    assert world.streams == []  # readers wait behind the open transaction
    world.sink(member, instance_id="pod-0").open()
    assert world.streams == ["other"]
    assert member.committed([0]) == {0: None}


def test_a_producer_that_starts_leaves_the_offsets_as_they_are_and_readable_at_once(world: World) -> None:
    """Its first transaction is over the group's offsets, and aborted: a late offset of an ended one goes with it."""
    member = world.member()
    assert world.sink(member, instance_id="pod-0").publish(opened("a"), at(1))
    before = member.committed([0, 1, 2])
    for _ in range(3):
        world.sink(member, instance_id="pod-0").open()
        assert member.committed([0, 1, 2]) == before  # would raise while one of them is not stable
    assert before[0] == 1
    assert world.streams == ["a"]


def test_without_an_instance_every_process_has_a_transactional_id_of_its_own(world: World) -> None:
    member = world.member()
    first, second = world.sink(member), world.sink(member)
    assert first.publish(opened("a"), at(1))
    assert second.publish(opened("b"), at(2))
    assert first.publish(opened("c"), at(3))
    assert world.streams == ["a", "b", "c"]


def test_a_transaction_that_is_open_for_too_long_is_void_and_the_member_starts_over(tmp_path: Path) -> None:
    soon = {"transaction.abort.timed.out.transaction.cleanup.interval.ms": "100"}
    with LocalKafka(tmp_path / "kafka", settings=dict(FAST_FAILOVER) | soon) as node:
        world = World(Topics(node.bootstrap))
        member = world.member()
        for number, where in enumerate(["before messages", "before offsets", "before commit"]):
            sink = world.sink(member, transaction_timeout=0.3)
            sink.open()
            if where == "before messages":  # a transaction begins for the brokers with its first message
                sink.fail_once("after messages", lambda: time.sleep(1))
            else:
                sink.fail_once(where, lambda: time.sleep(1))
            with pytest.raises(FencedError, match=r"longer than kafka\.transaction_timeout"):
                sink.publish(opened("late"), at(number + 1))
            assert sink.publish(opened("again"), at(number + 1))
        assert world.streams == ["again"] * 3
        world.close()


def test_a_transactional_id_that_the_brokers_forgot_over_a_long_silence_is_taken_anew(tmp_path: Path) -> None:
    soon = {
        "transactional.id.expiration.ms": "500",
        "transaction.remove.expired.transaction.cleanup.interval.ms": "100",
    }
    with LocalKafka(tmp_path / "kafka", settings=soon) as node:
        world = World(Topics(node.bootstrap))
        member = world.member()
        sink = world.sink(member)
        assert sink.publish(opened("a"), at(1))
        time.sleep(2)
        with pytest.raises(UnavailableError, match="InvalidProducerIdMapping"):
            sink.publish(opened("b"), at(2))
        assert sink.publish(opened("b"), at(2))
        assert world.streams == ["a", "b"]
        world.close()


def test_an_interrupt_in_a_transaction_lets_readers_go_on_at_once(world: World) -> None:
    sink = world.sink(world.member())

    def interrupted() -> None:
        raise KeyboardInterrupt

    sink.fail_once("after offsets", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sink.publish(opened("lost"), at(1))
    other = KafkaProducer(bootstrap_servers=world.kafka.bootstrap_servers)
    other.send(world.topics.alerts.name, key=b"other", value=b"").get(10)
    other.close()
    assert world.streams == ["other"]


def test_a_dead_letter_that_is_too_large_is_made_smaller_and_nothing_is_doubled(world: World) -> None:
    world.limit(world.topics.dead_letters.name, 2000)
    member = world.member()
    noise = bytes(i * i % 251 for i in range(5000)) + b"".join(str(i).encode() for i in range(3000))
    letter = Reject(Reason.OVERSIZED, "large", RawRecord("in", 0, 0, 5, b"k", noise))
    assert world.sink(member).publish(replace(opened("a"), rejects=[letter]), at(1))
    (dead,) = world.read(world.topics.dead_letters.name)
    assert (dead.key, dead.value) == (b"k", b"")
    assert dict(dead.headers)["monitor-value-bytes"] == b"%d" % len(noise)
    assert (world.streams, member.committed([0])) == (["a"], {0: 1})


@pytest.mark.parametrize("which", ["alerts", "state"])
def test_an_alert_or_a_state_that_is_too_large_stops_and_names_the_setting(world: World, which: str) -> None:
    name = getattr(world.topics, which).name
    world.limit(name, 200)
    noise = bytes(i * i % 251 for i in range(1000))
    member = world.member()
    with pytest.raises(MonitorError, match=f"too large for topic '{name}'") as caught:
        world.sink(member).publish(opened("a", value=noise), at(1))
    assert caught.value.hint == f"Raise max.message.bytes of topic '{name}'."
    assert (world.streams, member.committed([0])) == ([], {0: None})


def test_a_time_out_beyond_what_the_brokers_take_is_said_by_its_setting(world: World) -> None:
    with pytest.raises(MonitorError, match=r"kafka\.transaction_timeout: 1000 s is more than"):
        world.sink(world.member(), transaction_timeout=1000.0).open()


def test_a_missing_right_is_named(tmp_path: Path) -> None:
    may = ACLOperation
    with secured_kafka(tmp_path) as node:
        sasl = config.Sasl(mechanism="PLAIN", username="member", password=SecretStr(PASSWORDS["member"]))
        kafka = config.Kafka(bootstrap_servers=node.bootstrap, sasl=sasl, publish_timeout=10)
        topics = config.Topics()
        _create_as_admin(node, topics)
        allow(node, "member", {(ResourceType.GROUP, "monitor"): [may.READ]})
        for spec in (topics.input, topics.state):
            allow(node, "member", {(ResourceType.TOPIC, spec.name): [may.READ]})
        member = _once_allowed(kafka_errors.AuthorizationError, lambda: Member(kafka, topics.input.name))
        sink = KafkaSink(kafka.model_copy(update={"instance_id": "pod-0"}), topics, "exactly_once", member)
        with pytest.raises(RefusedError, match=r"transactional id 'monitor\.pod-0'") as refused:
            sink.publish(opened("a"), at(1))
        assert "WRITE and DESCRIBE" in refused.value.hint
        allow(node, "member", {(ResourceType.TRANSACTIONAL_ID, "monitor.pod-0"): [may.WRITE, may.DESCRIBE]})
        _once_allowed(RefusedError, sink.open)
        with pytest.raises(RefusedError, match="refused a topic") as refused:
            sink.publish(opened("a"), at(1))
        assert refused.value.hint == (
            "It needs WRITE on the topics alerts, events.dead, events.state, and READ on events.state."
        )
        for spec in (topics.alerts, topics.state):
            allow(node, "member", {(ResourceType.TOPIC, spec.name): [may.WRITE]})
        assert _once_allowed(RefusedError, lambda: sink.publish(opened("a"), at(1)))
        sink.close()
        member.close()


def _once_allowed(refusal: type[Exception], action: Callable[[], Any]) -> Any:
    """A right is in force shortly after it was given."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return action()
        except refusal:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _create_as_admin(node: LocalKafka, topics: config.Topics) -> None:
    admin = KafkaAdminClient(
        bootstrap_servers=node.bootstrap,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_plain_username="admin",
        sasl_plain_password=PASSWORDS["admin"],
    )
    names = [topics.input.name, topics.alerts.name, topics.dead_letters.name, topics.state.name]
    admin.create_topics({name: {"num_partitions": PARTITIONS, "replication_factor": 1} for name in names})
    admin.close()


def test_at_least_once_everything_is_acknowledged_before_the_offsets_are_committed(world: World) -> None:
    member = world.member()
    sink = world.sink(member, "at_least_once")
    seen: list[Any] = []
    member.before_commit = lambda: seen.extend([world.streams, world.states, member.committed([0])])
    assert sink.publish(opened("a"), at(1))
    assert seen == [["a"], [(0, "0/a", b"open")], {0: None}]
    assert member.committed([0]) == {0: 1}


def test_at_least_once_state_stands_only_behind_the_alerts_that_it_says_were_told(world: World) -> None:
    """A successor takes the state at its word: alerts that are missing then would stay missing."""
    member = world.member()
    sink = world.sink(member, "at_least_once")
    seen: list[Any] = []

    def cut(where: str) -> None:
        if where == "before messages":
            seen.append((world.streams, world.states))
            if len(seen) == 2:
                time_out()

    sink.fault = cut
    letter = Reject(Reason.NOT_JSON, "no", RawRecord("in", 0, 7, 5, b"k", b"v"))
    outcome = replace(opened("a"), rejects=[letter])
    with pytest.raises(UnavailableError):
        sink.publish(outcome, at(1))
    assert seen == [([], []), (["a"], [])]
    assert len(world.read(world.topics.dead_letters.name)) == 1
    assert (world.states, member.committed([0])) == ([], {0: None})
    assert sink.publish(outcome, at(1))
    assert (world.streams, world.states) == (["a", "a"], [(0, "0/a", b"open")])
    assert member.committed([0]) == {0: 1}


def test_at_least_once_a_quiet_stream_is_forgotten_only_after_a_commit_that_covers_it(world: World) -> None:
    member = world.member()
    sink = world.sink(member, "at_least_once")
    sink.publish(quiet("a"), at(1))
    assert world.states == [(0, "0/a", b"quiet")]
    sink.publish(quiet("b", 2), at(1, 2))  # says nothing of partition 0
    assert len(world.states) == 2
    sink.publish(Outcome(), at(2))
    assert world.states[-1] == (0, "0/a", None)
    sink.publish(Outcome(), at(3))
    assert len(world.states) == 3


def test_at_least_once_a_stream_that_speaks_again_is_not_forgotten(world: World) -> None:
    sink = world.sink(world.member(), "at_least_once")
    sink.publish(quiet("a"), at(1))
    sink.publish(opened("a"), at(2))
    sink.publish(Outcome(), at(3))
    assert [value for _, _, value in world.states] == [b"quiet", b"open"]


def test_at_least_once_nothing_is_forgotten_of_a_stream_that_may_have_spoken_elsewhere(world: World) -> None:
    first = world.member()
    sink = world.sink(first, "at_least_once")
    sink.publish(quiet("a"), at(1))
    _join(world, first)
    first.membership = first.consumer.group_metadata()
    sink.publish(Outcome(), at(2, next(iter(first.consumer.assignment())).partition))
    assert [value for _, _, value in world.states] == [b"quiet"]
