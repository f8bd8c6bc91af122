"""Dense coders: the window as one row of numbers. Letters as in `coder`.

After Hinton & Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks" (2006). Without hidden layers
they are linear, and with a squared loss their code spans the principal subspace (Baldi & Hornik, 1989).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from monitor.model.networks.coder import Decoder, Encoder


class DenseEncoder(Encoder):
    def __init__(self, window: int, channels: int, hidden: Sequence[int], code: int, dropout: float) -> None:
        super().__init__()
        self.layers = _layers((window * channels, *hidden, code), dropout, last=True)

    def forward(self, z: Tensor) -> Tensor:
        code: Tensor = self.layers(z.flatten(1))  # (B, C)
        return code


class DenseDecoder(Decoder):
    def __init__(self, window: int, channels: int, hidden: Sequence[int], code: int, dropout: float) -> None:
        super().__init__()
        self.window, self.channels = window, channels
        self.layers = _layers((code, *hidden[::-1], window * channels), dropout, last=False)

    def forward(self, code: Tensor) -> Tensor:
        values: Tensor = self.layers(code)  # (B, T * G)
        return values.reshape(-1, self.window, self.channels)


def _layers(sizes: Sequence[int], dropout: float, *, last: bool) -> nn.Sequential:
    """Linear layers with what bends them in between; dropout behind each but the decoder's last hidden one."""
    parts: list[nn.Module] = []
    for place, (before, after) in enumerate(pairwise(sizes)):
        if place:
            parts.append(nn.ReLU())
            if last or place < len(sizes) - 2:
                parts.append(nn.Dropout(dropout))
        parts.append(nn.Linear(before, after))
    return nn.Sequential(*parts)
