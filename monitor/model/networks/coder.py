"""What all networks are: an encoder to a code too small to copy the window, and a decoder that sees only this code.

All in standardised units. Letters: B windows of a batch, T events of a window, G channels, C size of the code,
H nodes of a hidden layer, K events of a kernel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Encoder(nn.Module, ABC):
    @abstractmethod
    def forward(self, z: Tensor) -> Tensor:
        """Windows (B, T, G) -> codes (B, C)."""


class Decoder(nn.Module, ABC):
    @abstractmethod
    def forward(self, code: Tensor) -> Tensor:
        """Codes (B, C) -> windows (B, T, G). The code is all it sees."""
