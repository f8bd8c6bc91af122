"""Laws of scoring, for each runtime: above all, a window's scores do not depend on its batch, bit for bit."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save as to_safetensors

from monitor import config
from monitor.batch import Float32, Scores
from monitor.detector import Detector, OnnxDetector, load
from monitor.errors import ArtefactError, UsageError
from monitor.model import designs
from monitor.model.artefact import Artefact
from monitor.model.export import to_onnx
from monitor.model.manifest import Feature, Manifest, Scoring
from monitor.model.reference import TorchDetector
from monitor.model.scorer import Scorer
from monitor.model.weighing import SPANS
from tests.models import tiny_artefact, tiny_trained, waves

RUNTIMES = ("onnx", "torch")
END = np.finfo(np.float32).max


@pytest.fixture(autouse=True)
def _one_torch_thread() -> Iterator[None]:
    """The torch runtime sets the threads of the whole process."""
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_artefact(tmp_path_factory.mktemp("detector") / "model")


@pytest.fixture(scope="module", params=RUNTIMES)
def detector(request: pytest.FixtureRequest, folder: Path) -> Detector:
    return load(folder, config.Model(path=folder, runtime=request.param))


@cache
def _card() -> Manifest:
    return tiny_trained(epochs=1).manifest_draft


@cache
def untrained(
    features: int, window: int, hidden: int, layers: int, code: int, score_over: str, threads: int
) -> dict[str, Detector]:
    """Both runtimes of one network with large random weights: the law is about arithmetic, not about learning."""
    torch.manual_seed(0)
    shape = {"channels": features, "window": window, "hidden": (hidden,) * layers, "code": code}
    architecture = _card().architecture.model_copy(update=shape)
    model = designs.build(architecture)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2)
    columns = tuple(Feature(name=f"f{i}", mean=0.0, minimum=-9.0, maximum=9.0) for i in range(features))
    spans = SPANS[score_over]
    scoring = Scoring(spans=spans, units=(tuple(np.linspace(0.1, 3, features).tolist()),) * len(spans))
    manifest = _card().model_copy(update={"architecture": architecture, "features": columns, "scoring": scoring})
    scorer = Scorer(columns, window, model, scoring).eval()
    artefact = Artefact(Path("model"), manifest, to_onnx(scorer, window), to_safetensors(dict(model.state_dict())))
    return {"onnx": OnnxDetector(artefact, threads), "torch": TorchDetector(artefact, threads)}


def rows(scores: Scores, part: slice) -> tuple[bytes, ...]:
    columns = (scores.error, scores.feature_error, scores.expected, scores.code)
    return tuple(column[part].tobytes() for column in columns)


def noise(count: int, window: int, features: int, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).normal(size=(count, window, features)).astype(np.float32)


shapes = st.fixed_dictionaries({
    "features": st.sampled_from([1, 2, 5, 16, 38]),
    "window": st.sampled_from([1, 2, 7, 16, 33]),
    "hidden": st.sampled_from([1, 5, 8, 13, 32, 50, 64]),
    "layers": st.integers(1, 3),
    "code": st.sampled_from([1, 3, 8, 16]),
    "score_over": st.sampled_from(["window", "last", "both"]),
    "threads": st.sampled_from([1, 2]),
})  # fmt: skip


@pytest.mark.parametrize("runtime", RUNTIMES)
@settings(deadline=None, max_examples=20)
@given(shape=shapes, cuts=st.lists(st.integers(1, 40), min_size=1, max_size=4), seed=st.integers(0, 9))
def test_scores_do_not_depend_on_the_batch(runtime: str, shape: dict[str, int], cuts: list[int], seed: int) -> None:
    """Any network, any cutting of any windows into batches, any place in a batch: the same bits."""
    detector = untrained(**shape)[runtime]
    windows = noise(sum(cuts), shape["window"], shape["features"], seed)
    whole = detector.score(windows)
    start = 0
    for size in cuts:
        part = slice(start, start + size)
        assert rows(detector.score(windows[part]), slice(None)) == rows(whole, part)
        start += size
    alone = np.random.default_rng(seed).integers(len(windows))
    assert rows(detector.score(windows[alone : alone + 1]), slice(None)) == rows(whole, slice(alone, alone + 1))
    backwards = detector.score(windows[::-1])
    assert backwards.error[::-1].tobytes() == whole.error.tobytes()


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("hidden", [13, 64])
def test_scores_do_not_depend_on_the_batch_up_to_4096_windows(runtime: str, hidden: int) -> None:
    detector = untrained(5, 3, hidden, 1, 4, "window", 1)[runtime]
    windows = noise(4096, 3, 5)
    whole = detector.score(windows)
    for start, size in ((0, 1), (4095, 1), (255, 2), (256, 256), (100, 700), (1, 2049)):
        part = slice(start, start + size)
        assert rows(detector.score(windows[part]), slice(None)) == rows(whole, part)


@settings(deadline=None, max_examples=20)
@given(shape=shapes, seed=st.integers(0, 9))
def test_scores_do_not_depend_on_the_threads(shape: dict[str, int], seed: int) -> None:
    """Their number follows the CPU limit of the pod, where none is set, and a pod moves."""
    windows = noise(150, shape["window"], shape["features"], seed)
    alone, two, four = (untrained(**shape | {"threads": threads})["onnx"].score(windows) for threads in (1, 2, 4))
    assert rows(two, slice(None)) == rows(alone, slice(None))
    assert rows(four, slice(None)) == rows(alone, slice(None))


@settings(deadline=None, max_examples=20)
@given(shape=shapes, seed=st.integers(0, 9))
def test_the_runtimes_agree(shape: dict[str, int], seed: int) -> None:
    both = untrained(**shape)
    windows = noise(20, shape["window"], shape["features"], seed)
    served, reference = (both[name].score(windows) for name in RUNTIMES)
    for left, right in (
        (served.error, reference.error),
        (served.feature_error, reference.feature_error),
        (served.expected, reference.expected),
    ):
        assert np.max(np.abs(left - right) / np.maximum(1, np.abs(right))) <= 1e-5


def test_scores_have_the_shapes_and_types_of_the_contract(detector: Detector) -> None:
    for count in (0, 1, 5):
        scores = detector.score(np.zeros((count, 8, 3), np.float32))
        assert (scores.error.shape, scores.feature_error.shape, scores.expected.shape) == (
            (count,),
            (count, 3),
            (count, 3),
        )
        assert {scores.error.dtype, scores.feature_error.dtype, scores.expected.dtype} == {np.dtype(np.float32)}


def test_the_features_errors_have_the_error_as_their_mean(detector: Detector) -> None:
    scores = detector.score(noise(50, 8, 3))
    assert np.allclose(scores.feature_error.mean(axis=1), scores.error, rtol=1e-5)


@settings(deadline=None, max_examples=50)
@given(values=st.lists(st.floats(-float(END), float(END), width=32), min_size=24, max_size=24))
def test_every_finite_window_has_a_finite_score(detector: Detector, values: list[float]) -> None:
    scores = detector.score(np.array(values, np.float32).reshape(1, 8, 3))
    assert np.isfinite(scores.error).all()
    assert np.isfinite(scores.feature_error).all()
    assert np.isfinite(scores.expected).all()
    assert scores.error[0] >= 0


def test_a_normal_window_is_below_the_threshold_and_an_odd_one_above(detector: Detector) -> None:
    normal, odd = waves(8, 3), waves(8, 3)
    odd[-1, 1] += 5
    error = detector.score(np.stack([normal, odd])).error
    assert error[0] < detector.manifest.calibration.threshold < error[1]


def test_the_odd_feature_has_the_largest_error_and_the_expected_value_is_near_the_normal_one(
    detector: Detector,
) -> None:
    normal, odd = waves(8, 3), waves(8, 3)
    odd[-1, 1] += 3
    scores = detector.score(np.stack([normal, odd]))
    assert scores.feature_error[1].argmax() == 1
    assert np.abs(scores.expected[0] - normal[-1]).max() < 0.5


def test_scoring_leaves_its_input_alone_and_takes_a_view(detector: Detector) -> None:
    history = noise(30, 8, 3)
    history.flags.writeable = False
    strided = history[::2]
    assert rows(detector.score(strided), slice(None)) == rows(detector.score(strided.copy()), slice(None))


def test_warming_changes_no_score(detector: Detector) -> None:
    before = detector.score(noise(3, 8, 3))
    detector.warm()
    assert rows(detector.score(noise(3, 8, 3)), slice(None)) == rows(before, slice(None))


def test_features_that_differ_from_the_configuration_are_refused_at_load(folder: Path) -> None:
    with pytest.raises(ArtefactError, match="does not fit events.features: it needs c as well"):  # noqa: RUF043
        load(folder, config.Model(path=folder), ("a", "b"))


def test_without_torch_the_reference_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "monitor.model.reference")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UsageError) as caught:
        load(folder, config.Model(path=folder, runtime="torch"))
    assert str(caught.value) == (
        "model.runtime is torch, but the module torch is not installed\n"
        "  Install the extra in a clone of the project: pip install '.[train]' (or set model.runtime to onnx)"
    )


def _edited(folder: Path, **architecture: object) -> Artefact:
    raw = json.loads((folder / "manifest.json").read_text())
    raw["architecture"] |= architecture
    graph, weights = ((folder / name).read_bytes() for name in ("model.onnx", "weights.safetensors"))
    return Artefact(folder, Manifest.model_validate(raw), graph, weights)


def test_a_graph_of_another_shape_than_the_manifest_says_is_refused(folder: Path) -> None:
    with pytest.raises(ArtefactError, match=r"takes windows of \(8, 3\), but the manifest says \(9, 3\)"):
        OnnxDetector(_edited(folder, window=9), 1)


def _graph(folder: Path, old: bytes, new: bytes) -> Artefact:
    """A graph that is not the one that was trained, as whoever writes both files could make it."""
    whole = _edited(folder)
    assert old in whole.graph
    return Artefact(folder, whole.manifest, whole.graph.replace(old, new), whole.weights)


def test_a_graph_with_other_names_than_the_service_uses_is_refused(folder: Path) -> None:
    with pytest.raises(ArtefactError, match=r"takes windowz of \(8, 3\), but the manifest says \(8, 3\)"):
        OnnxDetector(_graph(folder, b"windows", b"windowz"), 1)
    with pytest.raises(ArtefactError, match="cannot be run"):
        OnnxDetector(_graph(folder, b"feature_error", b"feature_errox"), 1)


def test_a_graph_that_cannot_be_read_says_nothing_on_standard_output(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ArtefactError, match="cannot load"):
        OnnxDetector(_graph(folder, b"windows", b"\xff\xff\xff\xff\xff\xff\xff"), 1)
    assert capfd.readouterr().out == ""


def test_weights_of_another_network_than_the_manifest_says_are_refused(folder: Path) -> None:
    with pytest.raises(ArtefactError, match=r"weights\.safetensors does not hold the network"):
        TorchDetector(_edited(folder, hidden=[9]), 1)


def test_bytes_that_are_no_graph_are_refused(folder: Path) -> None:
    broken = Artefact(folder, _card(), b"no graph", b"")
    with pytest.raises(ArtefactError, match=r"ONNX Runtime .* cannot load .*model\.onnx"):
        OnnxDetector(broken, 1)
    with pytest.raises(ArtefactError, match="does not hold the network"):
        TorchDetector(broken, 1)
