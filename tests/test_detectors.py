"""Laws of what `training.detector` names: each is trained, written, loaded and serves like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from monitor import config
from monitor.config import Training
from monitor.detector import load
from monitor.model import artefact
from monitor.model.architecture import Architecture, ClosedForm, Joint
from monitor.model.dataset import prepare
from monitor.model.detectors import learn
from monitor.model.export import save
from monitor.model.training import Series, train
from monitor.model.weighing import error_of_mean
from tests.models import FEATURES, series, tiny_settings, waves

torch.set_num_threads(1)
NAMES = ("autoencoder", "max_z", "pca", "mahalanobis", "linear", "ensemble")


def settings(**changes: object) -> Training:
    return tiny_settings(**{"epochs": 3} | changes)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for name in NAMES:
        made[name] = tmp_path_factory.mktemp("detectors") / name
        save(train([series(1200)], FEATURES, {}, settings(detector=name, epochs=12), source="s"), made[name])
    return made


@pytest.mark.parametrize("name", NAMES)
def test_every_detector_serves_in_both_runtimes_and_finds_what_is_odd(folders: dict[str, Path], name: str) -> None:
    normal, odd = waves(8, 3), waves(8, 3)
    odd[:, 1] += 30
    for runtime in ("onnx", "torch"):
        detector = load(folders[name], config.Model.model_validate({"path": folders[name], "runtime": runtime}))
        scores = detector.score(np.stack([normal, odd]))
        assert scores.error[0] < detector.manifest.calibration.threshold < scores.error[1]
        assert np.abs(scores.expected[0] - normal[-1]).max() < 2


@pytest.mark.parametrize("name", NAMES)
def test_the_runtimes_agree_and_no_score_depends_on_its_batch(folders: dict[str, Path], name: str) -> None:
    both = [
        load(folders[name], config.Model.model_validate({"path": folders[name], "runtime": runtime}))
        for runtime in ("onnx", "torch")
    ]
    windows = np.stack([waves(60, 3, seed=7)[start : start + 8] for start in range(50)])
    served, reference = (detector.score(windows) for detector in both)
    assert np.allclose(served.error, reference.error, rtol=1e-4)
    for detector, whole in zip(both, (served, reference), strict=True):
        assert detector.score(windows[17:18]).error.tobytes() == whole.error[17:18].tobytes()


def test_the_manifest_says_what_was_learned(folders: dict[str, Path]) -> None:
    cards = {name: artefact.load(folder).manifest for name, folder in folders.items()}
    kinds = {name: type(card.architecture) for name, card in cards.items()}
    assert kinds == {
        "autoencoder": Architecture,
        "max_z": ClosedForm,
        "pca": ClosedForm,
        "mahalanobis": ClosedForm,
        "linear": Joint,
        "ensemble": Joint,
    }
    assert cards["max_z"].scoring.over_features == "max"
    assert cards["pca"].training.epochs == 0
    assert "train_loss" not in cards["pca"].metrics
    assert cards["ensemble"].training.epochs == 12
    assert [member.network for member in cards["ensemble"].architecture.members] == ["lstm", "pca", "mahalanobis"]  # type: ignore[union-attr]  # told above


def test_a_short_history_has_no_network_and_says_so() -> None:
    split = prepare([series(300)], FEATURES, settings())
    learned = learn(split, settings(detector="auto"))
    assert isinstance(learned.design, ClosedForm | Joint)
    assert learned.fitted is None
    assert learned.notes[0] == (
        "173 fitting windows of 8 events are too few for a network: only baselines were learned."
    )
    assert {"selection_pca", "selection_max_z", "selection_mahalanobis", "selection_linear"} <= set(learned.metrics)


def test_auto_weighs_the_network_too_where_there_are_rows_enough_and_is_the_same_each_time() -> None:
    split = prepare([series(1200)], FEATURES, settings())
    first, second = (learn(split, settings(detector="auto"), clock=lambda: 0.0) for _ in range(2))
    assert "selection_autoencoder" in first.metrics
    assert (first.metrics, first.notes, first.design) == (second.metrics, second.notes, second.design)
    assert "<- taken" in first.notes[-1]


def test_errors_may_be_counted_as_they_are() -> None:
    split = prepare([series(1200)], FEATURES, settings())
    own = learn(split, settings(detector="pca")).scorer
    one = learn(split, settings(detector="pca", score_units="one")).scorer
    assert set(one.scoring.units[0]) == {1.0}
    windows = torch.from_numpy(split.take(split.validation[:20]))
    units = torch.tensor(own.scoring.units[0])
    assert torch.allclose(own(windows)[1] * units, one(windows)[1], rtol=1e-4)


def test_a_feature_whose_level_wanders_is_read_as_its_change_and_served_so(tmp_path: Path) -> None:
    rows = waves(600, 3)
    rows[:, 2] = np.cumsum(np.random.default_rng(0).normal(size=600))
    walked = Series("s", series(600).time, rows)
    trained = train([walked], FEATURES, {}, settings(detector="linear", wandering="difference"), source="s")
    assert [feature.change for feature in trained.manifest_draft.features] == ["none", "none", "difference"]
    assert "Read as their change since the event before, because their level wanders: c." in trained.warnings
    save(trained, tmp_path / "model")  # holds ONNX Runtime to torch
    detector = load(tmp_path / "model", config.Model.model_validate({"path": tmp_path / "model"}))
    far = rows[:8].copy()
    far[:, 2] += 1000
    near, moved = detector.score(np.stack([rows[:8], far])).error
    assert near == pytest.approx(moved, rel=1e-3)


def test_a_network_that_is_no_better_than_the_mean_says_so_and_what_to_do() -> None:
    def notes(**changes: object) -> list[str]:
        warnings = train([series(400)], FEATURES, {}, settings(**changes), source="s").warnings
        return [note for note in warnings if "no better than the mean" in note]

    (note,) = notes(epochs=1, learning_rate=1.0)
    assert "training.epochs" in note
    assert "training.detector: linear" in note
    assert not notes(epochs=12)


def test_rows_that_never_change_have_no_mean_to_be_compared_with() -> None:
    constant = Series("s", series(400).time, np.ones((400, 3), np.float32))
    warnings = train([constant], FEATURES, {}, settings(epochs=1), source="s").warnings
    assert not any("no better than the mean" in note for note in warnings)


def test_the_error_of_the_mean_is_the_distance_of_held_out_rows_from_that_of_the_fitting_rows() -> None:
    chosen = settings(epochs=1)
    split = prepare([series(400)], FEATURES, chosen)
    scorer = learn(split, chosen).scorer
    scale = np.array([feature.scale for feature in split.features])
    away = (split.take(split.validation) - split.take(split.fit).mean(axis=(0, 1))) / scale  # (n, T, F)
    assert error_of_mean(scorer, split, chosen) == pytest.approx((away**2).mean(), rel=1e-4)
