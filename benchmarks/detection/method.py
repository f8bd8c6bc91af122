"""What every benchmark runs: a method that is fitted on normal rows and scores rows one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from monitor.batch import Float64

Figures = Mapping[str, float]
"""Named figures of one run, in the order they are printed."""


@dataclass(frozen=True, slots=True)
class Series:
    """Rows of one stream, without labels. No method sees a row's number or the end of the series."""

    name: str
    time: Float64  # (n,) s since the Unix epoch
    values: Float64  # (n, F) source units
    features: tuple[str, ...]
    ordered: bool = True
    """False: the rows have no order in time, so each is judged alone (a window of one row)."""

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, rows: slice) -> Series:
        return Series(self.name, self.time[rows], self.values[rows], self.features, self.ordered)


class Fitted(Protocol):
    """A method after fitting."""

    @property
    def threshold(self) -> float:
        """Found without labels. A row is flagged when its score is above it."""

    def score(self, values: Float64, time: Float64) -> Float64:
        """Rows (n, F) at times (n,) of one series, oldest first -> (n,) scores, NaN where a row has none (warm-up).

        Causal: the score of a row depends on that row and on those before it. Every call begins anew.
        """


class Method(Protocol):
    """Same settings for every benchmark, but for what follows from the normal rows it is fitted on."""

    @property
    def name(self) -> str: ...

    def fit(self, series: Sequence[Series], seed: int) -> Fitted:
        """Fit on normal rows, threshold included."""


@dataclass(frozen=True, slots=True)
class Published:
    """A row of the table that others measured."""

    name: str
    figures: Figures
    note: str = ""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should be; at the least, or at the most."""

    figure: str
    value: float
    most: bool = False

    def reached(self, figures: Figures) -> bool:
        found = figures[self.figure]
        return found <= self.value if self.most else found >= self.value


def relative(fitted: Fitted, score: Float64) -> Float64:
    """(n,) scores in units of the method's own threshold, above 1 where flagged: comparable between fitted methods.

    A threshold of 0 leaves nothing to divide by: scores stay as they are, one added.
    """
    return score / fitted.threshold if fitted.threshold > 0 else score - fitted.threshold + 1


def flags(fitted: Fitted, score: Float64) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """(n,) rows above the method's own threshold; a row without a score is none of them."""
    return np.asarray(score > fitted.threshold, np.bool_)
