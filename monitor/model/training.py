"""Learning from normal rows: split, fit, weigh, calibrate; the result is written by `export.save`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import torch

import monitor
from monitor.batch import Float32
from monitor.config import Feed, Incidents, Training
from monitor.model import crossfit
from monitor.model.calibration import calibrate
from monitor.model.checkpoint import Checkpoint
from monitor.model.dataset import Series, Split, prepare
from monitor.model.detectors import learn
from monitor.model.fitting import Fitted, Progress, fit
from monitor.model.manifest import Manifest, TrainingRecord
from monitor.model.scorer import Scorer
from monitor.model.typical import apart, calm, typical
from monitor.model.weighing import errors, feature_errors

__all__ = ["Progress", "Series", "Trained", "errors", "fit", "prepare", "train"]

EXAMPLES = 64
"""Calibration windows on which the exported graph is checked when it is written."""


@dataclass(frozen=True, slots=True)
class Trained:
    """All that an artefact is made of. `manifest_draft` lacks only the digests of the files."""

    scorer: Scorer
    manifest_draft: Manifest
    examples: Float32  # (n, T, F) calibration windows, source units
    warnings: tuple[str, ...]  # for people
    windows_per_second: float = 0.0  # in gradient steps; 0 without a network. No part of an artefact: it varies
    cut_short: bool = False  # by `max_minutes`


def train(
    series: Sequence[Series],
    feature_names: Sequence[str],
    units: Mapping[str, str],
    settings: Training,
    *,
    source: str,
    rules: Incidents = Incidents(),  # noqa: B008  frozen
    meanings: Mapping[str, str] = MappingProxyType({}),
    feed: Feed | None = None,
    categories: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    clock: Callable[[], float] = time.monotonic,
    resumed: Checkpoint | None = None,
    keep: Callable[[Checkpoint], None] | None = None,
) -> Trained:
    """Fits, keeps the best epoch, sets the threshold.

    `units` and `meanings` of features, by name, where they are known; `categories` by feature, as `prepare` takes them;
    `feed` is how `monitor feed` made the rows, where it did; `source` is what they were read from, as the user named
    it; `rules` tell what an incident is, for the budget. When `should_stop` says so (Ctrl+C), the best epoch so far is
    what is returned. Raises `MonitorError` for rows that cannot be learned from. `resumed` and `keep`: see
    `fitting.fit`.
    """
    split = prepare(series, feature_names, settings, units=units, categories=categories)
    learned = learn(
        split, settings, progress=progress, should_stop=should_stop, clock=clock, resumed=resumed, keep=keep
    )
    calibration_error: Float32 | None = None  # (n,)
    if several := crossfit.kinds(learned.design):
        folded = prepare(series, feature_names, settings, units=units, categories=categories, folds=crossfit.FOLDS)
        if len(folded.folds) > 1:
            split = folded
            design, scorer, own, calibration_error = crossfit.crossfit(several, split, settings)
            learned = replace(
                learned, design=design, scorer=scorer, metrics={**learned.metrics, "validation_error": own}
            )
    if calibration_error is None:
        calibration_error = errors(learned.scorer, split, split.calibration)
    calibration, warnings = calibrate(calibration_error, split, settings, rules)
    quiet = calm(calibration_error, calibration.threshold, split.window + rules.close_after)
    some = apart(split.calibration[quiet], split.window)  # (n,)
    stream = split.stream[some + split.window - 1]
    calibration = calibration.model_copy(
        update={"typical": typical(feature_errors(learned.scorer, split, some), stream)}
    )
    chosen = np.unique(np.linspace(0, len(split.calibration) - 1, EXAMPLES).astype(np.int64))
    draft = Manifest(
        architecture=learned.design,
        features=tuple(one.model_copy(update={"meaning": meanings.get(one.name, "")}) for one in split.features),
        scoring=learned.scorer.scoring,
        calibration=calibration,
        # as it is read back: a default may be an integer where a float belongs, and the digest is of the bytes
        feed=None if feed is None else Feed.model_validate(feed.model_dump()),
        training=_record(split, learned.fitted, settings, source),
        metrics={**learned.metrics, "calibration_error": float(calibration_error.mean(dtype=np.float64))},
        libraries={"monitor": monitor.__version__, "torch": torch.__version__, "numpy": np.__version__},
        files={},
    )
    notes = (*split.warnings, *learned.notes, *warnings)
    speed = learned.fitted.windows_per_second if learned.fitted else 0.0
    cut_short = learned.fitted is not None and learned.fitted.cut_short
    return Trained(learned.scorer, draft, split.take(split.calibration[chosen]), notes, speed, cut_short)


def _record(split: Split, fitted: Fitted | None, settings: Training, source: str) -> TrainingRecord:
    return TrainingRecord(
        rows=len(split.rows),
        streams=split.streams,
        fit_windows=len(split.fit),
        validation_windows=len(split.validation),
        first_time=split.first_time,
        last_time=split.last_time,
        interval=split.interval,
        max_gap=split.max_gap,
        optimiser=settings.optimiser,
        learning_rate=settings.learning_rate,
        epochs=fitted.epochs if fitted else 0,
        best_epoch=fitted.best_epoch if fitted else 0,
        seed=settings.seed,
        device=fitted.device if fitted else "cpu",
        source=source,
    )
