"""Lines and p-values among normal errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.batch import Float64
from monitor.calibration.conformal import MOST_BLOCKS, block_maxima, fewest, line, p_values
from monitor.calibration.incident_count import Stretch
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
    highest = line(np.array(calibration), 1 - share)
    for score in np.arange(-0.5, 6.0, 0.5):
        assert (score > highest) == (p_values(np.array(calibration), np.array([score]))[0] <= share + 1e-9)


def test_too_few_scores_put_the_line_out_of_reach() -> None:
    assert fewest(0.99) == 99
    assert line(np.arange(98.0), 0.99) == np.inf
    assert line(np.arange(99.0), 0.99) == 98.0


@given(st.floats(0.001, 0.999))
def test_the_fewest_scores_are_those_from_which_the_line_is_in_reach(share: float) -> None:
    assert line(np.arange(float(fewest(share))), share) < np.inf
    assert fewest(share) == 1 or line(np.arange(float(fewest(share) - 1)), share) == np.inf


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_exchangeable_scores_have_a_p_value_within_a_share_no_more_often_than_that(share: float) -> None:
    draws = np.random.default_rng(0).lognormal(size=(8000, 40))
    within = [p_values(draw[:-1], draw[-1:])[0] <= share for draw in draws]
    assert np.mean(within) == pytest.approx(share, abs=0.012)  # 40 (n + 1) divides all three: exactly the share


def stretch(errors: Float64, stream: str = "s") -> Stretch:
    return Stretch(stream, np.arange(len(errors), dtype=np.float64), errors)


@given(st.integers(1, 6), st.lists(st.integers(0, 3000), min_size=1, max_size=5))
def test_blocks_are_few_long_and_lie_within_a_stretch(window: int, counts: list[int]) -> None:
    rng = np.random.default_rng(sum(counts))
    stretches = [stretch(rng.random(count)) for count in counts]
    length, maxima = block_maxima(stretches, window)
    assert length >= 2 * window
    every = [max(one.error[i : i + length]) for one in stretches for i in range(0, len(one.error) - length + 1, length)]
    assert len(maxima) == min(len(every), MOST_BLOCKS)
    assert set(maxima.tolist()) <= set(every)
    assert maxima.tolist() == sorted(maxima.tolist())


def test_of_one_long_stretch_every_block_is_kept_and_of_many_short_ones_some() -> None:
    errors = np.random.default_rng(0).random(100_000)
    length, maxima = block_maxima([stretch(errors)], 10)
    assert (length, len(maxima), maxima[-1]) == (500, 200, errors.max())
    length, maxima = block_maxima([stretch(part, str(i)) for i, part in enumerate(errors.reshape(1000, 100))], 10)
    assert (length, len(maxima)) == (62, 200)  # 500 halved until a block fits a stretch
    assert len(block_maxima([stretch(errors[:19])], 10)[1]) == 0


def test_block_p_values_hold_on_a_series_that_depends_on_its_past() -> None:
    """Blocks of 100 of AR(1) with 0.95: those that are known, and one of another series, in fresh series each time."""
    found = []
    for seed in range(600):
        new = autoregressive(100, seed).max(keepdims=True)
        _, known = block_maxima([stretch(autoregressive(1900, 600 + seed))], 50)
        assert len(known) == 19
        found.append(p_values(known, new)[0])
    for share in (0.1, 0.2, 0.5):
        assert np.mean(np.array(found) <= share) == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("errors", [[], [1.0, np.inf], [np.nan]])
def test_errors_that_are_no_numbers_are_refused(errors: list[float]) -> None:
    values = np.array(errors)
    for call in (
        lambda: p_values(values, np.ones(1)),
        lambda: line(values, 0.9),
    ):
        with pytest.raises(MonitorError, match="no finite errors"):
            call()
