"""What stands in for a missing value: the same rule while training and while serving.

The last value that the stream sent since its last gap; before there is one, the mean of the fitting rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Float32


def impute(values: Float32, first: NDArray[np.bool_], mean: Float32) -> Float32:
    """`values` (n, F) without NaN.

    `first` (n,) marks the rows that open a stream or follow a gap: nothing is carried over them. `mean` (F,) stands
    in where the stream has sent nothing yet. Rows are in order of time, stream after stream; units are the source's.
    """
    missing = np.isnan(values)  # (n, F)
    if not missing.any():
        return values
    row = np.arange(len(values))[:, None]  # (n, 1)
    opened = np.maximum.accumulate(np.where(first[:, None], row, 0))  # (n, 1) row that opened the run
    last = np.maximum.accumulate(np.where(missing, -1, row))  # (n, F) last row with a value, of any run
    carried = np.take_along_axis(values, np.maximum(last, 0), axis=0)  # (n, F)
    return np.where(last >= opened, carried, mean).astype(np.float32)
