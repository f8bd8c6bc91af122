"""What a code keeps of a window, beside what as many principal components keep. Pure.

Letters: n windows, T events of a window, G channels, C size of the code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitor.batch import Float32, Float64
from monitor.model.manifest import Feature

BEYOND = 2
"""Components are shown up to so many times the size of the code."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Of one feature, at the size of the code: mean square error, standardised units."""

    name: str
    pca: float
    network: float


@dataclass(frozen=True, slots=True)
class Compression:
    """PCA of whole windows (Hotelling, 1933; linear, the best of that kind) and the network, on the same windows."""

    code: int  # C
    fitted: int  # windows that PCA was fitted to; the network has seen none of them
    tested: int  # windows that all of this is of
    explained: Float64  # (K,) share of the variance that 1 to K components keep
    network: float  # that the network keeps with a code of C
    pca_error: float  # of C components, mean square in standardised units
    network_error: float
    features: tuple[Kept, ...]


def compare(z: Float32, reconstruction: Float32, code: int, features: Sequence[Feature]) -> Compression | None:
    """Windows (n, T, G) in standardised units, in the order of scoring, and what the network makes of them.

    PCA is fitted to the first half of the windows, both are measured on the second. None where that half has no more
    windows than the code has numbers: so few span no subspace of that size.
    """
    half = len(z) // 2
    if half <= code:
        return None
    shape = z.shape[1:]
    wide = z.reshape(len(z), -1).astype(np.float64)
    mean = wide[:half].mean(axis=0)
    _, _, components = np.linalg.svd(wide[:half] - mean, full_matrices=False)  # (rank, T * G)
    most = min(max(BEYOND * code, code + 1), len(components))
    tested = wide[half:] - mean
    loadings = tested @ components[:most].T  # (m, K)
    total = float(np.square(tested).sum()) or 1.0
    explained = np.cumsum(np.square(loadings).sum(axis=0)) / total
    off = {
        "pca": tested - loadings[:, :code] @ components[:code],
        "network": reconstruction.reshape(len(z), -1)[half:] - wide[half:],
    }
    by_channel = {name: np.square(one).reshape(-1, *shape).mean(axis=(0, 1)) for name, one in off.items()}  # (G,)
    kept, at = [], 0
    for feature in features:
        own = slice(at, at := at + max(1, len(feature.categories)))
        kept.append(Kept(feature.name, *(float(by_channel[name][own].mean()) for name in ("pca", "network"))))
    errors = {name: float(np.square(one).mean()) for name, one in off.items()}
    network = 1 - float(np.square(off["network"]).sum()) / total
    return Compression(code, half, len(tested), explained, network, errors["pca"], errors["network"], tuple(kept))
