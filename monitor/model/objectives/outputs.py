"""From what a decoder puts out to values, to their loss and to their error."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from monitor.model.architecture import Architecture
from monitor.model.objectives import distances

_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": distances.squared,
    "mae": distances.absolute,
    "huber": distances.huber,
    "kl": distances.squared,  # outside of the distributions
}


class Outputs(nn.Module):
    """Linear; sigmoid for loss bce; softmax within each distribution for loss kl. Letters as in `networks.coder`."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self._loss = architecture.loss
        self._groups = [list(group) for group in architecture.distributions]
        grouped = [channel for group in self._groups for channel in group]
        self._others = [channel for channel in range(architecture.channels) if channel not in grouped]
        order = grouped + self._others
        self._back = [order.index(channel) for channel in range(architecture.channels)]
        self._distance: Callable[[Tensor, Tensor], Tensor] = (
            distances.Hamming(architecture)
            if architecture.distance == "hamming"
            else distances.DISTANCES[architecture.distance]
        )

    def forward(self, raw: Tensor) -> Tensor:
        """What a decoder puts out (B, T, G) -> values (B, T, G); shares of 1 within a distribution."""
        values = raw.sigmoid() if self._loss == "bce" else raw
        return self._by_group(lambda group: raw[..., group].softmax(-1), values)

    def loss(self, raw: Tensor, z: Tensor) -> Tensor:
        """Of what a decoder puts out (B, T, G) for windows (B, T, G) -> (): the mean over all values.

        bce takes values beyond 0 and 1 for 0 and 1. Within a distribution it is the divergence of the expected shares
        from those of the window.
        """
        if self._loss == "bce":
            entropy: Tensor = nn.functional.binary_cross_entropy_with_logits(raw, z.clamp(0.0, 1.0))
            return entropy

        def divergence(group: list[int]) -> Tensor:
            p = distances.shares(z[..., group])
            return torch.xlogy(p, p) - p * raw[..., group].log_softmax(-1)

        return self._by_group(divergence, _LOSSES[self._loss](raw, z)).mean()

    def distance(self, expected: Tensor, z: Tensor) -> Tensor:
        """Of values as `forward` makes them from those of windows, both (B, T, G) -> (B, T, G), >= 0.

        Not the loss: a value far outside of the range that sigmoids reach must still be far away.
        """
        return self._by_group(
            lambda group: distances.divergence(expected[..., group], z[..., group]), self._distance(expected, z)
        )

    def _by_group(self, of_group: Callable[[list[int]], Tensor], others: Tensor) -> Tensor:
        """Channels of distributions from `of_group`, the rest from `others` (B, T, G)."""
        if not self._groups:
            return others
        parts = [of_group(group) for group in self._groups]
        if self._others:
            parts.append(others[..., self._others])
        return torch.cat(parts, -1)[..., self._back]
