"""NAB (Ahmad et al., "Unsupervised real-time anomaly detection for streaming data", 2017): reward for early detection.

A method is fitted on a file's probationary rows (the first 15 %, at most 750) and scores the file from its first row.
Rows without a score are never flagged. The benchmark's rule is one threshold for the corpus, the best by labels: its
three figures are an oracle's. It is one threshold for the scores as a method gives them, in the method's own units. In
units of the files' thresholds, each the largest of a few hundred scores, they were not comparable from file to file.
`label-free` is the standard profile at the method's own thresholds. The minimum and the maximum of the file, which NAB
tells its detectors, are told to none here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.detection.baselines import Rule
from benchmarks.detection.data import NabFile
from benchmarks.detection.method import Figures, Method, Published, relative
from monitor.batch import Float64, Int64
from monitor.evaluation.values import ranked

PROBATION, LONGEST_PROBATION = 0.15, 750
RULE = Rule(quantile=0.999)
PUBLISHED = (
    Published("ARTime", {"standard": 74.9, "low FP": 65.2, "low FN": 80.4}),
    Published("HTM (numenta)", {"standard": 70.1, "low FP": 63.1, "low FN": 74.3}),
    Published("Random Cut Forest", {"standard": 51.7, "low FP": 38.4, "low FN": 59.7}),
    Published("windowed Gaussian", {"standard": 39.6, "low FP": 20.9, "low FN": 47.4}),
)


@dataclass(frozen=True, slots=True)
class Profile:
    """Costs of a false flag and of a missed window; a window that is found at once earns 1."""

    false: float
    missed: float


PROFILES = {"standard": Profile(0.11, 1), "low FP": Profile(0.22, 1), "low FN": Profile(0.11, 2)}


def run(files: Sequence[NabFile], method: Method, seed: int) -> Figures:
    """The score of each profile at its best threshold, and the standard one without an oracle."""
    scores, own = [], []
    for file in files:
        fitted = method.fit([file.series[: probation(len(file.series))]], seed)
        scores.append(fitted.score(file.series.values, file.series.time))
        own.append(relative(fitted, scores[-1]))
    best = {name: best_threshold(files, scores, profile)[0] for name, profile in PROFILES.items()}
    above_one = float(np.nextafter(1.0, 2.0))  # flagged is above the threshold, NAB's rule is at or above
    return best | {"label-free": score_at(files, own, PROFILES["standard"], above_one)}


def probation(rows: int) -> int:
    return min(int(PROBATION * rows), LONGEST_PROBATION)


def best_threshold(files: Sequence[NabFile], scores: Sequence[Float64], profile: Profile) -> tuple[float, float]:
    """The best score from 0 (no flags) up to 100, and the threshold that has it: a score of at least that is flagged.

    Scores (n,) of each file, NaN never flagged.
    """
    value, gain = _gains(files, scores, profile)
    order = np.argsort(-value, kind="stable")
    value, total = value[order], np.cumsum(gain[order])
    last = np.flatnonzero(np.append(value[1:] != value[:-1], True)) if len(value) else np.empty(0, np.int64)
    if not len(last) or total[last].max() <= 0:
        return 0.0, np.inf
    best = last[np.argmax(total[last])]
    return _normalised(float(total[best]), files, profile), float(value[best])


def score_at(files: Sequence[NabFile], scores: Sequence[Float64], profile: Profile, threshold: float) -> float:
    """The score where rows of at least that threshold are flagged."""
    value, gain = _gains(files, scores, profile)
    return _normalised(float(gain[value >= threshold].sum()), files, profile)


def _normalised(gain: float, files: Sequence[NabFile], profile: Profile) -> float:
    """What is gained over flagging nothing, as a share of what could be."""
    windows = sum(len(file.windows) for file in files)
    return 100 * gain / (windows * (1 + profile.missed))


def _gains(files: Sequence[NabFile], scores: Sequence[Float64], profile: Profile) -> tuple[Float64, Float64]:
    """Rows of all files as (score, what the total gains when flags are extended down to this score); both (m,)."""
    each = [_file_gains(file, score, profile) for file, score in zip(files, scores, strict=True)]
    return np.concatenate([value for value, _ in each]), np.concatenate([gain for _, gain in each])


def _file_gains(file: NabFile, score: Float64, profile: Profile) -> tuple[Float64, Float64]:
    first = probation(len(score))
    counted = ranked(score)
    counted[:first] = -np.inf
    rows = np.flatnonzero(counted > -np.inf)
    gain = profile.false * outside_weight(file.windows, rows)
    for start, end in file.windows.tolist():
        inside = np.flatnonzero((rows >= start) & (rows <= end))
        order = inside[np.argsort(-counted[rows[inside]], kind="stable")]
        weight = sigmoid(-(end - rows[order] + 1) / (end - start + 1)) / sigmoid(-1.0)
        # The window earns its best weight so far; its first flag also saves the cost of missing it.
        gain[order] = np.diff(np.maximum.accumulate(weight), prepend=-profile.missed)
    return counted[rows], gain


def outside_weight(windows: Int64, rows: Int64) -> Float64:
    """(m,) weight of a flag at rows (m,) outside the windows (K, 2), by the distance to the last one before them."""
    if not len(windows):
        return np.full(len(rows), -1.0)
    last = np.searchsorted(windows[:, 1], rows, "left") - 1
    start, end = windows[last].T
    distance = (rows - end) / np.maximum(1, end - start)
    return np.where((last < 0) | (distance > 3), -1.0, sigmoid(np.clip(distance, 0, 3)))


def sigmoid(x: Float64 | float) -> Float64:
    return np.asarray(2 / (1 + np.exp(5 * np.asarray(x))) - 1, np.float64)
