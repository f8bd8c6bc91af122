"""What the errors of features usually are on normal windows, and by how much streams differ: what levels start from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Float32, Float64, Int64
from monitor.level import ratios
from monitor.model.manifest import Typical

FEW = 20
"""Windows that do not overlap; of fewer, those that do are taken too."""


def apart(first: Int64, window: int) -> Int64:
    """Of windows that begin at the rows `first` (n,), ascending, those that share no row; all of a few."""
    chosen = first[np.flatnonzero(np.diff(first // window, prepend=-1))]
    return chosen if len(chosen) >= FEW else first


def calm(error: Float32 | Float64, threshold: float, after: int) -> NDArray[np.bool_]:
    """(n,) which of windows in a row have no error (n,) above the threshold, nor any of the `after` before them.

    Only such windows enter a level, so only they may say what is usual: else a level would be found too low where the
    budget is large and many normal windows are anomalous.
    """
    above = np.convolve(error > threshold, np.ones(after + 1))[: len(error)] > 0.5
    return np.asarray(~above, np.bool_) if (~above).sum() >= FEW else np.ones(len(error), np.bool_)


def typical(feature_error: Float32, stream: Int64) -> Typical:
    """From the errors (n, F) of normal windows that were not fitted, and the streams (n,) they are of.

    Variances are the method of moments' of a one-way layout with random effects (Searle, Casella and McCulloch,
    "Variance components", 1992), feature by feature, and then their means over the features.
    """
    features = feature_error.shape[1]
    log = np.array([ratios(errors, np.zeros(features)) for errors in feature_error])  # (n, F)
    names, place = np.unique(stream, return_inverse=True)
    size = np.bincount(place).astype(np.float64)  # (S,)
    means = np.stack([log[place == s].mean(axis=0) for s in range(len(names))])  # (S, F)
    within = ((log - means[place]) ** 2).sum(axis=0) / max(1, len(log) - len(names))  # (F,)
    between = None
    if len(names) > 1:
        overall = log.mean(axis=0)
        explained = (size[:, None] * (means - overall) ** 2).sum(axis=0) / (len(names) - 1)  # (F,)
        usual = (size.sum() - (size**2).sum() / size.sum()) / (len(names) - 1)
        between = float(np.maximum(0, (explained - within) / usual).mean())
    return Typical(log_error=tuple(log.mean(axis=0).tolist()), within=float(within.mean()), between=between)
