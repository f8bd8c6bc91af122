"""Some of a sequence whose length nobody knows: evenly spaced, bounded, the same for the same sequence."""

from __future__ import annotations

import numpy as np

from monitor.batch import Float32, Int64


class Sample:
    """Every k-th item, at most `most`: k doubles where there are more, and every second one goes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._every = 1
        self._seen = 0
        self._number: list[int] = []
        self._values: list[Float32] = []

    def pick(self, count: int) -> Int64:
        """Which of the next `count` items (numbers from 0) are to be given to `add`."""
        first = -self._seen % self._every
        self._seen += count
        return np.arange(first, count, self._every, dtype=np.int64)

    def add(self, number: Int64, values: Float32) -> None:
        """The picked items: a number of the caller's (n,), and values (n, C)."""
        self._number.extend(number.tolist())
        self._values.extend(values.copy())
        while len(self._number) > self._most:
            self._every *= 2
            self._number, self._values = self._number[::2], self._values[::2]

    @property
    def number(self) -> Int64:  # (n,)
        return np.array(self._number, np.int64)

    @property
    def values(self) -> Float32:  # (n, C)
        return np.stack(self._values) if self._values else np.empty((0, 0), np.float32)
