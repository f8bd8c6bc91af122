"""From a budget to a threshold, and whether it is kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.batch import Float64
from monitor.calibration.budget import Threshold, realised_rate, threshold_for
from monitor.calibration.heldout import dispersion, inflation
from monitor.calibration.incident_count import Curve, Stretch
from monitor.config import Incidents
from monitor.errors import MonitorError

RULES = Incidents()
INTERVAL = 10.0
DAY = 8640


def stream(error: Float64, name: str = "") -> Stretch:
    return Stretch(name, np.arange(len(error), dtype=np.float64) * INTERVAL, error)


def noise(days: float, seed: int) -> Stretch:
    """Mean squares of three values of AR(1) with 0.9: errors as overlapping windows have them."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(int(days * DAY), 3))
    weight = 0.9 ** np.arange(80)
    values = np.stack([np.convolve(column, weight)[: len(steps)] for column in steps.T], axis=1)
    return stream((values**2).mean(axis=1))


def calibrated(days: float, budget: float, seed: int = 0) -> Threshold:
    return threshold_for([noise(days, seed)], RULES, budget, INTERVAL)


UNSEEN = [noise(30, 99)]


@pytest.mark.parametrize(
    ("days", "budget", "method"), [(4, 100, "incidents"), (4, 10, "incidents"), (4, 1, "tail"), (0.7, 10, "tail")]
)
def test_unseen_normal_data_keeps_the_budget_within_a_factor_of_two(days: float, budget: float, method: str) -> None:
    """Typically: the median of eight calibrations, so that the law is about the method and not about one draw."""
    found = [calibrated(days, budget, seed) for seed in range(8)]
    rates = [realised_rate(UNSEEN, one.threshold, RULES, INTERVAL).rate for one in found]
    assert {one.method for one in found} <= {method, "incidents"}
    assert budget / 2 < np.median(rates) < 2 * budget


@pytest.mark.parametrize(("days", "budget"), [(4, 10), (4, 1)])
def test_the_stated_range_holds_the_realised_rate(days: float, budget: float) -> None:
    held = 0
    for seed in range(12):
        found = calibrated(days, budget, seed)
        held += (
            found.expected.low <= realised_rate(UNSEEN, found.threshold, RULES, INTERVAL).rate <= found.expected.high
        )
    assert held >= 10


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 3), st.lists(st.floats(0.05, 500), min_size=2, max_size=4))
def test_a_lower_budget_has_no_lower_threshold(seed: int, budgets: list[float]) -> None:
    rows = [noise(0.5, seed)]
    lines = [threshold_for(rows, RULES, budget, INTERVAL, held_out=False) for budget in sorted(budgets)]
    counted = [one.threshold for one in lines if one.method in {"incidents", "saturated"}]
    extrapolated = [one.threshold for one in lines if one.method == "tail"]
    assert counted == sorted(counted, reverse=True)
    assert extrapolated == sorted(extrapolated, reverse=True)


def test_the_threshold_knows_no_unit() -> None:
    rows = noise(2, 0)
    for budget in (1, 20):
        plain = threshold_for([rows], RULES, budget, INTERVAL)
        large = threshold_for([stream(1000 * rows.error)], RULES, budget, INTERVAL)
        assert large.threshold == pytest.approx(1000 * plain.threshold, rel=1e-9)


def test_streams_share_a_budget_as_one_stream_of_their_days() -> None:
    several = [Stretch(f"s{n}", one.time, one.error) for n, one in enumerate(noise(1, seed) for seed in range(4))]
    found = threshold_for(several, RULES, 10, INTERVAL)
    assert found.stream_days == 4
    assert found.method == "incidents"
    assert 10 <= found.incidents <= 40


def test_normal_data_that_is_too_short_gives_the_largest_error_and_says_how_much_is_needed() -> None:
    found = threshold_for([stream(np.random.default_rng(0).random(500))], RULES, 1, INTERVAL)
    assert found.method == "largest"
    assert found.incidents == 0
    assert len(found.warnings) == 1
    assert "their largest error, so expect more alerts than asked" in found.warnings[0]
    assert f"About {10 * found.inflation:.3g} stream-days of normal data would be needed." in found.warnings[0]


def test_a_tail_that_reaches_far_says_how_sure_it_is() -> None:
    found = calibrated(0.5, 0.2)
    assert found.method == "tail"
    assert found.expected.low < 0.1
    assert found.expected.high > 0.4
    assert "expect between" in found.warnings[0]
    assert calibrated(4, 10).warnings == ()


def test_a_budget_that_cannot_be_used_up_is_said() -> None:
    found = calibrated(2, 5000)
    assert found.method == "saturated"
    assert found.expected.rate < 5000
    assert "cannot be used up" in found.warnings[0]


