"""Damped statistics: they are the paper's formulas, whatever the batches, the times and the company."""

from __future__ import annotations

from itertools import pairwise
from math import hypot, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.feeds.damped import FORGOTTEN, PARTS, ROUNDING, Damped, names
from monitor.feeds.grouping import LONG, Groups, Rows, latest, running_sums
from tests.feeds.made import packets

DECAYS = (5.0, 1.0, 0.01)
Row = tuple[int, int, int, int, int, int]


@st.composite
def traffic(draw: st.DrawFn, most: int = 60) -> list[Row]:
    """Packets of a few hosts, with pauses from none to hours."""
    count = draw(st.integers(1, most))
    time = draw(st.integers(0, 2 * 10**18))
    rows = []
    for _ in range(count):
        time += draw(st.sampled_from((0, 1, 1_000, 10**6, 10**8, 3 * 10**9, 10**11, 2 * 10**13)))
        host, other = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        ports = draw(st.sampled_from(((80, 443), (443, 80), (53, 53), (80, 80))))
        rows.append((time, host, other, *ports, draw(st.integers(20, 65_535))))
    return rows


def one(values: list[tuple[int, float]], now: int, decay: float) -> tuple[float, float, float]:
    """Weight, mean and variance, straight from the definition."""
    weights = [2.0 ** (-decay * (now - time) * 1e-9) for time, _ in values]
    total = sum(weights)
    if total < FORGOTTEN:
        return total, 0.0, 0.0
    mean = sum(w * x for w, (_, x) in zip(weights, values, strict=True)) / total
    square = sum(w * x * x for w, (_, x) in zip(weights, values, strict=True)) / total
    variance = sum(w * (x - mean) ** 2 for w, (_, x) in zip(weights, values, strict=True)) / total
    return total, mean, variance if variance > ROUNDING * square else 0.0


def pair(rows: list[Row], ends: list[tuple[object, object]], decay: float) -> list[float]:
    """Of the newest packet: its own three, and magnitude, radius, covariance, correlation."""
    now, here = rows[-1][0], ends[-1]
    mine: list[tuple[int, float]] = []
    theirs: list[tuple[int, float]] = []
    products: list[tuple[int, float]] = []
    newest: dict[tuple[object, object], float] = {}
    sides: dict[tuple[object, object], list[tuple[int, float]]] = {}
    for row, (source, target) in zip(rows, ends, strict=True):
        if {source, target} != set(here):
            continue
        side, back = (source, target), (target, source)
        sides.setdefault(side, []).append((row[0], row[5]))
        _, mean, _ = one(sides[side], row[0], decay)
        residual = row[5] - mean
        other = sides.get(back, []) if back != side else []
        weight = sum(2.0 ** (-decay * (row[0] - time) * 1e-9) for time, _ in other)
        products.append((row[0], residual * newest[back] if weight >= FORGOTTEN else 0.0))
        newest[side] = residual
    mine = sides[here]
    theirs = sides.get((here[1], here[0]), []) if here[0] != here[1] else []
    w, mean, variance = one(mine, now, decay)
    far_w, far_mean, far_variance = one(theirs, now, decay)
    total = sum(2.0 ** (-decay * (now - time) * 1e-9) * product for time, product in products)
    covariance = total / (w + far_w)
    spread = sqrt(variance) * sqrt(far_variance)
    correlation = min(1.0, max(-1.0, covariance / spread)) if spread else 0.0
    return [w, mean, sqrt(variance), hypot(mean, far_mean), hypot(variance, far_variance), covariance, correlation]


def expected(rows: list[Row]) -> list[float]:
    """The vector of the newest packet."""
    time, host, other = rows[-1][:3]
    vector: list[float] = []
    for decay in DECAYS:
        w, mean, variance = one([(row[0], row[5]) for row in rows if row[1] == host], time, decay)
        vector += [w, mean, sqrt(variance)]
        vector += pair(rows, [(row[1], row[2]) for row in rows], decay)
        own = [row[0] for row in rows if row[1:3] == (host, other)]
        gaps = [(b, (b - a) * 1e-9) for a, b in pairwise(own)]
        w, mean, variance = one(gaps, time, decay)
        vector += [w, mean, sqrt(variance)]
        vector += pair(rows, [((row[1], row[3]), (row[2], row[4])) for row in rows], decay)
    return vector


@settings(max_examples=50, deadline=None)
@given(traffic(20))
def test_a_vector_is_what_the_formulas_say(rows: list[Row]) -> None:
    found = Damped(DECAYS, 1000).update(packets(rows))
    for upto in range(len(rows)):
        told = np.array(expected(rows[: upto + 1]))
        # float32, and where deviations cancel what is left of them: relative to the size of what cancels
        near = np.abs(found[upto] - told) <= 1e-4 * np.abs(told) + _slack(rows[: upto + 1])
        assert near.all(), [
            (n, a, b) for n, a, b, ok in zip(names(DECAYS), found[upto], told, near, strict=True) if not ok
        ]


