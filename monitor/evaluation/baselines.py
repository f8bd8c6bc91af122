"""The simplest detectors, on the rows that the model scored: what a model must beat to be worth its trouble."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monitor.batch import Float32, Float64
from monitor.model.manifest import Feature

Z_LINE = 3.0
"""Standard deviations from the mean at which max |z| alarms (Shewhart, "Economic Control of Quality", 1931)."""
_SHORTEST = 1e-9  # s between two events, at the least


def max_z(windows: Float32, features: Sequence[Feature]) -> Float64:
    """(W,) the largest |z| of the closing event's numbers, by the training rows' centre and scale in the manifest.

    `windows` (W, 1 or 2, F) end with the closing event, the event before it in front; where there is a column more
    than features, it holds the seconds between them. Transforms are the model's own; categories do not count.
    """
    numbers = [place for place, feature in enumerate(features) if not feature.categories]
    if not numbers or not len(windows):
        return np.zeros(len(windows))
    chosen = [features[place] for place in numbers]
    value = windows[..., numbers].astype(np.float64)  # (W, 1 or 2, F)
    for column, feature in enumerate(chosen):
        if feature.clip:
            np.clip(value[..., column], *feature.clip, out=value[..., column])
        if feature.log1p:
            value[..., column] = np.sign(value[..., column]) * np.log1p(np.abs(value[..., column]))
    now, before = value[:, -1], value[:, 0]
    shown = now.copy()  # (W, F)
    for column, feature in enumerate(chosen):
        if feature.change != "none":
            shown[:, column] = now[:, column] - before[:, column]
        if feature.change == "rate":  # a counter that fell was reset, and has counted from zero since
            counted = np.where(now[:, column] < before[:, column], now[:, column], shown[:, column])
            seconds = np.maximum(windows[:, -1, len(features)].astype(np.float64), _SHORTEST)
            shown[:, column] = counted / seconds if windows.shape[1] > 1 else 0.0
    shift, scale = (np.array([getattr(one, name) for one in chosen]) for name in ("shift", "scale"))
    found: Float64 = np.abs((shown - shift) / scale).max(axis=1)
    return found
