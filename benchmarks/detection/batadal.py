"""BATADAL (Taormina et al., 2018): a water network under seven attacks, one of whose figures is the time to detection.

Fit and threshold on dataset03, score dataset04. A row without a score is not flagged.
"""

from __future__ import annotations

import numpy as np

from benchmarks.detection.baselines import Rule
from benchmarks.detection.data import Batadal
from benchmarks.detection.method import Figures, Method, Published, flags
from monitor.evaluation.confusion import Confusion
from monitor.evaluation.events import intervals
from monitor.evaluation.ranking import average_precision, roc_auc
from monitor.evaluation.values import Bool

RULE = Rule(quantile=0.995, held_back=0.33, trailing=3)
"""As the published autoencoder has it (Taormina and Galelli, 2018)."""
PUBLISHED = (
    Published("autoencoder", {"F1": 0.731, "precision": 0.800, "recall": 0.673}),
    Published("autoencoder", {"F1": 0.779}, "on the final test set"),
)


def run(data: Batadal, method: Method, seed: int) -> Figures:
    """F1, S and attacks found at the method's own threshold; AP and ROC-AUC of its scores."""
    fitted = method.fit([data.train], seed)
    score = fitted.score(data.test.values, data.test.time)
    flagged = flags(fitted, score)
    points = Confusion.of(flagged, data.label)
    lost = time_lost(flagged, data.label)
    detection, classification = 1 - float(np.mean(lost)), (points.recall + 1 - points.far) / 2
    return {
        "F1": points.f1,
        "S": (detection + classification) / 2,
        "found": float(np.count_nonzero(np.array(lost) < 1)),
        "precision": points.precision,
        "recall": points.recall,
        "S_TTD": detection,
        "S_CLF": classification,
        "FAR": points.far,
        "AP": average_precision(score, data.label),
        "ROC-AUC": roc_auc(score, data.label),
    }


def time_lost(flagged: Bool, label: Bool) -> list[float]:
    """For each attack, the share of its length that passed before its first flagged row; 1 where it was missed.

    A flag at the last row loses (length - 1) / length, so it is told from a miss.
    """
    lost = []
    for start, end in intervals(label).tolist():
        rows = np.flatnonzero(flagged[start:end])
        lost.append(float(rows[0]) / (end - start) if len(rows) else 1.0)
    return lost
