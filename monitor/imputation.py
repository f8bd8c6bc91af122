"""What stands in for a missing value: the same rule while training and while serving.

The last value before it in the same window; where the window has none, the mean of the fitting rows. So a window
depends on its own T events and on nothing older: it is the same wherever reading began.
"""

from __future__ import annotations

import numpy as np

from monitor.batch import Float32


def impute(windows: Float32, mean: Float32) -> Float32:
    """`windows` (W, T, F), oldest event first, without NaN; `mean` (F,). Units are the source's."""
    missing = np.isnan(windows)  # (W, T, F)
    if not missing.any():
        return windows
    step = np.arange(windows.shape[1])[None, :, None]
    last = np.maximum.accumulate(np.where(missing, -1, step), axis=1)  # newest step with a value, -1 before the first
    carried = np.take_along_axis(windows, np.maximum(last, 0), axis=1)
    return np.where(last >= 0, carried, mean).astype(np.float32)
