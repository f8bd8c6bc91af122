"""Mean and covariance in one pass, however many rows there are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np

from monitor.batch import Float64


@dataclass(frozen=True, slots=True)
class Moments:
    """Of rows (n, G)."""

    count: int  # n
    mean: Float64  # (G,)
    scatter: Float64  # (G, G) sum of (row - mean)(row - mean)'

    @property
    def covariance(self) -> Float64:
        """(G, G), of these rows: divided by n, not by n - 1."""
        covariance: Float64 = self.scatter / self.count
        return covariance

    def __add__(self, other: Moments) -> Moments:
        """Of the rows of both (Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983)."""
        count = self.count + other.count
        between = other.mean - self.mean  # (G,)
        mean = self.mean + between * (other.count / count)
        scatter = self.scatter + other.scatter + np.outer(between, between) * (self.count * other.count / count)
        return Moments(count, mean, scatter)


def moments(rows: Float64) -> Moments:
    """Of rows (n, G), n >= 1, all finite."""
    mean = rows.mean(axis=0)  # (G,)
    deviation = rows - mean  # (n, G)
    return Moments(len(rows), mean, deviation.T @ deviation)


def streamed(parts: Iterable[Float64]) -> Moments:
    """Of all rows of the parts (n, G), of which one at a time exists. At least one part."""
    return reduce(Moments.__add__, map(moments, parts))
