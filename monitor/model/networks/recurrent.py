"""Recurrent coders, LSTM or GRU. Letters as in `coder`.

After Malhotra et al., "LSTM-based Encoder-Decoder for Multi-sensor Anomaly Detection" (2016), with two changes: a
linear code between the two, and a decoder that is fed this code at every step, never what it should reconstruct (no
teacher forcing), so that what is trained is what is served. As there, the decoder writes the window backwards: the
newest event, of which the code knows most, comes first. GRU after Cho et al., "Learning Phrase Representations using
RNN Encoder-Decoder" (2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from monitor.model.networks.coder import Decoder, Encoder

Cell = Literal["lstm", "gru"]


class Recurrence(nn.Module):
    """Layers of their own sizes, with dropout between them."""

    def __init__(self, cell: Cell, inputs: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        kind = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
        sizes = zip((inputs, *hidden[:-1]), hidden, strict=True)
        self.layers = nn.ModuleList(kind(before, after, batch_first=True) for before, after in sizes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, inputs) -> the states of the last layer (B, T, H), and the one after the last event (B, H)."""
        last = x
        for place, layer in enumerate(self.layers):
            x, memory = layer(self.dropout(x) if place else x)
            last = (memory[0] if isinstance(memory, tuple) else memory)[-1]
        return x, last


class RecurrentEncoder(Encoder):
    """The state after the newest event, made a code."""

    def __init__(self, cell: Cell, channels: int, hidden: Sequence[int], code: int, dropout: float) -> None:
        super().__init__()
        self.recurrence = Recurrence(cell, channels, hidden, dropout)
        self.dropout = nn.Dropout(dropout)
        self.code = nn.Linear(hidden[-1], code)

    def forward(self, z: Tensor) -> Tensor:
        _, last = self.recurrence(z)  # (B, H)
        code: Tensor = self.code(self.dropout(last))  # (B, C)
        return code


class RecurrentDecoder(Decoder):
    """`forwards` for events that follow what was encoded: then the nearest to it comes first, as well."""

    def __init__(
        self, cell: Cell, window: int, channels: int, hidden: Sequence[int], code: int, dropout: float, forwards: bool
    ) -> None:
        super().__init__()
        self.window = window
        self.forwards = forwards
        self.recurrence = Recurrence(cell, code, hidden[::-1], dropout)
        self.output = nn.Linear(hidden[0], channels)

    def forward(self, code: Tensor) -> Tensor:
        steps = code.unsqueeze(1).expand(-1, self.window, -1)  # (B, T, C)
        states, _ = self.recurrence(steps)  # (B, T, H)
        events: Tensor = self.output(states)  # (B, T, G)
        return events if self.forwards else events.flip(1)
