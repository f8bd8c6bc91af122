"""A partition that is read again from its checkpoint goes on as if nothing had happened."""

from __future__ import annotations

from dataclasses import dataclass
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import checkpoint, resume
from monitor.batch import Batch
from monitor.checkpoint import Checkpoint, Eviction
from monitor.windows import WindowStore
from tests.test_windows import Event, batch, events, run, store

PARTITIONS = (0, 1)


def pick(feed: list[Event], partition: int, begin: int, end: int) -> Batch:
    """The events of one partition at offsets begin to end; an event's offset is its place in the feed."""
    whole = batch(feed, 0)
    rows = np.flatnonzero((whole.partition == partition) & (whole.offset >= begin) & (whole.offset < end))
    return Batch(
        [whole.stream[row] for row in rows.tolist()],
        whole.time[rows],
        whole.arrival[rows],
        whole.values[rows],
        whole.partition[rows],
        whole.offset[rows],
    )


def recovered(old: WindowStore, new: WindowStore, feed: list[Event], at: int, chunk: int) -> list[Checkpoint]:
    """Restores every partition of `new` at offset `at`, by way of the checkpoints' bytes."""
    places = []
    for partition in PARTITIONS:
        place = checkpoint.decode(at, old.resume(partition, at, most=10_000).encode())
        new.restore(place, partition)
        for begin in range(place.replay_from, at, chunk):
            new.rebuild(pick(feed, partition, begin, min(at, begin + chunk)))
        assert new.streams.live(partition) == old.streams.live(partition) == place.live
        places.append(place)
    return places


def long_feed(seed: int) -> list[Event]:
    """Some hundred events: streams that come and go, fall silent, go back in time, lack values; sometimes too many."""
    random = np.random.default_rng(seed)
    now, built = 1000.0, []
    names = int(random.integers(2, 9))
    troubled = random.random() * 0.4
    for row in range(int(random.integers(50, 300))):
        around = row // 40  # the streams change over time
        stream = f"s{around + int(random.integers(0, names))}"
        now += float(random.choice([0.3, 0.5, 1.0, 11.0, 70.0], p=[0.4, 0.3, 0.26, 0.03, 0.01]))
        back = float(random.choice([0.0, 0.5, 3.0, 12.0])) if random.random() < troubled else 0.0
        back = -150.0 if random.random() < 0.01 else back  # a clock that runs ahead holds the partition's clock
        values = tuple(float("nan") if random.random() < troubled / 2 else float(random.normal()) for _ in range(2))
        built.append(Event(int(random.random() < 0.3), stream, now - back, (values[0], values[1])))
    return built


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32),
    st.lists(st.floats(0, 1), min_size=1, max_size=4),
    st.integers(1, 40),
    st.integers(1, 5),
    st.integers(1, 3),
    st.sampled_from([2, 3, 5, 1000, 1000]),
    st.integers(1, 10),
)
def test_whoever_reads_on_makes_the_same_windows_and_departures(
    seed: int, stops: list[float], chunk: int, window: int, stride: int, cap: int, spacing: int
) -> None:
    """Again and again: each stop makes a new store from the one before, of whatever it was made."""
    feed = long_feed(seed)
    with mock.patch.object(resume, "_SPACING", spacing), mock.patch.object(resume, "_LOOK_EVERY", spacing):
        undisturbed, moving = store(window, stride, cap=cap), store(window, stride, cap=cap)
        done = 0
        for stop in sorted(int(share * len(feed)) for share in [*stops, 1]):
            for begin in range(done, stop, chunk):
                end = min(stop, begin + chunk)
                assert run(moving, feed[begin:end], [], begin) == run(undisturbed, feed[begin:end], [], begin)
                for partition in PARTITIONS:
                    moving.resume(partition, end, most=10_000)  # as after each batch that is committed
            successor = store(window, stride, cap=cap)
            for place in recovered(moving, successor, feed, stop, chunk):
                assert place.short == 0 or len(place.evictions) > checkpoint.MOST_EVICTIONS / 2
            moving, done = successor, stop


@settings(max_examples=100, deadline=None)
@given(events(6), st.floats(0, 1), st.integers(1, 5), st.sampled_from([2, 3, 1000]))
def test_an_image_goes_on_as_the_store_it_was_taken_of(feed: list[Event], share: float, window: int, cap: int) -> None:
    at = int(share * len(feed))
    old, new = store(window, cap=cap), store(window, cap=cap)
    run(old, feed[:at], [])
    for partition in PARTITIONS:
        new.restore(old.resume(partition, at, most=10_000), partition)
        new.load(old.image(partition, at))
    assert run(new, feed[at:], [], at) == run(old, feed[at:], [], at)


