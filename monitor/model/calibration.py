"""Errors of normal windows that were not fitted -> the threshold, by a budget of incidents or by a quantile."""

from __future__ import annotations

from dataclasses import asdict
from math import inf

import numpy as np

from monitor.batch import Float32, Float64
from monitor.calibration.budget import DAY, threshold_for
from monitor.calibration.conformal import block_maxima, fewest, line
from monitor.calibration.incident_count import Stretch
from monitor.config import Incidents, Training
from monitor.errors import MonitorError
from monitor.model.dataset import Split
from monitor.model.manifest import Blocks, Calibration, FittedTail, Method

DEFAULT_BUDGET = 1.0
"""Incidents per stream per day where neither a budget nor a quantile is set."""


def calibrate(
    errors: Float32, split: Split, settings: Training, rules: Incidents
) -> tuple[Calibration, tuple[str, ...]]:
    """The threshold from the errors (W,) of the calibration windows, and what a person should know about it.

    With a budget, the lowest threshold whose incidents under these rules keep it: `monitor.calibration.budget`. With
    a quantile, the conformal one: the ceil((W + 1) q)-th smallest error, so that a further normal window exceeds it
    with a probability of at most 1 - q (Vovk et al., "Algorithmic Learning in a Random World", 2005) as far as
    windows are exchangeable. Where W is too small for that, it is the largest error, with a warning.
    """
    if not len(errors) or not np.isfinite(errors).all():
        raise MonitorError(
            "the calibration windows have no finite errors", "Look for extreme values in the last part of the rows."
        )
    cut = stretches(errors, split)
    expected, budget, tail = None, None, None
    if settings.quantile is not None:
        method: Method = "quantile"
        threshold, warnings = _quantile(errors.astype(np.float64), settings.quantile)
    else:
        budget = settings.alerts_per_stream_per_day or DEFAULT_BUDGET
        if settings.alerts_per_day is not None:
            budget = settings.alerts_per_day / (settings.fleet or split.streams)
        found = threshold_for(cut, rules, budget, split.interval)
        method, threshold, warnings = found.method, found.threshold, found.warnings
        expected = (found.expected.low, found.expected.rate, found.expected.high)
        tail = FittedTail(**asdict(found.tail)) if found.tail else None
    if threshold <= 0:
        threshold = float(np.finfo(np.float32).tiny)
        warnings = ("The calibration windows are reconstructed without any error: every difference will alert.",)
    length, maxima = block_maxima(cut, split.window)
    calibration = Calibration(
        method=method,
        threshold=threshold,
        quantile=float(np.count_nonzero(errors <= threshold) or 1) / len(errors),
        alerts_per_stream_per_day=budget,
        expected=expected,
        windows=len(errors),
        windows_per_stream_per_day=DAY / split.interval,
        tail=tail,
        blocks=Blocks(windows=length, largest=tuple(maxima.tolist())) if len(maxima) else None,
    )
    return calibration, warnings


def stretches(errors: Float32, split: Split) -> list[Stretch]:
    """The errors (W,) of the calibration windows, cut where a gap or another stream begins."""
    closing = split.calibration + split.window - 1  # (W,) rows
    begins = np.flatnonzero(
        (np.diff(closing, prepend=-2) != 1)
        | (np.diff(split.stream[closing], prepend=-1) != 0)
        | (np.diff(split.time[closing], prepend=-np.inf) > split.max_gap)
    )
    return [
        Stretch(str(split.stream[closing[part[0]]]), split.time[closing[part]], errors[part].astype(np.float64))
        for part in np.split(np.arange(len(errors)), begins[1:])
    ]


def _quantile(errors: Float64, quantile: float) -> tuple[float, tuple[str, ...]]:
    threshold = line(errors, quantile)
    if threshold < inf:
        return threshold, ()
    return float(errors.max()), (
        f"{len(errors)} calibration windows are too few for the quantile {quantile:.6g}, "
        f"which needs {fewest(quantile)}: the threshold is their largest error, "
        "so expect more alerts than asked.",
    )
