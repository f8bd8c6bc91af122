"""Errors of normal windows that were not fitted -> the threshold. One way today; others would stand beside it."""

from __future__ import annotations

from math import ceil

import numpy as np

from monitor.batch import Float32
from monitor.config import Training
from monitor.errors import MonitorError
from monitor.model.manifest import Calibration

DEFAULT_BUDGET = 1.0
"""Alerts per stream per day where neither a budget nor a quantile is set."""
LOWEST_QUANTILE = 0.5
"""A budget that would put the line below the median error is cut here."""


def quantile_for(alerts_per_stream_per_day: float, windows_per_stream_per_day: float) -> float:
    """The share of normal windows that must stay at or below the threshold for the budget to hold.

    Each window above the threshold is counted as an alert. Incidents join neighbouring windows and need k of n, so
    there are fewer of them than the budget allows.
    """
    return max(LOWEST_QUANTILE, 1 - alerts_per_stream_per_day / windows_per_stream_per_day)


def calibrate(
    errors: Float32, settings: Training, windows_per_stream_per_day: float
) -> tuple[Calibration, tuple[str, ...]]:
    """The threshold from the errors (W,) of the calibration windows, and what a person should know about it.

    The quantile is the conformal one: the ceil((W + 1) q)-th smallest error, so that a further normal window exceeds
    it with a probability of at most 1 - q (Vovk et al., "Algorithmic Learning in a Random World", 2005) as far as
    windows are exchangeable. Where W is too small for that, it is the largest error, with a warning.
    """
    if not len(errors) or not np.isfinite(errors).all():
        raise MonitorError(
            "the calibration windows have no finite errors", "Look for extreme values in the last part of the rows."
        )
    warnings = []
    budget = settings.alerts_per_stream_per_day
    if settings.quantile is not None:
        quantile = settings.quantile
    else:
        budget = DEFAULT_BUDGET if budget is None else budget
        quantile = quantile_for(budget, windows_per_stream_per_day)
        if budget > (1 - LOWEST_QUANTILE) * windows_per_stream_per_day:
            warnings.append(
                f"A stream has {windows_per_stream_per_day:g} windows a day and a budget of {budget:g} alerts: the "
                "threshold is the median error. Lower training.alerts_per_stream_per_day, or set training.quantile."
            )
    ordered = np.sort(errors)
    rank = _ceil((len(ordered) + 1) * quantile)
    if rank > len(ordered):
        warnings.append(
            f"{len(ordered)} calibration windows are too few for the quantile {quantile:.6g}, "
            f"which needs {_ceil(quantile / (1 - quantile))}: the threshold is their largest error, "
            "so expect more alerts than asked."
        )
    threshold = float(ordered[min(rank, len(ordered)) - 1])
    if threshold <= 0:
        threshold = float(np.finfo(np.float32).tiny)
        warnings.append("The calibration windows are reconstructed without any error: every difference will alert.")
    calibration = Calibration(
        threshold=threshold,
        quantile=quantile,
        alerts_per_stream_per_day=budget,
        windows=len(errors),
        windows_per_stream_per_day=windows_per_stream_per_day,
    )
    return calibration, tuple(warnings)


def _ceil(value: float) -> int:
    """`ceil`, forgiving the last bits: 0.9 / (1 - 0.9) is 9, not 10."""
    return ceil(value - 1e-9 * max(1.0, abs(value)))
