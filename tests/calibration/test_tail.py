"""The tail of the peaks against closed forms and an independent estimate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.batch import Float64
from monitor.calibration.tail import FEWEST_PEAKS, Doubt, Tail, anderson_darling, first_trusted, fit, trusted


def pareto(shape: float, count: int, seed: int = 0) -> Float64:
    """Excesses of scale 1, by inversion."""
    beyond = np.random.default_rng(seed).exponential(size=count)
    return beyond if shape == 0 else np.expm1(shape * beyond) / shape


def by_moments(excess: Float64) -> tuple[float, float]:
    """Probability-weighted moments (Hosking & Wallis, Technometrics 29(3), 1987): another way to the parameters."""
    x = np.sort(excess)
    n = len(x)
    a0, a1 = x.mean(), np.mean(x * (n - 1 - np.arange(n)) / (n - 1))
    return float(2 - a0 / (a0 - 2 * a1)), float(2 * a0 * a1 / (a0 - 2 * a1))


@pytest.mark.parametrize("shape", [-0.5, -0.25, 0.0, 0.25, 0.5, 1.0])
def test_the_parameters_of_a_generalised_pareto_sample_are_found(shape: float) -> None:
    """Within four of their asymptotic standard deviations (Smith, 1985)."""
    count = 4000
    found, scale = fit(3 * pareto(shape, count))
    assert found == pytest.approx(shape, abs=4 * max(0.6, 1 + shape) / np.sqrt(count))
    assert scale / 3 == pytest.approx(1, abs=4 * np.sqrt(2 * max(0.6, 1 + shape) / count))


def test_exponential_uniform_and_pareto_samples_have_their_shapes() -> None:
    rng = np.random.default_rng(1)
    assert fit(rng.exponential(5.0, 2000)) == pytest.approx((0, 5), abs=0.3)
    assert fit(rng.uniform(0, 2, 2000)) == pytest.approx((-1, 2), abs=0.1)
    assert fit(rng.pareto(4.0, 2000)) == pytest.approx((0.25, 0.25), abs=0.08)


@given(st.sampled_from([-0.3, 0.0, 0.3]), st.integers(0, 10))
def test_moments_find_much_the_same_tail(shape: float, seed: int) -> None:
    excess = pareto(shape, 2000, seed)
    assert fit(excess) == pytest.approx(by_moments(excess), abs=0.2)


@given(st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=60))
def test_every_sample_has_a_tail_that_it_lies_within(values: list[float]) -> None:
    shape, scale = fit(np.array(values))
    assert np.isfinite([shape, scale]).all()
    assert scale > 0
    assert 1 + shape * max(values) / scale > 0


@given(st.integers(2, 60), st.floats(1e-3, 1e3))
def test_equal_excesses_have_a_tail_too(count: int, value: float) -> None:
    assert np.isfinite(fit(np.full(count, value))).all()


def test_the_fit_knows_no_unit() -> None:
    excess = pareto(0.2, 100)
    shape, scale = fit(excess)
    assert fit(1000 * excess) == pytest.approx((shape, 1000 * scale))


@given(st.floats(-0.5, 0.9), st.floats(0.01, 100), st.floats(1e-4, 1))
def test_rate_and_threshold_are_inverse(shape: float, scale: float, part: float) -> None:
    tail = Tail(2.0, shape, scale, 50, 7.0)
    assert tail.rate_above(tail.threshold_at(7 * part)) == pytest.approx(7 * part, rel=1e-6)


def test_the_closed_forms_of_an_exponential_and_a_pareto_tail() -> None:
    assert Tail(1.0, 0.0, 2.0, 50, 10.0).threshold_at(0.1) == pytest.approx(1 + 2 * np.log(100))
    assert Tail(1.0, 0.5, 2.0, 50, 10.0).threshold_at(0.1) == pytest.approx(1 + 2 * (100**0.5 - 1) / 0.5)
    assert Tail(1.0, 0.0, 2.0, 50, 10.0).rate_above(5.0) == pytest.approx(10 * np.exp(-2))
    assert Tail(1.0, -0.5, 2.0, 50, 10.0).rate_above(9.0) == 0


@pytest.mark.parametrize("shape", [-0.2, 0.0, 0.3])
def test_the_spread_of_a_rate_is_what_samples_show(shape: float) -> None:
    """Number of peaks, shape and scale all drawn anew, 600 times; the level is one that a tenth of the peaks pass."""
    true = Tail(0.0, shape, 1.0, 200, 200.0)
    line = true.threshold_at(20.0)
    rng = np.random.default_rng(0)
    logs = []
    for seed in range(600):
        count = int(rng.poisson(200))
        logs.append(np.log(Tail(0.0, *fit(pareto(shape, count, seed)), count, float(count)).rate_above(line)))
    assert np.std(logs) == pytest.approx(true.spread(line), rel=0.15)


@pytest.mark.parametrize("shape", [-0.25, 0.0, 0.5])
def test_a_true_tail_is_doubted_once_in_ten(shape: float) -> None:
    doubts = [isinstance(trusted(1 + pareto(shape, 60, seed), 1.0, 1.0), Doubt) for seed in range(800)]
    assert np.mean(doubts) == pytest.approx(0.1, abs=0.05)


def test_the_statistic_is_that_of_anderson_and_darling() -> None:
    """Their integral, n times the squared distance of the two distributions over F (1 - F), by the trapezoid rule."""
    excess = pareto(0.0, 30)
    u = np.sort(-np.expm1(-excess))
    grid = np.linspace(1e-7, 1 - 1e-7, 2_000_001)
    apart = (np.searchsorted(u, grid, side="right") / len(u) - grid) ** 2 / (grid * (1 - grid))
    assert anderson_darling(excess, 0.0, 1.0) == pytest.approx(len(u) * np.trapezoid(apart, grid), rel=1e-3)


@pytest.mark.parametrize(
    ("peaks", "reason"),
    [
        (np.arange(1.0, FEWEST_PEAKS), "too few"),
        (np.repeat([1.0, 2.0, 3.0], 20), "same height"),
        (np.concatenate([pareto(0, 50) / 100, 10 + pareto(0, 50) / 100]), "do not follow|outside"),
        (1 - np.random.default_rng(0).beta(0.3, 1, 100) ** 2 + 1e-9, "outside|do not follow"),
        (np.exp(10 * pareto(0, 100)), "outside"),
    ],
)
def test_a_tail_that_is_not_to_be_trusted_says_why(peaks: Float64, reason: str) -> None:
    found = trusted(peaks, 0.0, 1.0)
    assert isinstance(found, Doubt)
    assert any(part in found.reason for part in reason.split("|"))


def test_the_first_candidate_that_fits_is_taken() -> None:
    good, bad = (1 + pareto(0.1, 50), 1.0), (np.repeat([1.0, 2.0], 50), 0.5)
    found = first_trusted([bad, good, (1 + pareto(0.1, 30), 1.0)], days=2.0)
    assert isinstance(found, Tail)
    assert (found.level, found.peaks, found.rate) == (1.0, 50, 25.0)
    assert first_trusted([bad], 1.0) == Doubt("most peaks have the same height as another")
    assert isinstance(first_trusted([], 1.0), Doubt)
