"""Sequence autoencoders: a window goes through a code too small to copy it.

Letters: B windows of a batch, T events of a window, F features, C size of the code, H hidden nodes, L layers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from monitor.model.manifest import Architecture

LIMIT = 1e4
"""Standardised values are cut off here: beyond it an error says nothing more, and float32 sums could overflow."""


class Autoencoder(nn.Module, ABC):
    """A network with its scaler. What a new network adds is `encode` and `decode`, in standardised units."""

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int, window: int) -> None:
        super().__init__()
        self.features = features
        self.window = window
        self.register_buffer("mean", torch.zeros(features))  # (F,) source units
        self.register_buffer("scale", torch.ones(features))  # (F,) source units

    @abstractmethod
    def encode(self, z: Tensor) -> Tensor:
        """Windows (B, T, F) -> codes (B, C)."""

    @abstractmethod
    def decode(self, code: Tensor) -> Tensor:
        """Codes (B, C) -> windows (B, T, F). The code is all it sees."""

    def forward(self, z: Tensor) -> Tensor:
        """Standardised windows (B, T, F) -> their reconstruction (B, T, F)."""
        return self.decode(self.encode(z))

    def standardise(self, x: Tensor) -> Tensor:
        """Source units (..., F) -> standardised (..., F), finite for every finite input."""
        return ((x - self.mean) / self.scale).clamp(-LIMIT, LIMIT)

    def restore(self, z: Tensor) -> Tensor:
        """Standardised (..., F) -> source units (..., F), finite even where the scale is near the end of float32."""
        end = torch.finfo(torch.float32).max
        return (z * self.scale + self.mean).clamp(-end, end)


class LstmAutoencoder(Autoencoder):
    """Encoder-decoder LSTM after Malhotra et al., "LSTM-based Encoder-Decoder for Multi-sensor Anomaly Detection"
    (2016), with two changes: a linear code between the two, and a decoder that is fed this code at every step, never
    what it should reconstruct (no teacher forcing), so that what is trained is what is served. As there, the decoder
    writes the window backwards: the newest event, of which the code knows most, comes first.
    """

    def __init__(self, architecture: Architecture) -> None:
        a = architecture
        super().__init__(a.features, a.window)
        between = a.dropout if a.layers > 1 else 0.0
        self.encoder = nn.LSTM(a.features, a.hidden, a.layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(a.dropout)
        self.code = nn.Linear(a.hidden, a.code)
        self.decoder = nn.LSTM(a.code, a.hidden, a.layers, batch_first=True, dropout=between)
        self.output = nn.Linear(a.hidden, a.features)

    def encode(self, z: Tensor) -> Tensor:
        _, (hidden, _) = self.encoder(z)  # (L, B, H)
        last: Tensor = self.dropout(hidden[-1])  # (B, H)
        code: Tensor = self.code(last)  # (B, C)
        return code

    def decode(self, code: Tensor) -> Tensor:
        steps = code.unsqueeze(1).expand(-1, self.window, -1)  # (B, T, C)
        states, _ = self.decoder(steps)  # (B, T, H) newest event first
        backwards: Tensor = self.output(states)  # (B, T, F) newest event first
        return backwards.flip(1)  # (B, T, F)


def build(architecture: Architecture) -> Autoencoder:
    """A network with fresh weights (from torch's global generator) and an empty scaler."""
    networks = {"lstm": LstmAutoencoder}
    return networks[architecture.network](architecture)
