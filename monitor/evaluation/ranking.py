"""How well scores rank rows, whatever the threshold: ROC-AUC, average precision, and the best F1 an oracle could have.

Rows of equal score cannot be told apart, so they are flagged together: one threshold for each distinct score.
Rows without a score (NaN) rank below all others, as equals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitor.batch import Float64, Int64
from monitor.evaluation.values import Bool, ranked


@dataclass(frozen=True, slots=True)
class Oracle:
    """The threshold with the best F1, found with the labels: a bound for all thresholds, never a result."""

    threshold: float  # rows of this score and above are flagged
    precision: float
    recall: float
    f1: float


def roc_auc(score: Float64, label: Bool) -> float:
    """Area under the ROC curve of scores (n,): the chance that an anomalous row outranks a normal one, ties as half.

    NaN where one of the two kinds is missing. (Hanley and McNeil, "The meaning and use of the area under a receiver
    operating characteristic (ROC) curve", 1982.)
    """
    _, hits, false = _steps(score, label)
    if not len(hits) or not hits[-1] or not false[-1]:
        return np.nan
    before = np.concatenate([[0], hits[:-1]])
    area = np.dot(np.diff(false, prepend=0).astype(np.float64), (hits + before) / 2)
    return float(area / (float(hits[-1]) * float(false[-1])))


def average_precision(score: Float64, label: Bool) -> float:
    """Sum over distinct scores, descending, of (recall gained) x (precision there): no interpolation between steps.

    Also called AUC-PR. NaN without anomalous rows; the share of anomalous rows where all scores are equal.
    """
    _, hits, false = _steps(score, label)
    if not len(hits) or not hits[-1]:
        return np.nan
    return float(np.dot(np.diff(hits, prepend=0) / hits[-1], hits / (hits + false)))


def best_f1(score: Float64, label: Bool) -> Oracle:
    """The largest F1 over all thresholds, the highest threshold of several; it flags scored rows only.

    NaN without anomalous rows, and where no row has a score.
    """
    thresholds, hits, false = _steps(score, label)
    positives = int(np.count_nonzero(label))
    scored = thresholds > -np.inf
    if not positives or not scored.any():
        return Oracle(np.nan, np.nan, np.nan, np.nan)
    f1 = (2 * hits / (hits + false + positives))[scored]
    at = int(np.argmax(f1))
    return Oracle(
        threshold=float(thresholds[at]),
        precision=float(hits[at] / (hits[at] + false[at])),
        recall=float(hits[at] / positives),
        f1=float(f1[at]),
    )


def _steps(score: Float64, label: Bool) -> tuple[Float64, Int64, Int64]:
    """Distinct scores (K,) descending, and the anomalous and the normal rows at or above each."""
    ordered = ranked(score)  # (n,)
    order = np.argsort(-ordered, kind="stable")
    ordered = ordered[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(ordered) else np.empty(0, np.int64)
    hits = np.cumsum(label[order], dtype=np.int64)[last]
    return ordered[last], hits, last + 1 - hits
