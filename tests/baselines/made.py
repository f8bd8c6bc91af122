"""Splits, scorers and graphs for the tests of detectors that are not trained by gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import onnxruntime
import torch

from monitor.batch import Float32
from monitor.config import Training
from monitor.model.dataset import Series, Split, prepare
from monitor.model.export import to_onnx
from monitor.model.manifest import Feature, Scoring
from monitor.model.reconstructor import Reconstructor
from monitor.model.scorer import OUTPUTS, Scorer

Over = Literal["mean", "max"]


class Session(Protocol):
    """A graph in ONNX Runtime, which ships no types."""

    def run(self, names: list[str], inputs: dict[str, Float32]) -> list[Float32]: ...


def split(rows: Float32, window: int, **changes: object) -> Split:
    """Rows (n, F) of one stream, one a second."""
    names = [f"f{number}" for number in range(rows.shape[1])]
    settings = Training.model_validate({"window": window, **changes})
    return prepare([Series("s", np.arange(len(rows), dtype=np.float64), rows)], names, settings)


def plain_features(count: int) -> tuple[Feature, ...]:
    """Channels are what the features are."""
    return tuple(Feature(name=f"f{number}", mean=0.0, minimum=-9.0, maximum=9.0) for number in range(count))


def scorer(
    model: Reconstructor,
    features: Sequence[Feature],
    window: int,
    units: Sequence[float] | None = None,
    over_features: Over = "mean",
    spans: tuple[Literal["window", "last"], ...] = ("window",),
) -> Scorer:
    """Units (G,) of every span, 1 where none are given."""
    one = tuple(units) if units is not None else (1.0,) * len(features)
    scoring = Scoring(spans=spans, units=(one,) * len(spans), over_features=over_features)
    return Scorer(features, window, model, scoring).eval()


def session(of: Scorer, window: int, threads: int = 1) -> Session:
    """The exported graph in ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    ready: Session = onnxruntime.InferenceSession(to_onnx(of, window), options, providers=["CPUExecutionProvider"])
    return ready


def served(graph: Session, windows: Float32) -> list[Float32]:
    """Error, feature error, expected values and code."""
    return graph.run(list(OUTPUTS), {"windows": windows})


def in_torch(of: Scorer, windows: Float32) -> list[Float32]:
    with torch.inference_mode():
        return [output.numpy() for output in of(torch.from_numpy(windows))]
