"""What a model says without a window: the events a code stands for, and windows drawn from what was learned.

Letters: n windows, T events of a window, F features, G channels, C size of the code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from monitor.batch import Float32, Float64
from monitor.errors import UsageError
from monitor.model.artefact import Artefact
from monitor.model.manifest import Manifest
from monitor.model.objectives import Model, Variational
from monitor.model.reference import rebuilt

AT_ONCE = 256  # windows


@dataclass(frozen=True, slots=True)
class FeatureLoss:
    """What decoding loses of one feature."""

    name: str
    unit: str
    kind: Literal["value", "change", "category"]
    """Root mean square error of the value or, where the feature is read as one, of its change (logarithm, rate); of a
    category the share of events with another value."""
    error: float


@dataclass(frozen=True, slots=True)
class Loss:
    """What decoding loses of some windows."""

    windows: int
    error: float  # root mean square, standardised units
    explained: float  # share of the variance of the standardised values, over time and windows, that is kept
    features: tuple[FeatureLoss, ...]


class Decoding:
    """The reference runtime the other way round: for files and reports, not for serving."""

    def __init__(self, artefact: Artefact) -> None:
        """Raises `UsageError` where a code does not tell a window."""
        self.manifest: Manifest = artefact.manifest
        scorer = rebuilt(artefact)
        self._front = scorer.front
        if not isinstance(scorer.model, Model):
            network = artefact.manifest.architecture.network
            why = (
                "an ensemble expects the mean of what its members do, and its code is the first one's alone"
                if network == "ensemble"
                else f"the code of {network} is that of the closing event, not of the window"
            )
            raise UsageError(
                f"the model in {artefact.folder} cannot be decoded: {why}",
                "Train a network: monitor train ... --set training.detector=autoencoder",
            )
        self._model: Model = scorer.model

    @property
    def levels_unknown(self) -> tuple[str, ...]:
        """Features read as a change: a code tells their course, and not where it began."""
        return tuple(feature.name for feature in self.manifest.features if feature.change != "none")

    def decode(self, codes: Float32) -> Float32:
        """Codes (n, C) -> events (n, T, F) in source units, oldest first."""
        return self._recovered(self._channels(codes))

    def reconstruction(self, windows: Float32) -> tuple[Float32, Float32]:
        """Windows (n, T, columns) in source units -> their channels (n, T, G), and what the network makes of them."""
        parts = torch.split(torch.from_numpy(windows), AT_ONCE)
        with torch.inference_mode():
            z = [self._front(part) for part in parts]
            return torch.cat(z).numpy(), torch.cat([self._model.reconstruct(one) for one in z]).numpy()

    def lost(self, codes: Float32, windows: Float32) -> Loss:
        """Codes (n, C) against the windows (n, T, columns) they were made of, in source units, no NaN; n >= 1."""
        with torch.inference_mode():
            z = self._front(torch.from_numpy(windows)).numpy().astype(np.float64)  # (n, T, G)
        decoded = self._channels(codes)
        off = decoded.astype(np.float64) - z
        events = self._recovered(decoded).astype(np.float64)
        features: list[FeatureLoss] = []
        for place, (feature, (channel, _)) in enumerate(zip(self.manifest.features, self._front.places(), strict=True)):
            difference = events[..., place] - windows[..., place]  # (n, T)
            if feature.categories:
                found = FeatureLoss(feature.name, "", "category", float(np.mean(difference != 0)))
            elif feature.change != "none":
                changes = off[:, 1:, channel] * feature.scale
                found = FeatureLoss(feature.name, feature.unit, "change", _rms(changes))
            else:
                found = FeatureLoss(feature.name, feature.unit, "value", _rms(difference))
            features.append(found)
        spread = float(np.square(z - z.mean(axis=(0, 1))).sum())
        explained = 1 - float(np.square(off).sum()) / spread if spread else float("nan")
        return Loss(len(windows), _rms(off), explained, tuple(features))

    def sample(self, count: int, seed: int) -> Float32:
        """Windows (count, T, F) in source units, drawn from the prior of a variational model (Kingma & Welling, 2014).

        The same seed gives the same windows. Raises `UsageError` where the model is no distribution.
        """
        if not isinstance(self._model, Variational):
            raise UsageError(
                "nothing can be drawn from this model: its objective is not variational, so its codes have no prior",
                "Train one with: monitor train ... --set training.objective=variational",
            )
        drawn = self._model.sample(count, torch.Generator().manual_seed(seed))
        return self._recovered(drawn.numpy())

    def _channels(self, codes: Float32) -> Float32:
        """(n, C) -> (n, T, G)"""
        parts = torch.split(torch.from_numpy(codes), AT_ONCE)
        with torch.inference_mode():
            return torch.cat([self._model.decode(part) for part in parts]).numpy()

    def _recovered(self, z: Float32) -> Float32:
        with torch.inference_mode():
            found: Float32 = self._front.recover(torch.from_numpy(z), self.manifest.training.interval).numpy()
        return found


def _rms(values: Float64) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else float("nan")
