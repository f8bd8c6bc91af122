"""Laws of how training sets the threshold; those of the budget itself are in tests/calibration."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.batch import Float32
from monitor.calibration.tail import Tail
from monitor.config import Incidents
from monitor.errors import MonitorError
from monitor.model.calibration import calibrate, stretches
from monitor.model.dataset import Series, Split, prepare
from monitor.model.manifest import Calibration
from tests.models import FEATURES, START, series, tiny_settings, waves

RULES = Incidents()


def split(rows: int = 400, window: int = 8, gap_at: int | None = None) -> Split:
    """Two streams, the second with a gap among its calibration rows where asked for."""
    time = START + np.arange(rows, dtype=np.float64)
    late = time.copy()
    if gap_at is not None:
        late[gap_at:] += 100
    several = [Series("s", time, waves(rows, 3)), Series("t", late, waves(rows, 3))]
    return prepare(several, FEATURES, tiny_settings(window=window))


def ramp(count: int) -> Float32:
    return np.random.default_rng(0).permutation(np.arange(1, count + 1, dtype=np.float32))


def of_windows(count: int) -> Split:
    return replace(split(), calibration=np.arange(count))


def test_a_quantile_replaces_the_budget() -> None:
    calibration, warnings = calibrate(ramp(99), of_windows(99), tiny_settings(quantile=0.9), RULES)
    assert (calibration.method, calibration.threshold, calibration.alerts_per_stream_per_day) == (
        "quantile",
        90.0,
        None,
    )
    assert calibration.quantile == pytest.approx(90 / 99)
    assert warnings == ()


@given(st.integers(1, 300), st.floats(0.01, 0.99))
def test_at_most_the_asked_share_of_the_windows_exceeds_the_threshold(count: int, quantile: float) -> None:
    calibration, _ = calibrate(ramp(count), of_windows(count), tiny_settings(quantile=quantile), RULES)
    assert np.mean(ramp(count) > calibration.threshold) <= 1 - quantile + 1e-9


def test_too_few_windows_for_the_quantile_are_said_and_the_largest_error_is_taken() -> None:
    calibration, warnings = calibrate(ramp(98), of_windows(98), tiny_settings(quantile=0.99), RULES)
    assert calibration.threshold == 98
    assert warnings == (
        "98 calibration windows are too few for the quantile 0.99, which needs 99: the threshold is their largest "
        "error, so expect more alerts than asked.",
    )


@pytest.mark.parametrize("window", [1, 8])
def test_no_stretch_spans_two_streams_or_a_gap(window: int) -> None:
    made = split(window=window, gap_at=350)
    found = stretches(np.arange(len(made.calibration), dtype=np.float32), made)
    assert [one.stream for one in found] == ["0", "1", "1"]
    assert all((np.diff(one.time) == 1).all() for one in found)
    assert np.concatenate([one.error for one in found]).tolist() == list(range(len(made.calibration)))
    assert found[0].time[0] == START + 300 + window - 1


def test_without_a_setting_the_budget_is_one_incident_a_day_and_the_promise_is_kept_in_the_card() -> None:
    made = split(4000)
    errors = np.random.default_rng(0).exponential(size=len(made.calibration)).astype(np.float32)
    settings = tiny_settings(quantile=None)
    calibration, _ = calibrate(errors, made, settings, RULES)
    assert calibration.alerts_per_stream_per_day == 1
    assert calibration.expected is not None
    low, rate, high = calibration.expected
    assert low <= rate <= high
    assert (calibration.windows, calibration.windows_per_stream_per_day) == (len(errors), 86_400)


def test_a_larger_budget_never_has_a_higher_threshold() -> None:
    made = split(4000)
    errors = np.random.default_rng(0).exponential(size=len(made.calibration)).astype(np.float32)
    budgets = [1.0, 10.0, 100.0, 1000.0, 5000.0]
    found = [
        calibrate(errors, made, tiny_settings(quantile=None, alerts_per_stream_per_day=budget), RULES)[0].threshold
        for budget in budgets
    ]
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(("fleet", "each"), [(None, 5.0), (40, 0.25)])
def test_a_fleet_shares_its_budget_in_equal_parts(fleet: int | None, each: float) -> None:
    made = split(4000)  # two streams
    errors = np.random.default_rng(0).exponential(size=len(made.calibration)).astype(np.float32)
    shared = tiny_settings(quantile=None, alerts_per_day=10.0, fleet=fleet)
    alone = tiny_settings(quantile=None, alerts_per_stream_per_day=each)
    assert calibrate(errors, made, shared, RULES) == calibrate(errors, made, alone, RULES)


def test_the_tail_that_the_threshold_was_read_off_is_in_the_card() -> None:
    """Its curve at the threshold is the budget, less what held-out times took of it; of other methods there is none."""
    made = split(20_000)
    errors = np.random.default_rng(0).exponential(size=len(made.calibration)).astype(np.float32)

    def found(budget: float) -> Calibration:
        return calibrate(errors, made, tiny_settings(quantile=None, alerts_per_stream_per_day=budget), RULES)[0]

    rare = found(20.0)  # within 0.12 stream-days
    assert (rare.method, found(300.0).method, found(300.0).tail) == ("tail", "incidents", None)
    assert rare.tail is not None
    tail = Tail(**rare.tail.model_dump())
    assert tail.level < rare.threshold
    assert 10 < tail.rate_above(rare.threshold) <= 20 * (1 + 1e-9)
    assert tail.threshold_at(tail.rate_above(rare.threshold)) == pytest.approx(rare.threshold)


def test_the_largest_errors_of_blocks_are_in_the_card_for_p_values() -> None:
    """No more than 200 of them, and none is above the largest error of all."""
    made = split(20_000)
    errors = np.random.default_rng(0).exponential(size=len(made.calibration)).astype(np.float32)
    blocks = calibrate(errors, made, tiny_settings(quantile=0.9), RULES)[0].blocks
    assert blocks is not None
    assert blocks.windows > 8
    assert 150 < len(blocks.largest) <= 200
    assert blocks.largest[-1] == errors.max()
    few = calibrate(ramp(9), of_windows(9), tiny_settings(quantile=0.5), RULES)[0]
    assert few.blocks is None


def test_windows_without_any_error_have_a_threshold_above_zero() -> None:
    calibration, warnings = calibrate(np.zeros(50, np.float32), of_windows(50), tiny_settings(quantile=0.9), RULES)
    assert 0 < calibration.threshold < 1e-37
    assert warnings == ("The calibration windows are reconstructed without any error: every difference will alert.",)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_error_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(MonitorError, match="no finite errors"):
        calibrate(np.array([1, bad], np.float32), of_windows(2), tiny_settings(), RULES)


def test_the_streams_of_one_name_are_one() -> None:
    parts = [series(300), Series("s", series(300).time + 1000, waves(300, 3))]
    assert set(prepare(parts, FEATURES, tiny_settings()).stream.tolist()) == {0}
