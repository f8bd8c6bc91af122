"""Trivial methods, printed beside every result: what cannot beat them has learnt nothing.

Their thresholds are quantiles of the scores of normal rows, by a rule that belongs to the benchmark (`Rule`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.detection.method import Fitted, Series
from monitor.batch import Float64

Scorer = Callable[[Float64], Float64]
VARIANCE = 0.95


@dataclass(frozen=True, slots=True)
class Rule:
    """How a benchmark finds the threshold of a baseline."""

    quantile: float
    factor: float = 1.0
    held_back: float = 0.0
    """Share of the rows, the last of each series, that is not fitted and gives the quantile; 0: all rows do both."""
    floor: float = 0.0
    """Least standard deviation of a feature, source units."""
    trailing: int = 1
    """Rows over which a score is averaged when it is compared with the threshold, its own row the last of them."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """A fitted baseline."""

    scorer: Scorer  # (n, F) -> (n,)
    threshold: float
    trailing: int = 1

    def score(self, values: Float64, time: Float64) -> Float64:  # noqa: ARG002  the time tells them nothing
        return trailing_mean(self.scorer(values), self.trailing)


@dataclass(frozen=True, slots=True)
class FlagAll:
    name: str = "flag all"

    def fit(self, series: Sequence[Series], seed: int) -> Fitted:  # noqa: ARG002  it learns nothing
        return Scoring(lambda values: np.ones(len(values)), threshold=0.0)


@dataclass(frozen=True, slots=True)
class Random:
    """Uniform scores; the threshold flags every second row."""

    name: str = "random"

    def fit(self, series: Sequence[Series], seed: int) -> Fitted:  # noqa: ARG002  it learns nothing
        return Scoring(lambda values: np.random.default_rng(seed).random(len(values)), threshold=0.5)


@dataclass(frozen=True, slots=True)
class MaxZ:
    """Largest absolute deviation of a row from the mean, in standard deviations of the normal rows."""

    rule: Rule
    name: str = "max |z|"

    def fit(self, series: Sequence[Series], seed: int) -> Fitted:  # noqa: ARG002  nothing is drawn
        return calibrated(series, self.rule, lambda values: max_z(values, self.rule.floor))


@dataclass(frozen=True, slots=True)
class PcaError:
    """Mean squared error of a row that is projected on the components with 95 % of the variance of the normal rows."""

    rule: Rule
    name: str = "PCA error"

    def fit(self, series: Sequence[Series], seed: int) -> Fitted:  # noqa: ARG002  nothing is drawn
        return calibrated(series, self.rule, lambda values: pca_error(values, self.rule.floor))


def calibrated(series: Sequence[Series], rule: Rule, fit: Callable[[Float64], Scorer]) -> Scoring:
    """A scorer fitted on the rows of all series that the rule does not hold back, and its threshold."""
    cuts = [round(len(one) * (1 - rule.held_back)) for one in series]
    scorer = fit(np.concatenate([one.values[:cut] for one, cut in zip(series, cuts, strict=True)]))
    kept = [one.values[cut:] if rule.held_back else one.values for one, cut in zip(series, cuts, strict=True)]
    scores = np.concatenate([scorer(values) for values in kept])
    return Scoring(scorer, float(np.quantile(scores, rule.quantile)) * rule.factor, rule.trailing)


def max_z(values: Float64, floor: float = 0.0) -> Scorer:
    """Fit on normal rows (n, F)."""
    scale = standardiser(values, floor)
    return lambda rows: np.asarray(np.abs(scale(rows)).max(axis=1), np.float64)


def pca_error(values: Float64, floor: float = 0.0) -> Scorer:
    """Fit on normal rows (n, F): the fewest components with at least 95 % of the variance, but never all of them."""
    scale = standardiser(values, floor)
    normal = scale(values)
    power, components = np.linalg.eigh(normal.T @ normal)
    explained = np.cumsum(power[::-1])
    # With all F components there is no error but rounding.
    kept = min(int(np.searchsorted(explained, VARIANCE * explained[-1])) + 1, values.shape[1] - 1)
    basis = components[:, ::-1][:, :kept]  # (F, K)

    def error(rows: Float64) -> Float64:
        scaled = scale(rows)
        return np.asarray(np.mean((scaled - scaled @ basis @ basis.T) ** 2, axis=1), np.float64)

    return error


def standardiser(values: Float64, floor: float) -> Scorer:
    """Fit on normal rows (n, F): (n, F) -> (n, F) of mean 0 and variance 1.

    Without a floor, in source units, for the standard deviation, a constant feature keeps its unit.
    """
    mean, deviation = values.mean(axis=0), np.maximum(values.std(axis=0), floor)
    # Rounding leaves a constant feature with a deviation of some last bits of its values.
    constant = deviation <= 1e-12 * np.maximum(1.0, np.abs(mean))
    scale = np.where(constant, 1.0, deviation)
    return lambda rows: np.asarray((rows - mean) / scale, np.float64)


def trailing_mean(score: Float64, rows: int) -> Float64:
    """(n,) -> (n,) mean of each score and the rows - 1 before it; of fewer at the beginning."""
    if rows == 1:
        return score
    total = np.cumsum(np.concatenate([[0.0], score]))
    last = np.arange(1, len(score) + 1)
    first = np.maximum(0, last - rows)
    return np.asarray((total[last] - total[first]) / (last - first), np.float64)
