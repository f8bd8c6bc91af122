"""What a channel's error is worth: it is measured in units of the model's own error on held-out normal windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from monitor.batch import Float32, Int64
from monitor.config import Training
from monitor.model.dataset import Split
from monitor.model.ensemble import Ensemble
from monitor.model.fitting import batches, gather
from monitor.model.manifest import Scoring
from monitor.model.reconstructor import Reconstructor
from monitor.model.scorer import Scorer

FLOOR = 0.1
"""A channel's unit is at least this share of the mean over the channels: one that is always met exactly, such as a
constant, would turn any rounding into an alarm."""
LEAST = 1e-6
"""And at least this; errors are squares of standardised values, or logarithms of likelihoods."""
MEAN_WINDOWS = 4096
"""About so many fitting windows, spread evenly, tell the mean well enough to compare a model with."""
SPANS: Mapping[str, tuple[Literal["window", "last"], ...]] = {
    "window": ("window",),
    "last": ("last",),
    "both": ("window", "last"),
}


def weighed(
    model: Reconstructor, split: Split, settings: Training, over_features: Literal["mean", "max"] = "mean"
) -> tuple[Scorer, float]:
    """The scorer whose unit is each channel's own error on the validation windows, which were not fitted.

    And the mean of those errors: of squares, 1 is what a model has that answers the mean.
    """
    scoring, own = weigh([(model, split.validation)], split, settings, over_features)
    return Scorer(split.features, split.window, model, scoring).eval(), own


def weigh(
    held_out: Sequence[tuple[Reconstructor, Int64]],
    split: Split,
    settings: Training,
    over_features: Literal["mean", "max"] = "mean",
) -> tuple[Scoring, float]:
    """Each channel's error over all these windows, by the model that was not fitted to them; and its mean.

    First rows (n,) beside each model. With `score_units: one`, all units are 1.
    """
    spans = SPANS[settings.score_over]
    ones = ((1.0,) * split.channels,) * len(spans)
    scoring = Scoring(spans=spans, last=settings.score_last, over_features=over_features, units=ones)
    rows, mean = torch.from_numpy(split.rows), torch.from_numpy(split.mean)
    sums = np.zeros((len(spans), split.channels))  # (spans, G)
    for model, first in held_out:
        plain = Scorer(split.features, split.window, model, scoring)
        with torch.inference_mode():
            for some in batches(first):
                z = plain.front(gather(rows, some, split.window, mean))  # (B, T, G)
                channels = plain.over_time(plain.model.error(z, plain.model.reconstruct(z)))
                sums += np.stack([one.numpy().sum(axis=0, dtype=np.float64) for one in channels])
    own = sums / sum(len(first) for _, first in held_out)
    if settings.score_units == "one":
        return scoring, float(own.mean())
    # A mean of models is in such units already: a second floor would lift what the first one holds down.
    floor = 1.0 if isinstance(held_out[0][0], Ensemble) else max(LEAST, FLOOR * own.mean())
    units = np.maximum(own, floor)
    found = tuple(tuple(one) for one in units.astype(np.float32).tolist())
    return scoring.model_copy(update={"units": found}), float(own.mean())


class Mean(Reconstructor):
    """Answers every window with the mean of the fitting rows, and measures errors as a model does."""

    def __init__(self, model: Reconstructor, mean: Tensor) -> None:
        """`mean` (G,), standardised units."""
        super().__init__()
        self._model, self._mean = model, mean

    def encode(self, z: Tensor) -> Tensor:
        return z[:, -1]

    def reconstruct(self, z: Tensor) -> Tensor:
        return torch.zeros_like(z) + self._mean

    def error(self, z: Tensor, reconstruction: Tensor) -> Tensor:
        return self._model.error(z, reconstruction)


def error_of_mean(scorer: Scorer, split: Split, settings: Training) -> float:
    """What `weigh` would measure on the validation windows for a model that knows nothing but the mean.

    A network that is not below it has learned nothing of use. A model whose error is no distance from what it
    reconstructs (variational) cannot be compared so.
    """
    some = split.fit[:: max(1, len(split.fit) // MEAN_WINDOWS)]
    with torch.inference_mode():
        mean = scorer.front(torch.from_numpy(split.take(some))).mean(dim=(0, 1))  # (G,)
    plain = settings.model_copy(update={"score_units": "one"})
    return weigh([(Mean(scorer.model, mean), split.validation)], split, plain)[1]


def errors(scorer: Scorer, split: Split, first: Int64) -> Float32:
    """The error (n,) of the windows that begin at rows `first` (n,)."""
    rows, mean = torch.from_numpy(split.rows), torch.from_numpy(split.mean)
    with torch.inference_mode():
        parts = [scorer(gather(rows, some, split.window, mean))[0] for some in batches(first)]
    return torch.cat(parts).numpy()


def feature_errors(scorer: Scorer, split: Split, first: Int64) -> Float32:
    """The errors (n, F) of the features in the windows that begin at rows `first` (n,)."""
    rows, mean = torch.from_numpy(split.rows), torch.from_numpy(split.mean)
    with torch.inference_mode():
        parts = [scorer(gather(rows, some, split.window, mean))[1] for some in batches(first)]
    return torch.cat(parts).numpy()
