"""SKAB (Katser and Kozitsin, 2020): 34 runs of a pump; one model a run, row counts pooled over all test parts.

Published figures rest on windows that look ahead. Ours are causal ("SKAB-causal"): the whole run is scored from its
first row on, so that the training rows are the context of the first test rows; every test row is counted, a test row
without a score as one that is not flagged. Nothing depends on a row's number or on the end of the file.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.detection.baselines import Rule
from benchmarks.detection.data import SkabRun
from benchmarks.detection.method import Figures, Method, Published, flags, relative
from monitor.batch import Float64
from monitor.evaluation.confusion import Confusion
from monitor.evaluation.events import EventScores, intervals, score_events
from monitor.evaluation.ranking import roc_auc
from monitor.evaluation.values import ranked

TRAIN_ROWS = 400
RULE = Rule(quantile=0.99, factor=1.5)
"""As the published LSTM autoencoder has it."""
OPERATING_POINTS = (0.01, 0.05, 0.10)
PUBLISHED = (
    Published("LSTM-AE", {"F1": 0.74, "FAR": 0.2996, "MAR": 0.2592, "J": 0.441}, "looks ahead"),
    Published("Conv-AE", {"F1": 0.78, "FAR": 0.1355, "MAR": 0.2802, "J": 0.584}, "looks ahead"),
    Published("T2+Q (PCA)", {"F1": 0.76, "FAR": 0.2662, "MAR": 0.2492, "J": 0.485}),
)


def run(runs: Sequence[SkabRun], method: Method, seed: int) -> Figures:
    """F1, FAR, MAR and J of the method's own thresholds; AUC of scores in units of them, pooled.

    `MAR @ x` with `found @ x` (share of labelled intervals) and `delay @ x` (median s) are oracle operating points: the
    threshold is the one that x of the normal test rows exceed.
    """
    points, scores = Confusion(0, 0, 0, 0), []
    for one in runs:
        fitted = method.fit([one.series[:TRAIN_ROWS]], seed)
        score = fitted.score(one.series.values, one.series.time)[TRAIN_ROWS:]
        points += Confusion.of(flags(fitted, score), one.label[TRAIN_ROWS:])
        scores.append(ranked(relative(fitted, score)))
    label = np.concatenate([one.label[TRAIN_ROWS:] for one in runs])
    pooled = np.concatenate(scores)
    figures = {"F1": points.f1, "FAR": points.far, "MAR": points.mar, "J": points.j, "AUC": roc_auc(pooled, label)}
    for far in OPERATING_POINTS:
        threshold = float(np.quantile(pooled[~label], 1 - far, method="higher"))
        events = found_above(threshold, scores, runs)
        figures[f"MAR @ {far:.0%}"] = Confusion.of(pooled > threshold, label).mar
        figures[f"found @ {far:.0%}"] = events.recall
        figures[f"delay @ {far:.0%}"] = events.median_delay_seconds
    return figures


def found_above(threshold: float, scores: Sequence[Float64], runs: Sequence[SkabRun]) -> EventScores:
    """Events of the test parts, scores (n,) of each run, pooled."""
    pooled = EventScores((), (), (), 0, ())
    for score, one in zip(scores, runs, strict=True):
        labelled = intervals(one.label[TRAIN_ROWS:])
        pooled += score_events(labelled, intervals(score > threshold), one.series.time[TRAIN_ROWS:])
    return pooled
