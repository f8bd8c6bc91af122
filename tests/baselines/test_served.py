"""Laws of the exported baselines and of ensembles of them: the same bits in any batch, the same values as in torch."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.batch import Float32
from monitor.model.baselines import KINDS, OVER_FEATURES, Kind, build
from monitor.model.ensemble import Ensemble
from monitor.model.export import check, to_onnx
from monitor.model.reconstructor import Reconstructor
from monitor.model.scorer import Scorer
from tests.baselines.made import Session, in_torch, plain_features, scorer, served, session

EVERY = (*KINDS, "ensemble")
END = float(np.finfo(np.float32).max)


def filled(kind: Kind, channels: int, seed: int = 0) -> Reconstructor:
    """Random numbers instead of estimated ones: the law is about arithmetic."""
    model = build(kind, channels, max(1, channels // 2))
    rng = np.random.default_rng(seed)
    for tensor in model.state_dict().values():
        tensor.copy_(torch.from_numpy(rng.normal(size=tuple(tensor.shape)) / np.sqrt(channels)))
    return model.eval()


def made(kind: str, channels: int, window: int) -> Scorer:
    features, units = plain_features(channels), np.linspace(0.1, 3, channels).tolist()
    for known in KINDS:
        if kind == known:
            return scorer(filled(known, channels), features, window, units, OVER_FEATURES[known], ("window", "last"))
    members = [scorer(filled(one, channels), features, window, units) for one in ("pca", "mahalanobis")]
    return scorer(Ensemble.of(members), features, window)


@cache
def graph(kind: str, channels: int, window: int, threads: int) -> Session:
    return session(made(kind, channels, window), window, threads)


def noise(count: int, window: int, features: int, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).normal(size=(count, window, features)).astype(np.float32)


@pytest.mark.parametrize("kind", EVERY)
@settings(deadline=None, max_examples=12)
@given(
    channels=st.sampled_from([1, 38, 130]),
    window=st.sampled_from([1, 9]),
    threads=st.sampled_from([1, 2]),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    seed=st.integers(0, 9),
)
def test_scores_do_not_depend_on_the_batch(
    kind: str, channels: int, window: int, threads: int, cuts: list[int], seed: int
) -> None:
    """Any cutting of any windows into batches, any place in a batch: the same bits."""
    ready = graph(kind, channels, window, threads)
    windows = noise(sum(cuts), window, channels, seed)
    whole = served(ready, windows)
    start = 0
    for size in cuts:
        for one, of_all in zip(served(ready, windows[start : start + size]), whole, strict=True):
            assert one.tobytes() == of_all[start : start + size].tobytes()
        start += size
    for place in (0, len(windows) - 1):
        for one, of_all in zip(served(ready, windows[place : place + 1]), whole, strict=True):
            assert one.tobytes() == of_all[place : place + 1].tobytes()


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("window", [1, 6])
def test_the_graph_passes_the_check_that_every_artefact_must_pass(kind: str, window: int) -> None:
    """Extreme windows too: what is left of large values that cancel must be the same in both runtimes."""
    of = made(kind, 5, window)
    check(of, to_onnx(of, window), noise(20, window, 5))


@pytest.mark.parametrize("kind", EVERY)
@settings(deadline=None, max_examples=25)
@given(values=st.lists(st.floats(-END, END, width=32), min_size=12, max_size=12))
def test_every_finite_window_has_finite_scores(kind: str, values: list[float]) -> None:
    for output in served(graph(kind, 3, 4, 1), np.array(values, np.float32).reshape(1, 4, 3)):
        assert np.isfinite(output).all()


@pytest.mark.parametrize("kind", ["pca", "mahalanobis", "ensemble"])
def test_the_error_is_the_mean_of_the_features(kind: str) -> None:
    error, feature_error, _, _ = in_torch(made(kind, 5, 3), noise(40, 3, 5))
    assert np.allclose(feature_error.mean(axis=1), error, rtol=1e-5)


def test_the_error_of_max_z_is_the_largest_of_the_features() -> None:
    error, feature_error, _, _ = in_torch(made("max_z", 5, 3), noise(40, 3, 5))
    assert (feature_error.max(axis=1) == error).all()


def test_the_error_of_an_ensemble_is_the_mean_of_its_models_errors_in_their_own_units() -> None:
    members = [scorer(filled(one, 4), plain_features(4), 3, (0.5, 1, 2, 3)) for one in ("pca", "mahalanobis")]
    windows = noise(20, 3, 4)
    joint = scorer(Ensemble.of(members), plain_features(4), 3)
    apart = np.mean([in_torch(one, windows)[1] for one in members], axis=0)
    assert np.allclose(in_torch(joint, windows)[1], apart, rtol=1e-5)


def test_an_ensemble_of_one_scores_as_the_one() -> None:
    one = scorer(filled("pca", 4), plain_features(4), 3, (0.5, 1, 2, 3))
    windows = noise(20, 3, 4)
    for left, right in zip(
        in_torch(scorer(Ensemble.of([one]), plain_features(4), 3), windows), in_torch(one, windows), strict=True
    ):
        assert np.allclose(left, right, rtol=1e-5)


def test_a_model_whose_largest_feature_counts_cannot_be_averaged() -> None:
    with pytest.raises(ValueError, match="largest feature"):
        Ensemble.of([made("max_z", 3, 2)])


def test_the_runtime_runs_every_model_of_an_ensemble_once(tmp_path: Path) -> None:
    """Its reconstruction and its error both need them; the products are those of the models and no more."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(to_onnx(made("ensemble", 5, 3), 3), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    pca, mahalanobis, code = 2, 2, 1
    assert sum(kind in ("MatMul", "Gemm", "FusedMatMul") for kind in kinds) == pca + mahalanobis + code
