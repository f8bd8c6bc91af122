"""The service's own pipeline, watched: what it says of each event is noted, and nothing it does is changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from monitor import config
from monitor.assembly import assemble
from monitor.batch import Batch, Float32, Float64, Int64, Outcome, Record, Scores
from monitor.detector import Detector
from monitor.evaluation.baselines import max_z
from monitor.evaluation.sampling import Sample
from monitor.model.manifest import Manifest
from monitor.windows import Step, WindowStore

CODES = 600
"""Most codes that are kept of all windows, and as many again of the windows above the threshold."""
VALUES = 2**22
"""Most values of the windows that are kept, which are `CODES` at most."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One call: its N events, of which W were scored."""

    batch: Batch  # (N,)
    row: Int64  # (W,) of the batch
    observed: Float32  # (W, F) as it stood in the window: a missing value imputed
    expected: Float32  # (W, F)
    code: Float32  # (W, C)
    z: Float64  # (W,) the baseline's score
    score: Float64  # (W,) error / threshold, the pipeline's own
    departed: Sequence[tuple[int, str, int]]  # partition, stream, offset before which it was forgotten
    outcome: Outcome


class Watched:
    """A pipeline for one pass over records; `codes` and `loud_codes` fill while it runs."""

    def __init__(self, settings: config.Settings, detector: Detector) -> None:
        self._ears = _Ears(detector)
        self.pipeline = assemble(settings.model_copy(update={"outputs": config.Outputs()}), self._ears)
        self._ears.threshold = self.pipeline.threshold
        self._door = _Door(self.pipeline.store, detector.manifest)
        # The store is the one place that knows which event closes which window; the pipeline only passes it through.
        self.pipeline.store = cast(WindowStore, self._door)

    @property
    def codes(self) -> Sample:
        """Of every k-th window: its number, counted over all scored windows, and its code."""
        return self._ears.all

    @property
    def calm(self) -> Float32:
        """Of every k-th window at or below the threshold, as the detector read it (n, T, columns)."""
        architecture, columns = self._ears.manifest.architecture, self._ears.manifest.columns
        return self._ears.calm.values.reshape(-1, architecture.window, columns)

    @property
    def loud_codes(self) -> Sample:
        """The same, of windows above the threshold."""
        return self._ears.loud

    def process(self, records: Sequence[Record]) -> Seen:
        outcome = self.pipeline.process(records)
        batch, steps = self._door.take()
        said = self._ears.take()
        names = len(self._ears.manifest.features)
        return Seen(
            batch,
            np.concatenate([np.empty(0, np.int64), *(step.row for step in steps)]),
            np.concatenate([np.empty((0, names), np.float32), *(step.observed for step in steps)]),
            np.concatenate([np.empty((0, names), np.float32), *(scores.expected for scores in said)]),
            np.concatenate([scores.code for scores in said]) if said else np.empty((0, 0), np.float32),
            np.concatenate([np.empty(0), *(step.z for step in steps)]),
            outcome.score,
            [departed for step in steps for departed in step.departed],
            outcome,
        )


class _Ears:
    """A detector that keeps what it said until it is taken, and the codes of some windows."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._said: list[Scores] = []
        self._windows = 0
        self.threshold = np.inf
        self.all, self.loud = Sample(CODES), Sample(CODES)
        size = detector.manifest.architecture.window * detector.manifest.columns
        self.calm = Sample(max(1, min(CODES, VALUES // size)))

    @property
    def manifest(self) -> Manifest:
        return self._detector.manifest

    def warm(self) -> None:
        self._detector.warm()

    def score(self, windows: Float32) -> Scores:
        scores = self._detector.score(windows)
        self._said.append(scores)
        numbers = self._windows + np.arange(len(windows))
        above = np.flatnonzero(scores.error > self.threshold)
        for sample, rows in ((self.all, np.arange(len(windows))), (self.loud, above)):
            picked = rows[sample.pick(len(rows))]
            sample.add(numbers[picked], scores.code[picked])
        calm = np.flatnonzero(scores.error <= self.threshold)
        calm = calm[self.calm.pick(len(calm))]
        self.calm.add(numbers[calm], windows[calm].reshape(len(calm), windows.shape[1] * windows.shape[2]))
        self._windows += len(windows)
        return scores

    def take(self) -> list[Scores]:
        said, self._said = self._said, []
        return said


@dataclass(frozen=True, slots=True)
class _Part:
    row: Int64
    observed: Float32
    z: Float64
    departed: Sequence[tuple[int, str, int]]


class _Door:
    """A window store that notes which events close the windows it gives out."""

    def __init__(self, store: WindowStore, manifest: Manifest) -> None:
        self._store = store
        self._features = manifest.features
        self._batch: Batch
        self._parts: list[_Part] = []

    def __getattr__(self, name: str) -> Any:  # whatever else a store does
        return getattr(self._store, name)

    def push(self, batch: Batch) -> Iterator[Step]:
        self._batch = batch
        for step in self._store.push(batch):
            values = step.windows.inputs
            self._parts.append(
                _Part(
                    step.windows.row,
                    values[:, -1, : len(self._features)].copy(),  # a view would keep the windows
                    max_z(values[:, -2:], self._features),
                    [(one.partition, one.stream, int(batch.offset[one.row])) for one in step.departures],
                )
            )
            yield step

    def take(self) -> tuple[Batch, list[_Part]]:
        parts, self._parts = self._parts, []
        return self._batch, parts
