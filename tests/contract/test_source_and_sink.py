"""What monitor/ports.py promises, on lists and on real Kafka."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from monitor.alerts import Alert, Evidence, Feature, moment, parse
from monitor.batch import Outcome, RawRecord, Reason, Reject
from tests.brokers import Topics
from tests.contract.worlds import KafkaWorld, ListWorld, Member, World, until

MakeWorld = Callable[[int], World]


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
        owned |= polled.gained
        assert {record.partition for record in polled.records} <= owned
    assert owned == {0, 1}
    assert not any(polled.lost for polled in member.polls)


def test_a_successor_reads_what_was_not_committed_and_nothing_else(make: MakeWorld) -> None:
    world = make(2)
    for number in range(10):
        world.put(number % 2, b"%d" % number)
    first = world.member()
    until(lambda: len(first.records) == 10, first)
    assert first.sink.publish(Outcome(), {0: 3, 1: 5})
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


def test_a_record_that_was_not_committed_in_time_moves_with_its_partition(make: MakeWorld) -> None:
    """While partitions move a commit may be refused (False): then later commits or other members cover the records."""
    world = make(4)
    for number in range(40):
        world.put(number % 4, b"%d" % number)
    first = world.member()
    until(lambda: len(first.records) == 40, first)
    done: set[bytes | None] = set()
    second = world.member()

    def commit(member: Member) -> None:
        taken = values(member)
        if member.commit(member.source.positions):
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
    first = world.member()
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
    until(lambda: member.sink.publish(outcome, member.source.positions), what="a publish that was committed")
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
