"""Joined sensors: one vector for each interval, from the values' times alone."""

from __future__ import annotations

from math import isnan, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import config
from monitor.feeds.joining import Joiner
from monitor.feeds.vectors import Vectors

NAMES = ("a", "b")


def rows(*found: tuple[float, float, float]) -> Vectors:
    """Rows of stream s from (time, a, b)."""
    values = np.array([row[1:] for row in found], np.float32).reshape(len(found), 2)
    return Vectors(NAMES, ["s"] * len(found), np.array([row[0] for row in found], np.float64), values)


def join(wait: float = 0, **sensors: object) -> Joiner:
    made = [config.Sensor.model_validate({"name": name, **found}) for name, found in sensors.items()]  # type: ignore[dict-item]
    return Joiner(config.Join(sensors=made, interval=10, wait=wait, stream="plant"))


def told(*found: Vectors) -> list[tuple[float, list[float | None]]]:
    return [
        (time, [None if isnan(value) else value for value in values])
        for vectors in found
        for time, values in zip(vectors.time.tolist(), vectors.values.tolist(), strict=True)
    ]


def test_an_interval_holds_what_was_asked_of_each_sensor() -> None:
    joiner = join(a={"take": ["last", "mean", "minimum", "maximum"]}, b={"max_age": 15})
    assert joiner.names == ("a.last", "a.mean", "a.minimum", "a.maximum", "b.last")
    found = joiner.push(rows((101, 1, 50), (105, 5, nan), (109, 3, nan), (111, 7, nan), (131, 9, nan)))
    assert told(found, joiner.end()) == [
        (110, [3, 3, 1, 5, 50]),
        (120, [7, 7, 7, 7, None]),  # b is 19 s old
        (130, [7, None, None, None, None]),
        (140, [9, 9, 9, 9, None]),
    ]
    assert set(found.stream) == {"plant"}


def test_after_a_long_silence_there_are_no_vectors_of_nothing() -> None:
    joiner = join(a={}, b={})
    found = told(joiner.push(rows((5, 1, 1), (10**6 + 5, 2, 2))), joiner.end())
    assert [time for time, _ in found] == [*range(10, 101, 10), 10**6 + 10]


def test_values_of_slow_clocks_are_waited_for_and_later_ones_counted() -> None:
    joiner = join(20, a={}, b={})
    found = joiner.push(rows((101, 1, nan), (125, 2, nan), (102, nan, 7), (131, 3, nan), (103, nan, 8)))
    assert told(found) == [(110, [1, 7])]
    assert joiner.late == 1


def test_a_sensor_is_named_by_its_stream_where_several_have_it() -> None:
    joiner = Joiner(config.Join(sensors=[config.Sensor(name="pump/a"), config.Sensor(name="valve/a")], interval=10))
    values = np.array([[1], [2], [3]], np.float32)
    found = joiner.push(Vectors(("a",), ["pump", "valve", "door"], np.array([1.0, 2.0, 11.0]), values))
    assert told(found) == [(10, [1, 2])]
    assert joiner.unused == 1


def test_a_sensor_that_never_speaks_is_told() -> None:
    joiner = join(a={}, c={})
    joiner.push(rows((1, 1, 1)))
    assert joiner.silent == ("c",)


value = st.one_of(st.just(nan), st.floats(-100, 100, width=32))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), value, value), max_size=40), st.integers(1, 9), st.sampled_from((0, 15)))
def test_batches_do_not_matter(found: list[tuple[float, float, float]], cut: int, wait: float) -> None:
    whole, parts = (join(wait, a={"take": ["last", "mean"]}, b={"take": ["maximum"]}) for _ in range(2))
    together = told(whole.push(rows(*found)), whole.end())
    bit_by_bit = [parts.push(rows(*found[n : n + cut])) for n in range(0, len(found), cut)]
    assert told(*bit_by_bit, parts.end()) == together
    assert (whole.late, whole.unused) == (parts.late, parts.unused)
    assert [time for time, _ in together] == sorted({time for time, _ in together})


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), value, value), min_size=1, max_size=40))
def test_in_order_the_vectors_are_those_of_the_definition(found: list[tuple[float, float, float]]) -> None:
    found = sorted(found)
    joiner = join(a={"take": ["last", "mean"], "max_age": 25}, b={"take": ["minimum"]})
    got = dict(told(joiner.push(rows(*found)), joiner.end()))
    for end in range(10, int(found[-1][0]) // 10 * 10 + 11, 10):
        a = [(time, one) for time, one, _ in found if time < end and not isnan(one)]
        within = [np.float32(one) for time, one in a if time >= end - 10]
        b = [two for time, _, two in found if end - 10 <= time < end and not isnan(two)]
        expected = [
            a[-1][1] if a and end - a[-1][0] <= 25 else None,
            np.mean(within, dtype=np.float64) if within else None,
            min(b, default=None),
        ]
        if end in got:
            assert got[end] == [None if e is None else pytest.approx(e, rel=1e-5, abs=1e-5) for e in expected]
        else:
            assert expected == [None] * 3


def test_a_sensor_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="named twice"):
        config.Join(sensors=[config.Sensor(name="a"), config.Sensor(name="a")])
