"""Error of reconstruction from the leading principal components. Letters as in the package."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from torch import Tensor

from monitor.batch import Float64
from monitor.model.baselines.linear import Baseline, product
from monitor.model.baselines.moments import Moments


class Pca(Baseline):
    """Rows are expected to lie in the space of their leading principal components; the error is the squared residual.

    Jackson and Mudholkar, "Control procedures for residuals associated with principal component analysis" (1979): Q,
    the squared prediction error, per channel. In units of each channel's own error it is the normalised variant. The
    code is the closing row's components.
    """

    mean: Tensor  # (G,)
    components: Tensor  # (G, C) orthonormal columns

    def __init__(self, channels: int, code: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, dtype=torch.float64))
        self.register_buffer("components", torch.zeros(channels, code, dtype=torch.float64))

    @classmethod
    def of(cls, moments: Moments, share: float) -> Self:
        """The fewest components that hold `share` of the variance, and never all of them.

        Of a single channel nothing can be left out: its component is zero, and what is expected is its mean.
        """
        variance, vectors = np.linalg.eigh(moments.covariance)  # ascending
        variance, vectors = variance[::-1], vectors[:, ::-1]
        channels = len(variance)
        code = min(rank(variance, share), max(1, channels - 1))
        kept = vectors[:, :code] if channels > 1 else np.zeros((1, 1))
        largest = np.abs(kept).argmax(axis=0)
        sign = np.where(kept[largest, np.arange(code)] < 0, -1.0, 1.0)  # an eigenvector has none of its own
        model = cls(channels, code)
        model.mean.copy_(torch.from_numpy(moments.mean))
        model.components.copy_(torch.from_numpy(kept * sign))
        return model

    def encode(self, z: Tensor) -> Tensor:
        return product(z[:, -1].double() - self.mean, self.components).to(z.dtype)

    def reconstruct(self, z: Tensor) -> Tensor:
        code = product(z.double() - self.mean, self.components)  # (B, T, C)
        return (product(code, self.components.T) + self.mean).to(z.dtype)


def rank(variance: Float64, share: float) -> int:
    """How many of the variances (G,), largest first, hold `share` of their sum; at least one."""
    held = np.cumsum(np.maximum(variance, 0.0))
    return max(1, int(np.searchsorted(held, share * held[-1], side="left")) + 1) if held[-1] > 0 else 1
