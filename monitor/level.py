"""How large a stream's errors usually are beside training's: a mean of logarithms that learns, forgets and is shrunk.

Errors of features are compared as logarithms: a stream that is twice as noisy has errors four times as large, whichever
they are. `LEAST` is added first, because of a feature that is always met exactly no ratio means anything.

What is known of one stream is shrunk to the fleet by its weight, w / (w + prior), where the prior is the variance of
one window over the variance between streams: empirical Bayes (Efron and Morris, "Data analysis using Stein's estimator
and its generalizations", JASA 70, 1975). One window moves a mean by no more than a bounded step (Huber, "Robust
estimation of a location parameter", 1964). Old windows weigh less, by half in each half-life.

F is the number of features. The arrays are float32 to the bit what is kept elsewhere; sums are taken in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Float32, Float64

LEAST = 0.1
"""Of the usual error in training. The same floor as a channel's unit has there."""
STEP = log(3)
"""The furthest that one window counts from what is known."""
SPREADS = 1.0
"""What a level is raised by where the errors of its windows spread more than usual, in deviations beyond the usual one:
the threshold has room for that one alone."""


@dataclass(slots=True)
class Running:
    """A weighted mean of logarithms, feature by feature; 0 is training's."""

    mean: Float32  # (F,)
    weight: Float32  # (F,) windows that it rests on, those of long ago as less than one

    @classmethod
    def empty(cls, features: int) -> Running:
        return cls(np.zeros(features, np.float32), np.zeros(features, np.float32))

    def learn(self, ratio: Float64, enters: NDArray[np.bool_], keep: float) -> None:
        """Takes the logarithms `ratio` (F,) of one window where it `enters` (F,); `keep` is what is left of the old."""
        mean, weight = self.mean.astype(np.float64), keep * self.weight.astype(np.float64) + 1
        bounded = np.clip(ratio, mean - STEP, mean + STEP)
        self.mean = np.where(enters, mean + (bounded - mean) / weight, self.mean).astype(np.float32)
        self.weight = np.where(enters, weight, self.weight).astype(np.float32)

    def trust(self, prior: float) -> Float64:
        """(F,) 0 where nothing is known, 1 where the fleet does not count any more."""
        weight = self.weight.astype(np.float64)
        return np.asarray(weight / (weight + prior), np.float64)

    def shrunk(self, prior: float, limit: float) -> Float64:
        """(F,) the logarithm of the stream's level over training's, within that of `limit` and its inverse."""
        return np.asarray(np.clip(self.trust(prior) * self.mean, -log(limit), log(limit)), np.float64)


@dataclass(slots=True)
class Course:
    """The same of the errors in an open anomaly, without bound, and how far they spread."""

    began: int  # offset of the anomaly's first event
    errors: Running
    variance: Float32  # (F,) of the logarithms
    settled: int = 0  # windows in a row that would have been normal at the level of those before
    since: float = 0.0  # time of the first of them, s since the Unix epoch

    @classmethod
    def empty(cls, began: int, features: int) -> Course:
        return cls(began, Running.empty(features), np.zeros(features, np.float32))

    def follow(self, ratio: Float64, keep: float) -> None:
        """Takes the logarithms (F,) of one window; `keep` is what is left of the old.

        The variance is that of West, "Updating mean and variance estimates: an improved method" (CACM 22, 1979).
        """
        weight = keep * self.errors.weight.astype(np.float64) + 1
        away = ratio - self.errors.mean
        self.errors.mean = (self.errors.mean + away / weight).astype(np.float32)
        self.errors.weight = weight.astype(np.float32)
        self.variance = ((1 - 1 / weight) * (self.variance + away**2 / weight)).astype(np.float32)

    def margin(self, usual: float) -> Float32:
        """(F,) what to put upon the mean where the errors spread more than the deviation `usual`."""
        return np.asarray(SPREADS * np.maximum(0, np.sqrt(self.variance) - usual), np.float32)


def ratios(feature_error: Float32, typical: Float64) -> Float64:
    """(F,) logarithms of errors (F,), less their mean in training."""
    return np.asarray(np.log(feature_error.astype(np.float64) + LEAST) - typical, np.float64)
