"""What a scorer asks of a model, however it came by what it knows: by gradient, in closed form, or from others.

Letters: B windows of a batch, T events of a window, G channels, C size of the code. All in standardised units.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Reconstructor(nn.Module, ABC):
    """A window gets the same from each of these whatever else is in the batch."""

    @abstractmethod
    def encode(self, z: Tensor) -> Tensor:
        """Windows (B, T, G) -> latent features (B, C)."""

    @abstractmethod
    def reconstruct(self, z: Tensor) -> Tensor:
        """Windows (B, T, G) -> what is expected in their place (B, T, G)."""

    @abstractmethod
    def error(self, z: Tensor, reconstruction: Tensor) -> Tensor:
        """How far each value is from what was expected (B, T, G), >= 0."""
