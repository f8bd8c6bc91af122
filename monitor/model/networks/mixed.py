"""Convolutional-recurrent coders: a convolution that halves the steps in front of an LSTM. Letters as in `coder`.

After Sainath et al., "Convolutional, Long Short-Term Memory, Fully Connected Deep Neural Networks" (2015): the
convolution makes short patterns into steps, the recurrence sees half as many of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from monitor.model.networks.coder import Decoder, Encoder
from monitor.model.networks.convolutional import Convolution, doubled, halved
from monitor.model.networks.recurrent import RecurrentDecoder, RecurrentEncoder


class MixedEncoder(Encoder):
    """The convolution has as many nodes as the first recurrent layer."""

    def __init__(
        self, window: int, channels: int, hidden: Sequence[int], code: int, kernel: int, dropout: float
    ) -> None:
        super().__init__()
        self.convolution = Convolution(window, channels, hidden[0], kernel, stride=2)
        self.recurrent = RecurrentEncoder("lstm", hidden[0], hidden, code, dropout)

    def forward(self, z: Tensor) -> Tensor:
        code: Tensor = self.recurrent(self.convolution(z).relu())
        return code


class MixedDecoder(Decoder):
    def __init__(
        self,
        window: int,
        channels: int,
        hidden: Sequence[int],
        code: int,
        kernel: int,
        dropout: float,
        forwards: bool,
    ) -> None:
        super().__init__()
        self.window = window
        self.recurrent = RecurrentDecoder("lstm", halved(window), hidden[0], hidden, code, dropout, forwards)
        self.convolution = Convolution(window, hidden[0], channels, kernel, stride=1)

    def forward(self, code: Tensor) -> Tensor:
        steps = self.recurrent(code).relu()  # (B, ceil(T / 2), H)
        window: Tensor = self.convolution(doubled(steps, self.window))  # (B, T, G)
        return window
