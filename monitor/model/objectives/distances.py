"""How far values are from what was expected, for tensors of any one shape: what losses and errors are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from monitor.model.architecture import Architecture
from monitor.model.elementary import log1p

FLOOR = 2.0**-20
"""Shares below this count as this much, so that a share of something never seen is an error of 14, not without end."""


def squared(left: Tensor, right: Tensor) -> Tensor:
    difference = left - right
    return difference * difference


def absolute(left: Tensor, right: Tensor) -> Tensor:
    return (left - right).abs()


def huber(left: Tensor, right: Tensor) -> Tensor:
    """Half the square up to a difference of 1, straight beyond.

    Huber, "Robust Estimation of a Location Parameter" (1964).
    """
    size = (left - right).abs()
    within = size.clamp(max=1.0)
    return 0.5 * within * within + (size - within)


DISTANCES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "squared": squared,
    "absolute": absolute,
    "huber": huber,
}


class Hamming(nn.Module):
    """1 where a category or a value of two levels is another than expected, else 0 (Hamming, "Error Detecting and
    Error Correcting Codes", 1950); the square for other channels.

    A value that is neither of its levels, and a category never seen, differ from whatever is expected. Not the
    default: the square of a one-hot channel (Brier, 1950) tells a value that was nearly expected from one that never
    is, which this does not.
    """

    low: Tensor
    high: Tensor
    two: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.categories = architecture.categories
        low, high = torch.zeros(architecture.channels), torch.ones(architecture.channels)  # (G,) each
        two = torch.zeros(architecture.channels, dtype=torch.bool)
        for one in architecture.levels:
            low[one.channel], high[one.channel], two[one.channel] = one.low, one.high, True
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("high", high, persistent=False)
        self.register_buffer("two", two, persistent=False)

    def forward(self, expected: Tensor, z: Tensor) -> Tensor:
        nearest = torch.where(expected + expected > self.low + self.high, self.high, self.low)
        other = (z - nearest).abs() > (self.high - self.low) * 0.25
        found = torch.where(self.two, other.to(z.dtype), squared(expected, z))  # (B, T, G)
        parts, at = [], 0
        for first, many in self.categories:
            group = slice(first, first + many)
            likeliest = expected[..., group].argmax(-1, keepdim=True) == torch.arange(many, device=z.device)
            parts += [found[..., at:first], absolute(likeliest.to(z.dtype), z[..., group])]
            at = first + many
        return torch.cat([*parts, found[..., at:]], -1) if parts else found


def shares(z: Tensor) -> Tensor:
    """Values (..., k) of one distribution -> their shares of the sum; all 0 where none is positive."""
    positive = z.clamp(min=0.0)
    total = positive[..., :1]
    for place in range(1, z.shape[-1]):  # one by one: a runtime's own sum may round by the shape of the batch
        total = total + positive[..., place : place + 1]
    return positive / total.clamp(min=FLOOR)


def divergence(expected: Tensor, z: Tensor) -> Tensor:
    """Kullback-Leibler divergence of values (..., k) of one distribution from expected shares, per value and >= 0.

    Each is p log(p / q) - p + q, which adds up to the divergence where both add up to 1 (Kullback & Leibler, "On
    Information and Sufficiency", 1951). A negative value, which no distribution has, counts with its square as well.
    """
    p, q = shares(z).clamp(min=FLOOR), expected.clamp(min=FLOOR)
    value = p * (log1p(p / FLOOR - 1.0) - log1p(q / FLOOR - 1.0)) - p + q
    return value.clamp(min=0.0) + squared(z.clamp(max=0.0), torch.zeros_like(z))
