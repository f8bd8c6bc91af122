"""Columns that arrive in chunks -> one array of rows, which is the only copy of them.

10 million rows of 38 features are 1.5 GB: two copies of them, or a Python object for each value, would not fit where
one does. So the array grows in place, columns are moved within it, and streams are sorted column by column.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Float32, Float64
from monitor.feeds.table import Rows

GROWTH = 1.125
"""A full array becomes so many times as large; memory is resized in place where the system can (it remaps pages)."""
FIRST_ROWS = 16_384
SLICE = 65_536
"""Rows that exist twice while columns are moved."""


class Store:
    """Rows of columns whose names are met on the way; what a row has no value for is NaN."""

    def __init__(self) -> None:
        self._place: dict[str, int] = {}
        self._block = np.empty((0, 0), np.float32)  # (capacity, C)
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def append(self, count: int, columns: Mapping[str, Float32]) -> None:
        """`count` more rows; each column is (count,)."""
        new = [name for name in columns if name not in self._place]
        if new:
            self._widen(new)
        width, needed = len(self._place), self._rows + count
        if needed > len(self._block):
            self._resize((max(FIRST_ROWS, needed, int(len(self._block) * GROWTH)), width))
        part = self._block[self._rows : needed]  # (count, C)
        if len(columns) < width:
            part[:] = np.nan
        for name, values in columns.items():
            part[:, self._place[name]] = values
        self._rows = needed

    def take(self, names: Sequence[str]) -> Float32:
        """(n, F) The rows with these columns, in this order; the store is empty afterwards."""
        missing = [name for name in names if name not in self._place]
        if missing:
            self._widen(missing)
        places = [self._place[name] for name in names]
        if places != list(range(len(self._place))):
            # A narrower row begins no later than it did: slice by slice, nothing is overwritten before it is read.
            flat = self._block.reshape(-1)
            for start in range(0, self._rows, SLICE):
                end = min(start + SLICE, self._rows)
                flat[start * len(places) : end * len(places)] = self._block[start:end, places].reshape(-1)
            del flat
        self._resize((self._rows, len(places)))
        taken, self._block = self._block, np.empty((0, 0), np.float32)
        self._place, self._rows = {}, 0
        return taken

    def _widen(self, names: Sequence[str]) -> None:
        """Room for more columns: the rows so far are copied, which are few unless a column comes up late."""
        before, width = self._block, len(self._place)
        self._place |= {name: width + more for more, name in enumerate(names)}
        self._block = np.empty((len(before), len(self._place)), np.float32)
        self._block[: self._rows, :width] = before[: self._rows]
        self._block[: self._rows, width:] = np.nan

    def _resize(self, shape: tuple[int, int]) -> None:
        self._block.resize(shape, refcheck=False)  # no view of it is ever handed out


def by_stream(names: Sequence[str], code: NDArray[np.int32], time: Float64, values: Float32) -> Iterator[Rows]:
    """Mixed rows -> the rows of each stream, in their order, as views: `time` and `values` are sorted in place.

    `code` (n,) is the place among `names` of each row's stream; streams without rows are left out.
    """
    if np.any(np.diff(code) < 0):
        order = np.argsort(code, kind="stable")
        time[:] = time[order]
        for column in range(values.shape[1]):
            values[:, column] = values[order, column]
    bounds = np.cumsum(np.bincount(code, minlength=len(names)))
    for name, begin, end in zip(names, [0, *bounds[:-1].tolist()], bounds.tolist(), strict=True):
        if end > begin:
            yield Rows(name, time[begin:end], values[begin:end])
