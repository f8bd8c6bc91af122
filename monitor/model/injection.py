"""Synthetic faults in normal windows: what a detector can be judged by where nothing is labelled.

Letters: n windows, T events of a window, F features. A window of a split with rates has one more column, the seconds
since the event before, which stays as it is. The same seed gives the same faults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Float32, Float64, Int64
from monitor.model.manifest import Feature

KINDS = ("spike", "shift", "drift", "noise", "scale", "stuck", "elsewhere", "reversed")
"""spike: the closing event is off. The others last until the closing event. shift: a constant is added. drift: what is
added grows from nothing. noise: normal noise is added. scale: the swing about the window's mean grows or shrinks.
stuck: the value of the event before stays. elsewhere: the values of another window, so in range but unlike the other
features and the time. reversed: the events of all features in reversed order, so each event is normal by itself."""
MAGNITUDES = (1.0, 2.0, 4.0, 8.0)
"""In units of the feature's own deviation; of a swing, by how much it grows or shrinks."""
DRIFT = 0.25
"""Standard deviations by which a feature is off in normal rows to come."""


@dataclass(frozen=True, slots=True)
class Injected:
    """Windows with a fault that is there at the closing event. A fault that would change nothing is left out."""

    windows: Float32  # (n, T, columns) source units
    source: Int64  # (n,) place of the normal window
    hurt: NDArray[np.bool_]  # (n, F) the features that were changed
    begin: Int64  # (n,) first event with the fault
    magnitude: Float64  # (n,)


def inject(
    kind: str,
    windows: Float32,
    features: Sequence[Feature],
    seed: int,
    magnitudes: Sequence[float] = MAGNITUDES,
) -> Injected:
    """One fault of a kind of `KINDS` in each of the windows (n, T, columns): normal ones, without NaN, source units.

    Half of the faults hurt one feature, the others up to a quarter of them; lengths are spread evenly over powers of
    ten. Magnitudes are of the feature's deviation over the given windows, on the logarithm where the feature is read
    so. A feature that does not vary is not hurt, unless none does. A category takes another of its values.
    """
    count, window = windows.shape[:2]
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    numbers = np.array([not feature.categories for feature in features])
    level = _level(windows, features)  # (n, T, F)
    varies = np.ptp(level, axis=(0, 1)) > 0  # (F,)
    deviation = np.where(varies, level.std(axis=(0, 1)), 1.0)

    length = np.ones(count, np.int64) if kind == "spike" else _lengths(rng, count, window)
    begin = window - length  # (n,)
    hurt = np.ones((count, len(features)), np.bool_)
    if kind != "reversed":
        hurt = _several(rng, count, varies if varies.any() else np.ones_like(varies))
    magnitude = rng.choice(np.asarray(magnitudes, np.float64), count)  # (n,)
    faulty = _changed(kind, level, begin, deviation, magnitude, numbers, rng)  # (n, T, F)
    for column, feature in enumerate(features):
        if feature.categories and kind not in ("stuck", "elsewhere", "reversed"):
            faulty[..., column] = _other_value(level[..., column], len(feature.categories), rng)
    active = np.arange(window)[None, :] >= begin[:, None]  # (n, T)
    result = _replaced(windows, faulty, active[..., None] & hurt[:, None, :], features)
    felt = (result != windows)[..., : len(features)].any(axis=1)  # (n, F)
    kept = np.flatnonzero(felt.any(axis=1))
    return Injected(result[kept], kept, felt[kept], begin[kept], magnitude[kept])


def aged(windows: Float32, features: Sequence[Feature], seed: int) -> Float32:
    """The windows (n, T, columns) as they might look later: every number of each is off by a little, all along.

    By a normal amount of `DRIFT` deviations, each feature for itself, because normal rows to come are never quite like
    those that were seen: what cries wolf at this will do so in service.
    """
    rng = np.random.default_rng([seed, len(KINDS)])
    level = _level(windows, features)
    numbers = np.array([not feature.categories for feature in features])
    deviation = np.where(numbers, level.std(axis=(0, 1)), 0.0)  # (F,)
    off = DRIFT * deviation * rng.normal(size=(len(windows), 1, len(features)))
    return _replaced(windows, level + off, np.broadcast_to(deviation > 0, level.shape), features)


