"""The product's own detectors as methods: learned as `monitor train` learns, scored by the graph that is exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.detection.baselines import Rule
from benchmarks.detection.method import Fitted, Series
from monitor.batch import Float32, Float64, Int64
from monitor.config import Training
from monitor.model import dataset
from monitor.model.dataset import Split, prepare
from monitor.model.manifest import Feature
from monitor.model.scorer import Scorer
from monitor.model.selection import parameters
from monitor.model.training import Trained, train
from monitor.model.weighing import errors

BATCH = 256
WINDOW = 10
"""Events of a window, where rows have an order; a window of one event where they have none."""
RECIPE = Training(detector="linear", window=WINDOW, wandering="difference", scale_floor=0.05, quantile=0.99)
"""The one recipe, for all sets."""
ENSEMBLE = RECIPE.model_copy(update={"detector": "ensemble", "epochs": 10})
"""The recipe, with the LSTM as a third member where there are rows enough for one."""
NETWORK = Training(detector="autoencoder", window=WINDOW, quantile=0.99, epochs=10)
"""The product's own LSTM autoencoder: errors in own units, threshold from rows that were held out."""
PLAIN = Training(detector="autoencoder", window=WINDOW, score_units="one", validation=0.1, calibration=0.1, epochs=10)
"""A plain LSTM autoencoder as the field has it: squared error, averaged over the window and over the features."""


@dataclass(frozen=True, slots=True)
class Served:
    """A fitted detector, which scores the windows of a series as the service would."""

    scorer: Scorer
    threshold: float
    window: int
    max_gap: float  # s
    mean: Float32  # (F,)
    parameters: int

    @property
    def features(self) -> tuple[Feature, ...]:
        return self.scorer.front.features

    def score(self, values: Float64, time: Float64) -> Float64:
        """NaN until a window is whole: at the beginning, and after a gap."""
        score = np.full(len(values), np.nan)
        closing, windows = self._windows(values, time)
        for start in range(0, len(closing), BATCH):
            some = closing[start : start + BATCH]
            with torch.inference_mode():
                score[some] = self.scorer(torch.from_numpy(windows(some)))[0].numpy()
        return score

    def feature_error(self, values: Float64, time: Float64, rows: Int64) -> Float32:
        """Of the windows that close at rows (m,): the error of each feature (m, F)."""
        closing, windows = self._windows(values, time)
        return self.errors_of(windows(rows[np.isin(rows, closing)]))

    def errors_of(self, windows: Float32) -> Float32:
        """Windows (n, T, F) -> the error of each feature (n, F)."""
        with torch.inference_mode():
            found: Float32 = self.scorer(torch.from_numpy(windows))[1].numpy()
        return found

    def closing(self, time: Float64) -> Int64:
        """The closing rows of whole windows among rows at these times (n,)."""
        run = np.cumsum(np.diff(time, prepend=time[:1]) > self.max_gap)  # (n,)
        closing = np.arange(self.window - 1, len(time))
        whole: Int64 = closing[run[closing] == run[closing - self.window + 1]]
        return whole

    def _windows(self, values: Float64, time: Float64) -> tuple[Int64, Callable[[Int64], Float32]]:
        """The closing rows of whole windows, and what gathers the windows (n, T, F) that close at some."""
        rows = values.astype(np.float32)
        return self.closing(time), lambda some: rows[some[:, None] + np.arange(1 - self.window, 1)]


@dataclass(frozen=True, slots=True)
class Ours:
    """`monitor train`, and its threshold."""

    settings: Training = RECIPE
    name: str = "ours"

    def fit(self, series: Sequence[Series], seed: int) -> Fitted:
        trained, split = learned(series, self.settings, seed)
        return served(trained, split, trained.manifest_draft.calibration.threshold)


@dataclass(frozen=True, slots=True)
class PlainAutoencoder:
    """The network alone, and the benchmark's usual rule: a quantile of the scores of the rows it was given."""

    rule: Rule
    settings: Training = PLAIN
    name: str = "plain LSTM-AE"

    def fit(self, series: Sequence[Series], seed: int) -> Fitted:
        trained, split = learned(series, self.settings, seed)
        known = np.concatenate([split.fit, split.validation, split.calibration])
        score = errors(trained.scorer, split, known).astype(np.float64)
        return served(trained, split, float(np.quantile(score, self.rule.quantile)) * self.rule.factor)


def learned(series: Sequence[Series], settings: Training, seed: int) -> tuple[Trained, Split]:
    """As `monitor train` learns, on one thread of the processor."""
    window = settings.window if all(one.ordered for one in series) else 1
    # Half of what a network reads, so that it cannot copy it; of a single feature that is less than the default.
    code = min(settings.code, max(1, window * len(series[0].features) // 2))
    fixed = settings.model_copy(update={"window": window, "code": code, "seed": seed, "device": "cpu"})
    several = [dataset.Series(one.name, one.time, one.values.astype(np.float32)) for one in series]
    features = series[0].features
    return train(several, features, {}, fixed, source="benchmark"), prepare(several, features, fixed)


def served(trained: Trained, split: Split, threshold: float) -> Served:
    features = trained.manifest_draft.features
    mean = np.array([feature.mean for feature in features], np.float32)
    return Served(trained.scorer, threshold, split.window, split.max_gap, mean, parameters(trained.scorer))
