"""Detectors in closed form, of the same kind as the trained ones: measured beside them, taken where they do better.

Letters: n rows, B windows of a batch, T events of a window, G channels, C size of the code. They know single rows, not
their order: what is expected of a value follows from its mean and from the other channels at the same time.
"""

from __future__ import annotations

from typing import Literal

from monitor.model.baselines.estimation import estimate
from monitor.model.baselines.mahalanobis import Mahalanobis
from monitor.model.baselines.max_z import MaxZ
from monitor.model.baselines.pca import Pca
from monitor.model.reconstructor import Reconstructor

__all__ = ["KINDS", "OVER_FEATURES", "Kind", "Mahalanobis", "MaxZ", "Pca", "build", "estimate"]

Kind = Literal["max_z", "pca", "mahalanobis"]
KINDS: tuple[Kind, ...] = ("max_z", "pca", "mahalanobis")
OVER_FEATURES: dict[Kind, Literal["mean", "max"]] = {"max_z": "max", "pca": "mean", "mahalanobis": "mean"}
"""How the errors of the features become one: `Scoring.over_features`."""


def build(kind: Kind, channels: int, code: int) -> Reconstructor:
    """A baseline that knows nothing yet, for `load_state_dict`; `code` is the size of its code."""
    match kind:
        case "max_z":
            return MaxZ(channels)
        case "pca":
            return Pca(channels, code)
        case "mahalanobis":
            return Mahalanobis(channels)
