"""When a partition is stuck: a position that does not move though there is more to read."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.ports import Progress
from monitor.standstill import Standstill

AFTER = 10.0


def looks(
    still: Standstill, places: Sequence[Progress | None], *, begin: float = 0.0, waiting: bool = False
) -> list[frozenset[int]]:
    """One look a second at partition 0, which is away where its place is None."""
    return [
        still.observe(begin + second, {} if place is None else {0: place}, waiting=waiting)
        for second, place in enumerate(places)
    ]


def test_one_that_stands_while_its_end_moves_is_stuck_after_that_time_and_not_before() -> None:
    found = looks(Standstill(AFTER), [Progress(5, 6 + second) for second in range(12)])
    assert found == [frozenset()] * 10 + [frozenset({0})] * 2


def test_one_that_stands_before_an_end_that_stands_too_is_stuck() -> None:
    assert looks(Standstill(AFTER), [Progress(5, 6)] * 12)[-1] == {0}


def test_one_that_has_read_all_is_not_stuck_however_long_it_is_quiet() -> None:
    assert not any(looks(Standstill(AFTER), [Progress(5, 5)] * 60))


def test_the_time_begins_when_there_is_more_to_read_and_not_while_it_was_quiet() -> None:
    found = looks(Standstill(AFTER), [Progress(5, 5)] * 60 + [Progress(5, 6)] * 10)
    assert [bool(stuck) for stuck in found[-10:]] == [False] * 9 + [True]


def test_one_step_ends_it() -> None:
    still = Standstill(AFTER)
    assert looks(still, [Progress(5, 9)] * 12)[-1] == {0}
    assert looks(still, [Progress(6, 9)], begin=12) == [frozenset()]
    assert still.seconds(0) == 0


def test_a_slow_one_is_not_stuck() -> None:
    assert not any(looks(Standstill(AFTER), [Progress(second // 9, 1000) for second in range(100)]))


def test_one_that_is_read_again_from_an_earlier_place_has_moved() -> None:
    still = Standstill(AFTER)
    looks(still, [Progress(5, 9)] * 9)
    assert not any(looks(still, [Progress(3, 9)] * 9, begin=9))


def test_markers_at_the_end_that_the_position_moves_beyond_are_no_standstill() -> None:
    # behind a commit: the records were taken, the marker not yet
    ends = [Progress(4 * n + (2 if half else 1), 4 * n + 2) for n in range(20) for half in (0, 1)]
    assert not any(looks(Standstill(1.5), ends))


def test_one_whose_leader_never_answered_is_stuck() -> None:
    assert looks(Standstill(AFTER), [Progress(0, None)] * 12)[-1] == {0}


def test_waiting_is_nobodys_standstill() -> None:
    still = Standstill(AFTER)
    assert not any(looks(still, [Progress(5, 9)] * 60, waiting=True))
    assert [bool(stuck) for stuck in looks(still, [Progress(5, 9)] * 10, begin=60)] == [False] * 9 + [True]


def test_waiting_does_not_hide_one_that_is_stuck_nor_makes_its_time_begin_anew() -> None:
    still = Standstill(AFTER)
    looks(still, [Progress(5, 9)] * 9)  # 8 s
    assert not any(looks(still, [Progress(5, 9)] * 30, begin=9, waiting=True))
    assert looks(still, [Progress(5, 9)] * 2, begin=39)[-1] == {0}
    assert looks(still, [Progress(5, 9)], begin=41, waiting=True) == [{0}]


def test_a_process_that_was_stopped_for_long_has_no_stuck_partition_when_it_goes_on() -> None:
    still = Standstill(AFTER)
    looks(still, [Progress(5, 9)] * 2)
    assert still.observe(10_000.0, {0: Progress(5, 900)}, waiting=False) == frozenset()


def test_one_that_left_and_came_back_begins_anew() -> None:
    still = Standstill(AFTER)
    looks(still, [Progress(5, 9)] * 9)
    assert not any(looks(still, [None, *[Progress(5, 9)] * 9], begin=9))


@pytest.mark.parametrize("other", [Progress(3, 3), Progress(3, 8)])
def test_partitions_do_not_share_their_time(other: Progress) -> None:
    still = Standstill(AFTER)
    for second in range(12):
        moving = Progress(other.position + second, None if other.end is None else other.end + second)
        stuck = still.observe(float(second), {0: Progress(5, 9), 1: moving}, waiting=False)
    assert stuck == {0}
    assert (still.seconds(0), still.seconds(1), still.seconds(2)) == (11.0, 0.0, 0.0)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0, 5)), max_size=60))
def test_stuck_is_said_exactly_of_those_seen_standing_for_that_long(steps: list[tuple[bool, bool, float]]) -> None:
    still, now, position, stood = Standstill(AFTER), 0.0, 0, 0.0
    still.observe(now, {0: Progress(position, 10**9)}, waiting=False)
    for moves, waiting, passed in steps:
        now += passed
        position += moves
        before, stood = stood, 0.0 if moves else stood if waiting else stood + passed
        stuck = still.observe(now, {0: Progress(position, 10**9)}, waiting=waiting)
        assert still.seconds(0) == pytest.approx(stood, abs=1e-6)
        if abs(stood - AFTER) > 1e-6:
            assert bool(stuck) == (stood > AFTER), before
