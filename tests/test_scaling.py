"""From fitting rows to how a feature is read: closed forms, and columns that there is little to learn from."""

from __future__ import annotations

from math import nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.batch import Float64
from monitor.config import FeatureRule, Training
from monitor.model import scaling
from monitor.model.manifest import Feature

SCALINGS = ["standard", "robust", "minmax", "none"]


def fitted(
    values: Any, how: str = "standard", step: Any = None, opens: Any = (0,), **rule: Any
) -> tuple[Feature, bool]:
    column: Float64 = np.array(values, np.float64)
    first = np.isin(np.arange(len(column)), opens)
    seconds = np.ones(len(column)) if step is None else np.array(step, np.float64)
    return scaling.number("x", "bar", column, seconds, first, FeatureRule(match="*", **rule), how)


def test_each_scaling_is_its_closed_form() -> None:
    values = np.random.default_rng(0).normal(5, 3, 10_001)
    standard, robust, minmax, none = (fitted(values, how)[0] for how in SCALINGS)
    assert (standard.shift, standard.scale) == pytest.approx((values.mean(), values.std()))
    assert robust.shift == pytest.approx(np.sort(values)[5000])
    assert robust.scale == pytest.approx(3, rel=0.03)  # of a normal distribution, its standard deviation
    assert (minmax.shift, minmax.shift + minmax.scale) == pytest.approx((values.min(), values.max()))
    assert (none.shift, none.scale) == (0, 1)


def test_the_scaler_is_fitted_to_what_the_network_sees() -> None:
    assert fitted([0, np.e - 1, np.e**2 - 1], "minmax", log1p=True)[0].scale == pytest.approx(2)
    difference, _ = fitted([5, 6, 8, 11], change="difference")
    assert (difference.shift, difference.scale) == pytest.approx((2, np.std([1, 2, 3])))
    rate, _ = fitted([5, 6, 8, 2], step=[9, 1, 2, 4], change="rate")
    assert (rate.shift, rate.scale) == pytest.approx((np.mean([1, 1, 0.5]), np.std([1, 1, 0.5])))
    clipped, _ = fitted([-100, 0, 1, 100], "minmax", clip=(-1, 2))
    assert (clipped.shift, clipped.scale) == (-1, 3)


def test_mean_and_range_are_in_source_units_whatever_the_transform() -> None:
    feature, _ = fitted([1, nan, 3, 8], log1p=True, change="difference", clip=(0, 5))
    assert (feature.mean, feature.minimum, feature.maximum, feature.unit) == (4, 1, 8, "bar")


def test_no_change_is_taken_over_a_gap() -> None:
    feature, _ = fitted([1, 2, 1000, 1002], "minmax", opens=(0, 2), change="difference")
    assert (feature.shift, feature.scale) == (1, 1)


def test_a_change_of_a_half_missing_column_is_that_since_the_last_value() -> None:
    """As imputation has it, which fills the windows in the same way."""
    feature, constant = fitted([1, nan, 3, nan, nan, 9, nan], "minmax", change="difference")
    assert (feature.shift, feature.scale, constant) == (0, 6, False)
    feature, _ = fitted([nan, 7, nan, 8, nan, nan], "minmax", opens=(0, 4), change="difference")
    assert (feature.shift, feature.scale) == (0, 1)


@pytest.mark.parametrize("how", SCALINGS)
@pytest.mark.parametrize("value", [0.0, 0.1, -3e38, 1e-45])
def test_a_constant_column_is_told_and_is_not_scaled(how: str, value: float) -> None:
    feature, constant = fitted([value] * 7 + [nan], how)
    assert constant
    assert feature.scale == 1


@pytest.mark.parametrize("how", SCALINGS)
def test_a_column_whose_changes_are_all_unknown_is_not_scaled(how: str) -> None:
    feature, constant = fitted([nan, 4, 5], how, opens=(0, 1, 2), change="difference")
    assert (feature.shift, feature.scale, constant) == (0, 1, True)


