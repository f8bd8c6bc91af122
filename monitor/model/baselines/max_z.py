"""The farthest channel. Letters as in the package."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from monitor.model.baselines.linear import Baseline
from monitor.model.baselines.moments import Moments


class MaxZ(Baseline):
    """Every value is expected at its channel's mean; the largest error of all features counts, not their mean.

    Shewhart's control chart (1931) for each channel at once. The code is the closing row itself.
    """

    mean: Tensor  # (G,)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))

    @classmethod
    def of(cls, moments: Moments) -> Self:
        model = cls(len(moments.mean))
        model.mean.copy_(torch.from_numpy(moments.mean))
        return model

    def encode(self, z: Tensor) -> Tensor:
        return z[:, -1]

    def reconstruct(self, z: Tensor) -> Tensor:
        return torch.zeros_like(z) + self.mean
