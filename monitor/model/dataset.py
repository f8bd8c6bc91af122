"""Rows of normal data -> the windows of three parts: what is fitted, what picks the epoch, what sets the threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Float32, Float64, Int64
from monitor.categories import Codes
from monitor.config import FeatureRule, Training
from monitor.errors import MonitorError
from monitor.imputation import impute
from monitor.model import scaling
from monitor.model.manifest import Feature

PARTS = ("fitting", "validation", "calibration")
GAP_INTERVALS = 10
"""A silence longer than this many usual intervals is a gap, unless a limit is given."""
MOST_CATEGORIES = 1000
"""Of one feature: each is a channel of the network."""
MOST_VALIDATION = 2**17
"""Of more validation windows, so many spread evenly stand for all: neighbours tell little new, and each epoch reads
them. Fitting and calibration take every window."""
CHUNK = 2**18
"""Rows that are looked at in one piece."""
NAMED = 8
"""Most names an error or a warning lists."""
HUGE = float(np.finfo(np.float32).max) / 10
"""Beyond this, plus or minus, a value is near the end of what the rows can hold, where differences overflow."""


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

    rows: Float32  # (R, F) source units, NaN where a value is missing, stream after stream; for rates, the step too;
    # to be read only: where nothing is added to the caller's rows and they lie together, they are these
    time: Float64  # (R,) s since the Unix epoch
    stream: Int64  # (R,) whose row it is, by its place among the streams
    window: int  # T
    fit: Int64  # (n,) first rows
    validation: Int64
    calibration: Int64
    folds: tuple[Int64, ...]  # first rows of every window of each fold, where nothing is held out for good; else none
    features: tuple[Feature, ...]
    mean: Float32  # one for each column of the rows: what stands in for a missing value, source units
    streams: int
    first_time: float  # s since the Unix epoch
    last_time: float
    interval: float  # s, median between two rows of a stream
    max_gap: float  # s
    warnings: tuple[str, ...]

    def take(self, first: Int64) -> Float32:
        """The windows (n, T, F) that begin at rows `first` (n,), without NaN."""
        return impute(self.rows[first[:, None] + np.arange(self.window)], self.mean)

    @property
    def channels(self) -> int:
        """G, what a network sees of a row."""
        return sum(max(1, len(feature.categories)) for feature in self.features)


def prepare(
    series: Sequence[Series],
    feature_names: Sequence[str],
    settings: Training,
    max_gap: float | None = None,
    units: Mapping[str, str] = MappingProxyType({}),
    categories: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    folds: int = 0,
) -> Split:
    """Split every series in time: fitting rows first, then validation, calibration last.

    With `folds`, into so many equal stretches instead, each of which can be held out in turn (`crossfit`): all rows
    are fitting rows, and the windows of all folds are those of every part. A window belongs to a part, or a fold, only
    when all its rows do, so the T-1 windows across each border are dropped, and so are those across a gap longer than
    `max_gap` seconds (default: ten median intervals). `units` and `categories` by feature, where there are any; of a
    category the values are codes, places in its `categories`, of which those that the fitting rows have are learned.
    Raises `MonitorError` where there is nothing to learn from.
    """
    _check_shapes(series, feature_names)
    _check_kinds(feature_names, settings, categories)
    series, late = _in_order([one for one in series if len(one.time)])
    total = sum(len(one.time) for one in series)
    if not total:
        raise MonitorError("there are no rows to train on", "Check the path, the topic or the time range.")
    names_of = sorted({one.stream for one in series})
    time = np.concatenate([one.time for one in series])  # (R,)
    rates = any(settings.rule(name).change == "rate" for name in feature_names)
    shared = None if rates or categories else _lying(series)
    if shared is None:
        rows = np.empty((total, len(feature_names) + rates), np.float32)
        values = rows[:, : len(feature_names)]  # (R, F)
        np.concatenate([one.values for one in series], out=values)
        for start in range(0, total, CHUNK):
            piece = values[start : start + CHUNK]
            piece[~np.isfinite(piece)] = np.nan
    else:
        rows = values = shared

    opens = np.zeros(total, np.bool_)  # (R,) first row of a series
    opens[np.cumsum([0, *(len(one.time) for one in series[:-1])])] = True
    step = np.diff(time, prepend=time[:1])  # (R,) s since the row before
    interval = float(np.median(step[~opens])) if not opens.all() else 1.0
    gap = max_gap if max_gap is not None else GAP_INTERVALS * interval
    first = opens | (step > gap)  # (R,) nothing is carried into these rows
    part = np.concatenate([_parts(len(one.time), settings, folds) for one in series])  # (R,) of PARTS, or the fold
    starts = _starts(first, part, settings.window, folds or len(PARTS))
    held_out = tuple(one for one in starts if len(one)) if folds else ()
    if folds:
        starts = [np.sort(np.concatenate([*held_out, np.empty(0, np.int64)]))] * len(PARTS)
    _check_enough(starts, total, len(series), settings, gap)

    fitting = part == 0 if not folds else np.ones(total, np.bool_)
    _check_columns(values, fitting, feature_names)
    features, constant, wanders = [], [], []
    for place, name in enumerate(feature_names):
        unit = units.get(name, "")
        if name in categories:
            values[:, place], known = _learned(name, values[:, place], fitting, categories[name])
            feature = scaling.category(name, unit, values[fitting, place].astype(np.float64), known)
            same = len(known) == 1
        else:
            column = values[fitting, place].astype(np.float64)  # (n,)
            rule, wandered = _read(settings, settings.rule(name), column, step[fitting], first[fitting])
            wanders += [name] if wandered else []
            feature, same = scaling.number(
                name, unit, column, step[fitting], first[fitting], rule, settings.scaling, settings.scale_floor
            )
        features.append(feature)
        constant += [name] if same else []
    mean = [feature.mean for feature in features]
    if rates:
        # As the service has it: of a row after a gap nothing is known of the row before, and nothing reads it.
        rows[:, -1] = np.where(first, 0, step)
        mean.append(0.0)
    return Split(
        rows=rows,
        time=time,
        stream=np.repeat([names_of.index(one.stream) for one in series], [len(one.time) for one in series]),
        window=settings.window,
        fit=starts[0],
        validation=_spread(starts[1], MOST_VALIDATION),
        calibration=starts[2],
        folds=held_out,
        features=tuple(features),
        mean=np.array(mean, np.float32),
        streams=len(names_of),
        first_time=float(time.min()),
        last_time=float(time.max()),
        interval=interval,
        max_gap=float(gap),
        warnings=_warnings(late, constant, wanders, features, _unused(feature_names, settings)),
    )


def _lying(series: Sequence[Series]) -> Float32 | None:
    """The rows (R, F) of all series, not copied: where they lie one after the other in one array, as `feeds` has them.

    None where they do not, or where a value is infinite, which is not the caller's to find changed.
    """
    first = series[0].values
    base: object = first if first.base is None else first.base
    if not isinstance(base, np.ndarray) or base.ndim != 2 or base.dtype != np.float32 or not base.flags.c_contiguous:
        return None
    stride = base.strides[0]
    begin = (first.ctypes.data - base.ctypes.data) // stride if stride else 0
    end = begin
    for one in series:
        here = base[end : end + len(one.values)]
        if here.shape != one.values.shape or here.ctypes.data != one.values.ctypes.data:
            return None
        if here.strides != one.values.strides:
            return None
        end += len(here)
    found: Float32 = base[begin:end]
    infinite = any(np.isinf(found[start : start + CHUNK]).any() for start in range(0, len(found), CHUNK))
    return None if infinite else found


def _spread(first: Int64, most: int) -> Int64:
    """At most so many of the first rows (n,), evenly."""
    if len(first) <= most:
        return first
    return first[np.arange(most) * len(first) // most]


def _read(
    settings: Training, rule: FeatureRule, column: Float64, step: Float64, opens: NDArray[np.bool_]
) -> tuple[FeatureRule, bool]:
    """The rule by which a number with these fitting rows (n,) is read, and whether its level wanders."""
    if settings.wandering != "difference" or settings.window == 1 or rule.change != "none":
        return rule, False
    level = scaling.transformed(column, step, opens, rule)
    if not scaling.wandering(np.split(level, np.flatnonzero(opens))):
        return rule, False
    return rule.model_copy(update={"change": "difference"}), True


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


def _check_kinds(feature_names: Sequence[str], settings: Training, categories: Mapping[str, tuple[str, ...]]) -> None:
    for name in feature_names:
        if settings.is_category(name) != (name in categories):
            raise ValueError(f"feature {name!r}: its rule and its values do not agree whether it is a category")


def _learned(
    name: str, codes: Float32, fitting: NDArray[np.bool_], categories: tuple[str, ...]
) -> tuple[Float32, tuple[str, ...]]:
    """Codes (R,) among `categories` -> codes among those of the fitting rows, sorted by name; and those."""
    given = np.flatnonzero(~np.isnan(codes))
    seen = np.unique(codes[fitting & ~np.isnan(codes)]).astype(np.int64)
    known = tuple(sorted(categories[code] for code in seen.tolist()))
    if len(known) > MOST_CATEGORIES:
        raise MonitorError(
            f"feature {name!r} has {len(known)} values in the fitting rows, a category has at most {MOST_CATEGORIES}",
            "Leave the feature out, or group its values before they get here.",
        )
    places = Codes(known)
    code_of = np.array([places[category] for category in categories], np.float32)
    result = codes.copy()
    result[given] = code_of[codes[given].astype(np.int64)]
    return result, known


def _in_order(series: Sequence[Series]) -> tuple[list[Series], int]:
    """The series without the rows that are not later than all before them (the service ignores those too)."""
    kept, late = [], 0
    for one in series:
        newest = np.maximum.accumulate(one.time)
        good = np.concatenate([[True], one.time[1:] > newest[:-1]])  # (n,)
        late += int((~good).sum())
        kept.append(one if good.all() else Series(one.stream, one.time[good], one.values[good]))
    return kept, late


def _parts(rows: int, settings: Training, folds: int) -> Int64:
    if folds:
        return np.arange(rows) * folds // rows  # (n,)
    borders = [int(rows * (1 - settings.validation - settings.calibration)), int(rows * (1 - settings.calibration))]
    return np.searchsorted(borders, np.arange(rows), side="right").astype(np.int64)  # (n,)


def _starts(first: NDArray[np.bool_], part: Int64, window: int, parts: int) -> list[Int64]:
    """First rows of the windows of each part: every run of rows without a gap and within one part."""
    border = first | (np.diff(part, prepend=part[:1]) != 0)  # (R,)
    run = np.cumsum(border)  # (R,)
    count = max(0, len(run) - window + 1)
    whole = run[:count] == run[window - 1 :][:count]  # (count,) first and last row are of one run
    start = np.flatnonzero(whole)
    return [start[part[start] == index].astype(np.int64) for index in range(parts)]


def _check_columns(values: Float32, fitting: NDArray[np.bool_], feature_names: Sequence[str]) -> None:
    empty = [name for place, name in enumerate(feature_names) if np.isnan(values[fitting, place]).all()]
    if empty:
        raise MonitorError(
            f"no fitting row has a value for {names(empty)}",
            "Leave these features out (--features names those to learn), or give rows that have them.",
        )


def _check_enough(starts: Sequence[Int64], rows: int, series: int, settings: Training, max_gap: float) -> None:
    lacking = [name for name, start in zip(PARTS, starts, strict=True) if not len(start)]
    if not lacking:
        return
    shares = (1 - settings.validation - settings.calibration, settings.validation, settings.calibration)
    needed = ceil((settings.window + 1) / min(shares))
    unbroken = f" without a gap longer than {max_gap:g} s" if rows > series else ""  # else no two rows to tell it from
    raise MonitorError(
        f"no whole window of {settings.window} events for {', '.join(lacking)} in {rows} row{'s'[: rows != 1]} "
        f"(streams: {series})",
        f"One stream needs about {needed} rows{unbroken}: give more rows, or lower training.window (--window).",
    )


def _unused(feature_names: Sequence[str], settings: Training) -> list[str]:
    """Patterns of the rules that no feature comes under."""
    used = [settings.rule(name) for name in feature_names]
    return [rule.match for rule in settings.features if rule not in used]


def _warnings(
    late: int, constant: Sequence[str], wanders: Sequence[str], features: Sequence[Feature], unused: Sequence[str]
) -> tuple[str, ...]:
    found = []
    if unused:
        found.append(f"No feature comes under these rules of training.features: {names(unused)}.")
    if late:
        found.append(f"{late} rows were not later than the row before them in their stream and were left out.")
    if constant:
        found.append(
            f"Constant in the fitting rows, so any change in them counts in full: {names(constant)}. "
            "Leave out what is no measurement, such as a label."
        )
    huge = [feature.name for feature in features if max(-feature.minimum, feature.maximum) > HUGE]
    if huge:
        found.append(
            f"Values beyond {HUGE:.2g}, near the largest that a float32 holds ({10 * HUGE:.2g}): {names(huge)}. Such a "
            "number often stands for a missing value: leave those empty, or limit the feature by clip in "
            "training.features."
        )
    if wanders:
        found.append(f"Read as their change since the event before, because their level wanders: {names(wanders)}.")
    return tuple(found)


def names(several: Sequence[str]) -> str:
    """A list for people, cut after the first few."""
    shown = ", ".join(several[:NAMED])
    return shown if len(several) <= NAMED else f"{shown} and {len(several) - NAMED} more"
