"""A trained scorer -> the artefact: the ONNX graph, held to torch before anything is written."""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from safetensors.torch import save as to_safetensors
from torch.jit._trace import TracerWarning

from monitor.batch import Float32, Float64
from monitor.errors import MonitorError
from monitor.model import artefact
from monitor.model.manifest import Feature, Manifest
from monitor.model.scorer import OUTPUTS, Scorer
from monitor.model.training import Trained

TOLERANCE = 1e-5
"""Largest difference between the runtimes, of values in standardised units, relative to max(1, |value|)."""
EXTREME_TOLERANCE = 1e-3
"""The same for windows at the ends of float32. They show that nothing overflows and that the same is cut off, not last
bits: sums over inputs of 10,000 standardised units have a rounding of 6e-4 each, also where they cancel to little."""
ROUNDINGS = 8
"""A network may itself round coarsely (an exponential of a large sum): then what is allowed is so many times what torch
in single precision differs from torch in double precision."""
OPSET = 17

# What the exporter says of itself whatever it is given. Nothing here is about the graph being wrong: the check below
# compares the graph with torch for several batch sizes.
_EXPECTED_WARNINGS = (
    (DeprecationWarning, "You are using the legacy TorchScript-based ONNX export"),  # the other one needs onnxscript
    (DeprecationWarning, "The feature will be removed"),
    (UserWarning, "Exporting a model to ONNX with a batch_size other than 1"),
    (TracerWarning, "Converting a tensor to a Python boolean"),  # shape checks inside nn.LSTM
)


def save(trained: Trained, folder: Path) -> Manifest:
    """Exports, checks, writes; returns the manifest with the digests. Raises `ArtefactError` or `MonitorError`."""
    artefact.replaceable(folder)
    draft = trained.manifest_draft
    graph = to_onnx(trained.scorer, draft.architecture.window)
    check(trained.scorer, graph, trained.examples)
    weights = {name: tensor.contiguous() for name, tensor in trained.scorer.model.state_dict().items()}
    libraries = {**draft.libraries, "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
    return artefact.write(
        folder,
        draft.model_copy(update={"libraries": libraries}),
        {artefact.GRAPH: graph, artefact.WEIGHTS: to_safetensors(weights)},
    )


def to_onnx(scorer: Scorer, window: int) -> bytes:
    """The graph: `windows` float32 (W, T, F), any W -> `error` (W,), `feature_error` (W, F), `expected` (W, F),
    `code` (W, C).

    The same scorer gives the same bytes. One file: the weights are inside.
    """
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        path = Path(scratch) / artefact.GRAPH
        for category, message in _EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message, category)
        torch.onnx.export(
            scorer,
            (torch.zeros(2, window, scorer.front.columns),),  # two: a batch of one would be taken for a constant
            path,
            input_names=["windows"],
            output_names=list(OUTPUTS),
            dynamic_axes={name: {0: "W"} for name in ("windows", *OUTPUTS)},
            opset_version=OPSET,
            dynamo=False,
        )
        return path.read_bytes()


def check(scorer: Scorer, graph: bytes, examples: Float32) -> None:
    """Raises `MonitorError` unless ONNX Runtime and torch agree on `examples` (n, T, F) and on extreme windows."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    features = scorer.front.features
    windows = np.concatenate([examples, extremes(examples)])  # (W, T, F)
    longest = 1.0
    if scorer.front.timed:
        windows[len(examples) :, :, -1] = examples[0, :, -1]  # no value of an event: a window store does not overdo it
        longest = max(longest, float(examples[:, 1:, -1].max()))
    own = 1 / scorer.units.numpy().min(axis=0)  # (G,) what a standardised difference of 1 is as an error
    scales = [feature.scale * (longest if feature.change == "rate" else 1) for feature in features]
    ranges = [0 if feature.log1p else feature.maximum - feature.minimum for feature in features]
    smallest = {
        "error": own.mean(),
        "feature_error": own.max(),
        "expected": np.maximum(scales, ranges)[_numbers(features)],
        "code": 1.0,
    }

    def differences(left: Float64, right: Float64, name: str) -> tuple[float, float]:
        """The largest among the examples, and among the extremes.

        Relative to the largest of a window: what large values cancel to has the rounding of the large ones.
        """
        left, right = (_comparable(one, features) if name == "expected" else one for one in (left, right))
        largest = np.abs(right).reshape(len(right), -1).max(axis=1, initial=0.0)
        scale = np.maximum(smallest[name], largest.reshape(-1, *[1] * (right.ndim - 1)))
        off = np.abs(left - right) / scale
        cut = len(examples)
        return float(np.max(off[:cut], initial=0.0)), float(np.max(off[cut:], initial=0.0))

    for batch in (windows, windows[:1]):
        served = session.run(list(OUTPUTS), {"windows": batch})
        reference = _outputs(scorer, batch)
        exact = None
        for place, name in enumerate(OUTPUTS):
            found = differences(served[place].astype(np.float64), reference[place], name)
            allowed = TOLERANCE, EXTREME_TOLERANCE
            if not _within(found, allowed):
                exact = exact or _outputs(copy.deepcopy(scorer).double(), batch.astype(np.float64))
                own = differences(reference[place], exact[place], name)
                allowed = max(allowed[0], ROUNDINGS * own[0]), max(allowed[1], ROUNDINGS * own[1])
            if not _within(found, allowed):
                worst, limit = max(zip(found, allowed, strict=True), key=lambda pair: pair[0] / pair[1])
                raise MonitorError(
                    f"the exported graph and torch differ by {worst:.1e} in {name} (allowed: {limit:.0e})",
                    "Nothing was written. This is a fault of the exporter or the runtime for this network: train with "
                    "other settings of hidden, layers or window, and report it.",
                )


def _outputs(scorer: Scorer, windows: NDArray[np.floating]) -> list[Float64]:
    """Of torch, in the precision of the scorer."""
    with torch.inference_mode():
        return [output.numpy().astype(np.float64) for output in scorer(torch.from_numpy(windows))]


def _within(found: tuple[float, float], allowed: tuple[float, float]) -> bool:
    """NaN is no agreement."""
    return all(one <= limit for one, limit in zip(found, allowed, strict=True))


def _numbers(features: Sequence[Feature]) -> list[int]:
    return [place for place, feature in enumerate(features) if not feature.categories]


def _comparable(expected: Float64, features: Sequence[Feature]) -> Float64:
    """What is expected (W, F) as numbers (W, ...) whose rounding is that of the network.

    The likelier of two equally likely categories is decided by a last bit, and an exponential makes that bit many.
    """
    wide = expected.copy()
    logged = [feature.log1p for feature in features]
    wide[:, logged] = np.sign(wide[:, logged]) * np.log1p(np.abs(wide[:, logged]))
    return wide[:, _numbers(features)]


def extremes(examples: Float32) -> Float32:
    """Windows (5, T, F) at the ends of float32: zero, largest, smallest, both in turn, a jump at the end."""
    _, window, features = examples.shape
    end = np.finfo(np.float32).max
    turns = np.where((np.arange(window)[:, None] + np.arange(features)) % 2, end, -end)  # (T, F)
    jump = examples[0].copy()
    jump[-1] = end
    flat = [np.full((window, features), value) for value in (0, end, -end)]
    return np.stack([*flat, turns, jump]).astype(np.float32)
