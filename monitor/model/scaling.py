"""From the fitting rows of a feature to how the network reads it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Float64
from monitor.config import FeatureRule
from monitor.model.manifest import Feature

_QUARTILES = 1.3489795003921634  # distance of a normal distribution's quartiles, in standard deviations
STRETCHES = 10
"""Equal parts of the history whose means tell whether a level wanders."""
MOST_WANDERING = 0.5
"""Share of the variance."""
_TINY, _END = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


def number(
    name: str,
    unit: str,
    values: Float64,
    step: Float64,
    opens: NDArray[np.bool_],
    rule: FeatureRule,
    scaling: str,
    floor: float = 0.0,
) -> tuple[Feature, bool]:
    """A number from its fitting rows (n,), NaN where missing, at least one is not; and whether they are constant.

    `step` (n,) is the seconds since the row before, `opens` (n,) tells the rows that have none; `floor` is the least
    scale, as a share of the range of what is scaled.
    """
    seen = transformed(values, step, opens, rule)
    seen = seen[np.isfinite(seen)]
    shift, scale, constant = _scaler(seen if len(seen) else np.zeros(1), rule.scaling or scaling, floor)
    feature = Feature(
        name=name,
        unit=unit,
        clip=None if rule.clip is None else (rule.clip[0], rule.clip[1]),
        log1p=rule.log1p,
        change=rule.change,
        mean=float(np.float32(np.nanmean(values))),
        shift=float(np.float32(max(-_END, min(shift, _END)))),
        scale=float(np.float32(min(scale, _END))),
        minimum=float(np.nanmin(values)),
        maximum=float(np.nanmax(values)),
        still=_longest_run(values, opens),
    )
    return feature, constant


def category(name: str, unit: str, values: Float64, categories: tuple[str, ...]) -> Feature:
    """A category from the codes (n,) of its fitting rows, NaN where missing, at least one is not."""
    codes = values[np.isfinite(values)].astype(np.int64)
    commonest = float(np.bincount(codes).argmax())
    last = float(len(categories) - 1)
    return Feature(name=name, unit=unit, categories=categories, mean=commonest, minimum=0.0, maximum=last)


def transformed(values: Float64, step: Float64, opens: NDArray[np.bool_], rule: FeatureRule) -> Float64:
    """What `front` makes of a column (n,) before it is shifted and scaled; NaN where something for it is missing.

    A change is that since the last row with a value, as imputation has it: none where the value is missing itself.
    """
    if rule.clip is not None:
        values = np.clip(values, rule.clip[0], rule.clip[1])
    if rule.log1p:
        values = (np.sign(values) * np.log1p(np.abs(values))).astype(np.float64)
    if rule.change == "none":
        return values
    values = _carried(values, opens)
    before = np.concatenate([[np.nan], values[:-1]])
    before[opens] = np.nan
    if rule.change == "difference":
        difference: Float64 = values - before
        return difference
    rate: Float64 = np.where(values < before, values, values - before) / np.where(opens, np.nan, step)
    return rate


def wandering(parts: Sequence[Float64]) -> bool:
    """Whether most of the variance of a column is slow: that of the means of tenths of each part (n,), NaN left out.

    Such a level has not been seen to stay anywhere, so where it was says little of where it will be: a unit root, in
    the words of time series (Kwiatkowski et al., "Testing the null hypothesis of stationarity", 1992, compare the same
    two variances). A swing that repeats within a tenth does not count.
    """
    slow = total = 0.0
    for part in parts:
        seen = part[np.isfinite(part)]
        if len(seen) < STRETCHES * 2:
            continue
        tenths = np.array([tenth.mean() for tenth in np.array_split(seen, STRETCHES)])
        slow += float(tenths.var()) * len(seen)
        total += float(seen.var()) * len(seen)
    return total > _TINY and slow > MOST_WANDERING * total


def _carried(values: Float64, opens: NDArray[np.bool_]) -> Float64:
    """The column with each missing value replaced by the last one before it, if there is any since a row opened."""
    rows = np.arange(len(values))
    last = np.maximum.accumulate(np.where(np.isnan(values), -1, rows))
    opened = np.maximum.accumulate(np.where(opens, rows, 0))
    return np.where(last >= opened, values[last], np.nan)


def _longest_run(values: Float64, opens: NDArray[np.bool_]) -> int:
    """Rows (n,) in a row, without a gap, that have one value to the bit."""
    begins = np.flatnonzero(np.concatenate([[True], (values[1:] != values[:-1]) | opens[1:]]))
    return int(np.diff(begins, append=len(values)).max())


def _scaler(values: Float64, scaling: str, floor: float) -> tuple[float, float, bool]:
    """Shift and scale, and whether the values are constant: then the scale is 1."""
    low, high = float(values.min()), float(values.max())
    mean, deviation = float(values.mean()), float(values.std())
    # Not by a deviation of 0: the mean of equal values may be off by a rounding.
    constant = bool(low == high or deviation < _TINY)
    match scaling:
        case "standard":
            shift, scale = mean, deviation
        case "robust":
            quartiles = np.percentile(values, [25, 50, 75])
            shift, scale = float(quartiles[1]), float(quartiles[2] - quartiles[0]) / _QUARTILES
            scale = scale if scale >= _TINY else deviation  # half of the values are equal
        case "minmax":
            shift, scale = low, high - low
        case _:
            return 0.0, 1.0, constant
    return shift, 1.0 if constant else max(scale, floor * (high - low)), constant