def hit_rate(feature_error: Float32, hurt: NDArray[np.bool_], most: int) -> float:
    """Share of the windows whose `most` features of largest error (n, F) have a hurt one (n, F) among them."""
    first = np.argsort(-feature_error, axis=1, kind="stable")[:, :most]
    return float(np.take_along_axis(hurt, first, axis=1).any(axis=1).mean())


def _level(windows: Float32, features: Sequence[Feature]) -> Float64:
    """The features' values (n, T, F), on the logarithm where they are read so."""
    level = windows[..., : len(features)].astype(np.float64)
    logs = np.array([feature.log1p for feature in features])
    level[..., logs] = np.sign(level[..., logs]) * np.log1p(np.abs(level[..., logs]))
    return level


def _replaced(windows: Float32, level: Float64, place: NDArray[np.bool_], features: Sequence[Feature]) -> Float32:
    """The windows with other levels (n, T, F) in some places (n, T, F), back in source units."""
    logs = np.array([feature.log1p for feature in features])
    back = level.copy()
    back[..., logs] = np.sign(level[..., logs]) * np.expm1(np.minimum(np.abs(level[..., logs]), 88.0))
    end = float(np.finfo(np.float32).max)
    result = windows.copy()
    result[..., : len(features)] = np.where(place, np.clip(back, -end, end), windows[..., : len(features)])
    return result


def _lengths(rng: np.random.Generator, count: int, window: int) -> Int64:
    """(n,) in 1..window, the logarithm uniform."""
    return np.minimum(np.exp(rng.uniform(0, np.log(window + 1), count)).astype(np.int64), window)


def _several(rng: np.random.Generator, count: int, varies: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which features (n, F) are hurt, of those that vary (F,)."""
    usable = np.flatnonzero(varies)
    most = min(len(usable), max(2, ceil(len(varies) / 4)))
    hurt = np.zeros((count, len(varies)), np.bool_)
    wanted = np.where(rng.random(count) < 0.5, 1, rng.integers(1, most + 1, count))
    for row, size in enumerate(wanted.tolist()):
        hurt[row, rng.choice(usable, size, replace=False)] = True
    return hurt


def _changed(
    kind: str,
    level: Float64,
    begin: Int64,
    deviation: Float64,
    magnitude: Float64,
    numbers: NDArray[np.bool_],
    rng: np.random.Generator,
) -> Float64:
    """The windows (n, T, F) as if every feature were hurt; right from `begin` (n,) on."""
    count, window, width = level.shape
    by = magnitude[:, None] * deviation  # (n, F)
    by = np.where(numbers, by * rng.choice([-1.0, 1.0], (count, width)), 0.0)
    step = np.arange(window)[None, :] - begin[:, None]  # (n, T) from 0 at the first event of the fault
    match kind:
        case "spike" | "shift":
            changed = level + by[:, None, :]
        case "drift":
            ramp = (step + 1) / (window - begin)[:, None]  # (n, T) 1 at the closing event
            changed = level + ramp[..., None] * by[:, None, :]
        case "noise":
            changed = level + rng.normal(size=level.shape) * by[:, None, :]
        case "scale":
            factor = 1 + np.where(numbers, magnitude[:, None], 0.0)  # (n, F)
            factor = np.where(rng.random((count, width)) < 0.5, factor, 1 / factor)
            middle = level.mean(axis=1, keepdims=True)
            changed = middle + (level - middle) * factor[:, None, :]
        case "stuck":
            held = level[np.arange(count), np.maximum(begin - 1, 0)]  # (n, F)
            changed = np.repeat(held[:, None, :], window, axis=1)
        case "elsewhere":
            changed = level[(np.arange(count) + rng.integers(1, max(2, count), count)) % count]
        case "reversed":
            mirrored = np.where(step >= 0, window - 1 - step, 0)  # (n, T)
            changed = level[np.arange(count)[:, None], mirrored]
        case _:
            raise ValueError(f"there is no fault {kind!r}")
    return np.asarray(changed, np.float64)


def _other_value(codes: Float64, values: int, rng: np.random.Generator) -> Float64:
    """Codes (n, T) -> one other code for each window, of those there are and the unknown one, -1."""
    other = rng.integers(-1, values, len(codes))[:, None]
    return np.where(other == codes, np.where(other + 1 < values, other + 1, -1), other).astype(np.float64)
