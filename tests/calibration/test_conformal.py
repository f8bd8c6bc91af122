"""p-values among normal errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.batch import Float64
from monitor.calibration.conformal import block_maxima, p_values, smallest, window_p_values
from monitor.errors import MonitorError

numbers = st.lists(st.integers(0, 5).map(float), min_size=1, max_size=30)


def autoregressive(count: int, seed: int, keep: float = 0.95) -> Float64:
    rng = np.random.default_rng(seed)
    found = np.empty(count)
    value = rng.normal() / np.sqrt(1 - keep**2)
    for i, step in enumerate(rng.normal(size=count).tolist()):
        value = keep * value + step
        found[i] = value
    return found


@given(numbers, numbers)
def test_a_p_value_is_the_share_at_least_as_high_itself_included(calibration: list[float], scores: list[float]) -> None:
    expected = [(1 + sum(c >= s for c in calibration)) / (len(calibration) + 1) for s in scores]
    assert p_values(np.array(calibration), np.array(scores)).tolist() == pytest.approx(expected)


@given(numbers, st.sampled_from([0.01, 0.05, 0.1, 0.25, 0.5]))
def test_a_score_is_above_the_line_where_its_p_value_is_within_the_share(
    calibration: list[float], share: float
) -> None:
    line = smallest(np.array(calibration), share)
    for score in np.arange(-0.5, 6.0, 0.5):
        assert (score > line) == (p_values(np.array(calibration), np.array([score]))[0] <= share + 1e-9)


def test_too_few_scores_put_the_line_out_of_reach() -> None:
    assert smallest(np.arange(98.0), 0.01) == np.inf
    assert smallest(np.arange(99.0), 0.01) == 98.0


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_exchangeable_scores_have_a_p_value_within_a_share_no_more_often_than_that(share: float) -> None:
    draws = np.random.default_rng(0).lognormal(size=(8000, 40))
    within = [p_values(draw[:-1], draw[-1:])[0] <= share for draw in draws]
    assert np.mean(within) == pytest.approx(share, abs=0.012)  # 40 (n + 1) divides all three: exactly the share


@given(st.integers(1, 6), st.integers(0, 50))
def test_block_maxima_are_those_of_whole_blocks(length: int, count: int) -> None:
    errors = np.random.default_rng(count).random(count)
    expected = [max(errors[i : i + length]) for i in range(0, count - length + 1, length)]
    assert block_maxima(errors, length).tolist() == expected


def test_block_p_values_hold_on_a_series_that_depends_on_its_past() -> None:
    """Blocks of 100 of AR(1) with 0.95, in fresh series, so that nothing is reused."""
    found = []
    for seed in range(600):
        maxima = block_maxima(autoregressive(2000, seed), 100)
        found.append(p_values(maxima[:-1], maxima[-1:])[0])
    for share in (0.1, 0.2, 0.5):
        assert np.mean(np.array(found) <= share) == pytest.approx(share, abs=0.05)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=30), numbers)
def test_a_windows_p_value_averages_over_blocks(windows: list[tuple[int, int]], scores: list[float]) -> None:
    block, error = np.array(windows).T
    kinds = sorted(set(block.tolist()))
    for score, found in zip(scores, window_p_values(error.astype(float), block, np.array(scores)), strict=True):
        shares = [np.mean(error[block == kind] >= score) for kind in kinds]
        assert found == pytest.approx((1 + sum(shares)) / (len(kinds) + 1))


def test_blocks_of_one_window_are_plain_p_values() -> None:
    errors, scores = np.random.default_rng(0).random(30), np.linspace(0, 1, 11)
    assert window_p_values(errors, np.arange(30), scores).tolist() == pytest.approx(p_values(errors, scores).tolist())


@pytest.mark.parametrize("share", [0.15, 0.3])
def test_dependent_windows_are_called_unusual_no_more_often_than_said(share: float) -> None:
    """Blocks whose windows share a level: a plain p-value is wrong about them, and this one is not."""
    rng = np.random.default_rng(0)
    block = np.repeat(np.arange(9), 20)
    found, plain = [], []
    for _ in range(4000):
        level = 3 * rng.normal(size=10)
        new = level[9:] + rng.normal(size=1)
        errors = level[block] + rng.normal(size=180)
        found.append(window_p_values(errors, block, new)[0])
        plain.append(p_values(errors, new)[0])
    assert np.mean(np.array(found) <= share) <= share + 0.015
    assert np.mean(np.array(plain) <= 0.02) > 0.05


@pytest.mark.parametrize("errors", [[], [1.0, np.inf], [np.nan]])
def test_errors_that_are_no_numbers_are_refused(errors: list[float]) -> None:
    values = np.array(errors)
    for call in (
        lambda: p_values(values, np.ones(1)),
        lambda: smallest(values, 0.1),
        lambda: window_p_values(values, np.arange(len(values)), np.ones(1)),
    ):
        with pytest.raises(MonitorError, match="no finite errors"):
            call()