@given(st.lists(st.sampled_from([1.0, 2.0, nan]), min_size=1, max_size=30), st.integers(0, 2**30))
def test_the_longest_run_of_one_value_is_that_of_a_walk(values: list[float], gaps: int) -> None:
    """What is missing is equal to nothing, and no run spans a gap."""
    opens = np.array([row == 0 or bool(gaps >> row & 1) for row in range(len(values))])
    longest = run = 0
    for row, value in enumerate(values):
        run = run + 1 if not opens[row] and value == values[row - 1] else 1
        longest = max(longest, run)
    column = np.array([*values, 3.0])
    feature, _ = scaling.number(
        "x", "", column, np.ones(len(column)), np.array([*opens, True]), FeatureRule(match="*"), "standard"
    )
    assert feature.still == longest


def test_equal_quartiles_are_scaled_by_the_deviation() -> None:
    """A binary column that is mostly 0, or a counter of rare things."""
    values = [0.0] * 90 + [1.0] * 10
    feature, constant = fitted(values, "robust")
    assert (feature.shift, constant) == (0, False)
    assert feature.scale == pytest.approx(np.std(values))


@pytest.mark.parametrize("how", SCALINGS)
def test_a_binary_column_is_a_number_like_any_other(how: str) -> None:
    values = np.tile([0.0, 1.0, 1.0], 50)
    feature, constant = fitted(values, how)
    assert not constant
    assert np.abs((values - feature.shift) / feature.scale).max() <= 2


def test_the_commonest_category_stands_in_for_a_missing_one() -> None:
    feature = scaling.category("x", "", np.array([nan, 2, 0, 2, nan]), ("a", "b", "c"))
    assert (feature.mean, feature.categories, feature.minimum, feature.maximum) == (2, ("a", "b", "c"), 0, 2)


def test_the_first_rule_that_matches_counts() -> None:
    rules = [{"match": "bytes_in", "log1p": True}, {"match": "bytes_*", "scaling": "none"}]
    settings = Training.model_validate({"features": rules})
    assert settings.rule("bytes_in").log1p
    assert settings.rule("bytes_out").scaling == "none"
    assert settings.rule("bytes") == FeatureRule(match="*")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"kind": "category", "log1p": True}, "neither clipped nor scaled"),
        ({"kind": "category", "scaling": "none"}, "neither clipped nor scaled"),
        ({"clip": [2, 1]}, "two finite numbers in ascending order"),
        ({"clip": [0, float("inf")]}, "two finite numbers in ascending order"),
        ({"log1p": True, "change": "rate"}, "the rate of a logarithm"),
    ],
)
def test_a_senseless_rule_is_refused(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureRule.model_validate({"match": "x", **rule})


def test_a_change_needs_a_window_of_two() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        Training.model_validate({"window": 1, "features": [{"match": "x", "change": "rate"}]})


def walk(seed: int) -> Float64:
    return np.cumsum(np.random.default_rng(seed).normal(size=1000))


@pytest.mark.parametrize("seed", range(5))
def test_a_random_walk_and_a_trend_wander_noise_and_a_swing_do_not(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=1000)
    swing = np.sin(np.arange(1000) / 8)
    assert scaling.wandering([walk(seed)])
    assert scaling.wandering([np.arange(1000) / 200 + noise])
    assert not scaling.wandering([noise])
    assert not scaling.wandering([swing + noise])


def test_levels_of_several_stretches_are_compared_within_each() -> None:
    """Two streams on two levels do not wander; missing values tell nothing; too few rows tell nothing."""
    noise = np.random.default_rng(0).normal(size=(2, 500))
    noise[:, ::7] = nan
    assert not scaling.wandering([noise[0], 100 + noise[1]])
    assert not scaling.wandering([np.full(100, 4.0)])
    assert not scaling.wandering([np.arange(19.0)])


@given(floor=st.floats(0, 1), spread=st.floats(1e-3, 10))
def test_a_scale_is_at_least_its_share_of_the_range(floor: float, spread: float) -> None:
    column = np.zeros(100)
    column[7] = spread
    for how in ("standard", "robust", "minmax"):
        found, _ = scaling.number(
            "x", "", column, np.ones(100), np.arange(100) == 0, FeatureRule(match="*"), how, floor
        )
        assert found.scale >= floor * spread * (1 - 1e-6)
        assert found.scale >= fitted(column, how)[0].scale * (1 - 1e-6)
