"""Rows that were flagged against rows that are labelled: the counts, and the rates that follow from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitor.evaluation.values import Bool, ratio


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of rows; add them to pool series. A rate that would divide by zero is NaN."""

    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int

    @classmethod
    def of(cls, flagged: Bool, label: Bool) -> Confusion:
        """Counts of rows (n,) flagged against rows (n,) labelled."""
        both = int(np.count_nonzero(flagged & label))
        false = int(np.count_nonzero(flagged)) - both
        missed = int(np.count_nonzero(label)) - both
        return cls(both, false, len(label) - both - false - missed, missed)

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.true_negatives + other.true_negatives,
            self.false_negatives + other.false_negatives,
        )

    @property
    def precision(self) -> float:
        return ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        return ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        return ratio(self.true_positives, self.true_positives + (self.false_positives + self.false_negatives) / 2)

    @property
    def far(self) -> float:
        """False alarm rate: the share of normal rows that were flagged (also: false positive rate)."""
        return ratio(self.false_positives, self.false_positives + self.true_negatives)

    @property
    def mar(self) -> float:
        """Missed alarm rate: the share of anomalous rows that were not flagged."""
        return ratio(self.false_negatives, self.true_positives + self.false_negatives)

    @property
    def j(self) -> float:
        """1 - FAR - MAR (Youden, "Index for rating diagnostic tests", 1950): 0 for any blind guess, 1 at best."""
        return 1 - self.far - self.mar
