"""A trained scorer -> the artefact: the ONNX graph, held to torch before anything is written."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from safetensors.torch import save as to_safetensors
from torch.jit._trace import TracerWarning

from monitor.batch import Float32
from monitor.errors import MonitorError
from monitor.model import artefact
from monitor.model.manifest import Manifest
from monitor.model.objectives import Scorer
from monitor.model.training import Trained

OUTPUTS = ("error", "feature_error", "expected")
TOLERANCE = 1e-5
"""Largest difference between the runtimes, of values in standardised units, relative to max(1, |value|)."""
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
    graph = to_onnx(trained.scorer, draft.architecture.window, draft.architecture.features)
    check(trained.scorer, graph, trained.examples)
    weights = {name: tensor.contiguous() for name, tensor in trained.scorer.network.state_dict().items()}
    libraries = {**draft.libraries, "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
    return artefact.write(
        folder,
        draft.model_copy(update={"libraries": libraries}),
        {artefact.GRAPH: graph, artefact.WEIGHTS: to_safetensors(weights)},
    )


def to_onnx(scorer: Scorer, window: int, features: int) -> bytes:
    """The graph: `windows` float32 (W, T, F), any W -> `error` (W,), `feature_error` (W, F), `expected` (W, F).

    The same scorer gives the same bytes. One file: the weights are inside.
    """
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        path = Path(scratch) / artefact.GRAPH
        for category, message in _EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message, category)
        torch.onnx.export(
            scorer,
            (torch.zeros(2, window, features),),  # two: a batch of one would be taken for a constant
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
    windows = np.concatenate([examples, extremes(examples)])  # (W, T, F)
    unit = scorer.network.scale.numpy()  # (F,)
    for batch in (windows, windows[:1]):
        served = session.run(list(OUTPUTS), {"windows": batch})
        with torch.inference_mode():
            reference = [output.numpy() for output in scorer(torch.from_numpy(batch))]
        for name, left, right in zip(OUTPUTS, served, reference, strict=True):
            scale = np.maximum(unit if name == "expected" else 1.0, np.abs(right))
            worst = float(np.max(np.abs(left.astype(np.float64) - right) / scale))
            if not worst <= TOLERANCE:  # NaN is no agreement
                raise MonitorError(
                    f"the exported graph and torch differ by {worst:.1e} in {name} (allowed: {TOLERANCE:.0e})",
                    "Nothing was written. This is a fault of the exporter or the runtime for this network: train with "
                    "other settings of hidden, layers or window, and report it.",
                )


def extremes(examples: Float32) -> Float32:
    """Windows (5, T, F) at the ends of float32: zero, largest, smallest, both in turn, a jump at the end."""
    _, window, features = examples.shape
    end = np.finfo(np.float32).max
    turns = np.where((np.arange(window)[:, None] + np.arange(features)) % 2, end, -end)  # (T, F)
    jump = examples[0].copy()
    jump[-1] = end
    flat = [np.full((window, features), value) for value in (0, end, -end)]
    return np.stack([*flat, turns, jump]).astype(np.float32)
