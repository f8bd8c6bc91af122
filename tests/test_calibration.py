"""Laws of the threshold, and of the one rule for missing values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config import Training
from monitor.errors import MonitorError
from monitor.model.calibration import calibrate, quantile_for


def ramp(count: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.random.default_rng(0).permutation(np.arange(1, count + 1, dtype=np.float32))


def test_the_quantile_follows_from_the_budget() -> None:
    assert quantile_for(1, 1000) == pytest.approx(0.999)
    assert quantile_for(0.5, 86_400) == pytest.approx(1 - 0.5 / 86_400)


def test_without_a_setting_the_budget_is_one_alert_a_day() -> None:
    calibration, warnings = calibrate(ramp(2000), Training(), 1000)
    assert calibration.alerts_per_stream_per_day == 1
    assert calibration.quantile == pytest.approx(0.999)
    assert (calibration.windows, calibration.windows_per_stream_per_day, warnings) == (2000, 1000, ())


def test_a_quantile_replaces_the_budget() -> None:
    calibration, warnings = calibrate(ramp(99), Training(quantile=0.9), 86_400)
    assert (calibration.threshold, calibration.quantile, calibration.alerts_per_stream_per_day) == (90.0, 0.9, None)
    assert warnings == ()


@given(st.integers(1, 300), st.floats(0.01, 0.99))
def test_at_most_the_asked_share_of_the_windows_exceeds_the_threshold(count: int, quantile: float) -> None:
    calibration, _ = calibrate(ramp(count), Training(quantile=quantile), 86_400)
    assert np.mean(ramp(count) > calibration.threshold) <= 1 - quantile + 1e-9


def test_a_new_window_exceeds_the_threshold_no_more_often_than_asked() -> None:
    """The conformal promise, over 4,000 draws of 49 calibration errors and one new one."""
    rng = np.random.default_rng(0)
    draws = rng.lognormal(size=(4000, 50)).astype(np.float32)
    over = [draw[-1] > calibrate(draw[:-1], Training(quantile=0.9), 86_400)[0].threshold for draw in draws]
    assert np.mean(over) == pytest.approx(0.1, abs=0.015)


def test_too_few_windows_give_the_largest_error_and_say_how_many_are_needed() -> None:
    calibration, warnings = calibrate(ramp(98), Training(quantile=0.99), 86_400)
    assert calibration.threshold == 98.0
    assert warnings == (
        "98 calibration windows are too few for the quantile 0.99, which needs 99: "
        "the threshold is their largest error, so expect more alerts than asked.",
    )
    assert calibrate(ramp(99), Training(quantile=0.99), 86_400)[1] == ()


def test_a_budget_of_more_than_half_of_the_windows_is_cut_and_said() -> None:
    calibration, warnings = calibrate(ramp(9), Training(alerts_per_stream_per_day=20), 24)
    assert (calibration.quantile, calibration.threshold) == (0.5, 5.0)
    assert warnings == (
        "A stream has 24 windows a day and a budget of 20 alerts: the threshold is the median error. "
        "Lower training.alerts_per_stream_per_day, or set training.quantile.",
    )


def test_the_threshold_is_positive_even_where_every_error_is_zero() -> None:
    calibration, warnings = calibrate(np.zeros(200, np.float32), Training(quantile=0.9), 86_400)
    assert 0 < calibration.threshold < 1e-30
    assert warnings == ("The calibration windows are reconstructed without any error: every difference will alert.",)


@pytest.mark.parametrize("errors", [[], [1.0, np.inf], [np.nan]])
def test_errors_that_are_no_numbers_give_no_threshold(errors: list[float]) -> None:
    with pytest.raises(MonitorError, match="no finite errors"):
        calibrate(np.array(errors, np.float32), Training(), 86_400)
