"""What training minimises, and what is scored: the two are not the same thing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from torch import Tensor, cat, nn

from monitor.model.networks import Autoencoder

Loss = Callable[[Tensor, Tensor], Tensor]

LOSSES: Mapping[str, Loss] = {
    "mse": nn.functional.mse_loss,
    "mae": nn.functional.l1_loss,
    "huber": nn.functional.huber_loss,
}
"""Of reconstruction and window, both (B, T, F) standardised -> (): the mean over all values."""


def pairwise_mean(x: Tensor, dim: int, length: int) -> Tensor:
    """Mean over `dim`, by adding halves until one is left.

    `length` is the size of `dim` as a plain number; `x.shape` would be traced into the graph.

    Only element-wise additions in an order that the length alone decides. A runtime's own reduction picks its order
    by the shape of the batch: measured, ONNX Runtime gives a lone window other last bits than the same window in
    company, which this does not. It also rounds less than a running sum.
    """
    rest = length
    while rest > 1:
        half = rest // 2
        added = x.narrow(dim, 0, half) + x.narrow(dim, half, half)
        x = cat([added, x.narrow(dim, rest - 1, 1)], dim) if rest % 2 else added
        rest -= half
    return x.squeeze(dim) / length


class Scorer(nn.Module):
    """The network and its scoring as one graph, source units in: this is what is exported and served."""

    def __init__(self, network: Autoencoder, score_over: Literal["window", "last"]) -> None:
        super().__init__()
        self.network = network
        self.score_over = score_over

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Windows (B, T, F) in source units -> error (B,), feature_error (B, F), expected (B, F).

        `feature_error` is the mean squared difference of the standardised values, over the window or of its last
        event; `error` is its mean over the features; `expected` is the reconstructed last event in source units.
        """
        z = self.network.standardise(windows)  # (B, T, F)
        reconstruction = self.network(z)  # (B, T, F)
        difference = reconstruction - z  # (B, T, F)
        squared = difference * difference  # (B, T, F)
        steps = 1 if self.score_over == "last" else self.network.window
        feature_error = pairwise_mean(squared[:, -steps:], 1, steps)  # (B, F)
        error = pairwise_mean(feature_error, 1, self.network.features)  # (B,)
        expected = self.network.restore(reconstruction[:, -1])  # (B, F)
        return error, feature_error, expected
