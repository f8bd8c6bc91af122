"""Distance from the mean in units of the channels' joint deviation. Letters as in the package."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from torch import Tensor

from monitor.batch import Float64
from monitor.model.baselines.linear import Baseline, product
from monitor.model.baselines.moments import Moments

DRIFT = 0.25
"""By how many of its deviations a channel may be off in normal rows to come, whatever the others do."""


class Mahalanobis(Baseline):
    """T2 (Hotelling, "The generalization of Student's ratio", 1931), one row at a time, with a shrunk covariance.

    T2 = (z - mean)' P (z - mean) is split among the channels as the squares of the whitened row that correlates most
    with the original channels (Garthwaite and Koch, "Evaluating the contributions of individual variables to a
    quadratic form", 2016: the corr-max transformation). They are never negative and add up to T2, while the usual
    terms z_j (P z)_j can be negative. A channel is expected where the linear regression on all others has it. The code
    is the closing row, whitened.
    """

    mean: Tensor  # (G,)
    whitening: Tensor  # (G, G) row - mean -> whitened row
    regression: Tensor  # (G, G) row - mean -> what the other channels make of each; its diagonal is 0

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, dtype=torch.float64))
        for name in ("whitening", "regression"):
            self.register_buffer(name, torch.zeros(channels, channels, dtype=torch.float64))

    @classmethod
    def of(cls, moments: Moments, fourth: float) -> Self:
        """`fourth` is the mean over the rows of |(row - mean) / deviation| to the power of four."""
        scale = deviation(moments)  # (G,)
        correlation = moments.covariance / np.outer(scale, scale)
        np.fill_diagonal(correlation, 1.0)  # of a constant channel too: it counts by itself
        correlation = later(shrunk(correlation, fourth, moments.count))
        variance, vectors = np.linalg.eigh(correlation)
        precision = (vectors / variance) @ vectors.T / np.outer(scale, scale)
        whitening = (vectors / np.sqrt(variance)) @ vectors.T / scale[:, None]
        regression = -precision / np.diag(precision)
        np.fill_diagonal(regression, 0.0)
        model = cls(len(scale))
        model.mean.copy_(torch.from_numpy(moments.mean))
        model.whitening.copy_(torch.from_numpy(whitening))
        model.regression.copy_(torch.from_numpy(regression))
        return model

    def encode(self, z: Tensor) -> Tensor:
        return product(z[:, -1].double() - self.mean, self.whitening).to(z.dtype)

    def reconstruct(self, z: Tensor) -> Tensor:
        return (product(z.double() - self.mean, self.regression) + self.mean).to(z.dtype)

    def error(self, z: Tensor, reconstruction: Tensor) -> Tensor:  # noqa: ARG002 # it is of the whole row
        """Each channel's share of T2 (B, T, G), whatever was expected of it."""
        whitened = product(z.double() - self.mean, self.whitening)
        return (whitened * whitened).to(z.dtype)


def deviation(moments: Moments) -> Float64:
    """Standard deviation of each channel (G,), 1 where it is constant."""
    variance = np.diag(moments.covariance)
    tiny = np.finfo(np.float32).tiny
    found: Float64 = np.sqrt(np.where(variance > tiny, variance, 1.0))
    return found


def later(correlation: Float64) -> Float64:
    """A correlation (G, G) of rows whose channels have each drifted by `DRIFT` of their deviations, independently.

    So no direction has a variance near zero, along which the rounding of the values alone would be far away.
    """
    drifted: Float64 = (correlation + DRIFT**2 * np.eye(len(correlation))) / (1 + DRIFT**2)
    return drifted


def shrunk(covariance: Float64, fourth: float, rows: int) -> Float64:
    """A covariance (G, G) of `rows` rows, moved towards its mean variance on the diagonal.

    By the share with the least expected squared error (Ledoit and Wolf, "A well-conditioned estimator for
    large-dimensional covariance matrices", 2004, equations 14 to 16); `fourth` is the mean of |row - mean|^4. Rows that
    follow each other closely count as fewer than they are, which this does not know.
    """
    size = len(covariance)
    middle = np.trace(covariance) / size * np.eye(size)
    spread = float(((covariance - middle) ** 2).sum())
    noise = (fourth - float((covariance**2).sum())) / rows
    share = min(max(noise, 0.0), spread) / spread if spread > 0 else 1.0
    moved: Float64 = share * middle + (1 - share) * covariance
    return moved
