"""Rows of normal data -> the windows of three parts: what is fitted, what picks the epoch, what sets the threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Float32, Float64, Int64
from monitor.config import Training
from monitor.errors import MonitorError
from monitor.imputation import impute

PARTS = ("fitting", "validation", "calibration")
GAP_INTERVALS = 10
"""A silence longer than this many usual intervals is a gap, unless a limit is given."""
NAMED = 8
"""Most names an error or a warning lists."""


@dataclass(frozen=True, slots=True)
class Series:
    """The rows of one stream, oldest first. A value that is NaN or infinite counts as missing."""

    stream: str
    time: Float64  # (n,) s since the Unix epoch
    values: Float32  # (n, F) source units

    def __post_init__(self) -> None:
        if self.time.ndim != 1 or self.values.ndim != 2 or len(self.time) != len(self.values):
            raise ValueError(f"time {self.time.shape} and values {self.values.shape} must be (n,) and (n, F)")


@dataclass(frozen=True, slots=True)
class Split:
    """The rows once, and the first row of every window of each part: windows are gathered when they are needed."""

    rows: Float32  # (R, F) source units, NaN where a value is missing, stream after stream
    window: int  # T
    fit: Int64  # (n,) first rows
    validation: Int64
    calibration: Int64
    mean: Float32  # (F,) of the fitting rows, source units
    scale: Float32  # (F,) their standard deviation, 1 where a column is constant
    minimum: Float32  # (F,)
    maximum: Float32  # (F,)
    streams: int
    first_time: float  # s since the Unix epoch
    last_time: float
    interval: float  # s, median between two rows of a stream
    max_gap: float  # s
    warnings: tuple[str, ...]

    def take(self, first: Int64) -> Float32:
        """The windows (n, T, F) that begin at rows `first` (n,), without NaN."""
        return impute(self.rows[first[:, None] + np.arange(self.window)], self.mean)


def prepare(
    series: Sequence[Series], feature_names: Sequence[str], settings: Training, max_gap: float | None = None
) -> Split:
    """Split every series in time: fitting rows first, then validation, calibration last.

    A window belongs to a part only when all its rows do, so the T-1 windows across each border are dropped, and so
    are those across a gap longer than `max_gap` seconds (default: ten median intervals). Raises `MonitorError`
    where there is nothing to learn from.
    """
    _check_shapes(series, feature_names)
    series, late = _in_order([one for one in series if len(one.time)])
    total = sum(len(one.time) for one in series)
    if not total:
        raise MonitorError("there are no rows to train on", "Check the path, the topic or the time range.")
    time = np.concatenate([one.time for one in series])  # (R,)
    values = np.concatenate([one.values for one in series]).astype(np.float32)  # (R, F)
    values[~np.isfinite(values)] = np.nan

    opens = np.zeros(total, np.bool_)  # (R,) first row of a series
    opens[np.cumsum([0, *(len(one.time) for one in series[:-1])])] = True
    step = np.diff(time, prepend=time[:1])  # (R,) s since the row before
    interval = float(np.median(step[~opens])) if not opens.all() else 1.0
    gap = max_gap if max_gap is not None else GAP_INTERVALS * interval
    first = opens | (step > gap)  # (R,) nothing is carried into these rows
    part = np.concatenate([_parts(len(one.time), settings) for one in series])  # (R,) index into PARTS
    starts = _starts(first, part, settings.window)
    _check_enough(starts, total, len(series), settings, gap)

    fitting = values[part == 0]  # (n, F)
    _check_columns(fitting, feature_names)
    mean, scale, constant = _scaler(fitting)
    return Split(
        rows=values,
        window=settings.window,
        fit=starts[0],
        validation=starts[1],
        calibration=starts[2],
        mean=mean,
        scale=scale,
        minimum=np.nanmin(fitting, axis=0),
        maximum=np.nanmax(fitting, axis=0),
        streams=len({one.stream for one in series}),
        first_time=float(time.min()),
        last_time=float(time.max()),
        interval=interval,
        max_gap=float(gap),
        warnings=_warnings(late, [name for name, same in zip(feature_names, constant, strict=True) if same]),
    )


def _check_shapes(series: Sequence[Series], feature_names: Sequence[str]) -> None:
    if not feature_names:
        raise MonitorError("there are no features to train on", "Name at least one column of numbers.")
    repeated = sorted({name for name in feature_names if list(feature_names).count(name) > 1})
    if repeated:
        raise MonitorError(f"features are named twice: {names(repeated)}", "Give every feature a name of its own.")
    for one in series:
        if one.values.shape[1] != len(feature_names):
            raise MonitorError(
                f"stream {one.stream!r} has {one.values.shape[1]} columns for {len(feature_names)} features",
                "Every stream must have the same features, in the same order.",
            )
        if not np.isfinite(one.time).all():
            raise MonitorError(
                f"stream {one.stream!r} has rows without a time", "Map the time column, or remove those rows."
            )


def _in_order(series: Sequence[Series]) -> tuple[list[Series], int]:
    """The series without the rows that are not later than all before them (the service ignores those too)."""
    kept, late = [], 0
    for one in series:
        newest = np.maximum.accumulate(one.time)
        good = np.concatenate([[True], one.time[1:] > newest[:-1]])  # (n,)
        late += int((~good).sum())
        kept.append(one if good.all() else Series(one.stream, one.time[good], one.values[good]))
    return kept, late


def _parts(rows: int, settings: Training) -> Int64:
    borders = [int(rows * (1 - settings.validation - settings.calibration)), int(rows * (1 - settings.calibration))]
    return np.searchsorted(borders, np.arange(rows), side="right").astype(np.int64)  # (n,)


def _starts(first: NDArray[np.bool_], part: Int64, window: int) -> tuple[Int64, Int64, Int64]:
    """First rows of the windows of each part: every run of rows without a gap and within one part."""
    border = first | (np.diff(part, prepend=part[:1]) != 0)  # (R,)
    run = np.cumsum(border)  # (R,)
    count = max(0, len(run) - window + 1)
    whole = run[:count] == run[window - 1 :][:count]  # (count,) first and last row are of one run
    start = np.flatnonzero(whole)
    fit, validation, calibration = (start[part[start] == index].astype(np.int64) for index in range(len(PARTS)))
    return fit, validation, calibration


def _scaler(fitting: Float32) -> tuple[Float32, Float32, NDArray[np.bool_]]:
    """Mean and standard deviation (F,), and which columns are constant; in float64, so that no sum overflows."""
    wide = fitting.astype(np.float64)
    mean = np.nanmean(wide, axis=0)
    scale = np.nanstd(wide, axis=0)
    limit = np.finfo(np.float32)
    # Not by scale == 0: the mean of equal values may be off by a rounding.
    constant: NDArray[np.bool_] = np.equal(np.nanmin(fitting, axis=0), np.nanmax(fitting, axis=0))
    constant |= scale < limit.tiny
    scale = np.where(constant, 1.0, np.minimum(scale, limit.max))
    return mean.astype(np.float32), scale.astype(np.float32), constant


def _check_columns(fitting: Float32, feature_names: Sequence[str]) -> None:
    empty = [feature_names[column] for column in np.flatnonzero(np.isnan(fitting).all(axis=0)).tolist()]
    if empty:
        raise MonitorError(
            f"no fitting row has a value for {names(empty)}",
            "Leave these features out, or give rows that have them.",
        )


def _check_enough(
    starts: tuple[Int64, Int64, Int64], rows: int, series: int, settings: Training, max_gap: float
) -> None:
    lacking = [name for name, start in zip(PARTS, starts, strict=True) if not len(start)]
    if not lacking:
        return
    shares = (1 - settings.validation - settings.calibration, settings.validation, settings.calibration)
    needed = ceil((settings.window + 1) / min(shares))
    raise MonitorError(
        f"{rows} rows in {series} series hold no whole window of {settings.window} events for {', '.join(lacking)}",
        f"One stream needs about {needed} rows without a gap longer than {max_gap:g} s: "
        "give more rows, or lower training.window.",
    )


def _warnings(late: int, constant: Sequence[str]) -> tuple[str, ...]:
    found = []
    if late:
        found.append(f"{late} rows were not later than the row before them in their stream and were left out.")
    if constant:
        found.append(
            f"Constant in the fitting rows, so any change in them counts in full: {names(constant)}. "
            "Leave out what is no measurement, such as a label."
        )
    return tuple(found)


def names(several: Sequence[str]) -> str:
    """A list for people, cut after the first few."""
    shown = ", ".join(several[:NAMED])
    return shown if len(several) <= NAMED else f"{shown} and {len(several) - NAMED} more"