def test_few_incidents_without_a_tail_are_counted_with_a_warning() -> None:
    """Bursts of three heights: no continuous tail fits them."""
    error = np.random.default_rng(0).random(2 * DAY) / 10
    for n, at in enumerate(range(200, len(error) - 50, 200)):
        error[at : at + 5] = 1 + n % 3
    found = threshold_for([stream(error)], RULES, 2, INTERVAL)
    assert found.method == "incidents"
    assert "too few to fit a tail" in found.warnings[0]
    assert "may be twice or half of it" in found.warnings[0]


@pytest.mark.parametrize("value", [0.0, 1.0, 7e8])
@pytest.mark.parametrize("count", [1, 5, 9, 400, 9000])
@pytest.mark.parametrize("budget", [0.01, 1, 100, 1e6])
def test_equal_errors_are_never_anomalous(value: float, count: int, budget: float) -> None:
    found = threshold_for([stream(np.full(count, value))], RULES, budget, INTERVAL)
    assert found.threshold >= max(value, 1e-38)
    assert found.incidents == 0
    assert np.isfinite([found.expected.rate, found.expected.low, found.expected.high]).all()
    if value == 0:
        assert found.warnings == (
            "The calibration windows are reconstructed without any error: every difference will alert.",
        )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 3).map(float), max_size=300), min_size=1, max_size=3).filter(any),
    st.sampled_from([0.1, 1.0, 50.0, 1000.0]),
)
def test_heavy_ties_and_short_stretches_have_a_threshold(errors: list[list[float]], budget: float) -> None:
    rows = [stream(np.array(one), str(n)) for n, one in enumerate(errors)]
    found = threshold_for(rows, RULES, budget, INTERVAL)
    assert 0 < found.threshold < np.inf
    assert found.expected.low <= found.expected.rate <= found.expected.high
    assert found.inflation >= 1


@pytest.mark.parametrize("errors", [[], [np.inf], [1.0, np.nan]])
def test_errors_that_are_no_numbers_are_refused(errors: list[float]) -> None:
    with pytest.raises(MonitorError, match="no finite errors"):
        threshold_for([stream(np.array(errors))], RULES, 1, INTERVAL)


@pytest.mark.parametrize(("budget", "interval"), [(0, 1), (-1, 1), (np.nan, 1), (np.inf, 1), (1, 0), (1, np.nan)])
def test_a_budget_that_is_no_rate_is_refused(budget: float, interval: float) -> None:
    with pytest.raises(MonitorError, match="gives no threshold"):
        threshold_for([noise(0.1, 0)], RULES, budget, interval)


def test_the_range_of_a_realised_rate_is_that_of_a_poisson_count() -> None:
    """Exact (Garwood) limits of 0 and 10 events: 0 to 3.69, 4.80 to 18.39."""
    error = np.zeros(DAY)
    assert realised_rate([stream(error)], 1, RULES, INTERVAL).high == pytest.approx(3.69, rel=0.01)
    for at in range(100, 1100, 100):
        error[at : at + 4] = 2
    found = realised_rate([stream(error)], 1, RULES, INTERVAL)
    assert [found.rate, found.low, found.high] == pytest.approx([10, 4.80, 18.39], rel=0.01)


def test_halves_that_differ_divide_the_budget() -> None:
    """The first half has 10 incidents at half the height of the second's 20; thresholds are taken across."""
    level = np.arange(40.0, 0, -1)
    first = np.clip(np.arange(40) - 20, 0, 10)
    second = np.clip(np.arange(40), 0, 20)
    curve = Curve(level, np.stack([first, second], axis=1))
    # 20 are asked for, 10 of each half: the first has 9 at its 29th level, where the second has 20; the second has 9
    # at its 9th, where the first has none.
    assert inflation(curve, np.ones(2), 20) == (20 + 0) / 20
    assert inflation(curve, np.ones(2), 12) == inflation(curve, np.ones(2), 20)
    assert inflation(Curve(level, np.stack([first * 0, 2 * second], axis=1)), np.ones(2), 20) == 2


def test_one_fold_has_no_other_half() -> None:
    assert inflation(Curve(np.ones(1), np.ones((1, 1), np.int64)), np.ones(1), 20) == 1


def test_dispersion_is_variance_over_mean_and_at_least_that_of_poisson() -> None:
    curve = Curve(np.ones(2), np.array([[4, 4, 4, 4], [0, 0, 0, 16]]))
    assert dispersion(curve, np.ones(4), 0) == 1
    assert dispersion(curve, np.ones(4), 1) == 64 / 4
