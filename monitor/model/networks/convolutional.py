"""Convolutional coders: 1-D convolutions over time, each halving the number of steps. Letters as in `coder`.

After Masci et al., "Stacked Convolutional Auto-Encoders for Hierarchical Feature Extraction" (2011), in one dimension
and with strides for pooling; the decoder doubles the steps by repeating them before it convolves (Odena et al.,
"Deconvolution and Checkerboard Artifacts", 2016).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from monitor.model.networks.coder import Decoder, Encoder


def halved(steps: int) -> int:
    return (steps + 1) // 2


class Convolution(nn.Module):
    """(B, steps, inputs) -> (B, ceil(steps / stride), outputs), zeros around it; any kernel, any number of steps.

    One matrix product over the gathered events of every kernel, not `nn.Conv1d`: a runtime may cut its convolution
    into threads by the shape of the batch, but the product of a row is the same in any company.
    """

    places: Tensor
    within: Tensor

    def __init__(self, steps: int, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.shape = -(-steps // stride), kernel, inputs
        first = torch.arange(0, steps, stride) - (kernel - 1) // 2  # (steps',)
        places = first[:, None] + torch.arange(kernel)  # (steps', K)
        within = (places >= 0) & (places < steps)
        self.register_buffer("places", places.clamp(0, steps - 1).flatten(), persistent=False)
        self.register_buffer("within", within[..., None].float(), persistent=False)  # (steps', K, 1)
        self.linear = nn.Linear(kernel * inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        gathered = x.index_select(1, self.places).reshape(-1, *self.shape) * self.within  # (B, steps', K, inputs)
        product: Tensor = self.linear(gathered.flatten(2))  # (B, steps', outputs)
        return product


def doubled(x: Tensor, steps: int) -> Tensor:
    """(B, ceil(steps / 2), H) -> (B, steps, H): every step twice."""
    return x.unsqueeze(2).expand(-1, -1, 2, -1).flatten(1, 2)[:, :steps]


class ConvolutionalEncoder(Encoder):
    def __init__(
        self, window: int, channels: int, hidden: Sequence[int], code: int, kernel: int, dropout: float
    ) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList()
        steps, inputs = window, channels
        for nodes in hidden:
            self.convolutions.append(Convolution(steps, inputs, nodes, kernel, stride=2))
            steps, inputs = halved(steps), nodes
        self.dropout = nn.Dropout(dropout)
        self.code = nn.Linear(steps * inputs, code)

    def forward(self, z: Tensor) -> Tensor:
        for convolution in self.convolutions:
            z = self.dropout(convolution(z).relu())
        code: Tensor = self.code(z.flatten(1))  # (B, C)
        return code


class ConvolutionalDecoder(Decoder):
    def __init__(
        self, window: int, channels: int, hidden: Sequence[int], code: int, kernel: int, dropout: float
    ) -> None:
        super().__init__()
        self.lengths = [window]  # steps, from the window down to what the code becomes
        for _ in hidden:
            self.lengths.append(halved(self.lengths[-1]))
        self.nodes = hidden[-1]
        self.start = nn.Linear(code, self.lengths[-1] * self.nodes)
        sizes = (channels, *hidden)
        self.convolutions = nn.ModuleList(
            Convolution(self.lengths[place], sizes[place + 1], sizes[place], kernel, stride=1)
            for place in reversed(range(len(hidden)))
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, code: Tensor) -> Tensor:
        x: Tensor = self.start(code).relu().reshape(-1, self.lengths[-1], self.nodes)  # (B, steps, H)
        for place, convolution in enumerate(self.convolutions):
            inner = self.dropout(x.relu()) if place else x
            x = convolution(doubled(inner, self.lengths[-2 - place]))
        return x
