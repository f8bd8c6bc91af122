"""Which of several detectors finds the most, by normal windows alone: synthetic faults are injected, no label is seen.

Letters: n windows, T events of a window, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from monitor.batch import Float32, Float64, Int64
from monitor.model.dataset import Split
from monitor.model.injection import KINDS, aged, inject
from monitor.model.scorer import Scorer

MOST_WINDOWS = 1024
"""Normal windows that are scored; more would tell candidates apart no better, being neighbours."""
MOST_VALUES = 2**23
"""Values of the windows that exist at a time; of long ones there are fewer."""
PREVALENCE = 0.05
"""Share of faulty windows for which precision is counted: at even shares, a detector that cries wolf looks well."""
BLOCKS = 10
"""Stretches of time, one of which is left out at a time to tell by how much the ranking can be trusted."""
SHORTEST_WINDOWS = 30
"""Fitting rows for a network, in windows that do not overlap: fewer show it too few different ones."""
SHORTEST_ROWS = 500
"""And in rows, where windows are short."""
BATCH = 256


@dataclass(frozen=True, slots=True)
class Candidate:
    name: str
    score: float  # mean over the kinds of faults of the average precision
    behind: float  # by how much less than the best
    uncertainty: float  # standard error of `behind`
    by_kind: Mapping[str, float]
    parameters: int  # numbers that are learned or estimated
    microseconds: float  # a window, in a batch, in torch on this machine


@dataclass(frozen=True, slots=True)
class Selection:
    chosen: str
    candidates: tuple[Candidate, ...]  # fewest parameters first

    @property
    def metrics(self) -> dict[str, float]:
        """For the manifest: nothing that differs from run to run."""
        return {f"selection_{one.name}": one.score for one in self.candidates}

    @property
    def table(self) -> tuple[str, ...]:
        """Lines for people."""
        head = f"{'detector':<12} {'faults found':>12} {'parameters':>10} {'us/window':>9}"
        rows = [
            f"{one.name:<12} {one.score:>12.3f} {one.parameters:>10} {one.microseconds:>9.1f}"
            + ("  <- taken" if one.name == self.chosen else "")
            for one in self.candidates
        ]
        return (head, *rows)


def too_short(split: Split) -> bool:
    """Whether there are too few fitting rows for a network; then the baselines alone are candidates."""
    rows = split.window + int(np.minimum(np.diff(split.fit), split.window).sum())  # each window adds what is new
    return rows < max(SHORTEST_WINDOWS * split.window, SHORTEST_ROWS)


def held_out(split: Split) -> Int64:
    """First rows of validation windows, spread evenly: they are not fitted, and do not set the threshold."""
    most = max(BLOCKS, min(MOST_WINDOWS, MOST_VALUES // (split.window * split.rows.shape[1])))
    chosen = np.unique(np.linspace(0, len(split.validation) - 1, most).astype(np.int64))
    return split.validation[chosen]


def select(scorers: Mapping[str, Scorer], windows: Float32, seed: int, clock: Callable[[], float]) -> Selection:
    """Takes the candidate with the fewest parameters that is within one standard error of the best.

    `windows` (n, T, columns) are normal and held out, oldest first, in source units and without NaN; they are aged a
    little first. For each kind of fault, faulty windows are to rank above the normal ones: average precision at a
    prevalence of `PREVALENCE`; the score is the mean over the kinds. The standard error is that of the difference to
    the best, by a jackknife over stretches of time (Breiman et al., "Classification and Regression Trees", 1984: the
    one standard error rule; Künsch, "The jackknife and the bootstrap for general stationary observations", 1989).
    """
    features = next(iter(scorers.values())).front.features
    windows = aged(windows, features, seed)
    block = np.arange(len(windows)) * BLOCKS // len(windows)  # (n,)
    normal = {name: scored(scorer, windows) for name, scorer in scorers.items()}  # (n,) each
    by_kind: dict[str, dict[str, float]] = {name: {} for name in scorers}
    left_out: dict[str, list[list[float]]] = {name: [] for name in scorers}  # kinds x blocks
    spent = dict.fromkeys(scorers, 0.0)  # s
    passes = 0
    for kind in KINDS:
        fault = inject(kind, windows, features, seed)
        if not len(fault.windows):
            continue
        passes += len(fault.windows)
        for name, scorer in scorers.items():
            begun = clock()
            faulty = scored(scorer, fault.windows)
            spent[name] += clock() - begun
            by_kind[name][kind] = average_precision(normal[name], faulty)
            left_out[name].append([
                average_precision(normal[name][block != one], faulty[block[fault.source] != one])
                for one in np.unique(block)
            ])  # fmt: skip
    score = {name: float(np.mean(list(found.values()))) for name, found in by_kind.items()}
    best = max(score, key=score.__getitem__)
    jackknifed = {name: np.mean(found, axis=0) for name, found in left_out.items()}  # (blocks,) each
    candidates = [
        Candidate(
            name=name,
            score=score[name],
            behind=score[best] - score[name],
            uncertainty=jackknife(jackknifed[best] - jackknifed[name]),
            by_kind=by_kind[name],
            parameters=parameters(scorer),
            microseconds=1e6 * spent[name] / passes,
        )
        for name, scorer in scorers.items()
    ]
    candidates.sort(key=lambda one: one.parameters)
    chosen = next(one.name for one in candidates if one.behind <= one.uncertainty)
    return Selection(chosen, tuple(candidates))


def scored(scorer: Scorer, windows: Float32) -> Float64:
    """The errors (n,) of windows (n, T, columns)."""
    with torch.inference_mode():
        parts = [
            scorer(torch.from_numpy(windows[start : start + BATCH]))[0].numpy().astype(np.float64)
            for start in range(0, len(windows), BATCH)
        ]
    return np.concatenate(parts)


def average_precision(normal: Float64, faulty: Float64, prevalence: float = PREVALENCE) -> float:
    """Of errors (n,) of normal and (m,) of faulty windows, as if this share of all windows were faulty.

    Sum over distinct errors, descending, of (recall gained) x (precision there); NaN where one of the two is missing.
    """
    if not len(normal) or not len(faulty):
        return float("nan")
    levels = np.unique(np.concatenate([normal, faulty]))[::-1]  # descending
    recall = 1 - np.searchsorted(np.sort(faulty), levels, side="left") / len(faulty)
    false = 1 - np.searchsorted(np.sort(normal), levels, side="left") / len(normal)
    precision = prevalence * recall / (prevalence * recall + (1 - prevalence) * false)
    return float(np.dot(np.diff(recall, prepend=0.0), precision))


def jackknife(left_out: Float64) -> float:
    """Standard error of a statistic from its values (K,) with each of K blocks left out.

    Infinite of fewer than `BLOCKS`, and where a value is unknown: then nothing can be told.
    """
    if len(left_out) < BLOCKS or not np.isfinite(left_out).all():
        return float("inf")
    return float(np.sqrt((len(left_out) - 1) * left_out.var()))


def parameters(scorer: Scorer) -> int:
    """Numbers that the model learned or estimated."""
    return sum(tensor.numel() for tensor in scorer.model.state_dict().values())
