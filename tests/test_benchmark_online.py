"""The detector that learns on, and the page that keeps what was not measured again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.detection import online, page
from benchmarks.detection.adapting import Adapting
from benchmarks.detection.baselines import Rule
from benchmarks.detection.method import Series
from benchmarks.detection.ours import Ours
from monitor.batch import Float64
from tests.models import waves

torch.set_num_threads(1)
RNG = np.random.default_rng(0)


def made(values: Float64) -> Series:
    return Series("s", 60 * np.arange(len(values), dtype=np.float64), values[:, None], ("value",))


def test_an_online_score_depends_on_the_rows_before_it_only() -> None:
    series = made(RNG.normal(size=1500).cumsum())
    fitted = online.Online(Rule(0.99)).fit([series[:300]], 0)
    whole, part = series, series[:1111]
    assert np.array_equal(fitted.score(whole.values, whole.time)[:1111], fitted.score(part.values, part.time))


def test_levinson_solves_the_equations_of_yule_and_walker() -> None:
    power = np.array([[1.0, 0.6, 0.5, 0.1], [2.0, -1.0, 0.3, 0.2]])
    weights, left = online.levinson(power)
    for row, found, rest in zip(power, weights, left, strict=True):
        known = row.copy()
        known[0] += online.LEAST**2 / 100
        matrix = known[np.abs(np.subtract.outer(np.arange(3), np.arange(3)))]
        assert found == pytest.approx(np.linalg.solve(matrix, known[1:]))
        assert rest == pytest.approx(known[0] - found @ known[1:])


def test_a_forecast_knows_the_rhythm_of_what_it_follows() -> None:
    wave = np.sin(np.arange(1000) / 5)
    broken = wave.copy()
    broken[700] *= -1
    error = online.forecast_error(broken)
    assert error[200:700].max() < 0.2
    assert error.argmax() == 700


def test_the_tail_is_exceeded_by_a_share_of_what_came_before() -> None:
    odd = RNG.random(5000)
    found = online.tail(odd)
    past = odd[4000 - online.PAST : 4000]
    assert (past >= found[4000]).sum() == online.BEYOND
    assert found[0] == 0


def test_what_is_no_worse_is_told_once() -> None:
    score = np.zeros(300)
    score[[10, 20, 30, 30 + online.ONCE + 1]] = [2, 1, 3, 1]
    assert np.flatnonzero(online.told_once(score)).tolist()[-3:] == [10, 30, 30 + online.ONCE + 1]


def test_what_is_served_with_adaptation_is_what_is_served_without_until_something_is_learned() -> None:
    rows = waves(700, 3).astype(np.float64)
    series = Series("s", 60 * np.arange(700, dtype=np.float64), rows, ("a", "b", "c"))
    plain, adapting = (method.fit([series[:500]], 0) for method in (Ours(), Adapting()))
    fixed = plain.score(series.values, series.time) / plain.threshold
    moving = adapting.score(series.values, series.time)
    assert np.array_equal(np.isnan(fixed), np.isnan(moving))
    first = np.flatnonzero(~np.isnan(fixed))[0]
    assert moving[first] == pytest.approx(fixed[first], rel=1e-5)
    assert not np.allclose(moving[first:], fixed[first:], rtol=1e-3)


def test_what_the_service_ignores_has_no_score() -> None:
    rows = waves(300, 3).astype(np.float64)
    time = 60 * np.arange(300, dtype=np.float64)
    time[250] = time[240]
    fitted = Adapting().fit([Series("s", 60 * np.arange(300, dtype=np.float64), rows, ("a", "b", "c"))], 0)
    assert np.flatnonzero(np.isnan(fitted.score(rows, time))).tolist() == [*range(9), 250]


def test_rows_that_were_not_measured_again_stay_on_the_page() -> None:
    head = "|  | F1 |\n| --- | ---: |\n"
    before = page.within(
        f"x\n<!-- t -->\n{head}| published: A | 1 |\n| a | 2 |\n| gone | 3 |\n| c | 4 |\n<!-- end -->\n", "t"
    )
    after = page.kept(f"{head}| published: A | 1 |\n| b | 5 |\n| c | 6 |", before, ["a", "b", "c"])
    assert after == f"{head}| published: A | 1 |\n| a | 2 |\n| b | 5 |\n| c | 6 |"
    assert page.kept("Not measured yet.", before, ["a"]) == before
    assert page.kept("|  | J |\n| --- | ---: |\n| c | 6 |", before, ["a", "c"]) == "|  | J |\n| --- | ---: |\n| c | 6 |"


def test_a_goal_that_was_measured_before_stays() -> None:
    head = "| set | figure | goal | ours | |\n|---|---|---:|---:|---|\n"
    before = f"{head}| S | J | >= 0.5 | 0.6 | reached |\n| S | FAR | <= 0.2 | 0.1 | reached |"
    now = f"{head}| S | J | >= 0.5 | 0.4 | **not reached** |\n| S | FAR | <= 0.2 |  | not measured |"
    assert page.kept(now, before, ()) == (
        f"{head}| S | J | >= 0.5 | 0.4 | **not reached** |\n| S | FAR | <= 0.2 | 0.1 | reached |"
    )
