"""Windows -> Scores, by the runtime that the configuration names. The scores of a window do not depend on its batch."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime

from monitor import config, cpu_limit
from monitor.batch import Float32, Scores
from monitor.errors import ArtefactError, UsageError, install_hint
from monitor.model import artefact
from monitor.model.artefact import GRAPH, Artefact
from monitor.model.manifest import Manifest

_OUTPUTS = ("error", "feature_error", "expected", "code")
MOST_WINDOWS = 64
"""Windows of one pass: more leave the caches (measured, windows a second: 21,000 at 64, 16,000 at 256)."""
MOST_VALUES = 2**21
"""Values of one pass; long windows go in smaller passes, so that memory stays bounded."""


class Detector(Protocol):
    """A model ready to score. Same window, same bits, whatever the batch and the place in it: a law with tests."""

    @property
    def manifest(self) -> Manifest: ...

    def score(self, windows: Float32) -> Scores:
        """Windows (W, T, F) in source units, no NaN; W may be 0. Finite for every finite input.

        Where the manifest is timed, one more column holds the seconds since the event before.
        """

    def warm(self) -> None:
        """One pass over nothing in particular: the first pass of a process is slow."""


class OnnxDetector:
    """The artefact's graph in ONNX Runtime on the CPU."""

    def __init__(self, loaded: Artefact, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # an idle pod must be idle
        options.log_severity_level = 3  # errors only: the rest is not written for operators
        place = loaded.folder / GRAPH
        again = "Train the model again, or restore the folder from where it was copied."
        try:
            self._session = onnxruntime.InferenceSession(
                loaded.graph,
                options,
                providers=["CPUExecutionProvider"],
                enable_fallback=0,  # there is nothing to fall back to, and it would say so on standard output
            )
            found = {one.name: tuple(one.shape[1:]) for one in self._session.get_inputs()}
        except Exception as error:  # its exception types have no common base but this
            raise ArtefactError(
                f"ONNX Runtime {onnxruntime.__version__} cannot load {place}: {error}",
                "Use the version of monitor that trained the model, or train it again with this one.",
            ) from error
        self.manifest = loaded.manifest
        shape = (self.manifest.architecture.window, self.manifest.columns)
        if found != {"windows": shape}:
            given = ", ".join(f"{name} of {size}" for name, size in found.items()) or "nothing"
            raise ArtefactError(
                f"{place} takes {given}, but the manifest says {shape} (events, columns)",
                again,
            )
        self._shape = shape
        self._most = max(1, min(MOST_WINDOWS, MOST_VALUES // max(1, shape[0] * shape[1])))
        try:
            tried = self._run(np.zeros((1, *shape), np.float32))  # what can be loaded cannot always be run
        except Exception as error:  # as above
            raise ArtefactError(f"{place} cannot be run: {error}", again) from error
        self._code = tried[-1].shape[1]  # C
        if not np.isfinite(tried[0]).all():
            raise ArtefactError(f"{place} gives a window of zeros no score", again)

    def score(self, windows: Float32) -> Scores:
        """Windows (W, T, F) in source units, no NaN; W may be 0, in which case the graph is not run."""
        count, features = len(windows), len(self.manifest.features)
        scores = Scores(
            error=np.empty(count, np.float32),
            feature_error=np.empty((count, features), np.float32),
            expected=np.empty((count, features), np.float32),
            code=np.empty((count, self._code), np.float32),
        )
        for start in range(0, count, self._most):
            part = slice(start, start + self._most)
            outputs = self._run(windows[part])
            scores.error[part], scores.feature_error[part], scores.expected[part], scores.code[part] = outputs
        return scores

    def warm(self) -> None:
        self.score(np.zeros((1, *self._shape), np.float32))

    def _run(self, windows: Float32) -> list[Float32]:
        # The code costs nothing: the runtime computes all outputs, asked for or not.
        outputs: list[Float32] = self._session.run(list(_OUTPUTS), {"windows": np.ascontiguousarray(windows)})
        return outputs


def load(folder: Path, settings: config.Model, expected_features: Sequence[str] | None = None) -> Detector:
    """The verified artefact in the runtime of `settings`. Raises `ArtefactError`, or `UsageError` without torch."""
    loaded = artefact.load(folder, expected_features)
    threads = settings.threads or cpu_limit.threads()
    if settings.runtime == "onnx":
        return OnnxDetector(loaded, threads)
    try:
        reference = importlib.import_module("monitor.model.reference")  # torch is not part of a serving image
    except ModuleNotFoundError as error:
        raise UsageError(
            f"model.runtime is torch, but the module {error.name} is not installed",
            f"{install_hint('train')} (or set model.runtime to onnx)",
        ) from error
    detector: Detector = reference.TorchDetector(loaded, threads)
    return detector
