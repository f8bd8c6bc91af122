"""The fitting rows of a split -> a baseline, a part of the rows at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from monitor.batch import Float64, Int64
from monitor.model.baselines.mahalanobis import Mahalanobis, deviation
from monitor.model.baselines.max_z import MaxZ
from monitor.model.baselines.moments import streamed
from monitor.model.baselines.pca import Pca
from monitor.model.dataset import Split
from monitor.model.fitting import Windows
from monitor.model.reconstructor import Reconstructor

SHARE = 0.95
"""Of the variance, which the components of PCA keep."""
ROWS = 2**16
"""Most rows that exist as channels at a time."""


def estimate(kind: str, split: Split, share: float = SHARE, first: Int64 | None = None) -> Reconstructor:
    """A baseline of `KINDS` in evaluation mode.

    From the rows of the windows that begin at rows `first` (n,), ascending; by default those of the fitting windows.
    One pass over them; for `mahalanobis`, two.

    Memory does not grow with the rows. A missing value is imputed as in serving.
    """
    first = split.fit if first is None else first
    moments = streamed(_parts(split, first))
    model: Reconstructor
    match kind:
        case "max_z":
            model = MaxZ.of(moments)
        case "pca":
            model = Pca.of(moments, share)
        case "mahalanobis":
            scale = deviation(moments)
            fourth = sum(
                float(((((rows - moments.mean) / scale) ** 2).sum(axis=1) ** 2).sum()) for rows in _parts(split, first)
            )
            model = Mahalanobis.of(moments, fourth / moments.count)
        case _:
            raise ValueError(f"there is no baseline {kind!r}")
    return model.eval()


def tiles(first: Int64, window: int) -> Int64:
    """Of the first rows (n,) of all windows, ascending, those of windows that do not overlap: the rows, once each."""
    breaks = np.diff(first, prepend=first[:1] - 1) != 1  # (n,) a run of windows begins
    begun = np.maximum.accumulate(np.where(breaks, np.arange(len(first)), 0))  # (n,) its place
    chosen: Int64 = first[(first - first[begun]) % window == 0]
    return chosen


def _parts(split: Split, first: Int64) -> Iterator[Float64]:
    """The rows (n, G) of windows as the network sees them, part by part."""
    windows = Windows(split, torch.device("cpu"))
    chosen = tiles(first, split.window)
    size = max(1, ROWS // split.window)
    for start in range(0, len(chosen), size):
        with torch.inference_mode():
            z = windows(chosen[start : start + size])  # (B, T, G)
        yield z.flatten(0, 1).numpy().astype(np.float64)
