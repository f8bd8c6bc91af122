"""Each stretch of time is held out in turn: what sets a threshold was not fitted to, and in the end all rows are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monitor.batch import Float32
from monitor.config import Training
from monitor.model import baselines, crossfit
from monitor.model.dataset import Series, Split, prepare
from monitor.model.weighing import errors
from tests.models import FEATURES, tiny_settings, tiny_trained, waves

torch.set_num_threads(1)
PAIR: tuple[baselines.Kind, ...] = ("pca", "mahalanobis")


def folded(rows: Float32, settings: Training, time: object = None) -> Split:
    clock = np.arange(len(rows), dtype=np.float64) if time is None else np.asarray(time, np.float64)
    return prepare([Series("s", clock, rows)], FEATURES[: rows.shape[1]], settings, folds=crossfit.FOLDS)


def test_the_windows_of_all_folds_lie_within_one_each_and_set_the_threshold() -> None:
    split = folded(waves(500, 3), tiny_settings())
    assert [len(fold) for fold in split.folds] == [100 - split.window + 1] * 5
    assert np.concatenate(split.folds).tolist() == split.fit.tolist() == split.calibration.tolist()
    for place, fold in enumerate(split.folds):
        assert (fold // 100 == place).all()
        assert ((fold + split.window - 1) // 100 == place).all()


@pytest.mark.parametrize("kinds", [("pca",), ("mahalanobis",), PAIR])
def test_a_stretch_unlike_the_others_has_the_errors_of_a_model_that_has_not_seen_it(
    kinds: tuple[baselines.Kind, ...],
) -> None:
    """Features that move together do not for a while: who has fitted that finds it half as strange."""
    rows = np.repeat(waves(1000, 1), 3, axis=1) + 0.01 * waves(1000, 3, seed=1)
    rows[400:600, 1] = waves(200, 1, seed=2)[::-1, 0]
    split = folded(rows, tiny_settings(detector="linear"))
    _, scorer, _, held_out = crossfit.crossfit(kinds, split, tiny_settings())
    seen = errors(scorer, split, split.calibration)
    odd = np.isin(split.calibration, split.folds[2])
    assert np.median(held_out[odd]) > 1.5 * np.median(seen[odd])
    assert np.median(held_out[odd]) > 3 * np.median(held_out[~odd])


def test_in_the_end_all_rows_are_fitted() -> None:
    rows = waves(500, 3)
    split = folded(rows, tiny_settings())
    _, scorer, _, _ = crossfit.crossfit(("pca",), split, tiny_settings())
    whole = baselines.estimate("pca", split)
    assert all(torch.equal(one, whole.state_dict()[name]) for name, one in scorer.model.state_dict().items())


def test_errors_come_in_the_order_of_the_windows_whatever_the_streams() -> None:
    settings = tiny_settings()
    several = [Series(name, np.arange(300.0), waves(300, 3, seed)) for seed, name in enumerate("ab")]
    split = prepare(several, FEATURES, settings, folds=crossfit.FOLDS)
    assert (np.diff(split.calibration) > 0).all()
    _, _, _, found = crossfit.crossfit(PAIR, split, settings)
    assert found.shape == split.calibration.shape


def test_folds_without_a_whole_window_are_left_out() -> None:
    """Rows of the middle fold are an hour apart each."""
    steps = np.where((np.arange(500) >= 200) & (np.arange(500) < 300), 3600.0, 1.0)
    split = folded(waves(500, 3), tiny_settings(), np.cumsum(steps))
    assert len(split.folds) == 4
    assert len(crossfit.crossfit(PAIR, split, tiny_settings())[3]) == len(split.calibration)


def test_a_channel_that_never_moves_is_no_louder_in_a_mean_of_models_than_in_each() -> None:
    """Its error is held down by a floor under its unit; a second floor under that of the mean would lift it again."""
    rows = waves(500, 3)
    rows[:, 1] = 4.0
    split = folded(rows, tiny_settings())
    _, scorer, _, _ = crossfit.crossfit(PAIR, split, tiny_settings())
    assert min(scorer.scoring.units[0]) >= 1.0


def test_what_is_trained_without_a_network_is_calibrated_on_all_rows() -> None:
    record = {detector: tiny_trained(rows=500, detector=detector).manifest_draft for detector in ("linear", "ensemble")}
    whole = 2 * (500 - crossfit.FOLDS * 7)
    assert record["linear"].calibration.windows == record["linear"].training.fit_windows == whole
    assert record["ensemble"].calibration.windows < whole / 3
