"""What monitor/ports.py promises, on lists and on real Kafka."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import pytest

from monitor.alerts import Alert, Evidence, Feature, moment, parse
from monitor.batch import Outcome, OutputRecord, RawRecord, Reason, Reject, StateChange
from monitor.checkpoint import Checkpoint, Eviction
from monitor.errors import FencedError
from tests.brokers import Topics
from tests.contract.worlds import Delivery, KafkaWorld, ListWorld, Member, World, until

MakeWorld = Callable[[int], World]
deliveries = pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])


@pytest.fixture(params=["lists", "kafka"])
def make(request: pytest.FixtureRequest) -> Iterator[MakeWorld]:
    """Makes a world with that many partitions; `lists` needs no broker."""
    worlds: list[World] = []

    def build(partitions: int) -> World:
        world: World
        if request.param == "lists":
            world = ListWorld(partitions)
        else:
            topics: Topics = request.getfixturevalue("topics")
            world = KafkaWorld(topics.bootstrap, topics("contract"), partitions)
        worlds.append(world)
        return world

    yield build
    for world in worlds:
        world.close()


def values(member: Member) -> list[bytes | None]:
    return [record.value for record in member.records]


def names(*numbers: int) -> list[bytes]:
    return [b"%d" % number for number in numbers]


def alert(offset: int = 7) -> Alert:
    return Alert(
        id=f"id-{offset}",
        incident="incident",
        kind="anomaly",
        status="opened",
        reason=None,
        stream="pump-7",
        time=moment(1_700_000_000),
        started_at=moment(1_700_000_000),
        ended_at=None,
        severity="major",
        score=2.5,
        error=5.0,
        threshold=2.0,
        features=(Feature(name="a", observed=1.0, expected=2.0, contribution=1.0),),
        evidence=Evidence(
            topic="events", partition=0, first_offset=offset, last_offset=offset, model="model", config="config"
        ),
    )


def state(value: bytes) -> StateChange:
    return StateChange(value, quiet=False)


def test_records_of_a_partition_arrive_in_order_and_once(make: MakeWorld) -> None:
    world = make(3)
    for number in range(90):
        world.put(number % 3, b"%d" % number, b"key", [("h", b"1")], timestamp=1000 + number)
    member = world.member()
    until(lambda: len(member.records) >= 90, member)
    member.poll()
    assert len(member.records) == 90
    for partition in range(3):
        mine = [record for record in member.records if record.partition == partition]
        assert [record.offset for record in mine] == list(range(30))
        assert [record.value for record in mine] == names(*range(partition, 90, 3))
    first = next(record for record in member.records if record.value == b"0")
    assert (first.topic, first.key, list(first.headers), first.timestamp) == (world.topic, b"key", [("h", b"1")], 1000)


def test_positions_are_the_next_offsets_of_what_was_brought(make: MakeWorld) -> None:
    world = make(2)
    for number in range(5):
        world.put(0, b"%d" % number)
    member = world.member()
    until(lambda: len(member.records) == 5 and member.owned == {0, 1}, member)
    assert member.source.positions == {0: 5}, "partition 1 brought nothing and has nothing to commit"
    until(lambda: len(member.source.progress()) == 2, member)
    place = member.source.progress()[0]
    assert (place.position, place.end) == (5, 5)
    assert member.source.progress()[1].position == 0


def test_a_poll_brings_no_more_than_asked_for(make: MakeWorld) -> None:
    world = make(2)
    for number in range(50):
        world.put(number % 2, b"%d" % number)
    member = world.member(poll_records=7)
    until(lambda: len(member.records) == 50, member)
    assert max(len(polled.records) for polled in member.polls) <= 7


def test_a_poll_of_nothing_returns_soon(make: MakeWorld) -> None:
    member = make(1).member()
    until(lambda: member.owned == {0}, member)
    begun = time.monotonic()
    assert not member.poll().records
    assert time.monotonic() - begun < 2


def test_a_partition_is_gained_before_its_records_come(make: MakeWorld) -> None:
    world = make(2)
    world.put(0, b"0")
    world.put(1, b"1")
    member = world.member()
    until(lambda: len(member.records) == 2, member)
    owned: set[int] = set()
    for polled in member.polls:
        owned |= polled.gained.keys()
        assert {record.partition for record in polled.records} <= owned
    assert owned == {0, 1}
    assert not any(polled.lost for polled in member.polls)


def test_a_successor_reads_what_was_not_committed_and_nothing_else(make: MakeWorld) -> None:
    world = make(2)
    for number in range(10):
        world.put(number % 2, b"%d" % number)
    first = world.member()
    until(lambda: len(first.records) == 10, first)
    assert first.commit({0: 3, 1: 5})
    first.close()
    second = world.member()
    world.put(1, b"new")
    until(lambda: len(second.records) >= 3, second)
    second.poll()
    assert Counter(values(second)) == Counter([b"6", b"8", b"new"])
    assert world.committed() == {0: 3, 1: 5}


def test_idle_takes_nothing_and_loses_nothing(make: MakeWorld) -> None:
    world = make(2)
    world.put(0, b"0")
    member = world.member(poll_records=10)
    until(lambda: len(member.records) == 1 and member.owned == {0, 1}, member)
    before = dict(member.source.positions)
    for number in range(1, 101):
        world.put(number % 2, b"%d" % number)
    for _ in range(3):
        assert not member.idle(0.2).records
    assert member.source.positions == before
    until(lambda: len(member.records) >= 101, member)
    member.poll()
    assert Counter(values(member)) == Counter(names(*range(101)))
    for partition in range(2):
        offsets = [record.offset for record in member.records if record.partition == partition]
        assert offsets == sorted(set(offsets))


def test_a_member_that_is_idle_from_the_start_loses_nothing(make: MakeWorld) -> None:
    world = make(2)
    for number in range(20):
        world.put(number % 2, b"%d" % number)
    member = world.member(poll_records=5)
    for _ in range(5):
        assert not member.idle(0.2).records
    assert member.source.positions == {}
    until(lambda: len(member.records) >= 20, member)
    member.poll()
    assert Counter(values(member)) == Counter(names(*range(20)))


def test_two_members_share_the_partitions_and_each_record_goes_to_one(make: MakeWorld) -> None:
    world = make(4)
    first = world.member()
    until(lambda: first.owned == {0, 1, 2, 3}, first)
    second = world.member()
    until(lambda: len(first.owned) == 2 and len(second.owned) == 2, first, second, what="an even share")
    assert first.owned | second.owned == {0, 1, 2, 3}
    assert frozenset().union(*(polled.lost for polled in first.polls)) == second.owned
    for number in range(40):
        world.put(number % 4, b"%d" % number)
    until(lambda: len(first.records) + len(second.records) >= 40, first, second)
    assert Counter(values(first) + values(second)) == Counter(names(*range(40)))
    for member in (first, second):
        assert {record.partition for record in member.records} == member.owned
        assert member.source.progress().keys() == member.owned


def test_a_member_for_whom_no_partition_is_left_has_joined_with_nothing(make: MakeWorld) -> None:
    world = make(1)
    first = world.member()
    until(lambda: first.owned == {0} and first.source.joined(), first)
    second = world.member()
    until(lambda: second.source.joined() and len(first.owned) + len(second.owned) == 1, first, second)
    assert first.source.connected()
    assert second.source.connected()


@deliveries
def test_a_record_that_was_not_committed_in_time_moves_with_its_partition(make: MakeWorld, delivery: Delivery) -> None:
    """While partitions move a commit may be refused: then later commits or other members cover the records."""
    world = make(4)
    for number in range(40):
        world.put(number % 4, b"%d" % number)
    first = world.member(delivery=delivery)
    until(lambda: len(first.records) == 40, first)
    done: set[bytes | None] = set()
    second = world.member(delivery=delivery)

    def commit(member: Member) -> None:
        taken = values(member)
        try:
            committed = member.commit(member.source.positions)
        except FencedError:
            member.source.rewind()
            return
        if committed:
            done.update(taken)

    until(
        lambda: len(first.owned) == len(second.owned) == 2 and sum(world.committed().values()) == 40,
        first,
        second,
        each=commit,
        what="an even share and the last commit",
    )
    assert done == set(names(*range(40)))
    assert world.committed() == dict.fromkeys(range(4), 10)


def test_a_commit_never_speaks_for_a_partition_of_another_member(make: MakeWorld) -> None:
    world = make(2)
    world.put(0, b"0")
    world.put(1, b"1")
    first = world.member(delivery="at_least_once")
    until(lambda: len(first.records) == 2, first)
    held = dict(first.source.positions)
    second = world.member()
    accepted: list[frozenset[int]] = []

    def commit(member: Member) -> None:
        if member is first and first.commit(held):
            accepted.append(frozenset(first.owned))

    until(
        lambda: len(first.owned) == len(second.owned) == 1 and bool(accepted) and len(accepted[-1]) == 1,
        first,
        second,
        each=commit,
    )
    second.close()
    (kept,) = first.owned
    assert kept in world.committed()
    assert frozenset(world.committed()) == accepted[0]


def test_close_leaves_at_once(make: MakeWorld) -> None:
    """A successor does not wait for the session time-out, which is 45 s."""
    world = make(2)
    first = world.member()
    until(lambda: first.owned == {0, 1}, first)
    second = world.member()
    until(lambda: len(second.owned) == 1, first, second)
    begun = time.monotonic()
    first.close()
    until(lambda: second.owned == {0, 1}, second)
    assert time.monotonic() - begun < 10


def test_what_was_published_can_be_read_and_the_offset_is_committed(make: MakeWorld) -> None:
    world = make(1)
    world.put(0, b"bad")
    member = world.member()
    until(lambda: len(member.records) == 1, member)
    outcome = Outcome(alerts=[alert()], rejects=[Reject(Reason.NOT_JSON, "why", member.records[0])])
    until(lambda: member.sink.publish(outcome, {0: Checkpoint(1, 1)}), what="a publish that was committed")
    assert world.committed() == {0: 1}
    published = world.alerts()[0]
    assert (published.key, published.value) == (b"pump-7", alert().to_bytes())
    assert list(published.headers) == alert().headers()
    assert world.dead_letters()[0].value == b"bad"


def test_a_repeated_publish_carries_the_same_messages(make: MakeWorld) -> None:
    world = make(1)
    member = world.member()
    until(lambda: member.owned == {0}, member)
    record = RawRecord(world.topic, 0, 0, 5, b"k", b"bad")
    outcome = Outcome(alerts=[alert(1), alert(2)], rejects=[Reject(Reason.NOT_JSON, "why", record)])
    for _ in range(2):
        member.sink.publish(outcome, {})
    alerts = world.alerts()
    assert [parse(record.value or b"").id for record in alerts] == ["id-1", "id-2"] * 2, "in order, equal ids"
    for left, right in pairwise(world.dead_letters()):
        assert (left.key, left.value, list(left.headers)) == (right.key, right.value, list(right.headers))


@deliveries
def test_outputs_are_published_with_the_alerts_each_to_its_topic(make: MakeWorld, delivery: Delivery) -> None:
    world = make(1)
    world.put(0, b"an event")
    member = world.member(delivery=delivery)
    until(lambda: len(member.records) == 1, member)
    scores = [OutputRecord(b"pump", b"%d" % number, [("ce_id", b"%d" % number)]) for number in range(3)]
    codes = [OutputRecord(b"pump", b"code", [])]
    outcome = Outcome(alerts=[alert()], outputs={"scores": scores, "latent": codes})
    until(lambda: member.sink.publish(outcome, {0: Checkpoint(1, 1)}), member, what="a publish that was committed")
    assert world.committed() == {0: 1}
    found = [(record.key, record.value, list(record.headers)) for record in world.outputs("scores")[:3]]
    assert found == [(one.key, one.value, one.headers) for one in scores]
    assert [record.value for record in world.outputs("latent")][:1] == [b"code"]
    assert world.outputs("denoised") == []
    assert len(world.alerts()) >= 1


@pytest.mark.parametrize(
    ("key", "value", "published"),
    [
        (b"pump", b"{nonsense", b"{nonsense"),
        (None, b"\xff\x00", b"\xff\x00"),
        (b"pump", b"", b""),
        (b"pump", None, None),
        (None, None, b""),
        (b"", b"x", b"x"),
    ],
    ids=["whole", "no key", "empty", "tombstone", "tombstone without a key", "empty key"],
)
def test_a_dead_letter_is_the_original_with_its_place_and_the_reason(
    make: MakeWorld, key: bytes | None, value: bytes | None, published: bytes | None
) -> None:
    world = make(1)
    member = world.member()
    until(lambda: member.owned == {0}, member)
    record = RawRecord("somewhere", 3, 42, 1_700_000_000_123, key, value, [("trace", b"1"), ("void", None)])
    member.sink.publish(Outcome(rejects=[Reject(Reason.TOMBSTONE, "no välue", record)]), {})
    (letter,) = world.dead_letters()
    assert (letter.key, letter.value) == (key, published)
    assert list(letter.headers) == [
        ("trace", b"1"),
        ("void", b""),
        ("monitor-reason", b"tombstone"),
        ("monitor-detail", "no välue".encode()),
        ("monitor-topic", b"somewhere"),
        ("monitor-partition", b"3"),
        ("monitor-offset", b"42"),
        ("monitor-timestamp", b"1700000000123"),
    ]


def test_a_gained_partition_brings_nothing_until_it_is_started_and_others_bring_theirs(make: MakeWorld) -> None:
    world = make(2)
    member = world.member()
    member.starts = False
    world.put(0, b"0")
    world.put(1, b"1")
    until(lambda: member.owned == {0, 1}, member)
    member.source.start(0, 0)
    until(lambda: len(member.records) == 1, member)
    for _ in range(5):
        assert not member.poll().records
    assert values(member) == [b"0"]
    assert member.source.progress()[1].position == 0
    member.source.start(1, 0)
    until(lambda: len(member.records) == 2, member)
    assert values(member) == [b"0", b"1"]


def test_a_partition_starts_only_within_its_replay(make: MakeWorld) -> None:
    world = make(1)
    member = world.member()
    member.starts = False
    until(lambda: member.owned == {0}, member)
    with pytest.raises(ValueError, match="offset 1 is not in"):
        member.source.start(0, 1)


@deliveries
def test_a_checkpoint_comes_back_with_its_partition(make: MakeWorld, delivery: Delivery) -> None:
    world = make(2)
    for number in range(20):
        world.put(0, b"%d" % number)
    first = world.member(delivery=delivery)
    until(lambda: len(first.records) == 20 and first.owned == {0, 1}, first)
    told = Checkpoint(
        offset=12,
        replay_from=5,
        clock=1_700_000_000.25,
        evictions=(Eviction(7, 3), Eviction(11, 8)),
        live=3,
        short=1,
        loud=2,
        features="f",
    )
    assert first.sink.publish(Outcome(), {0: told})
    first.close()
    second = world.member()
    second.starts = False
    until(lambda: second.owned == {0, 1}, second)
    found = second.restarts[0]
    assert replace(found.checkpoint, topic="") == told
    assert (found.states, found.missing) == ({}, 0)
    assert (second.restarts[1].checkpoint.offset, second.restarts[1].checkpoint.replay_from) == (0, 0)


def test_replayed_records_come_again_and_have_nothing_to_commit(make: MakeWorld) -> None:
    world = make(1)
    for number in range(10):
        world.put(0, b"%d" % number)
    first = world.member()
    until(lambda: len(first.records) == 10, first)
    assert first.sink.publish(Outcome(), {0: Checkpoint(8, 3)})
    first.close()
    second = world.member(poll_records=4)
    second.starts = False
    until(lambda: second.owned == {0}, second)
    second.source.start(0, 3)
    until(lambda: bool(second.records), second)
    assert second.source.progress()[0].position == 3 + len(second.records)
    if len(second.records) <= 5:
        assert second.source.positions == {}
    until(lambda: len(second.records) == 7, second)
    assert values(second) == names(*range(3, 10))
    assert second.source.positions == {0: 10}
    assert second.commit({0: 10})
    assert second.source.positions == {}


@deliveries
def test_the_states_of_a_partition_come_back_with_it(make: MakeWorld, delivery: Delivery) -> None:
    world = make(2)
    for number in range(12):
        world.put(number % 2, b"%d" % number)
    first = world.member(delivery=delivery)
    until(lambda: len(first.records) == 12, first)
    changes = [
        {(0, "a"): state(b"1"), (0, "b"): state(b"1"), (1, "a"): state(b"other")},
        {(0, "a"): state(b"2"), (0, "b/c"): state(b"3")},
        {(0, "b"): StateChange(b"quiet", quiet=True)},
        {},
        {},
    ]
    for offset, states in enumerate(changes, 1):
        assert first.sink.publish(Outcome(states=states), {p: Checkpoint(offset, offset) for p in range(2)})
    first.close()
    second = world.member()
    until(lambda: second.owned == {0, 1}, second)
    assert {p: restart.checkpoint.offset for p, restart in second.restarts.items()} == {0: 5, 1: 5}
    assert second.restarts[0].states in (
        {"a": b"2", "b/c": b"3"},
        {"a": b"2", "b/c": b"3", "b": b"quiet"},  # at least once it may be forgotten one publish later
    )
    assert second.restarts[1].states == {"a": b"other"}


def test_states_that_were_published_without_their_commit_do_not_come_back(make: MakeWorld) -> None:
    """At least once, a crash between the two leaves them in the topic; the records lead to them again."""
    world = make(1)
    world.put(0, b"0")
    first = world.member(delivery="at_least_once")
    until(lambda: len(first.records) == 1, first)
    assert first.sink.publish(Outcome(states={(0, "a"): state(b"committed")}), {0: Checkpoint(1, 1)})
    first.sink.publish(Outcome(states={(0, "a"): state(b"ahead"), (0, "b"): state(b"ahead")}), {})
    first.close()
    second = world.member()
    until(lambda: second.owned == {0}, second)
    assert second.restarts[0].states == {"a": b"committed"}


def test_after_a_rewind_all_that_was_not_committed_is_read_again(make: MakeWorld) -> None:
    world = make(2)
    for number in range(10):
        world.put(number % 2, b"%d" % number)
    member = world.member(poll_records=4)
    until(lambda: len(member.records) == 10, member)
    assert member.sink.publish(Outcome(states={(0, "a"): state(b"1")}), {0: Checkpoint(2, 1)})
    begun = len(member.polls)
    member.source.rewind()
    until(lambda: len(member.records) >= 18 and member.owned == {0, 1}, member)
    for _ in range(3):
        member.poll()
    later = member.polls[begun:]
    assert frozenset().union(*(polled.lost for polled in later)) == {0, 1}
    assert sum(len(polled.gained) for polled in later) == 2
    assert (member.restarts[0].checkpoint.offset, member.restarts[0].checkpoint.replay_from) == (2, 1)
    assert member.restarts[0].states == {"a": b"1"}
    again = [record for polled in later for record in polled.records]
    assert [record.offset for record in again if record.partition == 0] == [2, 3, 4]
    assert [record.offset for record in again if record.partition == 1] == [0, 1, 2, 3, 4]
    assert member.source.positions == {0: 5, 1: 5}


def test_a_rewound_partition_brings_nothing_before_it_is_gained_again(make: MakeWorld) -> None:
    world = make(1)
    world.put(0, b"0")
    member = world.member()
    until(lambda: len(member.records) == 1, member)
    member.source.rewind()
    assert member.source.positions == {} or member.poll().lost == {0}
    member.starts = False
    until(lambda: any(0 in polled.lost for polled in member.polls) and member.owned == {0}, member)
    for _ in range(3):
        assert not member.poll().records
