"""The window store against a plain model of its rules, event by event."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import floor, inf, isnan, nan
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import config
from monitor.batch import Batch, Float32
from monitor.windows import WindowStore

FILL = np.array([0.5, -0.5], np.float32)
INTERVAL = 0.7  # s


@dataclass
class Event:
    partition: int
    stream: str
    time: float
    values: tuple[float, float]


@dataclass
class Made:
    """What a store made of events: windows by position in the feed, departures, and the counts."""

    windows: list[tuple[int, list[list[float]]]] = field(default_factory=list)
    departures: list[tuple[int, int, str, str]] = field(default_factory=list)
    late: int = 0
    duplicate: int = 0
    gaps: int = 0
    imputed: int = 0
    started: int = 0


@dataclass
class Stream:
    last_time: float = -inf
    run: list[list[float]] = field(default_factory=list)
    offset: int = 0
    clock: float = -inf


def model(events: list[Event], window: int, stride: int, gap: float, idle: float, cap: int) -> Made:
    """The rules of windows.py, written the slow way: one event after the other, lists and dictionaries."""
    made = Made()
    live: dict[tuple[int, str], Stream] = {}
    clocks: dict[int, float] = {}
    for row, event in enumerate(events):
        before = clocks.get(event.partition, event.time)
        clock = clocks[event.partition] = max(before, event.time)
        mine = {key: stream for key, stream in live.items() if key[0] == event.partition}
        if floor(clock / (idle / 4)) > floor(before / (idle / 4)):
            for key, stream in sorted(mine.items(), key=lambda item: item[1].offset):
                if clock - stream.clock > idle:
                    made.departures.append((row, *key, "idle"))
                    del live[key], mine[key]
        key = (event.partition, event.stream)
        if key not in live:
            if len(mine) >= cap:
                oldest = sorted(mine.items(), key=lambda item: item[1].offset)[: max(1, len(mine) // 64)]
                for gone, _ in oldest:
                    made.departures.append((row, *gone, "evicted"))
                    del live[gone]
            live[key] = Stream()
            made.started += 1
        stream = live[key]
        stream.offset, stream.clock = row, clock
        if event.time == stream.last_time:
            made.duplicate += 1
            continue
        if event.time < stream.last_time:
            made.late += 1
            continue
        if stream.last_time > -inf and event.time - stream.last_time > gap:
            stream.run.clear()
            made.gaps += 1
        before_it, stream.last_time = stream.last_time, event.time
        made.imputed += sum(map(isnan, event.values))
        stream.run.append([float(np.float32(value)) for value in event.values])
        phase = crc32(event.stream.encode()) / 2**32 * stride * INTERVAL
        due = stride == 1 or (event.time + phase) // (stride * INTERVAL) > (before_it + phase) // (stride * INTERVAL)
        if len(stream.run) == window or (len(stream.run) > window and due):
            made.windows.append((row, filled(stream.run[-window:])))
    return made


def filled(window: list[list[float]]) -> list[list[float]]:
    """A missing value is the one before it in the window, else the mean."""
    held, made = FILL.tolist(), []
    for values in window:
        held = [held[f] if isnan(value) else value for f, value in enumerate(values)]
        made.append(held)
    return made


def batch(events: list[Event], first_offset: int) -> Batch:
    return Batch(
        [event.stream for event in events],
        np.array([event.time for event in events], np.float64),
        np.array([event.time for event in events], np.float64),
        np.array([event.values for event in events], np.float32).reshape(-1, 2),
        np.array([event.partition for event in events], np.int64),
        np.arange(first_offset, first_offset + len(events)),
    )


def run(store: WindowStore, events: list[Event], cuts: list[int], first: int = 0) -> Made:
    """Pushes them in pieces; the first one has the offset `first`, and rows are told as offsets."""
    made = Made()
    edges = sorted({0, len(events), *(cut % (len(events) + 1) for cut in cuts)})
    for start, stop in pairwise(edges):
        at = first + start
        for step in store.push(batch(events[start:stop], at)):
            made.departures.extend((d.row + at, d.partition, d.stream, d.reason) for d in step.departures)
            made.windows.extend(zip((step.windows.row + at).tolist(), step.windows.values.tolist(), strict=True))
            made.late += step.late
            made.duplicate += step.duplicate
            made.gaps += step.gaps
            made.imputed += step.imputed
            made.started += step.started
    return made


def store(window: int = 3, stride: int = 1, gap: float = 10, idle: float = 50, cap: int = 1000) -> WindowStore:
    rules = config.Windows(stride=stride, max_streams=cap)
    return WindowStore(window, FILL, rules, INTERVAL, max_gap=gap, idle_timeout=idle)


def events(streams: int) -> st.SearchStrategy[list[Event]]:
    """Interleaved feeds whose clocks mostly advance, sometimes repeat, fall back or jump."""
    step = st.sampled_from([1.0, 1.0, 1.0, 2.0, 0.0, -3.0, 11.0, 60.0])
    value = st.one_of(st.floats(-100, 100, width=32), st.just(nan))
    entry = st.tuples(st.integers(0, 1), st.integers(0, streams - 1), step, value, st.floats(-9, 9, width=32))

    def build(entries: list[tuple[int, int, float, float, float]]) -> list[Event]:
        now = 1000.0
        built = []
        for partition, stream, advance, first, second in entries:
            now += advance / 3
            built.append(Event(partition, f"s{stream}", now + (advance if advance < 0 else 0), (first, second)))
        return built

    return st.lists(entry, max_size=120).map(build)


@settings(max_examples=200, deadline=None)
@given(
    events(6),
    st.lists(st.integers(0, 1000), max_size=6),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 6),
)
def test_any_cut_into_batches_gives_what_the_rules_say(
    feed: list[Event], cuts: list[int], window: int, stride: int, cap: int
) -> None:
    expected = model(feed, window, stride, gap=10, idle=50, cap=cap)
    assert run(store(window, stride, cap=cap), feed, cuts) == expected


@settings(max_examples=50, deadline=None)
@given(events(3), st.integers(1, 4))
def test_parts_of_any_size_give_the_same_windows(feed: list[Event], staged: int) -> None:
    small = store()
    small._staged = staged
    small._rows = np.zeros((staged, 2), np.float32)
    assert run(small, feed, []) == run(store(), feed, [])


def test_a_silent_stream_leaves_at_the_first_tick_of_its_partition_after_the_timeout() -> None:
    feed = [Event(0, "silent", 1000.0, (0.0, 0.0))]
    feed += [Event(0, "talking", 1000.0 + 5 * i, (0.0, 0.0)) for i in range(1, 30)]
    feed += [Event(0, "silent", 1151.0, (0.0, 0.0))]
    made = run(store(), feed, [7, 12])
    assert made == model(feed, 3, 1, gap=10, idle=50, cap=1000)
    assert made.departures == [(feed.index(next(e for e in feed if e.time >= 1062.5)), 0, "silent", "idle")]


def test_streams_never_mix() -> None:
    feed = [Event(0, f"s{i % 7}", 100.0 + i, (float(i % 7), float(i % 7))) for i in range(700)]
    made = run(store(window=4), feed, [5, 77, 300])
    assert len(made.windows) == 700 - 7 * 3
    for row, window in made.windows:
        assert {value for event in window for value in event} == {float(row % 7)}


def test_a_stream_still_warming_up_has_no_window_rather_than_a_zero() -> None:
    assert run(store(window=3), [Event(0, "a", t, (0.0, 0.0)) for t in (1.0, 2.0)], []).windows == []


def test_memory_follows_the_live_streams_and_not_the_cap() -> None:
    small = store(window=8, cap=1_000_000)
    run(small, [Event(0, f"s{i}", 1.0 + i / 100, (0.0, 0.0)) for i in range(100)], [])
    assert small._rows.nbytes < 4 * 2 * (small._staged + 8 * 200)
    for _ in range(3):  # whoever leaves makes room for whoever comes
        small.drop(0)
        run(small, [Event(0, f"s{i}", 1.0 + i / 100, (0.0, 0.0)) for i in range(100)], [])
    assert small.streams.capacity <= 160


def test_what_is_loaded_gets_the_room_it_needs_at_once_and_no_more() -> None:
    whole = store(window=8)
    run(whole, [Event(0, f"s{i}", 1.0 + i / 100, (0.0, 0.0)) for i in range(1000)], [])
    image, other = whole.image(0, 1000), store(window=8)
    run(other, [Event(1, "first", 1.0, (0.0, 0.0))], [])
    other.load(image)
    assert other.streams.capacity == 1 + 1000
    other.drop(0)
    other.load(image)  # into the room that it left
    assert other.streams.capacity == 1 + 1000
    assert set(other.streams.slots(0).tolist()).isdisjoint(other.streams.slots(1).tolist())


def test_a_dropped_partition_leaves_the_others_as_they_were() -> None:
    both = store(window=2)
    feed = [Event(i % 2, "same name", 1.0 + i, (float(i % 2), 0.0)) for i in range(10)]
    run(both, feed, [])
    both.drop(0)
    assert both.streams.live(0) == 0
    made = run(both, [Event(1, "same name", 12.0, (1.0, 0.0)), Event(0, "same name", 12.0, (0.0, 0.0))], [])
    assert [row for row, _ in made.windows] == [0]


def test_a_name_in_two_partitions_is_two_streams_and_is_counted() -> None:
    both = store(window=2)
    steps = list(both.push(batch([Event(0, "a", 1.0, (0.0, 0.0)), Event(1, "a", 2.0, (1.0, 1.0))], 0)))
    assert sum(step.moved for step in steps) == 1
    assert both.streams.shared() == [("a", (0, 1))]
    assert len(both.streams) == 2


def test_the_latest_score_of_a_slot_does_not_outlive_its_stream() -> None:
    small = store(window=1)
    run(small, [Event(0, "a", 1.0, (0.0, 0.0))], [])
    small.streams.score[small.streams.find(0, ["a"])] = 9.0
    assert small.streams.worst(5) == ([("a", 9.0)], None)
    small.drop(0)
    run(small, [Event(0, "b", 1.0, (0.0, 0.0))], [])
    assert small.streams.worst(5) == ([], None)


@pytest.mark.parametrize("many", [1, 3])
def test_the_worst_streams_come_first_and_the_rest_is_one_number(many: int) -> None:
    small = store(window=1)
    run(small, [Event(0, f"s{i}", 1.0, (0.0, 0.0)) for i in range(5)], [])
    small.streams.score[small.streams.slots(0)] = [0.1, 0.5, 0.3, 0.2, 0.4]
    top, other = small.streams.worst(many)
    assert [score for _, score in top] == [0.5, 0.4, 0.3][:many]
    assert other == [0.5, 0.4, 0.3, 0.2][many]


def test_fill_is_not_touched() -> None:
    fill: Float32 = FILL.copy()
    run(store(), [Event(0, "a", 1.0, (nan, nan)), Event(0, "a", 2.0, (1.0, nan))], [])
    assert (fill == FILL).all()


def test_one_clock_that_runs_ahead_does_not_make_the_others_look_idle() -> None:
    small = store(idle=50)
    run(small, [Event(0, f"s{i}", 1000.0, (0.0, 0.0)) for i in range(5)], [])
    ahead = batch([Event(0, "ahead", 1300.0, (0.0, 0.0))], 5)
    on_time = Batch(ahead.stream, ahead.time, np.array([1001.0]), ahead.values, ahead.partition, ahead.offset)
    assert [step.departures for step in small.push(on_time)] == [()]
    assert small.streams.live(0) == 6
