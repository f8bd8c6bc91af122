"""What a single feature is judged by that never stops learning: its own past. Not part of the service (see the page).

Three questions of each value: how far from its forecast, how large a step, how far from its usual level; each in units
of what was usual until then. Their sum is taken in units of the tail of its own past, so that bursts that are usual for
a stream are no news. What is as bad as something not long before is told once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from benchmarks.detection.baselines import Rule
from benchmarks.detection.method import Fitted, Series
from monitor.batch import Float64

ORDER = 8
"""Of the autoregression, which is fitted anew before every row."""
RECENT = 128
"""Rows it is fitted to."""
HALF_LIFE = 500
"""Rows after which the usual level and step count half."""
PAST, BEYOND = 2048, 10
"""Rows that tell the tail: its beginning is what so many of them exceed; of a shorter past, a share of them."""
REFRESHED = 20
"""Rows for which a tail is used until it is found anew."""
LEAST = 0.05
"""Least usual deviation, as a share of the standard deviation of the rows that were fitted."""
ONCE = 100
"""Rows in which something no worse is not told again."""
CHUNK = 4096


@dataclass(frozen=True, slots=True)
class Online:
    """Of several features, the largest score."""

    rule: Rule
    name: str = "online forecast, told once"

    def fit(self, series: Sequence[Series], seed: int) -> Fitted:  # noqa: ARG002  nothing is drawn
        values = np.concatenate([one.values for one in series])
        scale = values.std(axis=0)
        fitted = Following(values.mean(axis=0), np.where(scale > 0, scale, 1.0), threshold=0.0)
        known = np.concatenate([fitted.score(one.values, one.time) for one in series])
        return Following(fitted.mean, fitted.scale, float(np.quantile(known, self.rule.quantile)) * self.rule.factor)


@dataclass(frozen=True, slots=True)
class Following:
    """Knows a scale, and forgets everything else with the series."""

    mean: Float64  # (F,)
    scale: Float64  # (F,)
    threshold: float

    def score(self, values: Float64, time: Float64) -> Float64:  # noqa: ARG002  the time tells it nothing
        columns = ((values - self.mean) / self.scale).T
        return np.asarray(np.max([told_once(surprise(column)) for column in columns], axis=0), np.float64)


def surprise(x: Float64) -> Float64:
    """(n,) -> (n,) how odd each value is after those before it, in units of the tail of what was odd before."""
    step = np.diff(x, prepend=x[:1])
    odd = forecast_error(x) + away(step) + away(x)
    return odd / (tail(odd) + 1)


def forecast_error(x: Float64) -> Float64:
    """(n,) distance from the forecast of an autoregression, in the deviations it should have.

    Yule and Walker's equations on the `RECENT` values before each, by the recursion of Levinson and Durbin (Durbin,
    "The fitting of time-series models", 1960). 0 until there are so many.
    """
    error = np.zeros(len(x))
    if len(x) <= RECENT:
        return error
    runs = sliding_window_view(x, RECENT + 1)
    for start in range(0, len(runs), CHUNK):
        some = runs[start : start + CHUNK]
        before = some[:, :-1]
        mean = before.mean(axis=1, keepdims=True)
        centred = before - mean
        lags = range(ORDER + 1)
        power = np.stack([(centred[:, lag:] * centred[:, : RECENT - lag]).sum(axis=1) for lag in lags], 1) / RECENT
        weights, left = levinson(power)
        expected = mean[:, 0] + (weights * centred[:, ::-1][:, :ORDER]).sum(axis=1)
        error[start + RECENT : start + RECENT + len(some)] = np.abs(some[:, -1] - expected) / np.sqrt(left + LEAST**2)
    return error


def levinson(power: Float64) -> tuple[Float64, Float64]:
    """Autocovariances (n, p + 1) -> weights (n, p) of the values before, the last first, and what is left (n,)."""
    left = power[:, 0] + LEAST**2 / 100  # a constant has no autocovariance to divide by
    weights = np.zeros((len(power), 0))
    for order in range(power.shape[1] - 1):
        reflected = (power[:, order + 1] - (weights * power[:, order:0:-1]).sum(axis=1)) / left
        weights = np.column_stack([weights - reflected[:, None] * weights[:, ::-1], reflected])
        left = left * (1 - reflected**2)
    return weights, left


def away(x: Float64) -> Float64:
    """(n,) distance of each value from the mean of those before it, in their deviations; the older count less."""
    keep = 0.5 ** (1 / HALF_LIFE)
    away, total, squares, count = np.zeros(len(x)), 0.0, 0.0, 0.0
    for row, value in enumerate(x.tolist()):
        if count:
            mean = total / count
            away[row] = abs(value - mean) / np.sqrt(max(0.0, squares / count - mean * mean) + LEAST**2)
        total, squares, count = keep * total + value, keep * squares + value * value, keep * count + 1
    return away


def tail(odd: Float64) -> Float64:
    """(n,) what `BEYOND` of the `PAST` values before each exceed."""
    found = np.zeros(len(odd))
    for start in range(0, len(odd), REFRESHED):
        past = odd[max(0, start - PAST) : start]
        beyond = max(1, round(BEYOND * len(past) / PAST))
        if len(past):
            found[start : start + REFRESHED] = np.partition(past, len(past) - beyond)[len(past) - beyond]
    return found


def told_once(score: Float64) -> Float64:
    """(n,) the scores that exceed all of the `ONCE` rows before them; the others are 0."""
    before = np.concatenate([np.full(ONCE, -np.inf), score])
    largest = sliding_window_view(before, ONCE)[: len(score)].max(axis=1)
    return np.where(score > largest, score, 0.0)
