"""What the measures take: scores with or without gaps, and labels that are 0 or 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitor.batch import Float64
from monitor.errors import MonitorError

Bool = NDArray[np.bool_]


def binary(label: NDArray[Any], rows: int) -> Bool:
    """Labels (n,) of numbers 0 and 1 or of booleans -> (n,) bool.

    Raises `MonitorError` for all else, and for another length.
    """
    if label.shape != (rows,):
        shape = f"{len(label)}" if label.ndim == 1 else f"an array of shape {label.shape}"
        raise MonitorError(f"labels for {rows} rows wanted, got {shape}", "Give one label, 0 or 1, for each row.")
    positive = np.asarray(label == 1, np.bool_)
    wrong = np.flatnonzero(~positive & (label != 0))
    if len(wrong):
        raise MonitorError(
            f"row {wrong[0]}: label {label[wrong[0]]!s} is neither 0 nor 1", "Label anomalous rows 1 and all others 0."
        )
    return positive


def ranked(score: ArrayLike) -> Float64:
    """(n,) scores in which a row without one (NaN) has minus infinity.

    A row that was not scored can never be flagged, so it ranks below all that were: nothing is gained by leaving hard
    rows out.
    """
    given = np.asarray(score, np.float64)
    return np.where(np.isnan(given), -np.inf, given)


def ratio(part: float, whole: float) -> float:
    """Part / whole; NaN where there is no whole to be a part of."""
    return part / whole if whole else np.nan
