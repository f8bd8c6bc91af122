"""Does an alert name the right features: hit@1 and hit@3, on injected faults and on SMD's interpretation labels.

Injected: fitted on the first 80 % of each machine's train file; one fault of each kind of `monitor.model.injection`
goes into each of up to 256 windows of the rest; a hit has a hurt feature among the first. Labelled: fitted on the train
file; of each labelled event of the test file the window with the highest score is asked, and a hit has one of the
features that the experts named.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.detection.data import SmdMachine
from benchmarks.detection.method import Figures
from benchmarks.detection.ours import Served, learned, served
from monitor.batch import Float32, Int64
from monitor.config import Training
from monitor.model.injection import KINDS, hit_rate, inject

FITTED = 0.8
MOST_WINDOWS = 256
FIRST = (1, 3)
Event = tuple[int, int, tuple[int, ...]]
"""First and last row, and the places of the responsible features."""


def run(folder: Path, machines: Sequence[SmdMachine], settings: Training, seed: int) -> Figures:
    """Means over machines of the injected faults, over all events of the labelled ones."""
    injected = [_injected(machine, settings, seed) for machine in machines]
    labelled = [hit for machine in machines for hit in _labelled(folder, machine, settings, seed)]
    return {
        f"{name}, hit@{most}": float(np.mean([one[place] for one in found]))
        for name, found in (("injected", injected), ("labelled", labelled))
        for place, most in enumerate(FIRST)
    }


def interpretation(path: Path) -> list[Event]:
    """Lines `first-last:dimension,...`; dimensions count from 1, as those that are constant in all files tell."""
    found = []
    for line in path.read_text(encoding="utf-8").split():
        rows, features = line.split(":")
        first, last = rows.split("-")
        found.append((int(first), int(last), tuple(int(number) - 1 for number in features.split(","))))
    return found


def _injected(machine: SmdMachine, settings: Training, seed: int) -> list[float]:
    cut = round(len(machine.train) * FITTED)
    fitted = _fitted(machine, slice(cut), settings, seed)
    values = machine.train.values[cut:].astype(np.float32)
    closing = np.linspace(fitted.window - 1, len(values) - 1, MOST_WINDOWS).astype(np.int64)
    windows = values[closing[:, None] + np.arange(1 - fitted.window, 1)]  # (n, T, F)
    found = []
    for kind in KINDS:
        fault = inject(kind, windows, fitted.features, seed)
        if kind != "reversed":  # there every feature is hurt
            found.append([hit_rate(_errors(fitted, fault.windows), fault.hurt, most) for most in FIRST])
    return [float(one) for one in np.mean(found, axis=0)]


def _labelled(folder: Path, machine: SmdMachine, settings: Training, seed: int) -> list[list[float]]:
    fitted = _fitted(machine, slice(None), settings, seed)
    score = fitted.score(machine.test.values, machine.test.time)
    found = []
    for first, last, features in interpretation(folder / "smd" / f"{machine.test.name}_interpretation.txt"):
        peak: Int64 = np.array([first + np.nanargmax(score[first : last + 1])])
        error = fitted.feature_error(machine.test.values, machine.test.time, peak)
        named = np.zeros(error.shape, np.bool_)
        named[0, list(features)] = True
        found.append([hit_rate(error, named, most) for most in FIRST])
    return found


def _fitted(machine: SmdMachine, rows: slice, settings: Training, seed: int) -> Served:
    trained, split = learned([machine.train[rows]], settings, seed)
    return served(trained, split, trained.manifest_draft.calibration.threshold)


def _errors(fitted: Served, windows: Float32) -> Float32:
    return np.concatenate([fitted.errors_of(windows[start : start + 256]) for start in range(0, len(windows), 256)])
