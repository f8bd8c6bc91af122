"""The graph that is exported and served: events in source units in, errors and what was expected out.

Letters: B windows of a batch, T events of a window, F features, G channels, C size of the code.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from monitor.model.front import Front
from monitor.model.manifest import Feature, Scoring
from monitor.model.reconstructor import Reconstructor

OUTPUTS = ("error", "feature_error", "expected", "code")


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
        x = torch.cat([added, x.narrow(dim, rest - 1, 1)], dim) if rest % 2 else added
        rest -= half
    return x.squeeze(dim) / length


class Scorer(nn.Module):
    """Front, model and scoring in one."""

    def __init__(self, features: Sequence[Feature], window: int, model: Reconstructor, scoring: Scoring) -> None:
        super().__init__()
        self.scoring = scoring
        self.front = Front(features)
        self.model = model
        self._events = [window if span == "window" else scoring.last for span in scoring.spans]
        units = torch.tensor(scoring.units, dtype=torch.float32)  # (spans, G)
        self.units: Tensor
        self.register_buffer("units", units, persistent=False)

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Windows (B, T, F) in source units -> error (B,), feature_error (B, F), expected (B, F), code (B, C).

        A channel's error is taken over the whole window or over its last events, in units of its own error on
        held-out normal rows; over both, it is the mean of the two. `feature_error` is the mean over a feature's
        channels, `error` its mean over the features, or the largest; `expected` is the closing event as the model would
        have it, in source units.
        """
        z = self.front(windows)  # (B, T, G)
        reconstruction = self.model.reconstruct(z)  # (B, T, G)
        channels = self.over_time(self.model.error(z, reconstruction))  # per span (B, G)
        parts = [channel / self.units[span] for span, channel in enumerate(channels)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        feature_error = self.front.per_feature(total / len(parts))  # (B, F)
        if self.scoring.over_features == "max":
            error = feature_error.amax(dim=1)  # (B,)
        else:
            error = pairwise_mean(feature_error, 1, self.front.inputs)
        expected = self.front.restore(reconstruction[:, -1], windows)  # (B, F)
        return error, feature_error, expected, self.model.encode(z)

    def over_time(self, squared: Tensor) -> list[Tensor]:
        """Errors (B, T, G) -> their mean (B, G) over each span."""
        return [pairwise_mean(squared[:, -events:], 1, events) for events in self._events]