def _slack(rows: list[Row]) -> np.ndarray:
    """What rounding may do: deviations come from a difference of squares, good to sqrt(ROUNDING) of the values."""
    largest = max(row[5] for row in rows)
    gap = max(((b[0] - a[0]) * 1e-9 for a, b in pairwise(rows)), default=0.0) * len(rows)
    scale = {"weight": 1e-6, "mean": 1e-6 * largest, "deviation": 1e-5 * largest, "magnitude": 1e-6 * largest}
    scale |= {"radius": 1e-5 * largest**2, "covariance": 1e-6 * largest**2, "correlation": 1e-4}
    one = [
        {"weight": 1e-6, "mean": 1e-6 * gap, "deviation": 1e-5 * gap}[name] if group == "jitter" else scale[name]
        for group, name in PARTS
    ]
    return np.array(one * len(DECAYS))


@settings(max_examples=100, deadline=None)
@given(traffic(), st.lists(st.integers(1, 20)), st.sampled_from((1, 2, 1000)))
def test_batches_do_not_matter_to_the_bit(rows: list[Row], cuts: list[int], most: int) -> None:
    whole = Damped(DECAYS, most)
    together = whole.update(packets(rows))
    parts = Damped(DECAYS, most)
    found, begin = [], 0
    for length in (*cuts, len(rows)):
        if begin < len(rows):
            found.append(parts.update(packets(rows[begin : begin + length])))
            begin += length
    assert np.concatenate(found).tobytes() == together.tobytes()
    assert parts.evicted == whole.evicted


@settings(max_examples=15, deadline=None)
@given(traffic(4), st.integers(0, 10**6))
def test_long_runs_of_one_key_are_added_up_as_short_ones_are(rows: list[Row], seed: int) -> None:
    rows = rows * (2 * LONG // len(rows) + 1)
    time, step = rows[0][0], seed
    rows = [(time + step * i, *row[1:]) for i, row in enumerate(rows)]
    one_by_one = Damped(DECAYS, 1000)
    found = np.concatenate([one_by_one.update(packets([row])) for row in rows])
    assert found.tobytes() == Damped(DECAYS, 1000).update(packets(rows)).tobytes()


@pytest.mark.parametrize(("n", "interval"), [(100_000, 10**6), (100_000, 10**8), (3000, 10**12)])
def test_a_steady_stream_stays_what_it_is_for_ages(n: int, interval: int) -> None:
    """Packets of one size at one pace, for up to a month: weight as the geometric sum, deviation 0, jitter steady."""
    damped = Damped(DECAYS, 10)
    for begin in range(0, n, 5000):
        rows = [(10**18 + i * interval, 1, 2, 80, 443, 1500) for i in range(begin, min(begin + 5000, n))]
        found = damped.update(packets(rows))
    last = dict(zip(names(DECAYS), found[-1].tolist(), strict=True))
    for decay in DECAYS:
        kept = 2.0 ** (-decay * interval * 1e-9)
        weight = n if kept == 1 else (1 - kept**n) / (1 - kept)
        assert last[f"host.weight@{decay:g}"] == pytest.approx(weight, rel=1e-5)
        assert last[f"channel.mean@{decay:g}"] == pytest.approx(1500, rel=1e-6)
        assert last[f"jitter.mean@{decay:g}"] == pytest.approx(interval * 1e-9, rel=1e-6)
        for group in ("host", "channel", "socket", "jitter"):
            assert last[f"{group}.deviation@{decay:g}"] == 0


def test_state_is_bounded_and_who_comes_back_starts_anew() -> None:
    damped = Damped((1.0,), 3)
    rows = [(10**9 + i, 1 + i % 5, 9, 80, 443, 100) for i in range(50)]
    found = damped.update(packets(rows))
    assert (found[:, 0] == 1).all()  # five hosts take turns in three places: none is still there when it is back
    assert damped.evicted > 0
    assert len(damped._hosts.rows) == 3


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(1, 4), st.integers(1, 9))
def test_rows_are_those_of_the_keys_seen_last(numbers: list[int], most: int, cut: int) -> None:
    rows, model = Rows(most), dict[int, None]()
    expected_new: list[bool] = []
    found_new: list[bool] = []
    for begin in range(0, len(numbers), cut):
        part = numbers[begin : begin + cut]
        given_rows, fresh = rows.of([bytes([number]) for number in part])
        left = list(fresh)
        for number, row in zip(part, given_rows, strict=True):
            expected_new.append(number not in model)
            found_new.append(bool(left) and left[0] == row)
            if found_new[-1]:
                left.pop(0)
            model.pop(number, None)
            model[number] = None
            if len(model) > most:
                model.pop(next(iter(model)))
    assert found_new == expected_new
    assert rows.capacity <= most + cut


def test_groups_sum_within_themselves_and_find_their_latest() -> None:
    groups = Groups.of(np.array([7, 3, 7, 3, 3]))
    assert groups.rows.tolist() == [3, 7]
    terms = np.array([[1.0], [2.0], [4.0], [8.0], [16.0]])[groups.order]
    assert running_sums(terms, np.array([[100.0], [1000.0]]), groups)[:, 0].tolist() == [102, 110, 126, 1001, 1005]
    assert latest(np.array([False, True, False, False, True]), groups).tolist() == [-1, 1, 1, -1, 4]