def steady(streams: int, times: int) -> list[Event]:
    return [
        Event(0, f"s{stream}", 1000.0 + time, (float(time), float(stream)))
        for time in range(times)
        for stream in range(streams)
    ]


def test_a_replay_reaches_back_about_a_window_and_not_to_the_beginning() -> None:
    with mock.patch.object(resume, "_SPACING", 1), mock.patch.object(resume, "_LOOK_EVERY", 1):
        one, feed = store(window=8), steady(10, 200)
        run(one, feed, [500, 1000, 1500])
        back = len(feed) - one.resume(0, len(feed), most=10_000).replay_from
    assert 8 * 10 <= back <= 2 * 8 * 10 + 500  # two windows and the distance of two places


def test_a_replay_is_bounded_and_what_lies_further_back_is_counted() -> None:
    with mock.patch.object(resume, "_SPACING", 1), mock.patch.object(resume, "_LOOK_EVERY", 1):
        one, feed = store(window=8), [Event(0, "slow", 999.0, (0.0, 0.0)), *steady(10, 5)]
        for row in range(len(feed)):
            run(one, feed[row : row + 1], [], row)
        place = one.resume(0, len(feed), most=20)
    assert len(feed) - 20 <= place.replay_from <= len(feed)
    assert (place.live, place.short) == (11, 11)
    assert one.resume(0, len(feed), most=0).replay_from == len(feed)


def test_a_slow_stream_holds_the_replay_back_until_it_leaves() -> None:
    with mock.patch.object(resume, "_SPACING", 1), mock.patch.object(resume, "_LOOK_EVERY", 1):
        one = store(window=2, idle=50)
        feed = [Event(0, "slow", 999.0, (0.0, 0.0)), *steady(2, 100)]
        held, free = None, None
        for row in range(len(feed)):
            run(one, feed[row : row + 1], [], row)
            place = one.resume(0, row + 1, most=10_000)
            if row == 60:
                held = place.replay_from
            free = place.replay_from
    assert held == 0
    assert free is not None
    assert free > 150


def test_more_evictions_than_a_commit_can_carry_shorten_the_replay_and_are_counted() -> None:
    one = store(window=2, cap=2)
    feed = [Event(0, f"s{row}", 1000.0 + row / 100, (0.0, 0.0)) for row in range(600)]
    run(one, feed, [])
    place = one.resume(0, len(feed), most=10_000)
    assert len(place.evictions) <= checkpoint.MOST_EVICTIONS
    assert len(place.encode()) < 4096
    assert place.replay_from > 400


@given(
    st.integers(0, 2**60),
    st.integers(0, 2**40),
    st.one_of(st.just(float("-inf")), st.floats(0, 2.5e11)),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(-(10**6), 10**6)), max_size=checkpoint.MOST_EVICTIONS),
    st.tuples(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 2**60)),
)
def test_a_checkpoint_survives_its_bytes(
    offset: int, back: int, clock: float, pairs: list[tuple[int, int]], numbers: tuple[int, int, int, int]
) -> None:
    begin = max(0, offset - back)
    live, short, loud, state_end = numbers
    place = Checkpoint(
        offset,
        begin,
        clock,
        tuple(Eviction(begin + at, begin + at - ago) for at, ago in pairs),
        live,
        short,
        loud,
        "f" * 32,
        "t" * 36,
        state_end,
    )
    note = place.encode()
    assert checkpoint.decode(offset, note) == place
    assert note.isascii()
    assert len(note) < 4096


@dataclass(frozen=True)
class Foreign:
    offset: int
    note: str


@pytest.mark.parametrize(
    "foreign",
    [
        Foreign(5, ""),
        Foreign(5, "by hand"),
        Foreign(5, "[]"),
        Foreign(5, '{"v":2,"back":0}'),
        Foreign(5, '{"v":1}'),
        Foreign(5, '{"v":1,"back":6}'),
        Foreign(5, '{"v":1,"back":-1}'),
        Foreign(5, '{"v":1,"back":0,"evictions":[[1]]}'),
    ],
)
def test_metadata_of_somebody_else_is_told_from_a_checkpoint(foreign: Foreign) -> None:
    with pytest.raises(checkpoint.UnreadableCheckpointError):
        checkpoint.decode(foreign.offset, foreign.note)
