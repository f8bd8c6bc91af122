"""The recipe as the service runs it with `adaptation.enabled`: each stream's usual errors are learned while it flows.

Rows go through the service's own pipeline, windows, levels, gates and incidents, with the defaults of all of them; only
the broker is missing. A row's score is the one that decides about incidents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.detection.method import Fitted, Series
from benchmarks.detection.ours import RECIPE, Served, learned, served
from monitor import config
from monitor.assembly import assemble
from monitor.batch import Float32, Float64, RawRecord, Scores
from monitor.config import Training
from monitor.model.manifest import Manifest

SETTINGS = config.Settings.model_validate({"events": {"codec": "float32"}, "adaptation": {"enabled": True}})
RECORDS = 2048
"""Of one call of the pipeline; it changes no score."""


@dataclass(frozen=True, slots=True)
class Torch:
    """A trained scorer as the pipeline asks for one."""

    manifest: Manifest
    scorer: torch.nn.Module

    def score(self, windows: Float32) -> Scores:
        with torch.inference_mode():
            error, feature_error, expected, code = self.scorer(torch.from_numpy(windows))
        return Scores(error.numpy(), feature_error.numpy(), expected.numpy(), code.numpy())

    def warm(self) -> None:
        """Nothing is slow at first."""


@dataclass(frozen=True, slots=True)
class Flowing:
    """A fitted detector behind the pipeline; every series is a stream that was never seen before."""

    detector: Torch
    rows: Served
    threshold: float = 1.0  # scores are in units of the model's

    @property
    def parameters(self) -> int:
        return self.rows.parameters

    def score(self, values: Float64, time: Float64) -> Float64:
        """NaN for a row that is not later than all before it, too: the service ignores it."""
        pipeline = assemble(SETTINGS, self.detector)
        numbers = values.astype("<f4")
        newest = np.maximum.accumulate(np.concatenate([[-np.inf], time]))[:-1]
        kept = np.flatnonzero(time > newest)
        records = [
            RawRecord("events", 0, row, round(1000 * time[row]), b"s", numbers[row].tobytes()) for row in kept.tolist()
        ]
        found = [pipeline.process(records[start : start + RECORDS]) for start in range(0, len(records), RECORDS)]
        score = np.full(len(values), np.nan)
        score[kept[self.rows.closing(time[kept])]] = np.concatenate([one.score for one in found])
        return score


@dataclass(frozen=True, slots=True)
class Adapting:
    """`monitor train`, and `monitor run` with adaptation."""

    settings: Training = RECIPE
    name: str = "ours, adapting"

    def fit(self, series: Sequence[Series], seed: int) -> Fitted:
        trained, split = learned(series, self.settings, seed)
        own = served(trained, split, trained.manifest_draft.calibration.threshold)
        return Flowing(Torch(trained.manifest_draft, trained.scorer), own)
