"""The torch runtime: slower than ONNX Runtime, and what it is held to."""

from __future__ import annotations

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_safetensors

from monitor.batch import Float32, Scores
from monitor.errors import ArtefactError
from monitor.model import designs
from monitor.model.artefact import WEIGHTS, Artefact
from monitor.model.scorer import Scorer


def rebuilt(artefact: Artefact) -> Scorer:
    """What was trained, in evaluation mode. Raises `ArtefactError`."""
    manifest = artefact.manifest
    model = designs.build(manifest.architecture)
    try:
        model.load_state_dict(from_safetensors(artefact.weights))
    except (SafetensorError, RuntimeError) as error:
        raise ArtefactError(
            f"{artefact.folder / WEIGHTS} does not hold the network that the manifest describes: {error}",
            "Train the model again, or restore the folder from where it was copied.",
        ) from error
    return Scorer(manifest.features, manifest.architecture.window, model, manifest.scoring).eval()


class TorchDetector:
    """Scores windows one at a time, each in the same place of the same buffer.

    torch's kernels do the odd end of an array by other instructions than its middle, so the last bits of a window
    depend on its place in the batch wherever the hidden size is no multiple of the vector length (measured: hidden
    13, batches of 2 to 256; a fixed or a padded batch does not help). A lone window has one place only. It costs a
    factor of eight in windows per second, which a reference may cost.
    """

    def __init__(self, artefact: Artefact, threads: int) -> None:
        self.manifest = manifest = artefact.manifest
        self._scorer = rebuilt(artefact)
        torch.set_num_threads(threads)  # of the whole process: torch has no other way
        self._window = torch.zeros(1, manifest.architecture.window, self._scorer.front.columns)  # (1, T, F)
        self._values: Float32 = self._window.numpy()  # the same memory
        with torch.inference_mode():
            self._code = self._scorer(self._window)[3].shape[1]  # C

    def score(self, windows: Float32) -> Scores:
        """Windows (W, T, F) in source units, no NaN; W may be 0."""
        count, features = len(windows), self._scorer.front.inputs
        error = np.empty(count, np.float32)
        feature_error, expected = np.empty((2, count, features), np.float32)
        code = np.empty((count, self._code), np.float32)
        with torch.inference_mode():
            for row in range(count):
                self._values[0] = windows[row]
                outputs = self._scorer(self._window)
                error[row], feature_error[row], expected[row], code[row] = (output[0].numpy() for output in outputs)
        return Scores(error, feature_error, expected, code)

    def warm(self) -> None:
        self.score(np.zeros_like(self._values))
