"""Synthetic faults: what is hurt, where, by how much; and that nothing else changes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.batch import Float32
from monitor.model.injection import DRIFT, KINDS, MAGNITUDES, aged, hit_rate, inject
from monitor.model.manifest import Feature
from tests.models import waves

NUMBERS = tuple(Feature(name=name, mean=0.0, minimum=-9.0, maximum=9.0) for name in "abcde")


def normal(count: int = 60, window: int = 12, features: int = 5) -> Float32:
    """Windows (n, T, F) of waves."""
    rows = waves(count + window, features)
    windows: Float32 = rows[np.arange(count)[:, None] + np.arange(window)]
    return windows


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), window=st.integers(1, 20))
def test_only_the_hurt_features_change_and_only_from_the_first_event_of_the_fault(
    kind: str, seed: int, window: int
) -> None:
    windows = normal(window=window)
    fault = inject(kind, windows, NUMBERS, seed)
    before = windows[fault.source]
    changed = fault.windows != before  # (n, T, F)
    assert (changed.any(axis=1) == fault.hurt).all()
    early = np.arange(window)[None, :] < fault.begin[:, None]
    assert not changed[early].any()
    assert fault.hurt.any(axis=1).all(), "a fault that changes nothing was given back"
    assert np.isfinite(fault.windows).all()
    assert fault.windows.dtype == np.float32


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_faults_and_another_seed_others(kind: str) -> None:
    windows = normal()
    one, again, other = (inject(kind, windows, NUMBERS, seed).windows.tobytes() for seed in (1, 1, 2))
    assert one == again
    assert one != other


@pytest.mark.parametrize("kind", KINDS)
def test_the_normal_windows_are_left_alone(kind: str) -> None:
    windows = normal()
    windows.flags.writeable = False
    inject(kind, windows, NUMBERS, 0)


def test_a_spike_is_one_event_long_and_of_the_magnitude_asked_for_in_the_features_deviations() -> None:
    windows = normal()
    fault = inject("spike", windows, NUMBERS, 0, (3.0,))
    assert (fault.begin == 11).all()
    by = np.abs(fault.windows - windows[fault.source])[:, -1] / windows.std(axis=(0, 1))  # (n, F)
    assert np.allclose(by[fault.hurt], 3.0, rtol=1e-3)
    assert not by[~fault.hurt].any()


def test_a_shift_is_level_and_a_drift_grows_to_its_magnitude_at_the_closing_event() -> None:
    windows = normal()
    for kind, grows in (("shift", False), ("drift", True)):
        fault = inject(kind, windows, NUMBERS, 0, (2.0,))
        by = np.abs(fault.windows.astype(np.float64) - windows[fault.source]) / windows.std(axis=(0, 1))  # (n, T, F)
        for row in range(len(by)):
            active = by[row, fault.begin[row] :][:, fault.hurt[row]]  # (length, hurt)
            ramp = (np.arange(len(active)) + 1) / len(active) if grows else np.ones(len(active))
            assert np.allclose(active, 2.0 * ramp[:, None], atol=1e-3)


def test_a_stuck_value_is_that_of_the_event_before() -> None:
    fault = inject("stuck", normal(), NUMBERS, 0)
    for row, begin in enumerate(fault.begin.tolist()):
        held = fault.windows[row, max(0, begin - 1) :][:, fault.hurt[row]]
        assert (held == held[0]).all()


def test_a_swing_grows_or_shrinks_about_the_windows_mean() -> None:
    windows = normal()
    fault = inject("scale", windows, NUMBERS, 0, (3.0,))
    before = windows[fault.source].astype(np.float64)
    middle = before.mean(axis=1, keepdims=True)
    ratio = ((fault.windows - middle) / (before - middle))[:, -1][fault.hurt]
    grown = np.isclose(ratio, 4.0, rtol=2e-2)
    assert (grown | np.isclose(ratio, 0.25, rtol=2e-2)).all()
    assert 0 < grown.sum() < len(grown)


def test_values_from_elsewhere_are_those_of_another_window_at_the_same_place() -> None:
    windows = normal()
    fault = inject("elsewhere", windows, NUMBERS, 0)
    for row in range(len(fault.windows)):
        mine = fault.windows[row, fault.begin[row] :][:, fault.hurt[row]]
        theirs = windows[:, fault.begin[row] :][:, :, fault.hurt[row]]
        assert (theirs == mine).all(axis=(1, 2)).any()


def test_reversed_events_are_the_same_events() -> None:
    windows = normal()
    fault = inject("reversed", windows, NUMBERS, 0)
    assert fault.hurt.all()
    for row, begin in enumerate(fault.begin.tolist()):
        assert (fault.windows[row, begin:] == windows[fault.source[row], begin:][::-1]).all()


def test_noise_has_the_deviation_asked_for() -> None:
    windows = normal(count=2000)
    fault = inject("noise", windows, NUMBERS, 0, (2.0,))
    by = (fault.windows.astype(np.float64) - windows[fault.source]) / windows.std(axis=(0, 1))
    assert np.std(by[:, -1][fault.hurt]) == pytest.approx(2.0, rel=0.1)


def test_lengths_reach_from_one_event_to_the_whole_window_and_both_one_and_several_features_are_hurt() -> None:
    fault = inject("shift", normal(count=500), NUMBERS, 0)
    assert set(range(12)) == set(fault.begin.tolist())
    assert set(fault.hurt.sum(axis=1).tolist()) == {1, 2}
    assert set(fault.magnitude.tolist()) == set(MAGNITUDES)
    assert fault.hurt.any(axis=0).all()


def test_a_feature_that_never_varies_is_hurt_only_where_none_does() -> None:
    windows = normal()
    windows[..., 2] = 7
    assert not inject("shift", windows, NUMBERS, 0).hurt[:, 2].any()
    constant = np.full((5, 4, 5), 7, np.float32)
    fault = inject("shift", constant, NUMBERS, 0, (2.0,))
    assert len(fault.windows) == 5
    assert set(np.abs(fault.windows - 7)[:, -1][fault.hurt].tolist()) == {2.0}


def test_what_cannot_be_hurt_is_left_out() -> None:
    """One event can neither be stuck nor reversed, one window has no other."""
    assert not len(inject("reversed", normal(window=1), NUMBERS, 0).windows)
    assert not len(inject("stuck", normal(window=1), NUMBERS, 0).windows)
    assert not len(inject("elsewhere", normal(count=1), NUMBERS, 0).windows)


def test_a_category_takes_another_of_its_values() -> None:
    features = (NUMBERS[0], Feature(name="k", categories=("x", "y", "z"), mean=0.0, minimum=0.0, maximum=2.0))
    windows = normal(features=2)
    windows[..., 1] = np.random.default_rng(0).integers(0, 3, windows.shape[:2])
    for kind in KINDS:
        fault = inject(kind, windows, features, 0)
        assert set(np.unique(fault.windows[..., 1]).tolist()) <= {-1.0, 0.0, 1.0, 2.0}
    spiked = inject("spike", windows, features, 0)
    of_category = spiked.hurt[:, 1]
    assert of_category.any()
    assert (spiked.windows[of_category, -1, 1] != windows[spiked.source[of_category], -1, 1]).all()


def test_a_feature_read_on_the_logarithm_is_hurt_on_it() -> None:
    features = (NUMBERS[0].model_copy(update={"log1p": True}),)
    level = np.random.default_rng(0).normal(6.0, 1.0, (50, 3, 1))
    windows = np.expm1(level).astype(np.float32)
    fault = inject("spike", windows, features, 0, (2.0,))
    by = np.log1p(np.maximum(fault.windows[:, -1, 0], 0)) - level[fault.source, -1, 0]
    assert np.allclose(np.abs(by), 2.0 * level.std(), rtol=1e-2)


def test_seconds_between_events_stay_as_they_are() -> None:
    windows = np.concatenate([normal(), np.full((60, 12, 1), 3, np.float32)], axis=2)
    for kind in KINDS:
        assert (inject(kind, windows, NUMBERS, 0).windows[..., -1] == 3).all()


def test_an_aged_window_is_off_by_a_small_constant_of_its_own_in_every_feature() -> None:
    windows = normal(count=3000)
    off = aged(windows, NUMBERS, 0).astype(np.float64) - windows
    assert np.allclose(off, off[:, :1], atol=1e-4)
    assert np.allclose(off[:, 0].std(axis=0), DRIFT * windows.std(axis=(0, 1)), rtol=0.1)
    assert np.abs(np.corrcoef(off[:, 0].T) - np.eye(5)).max() < 0.1


def test_neither_categories_nor_constants_nor_seconds_age() -> None:
    features = (Feature(name="k", categories=("x", "y"), mean=0.0, minimum=0.0, maximum=1.0), *NUMBERS[:2])
    windows = np.concatenate([normal(features=3), np.full((60, 12, 1), 3, np.float32)], axis=2)
    windows[..., 0] = np.random.default_rng(0).integers(0, 2, windows.shape[:2])
    windows[..., 1] = 7
    changed = (aged(windows, features, 0) != windows).any(axis=(0, 1))
    assert changed.tolist() == [False, False, True, False]


def test_the_hit_rate_is_the_share_with_a_hurt_feature_among_the_largest() -> None:
    error = np.array([[3, 2, 1], [3, 2, 1], [1, 2, 3]], np.float32)
    hurt = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]], np.bool_)
    assert [hit_rate(error, hurt, most) for most in (1, 2, 3)] == pytest.approx([1 / 3, 1.0, 1.0])


def test_every_kind_of_fault_has_a_seed_of_its_own() -> None:
    """Or the same windows would be hurt in the same place by all of them."""
    faults = {kind: inject(kind, normal(), NUMBERS, 0) for kind in KINDS if kind not in ("spike", "reversed")}
    for one, other in product(faults.values(), repeat=2):
        assert one is other or one.begin.tobytes() != other.begin.tobytes()
