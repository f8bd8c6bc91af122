"""All measures of one series in one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Float64, Int64
from monitor.errors import MonitorError
from monitor.evaluation.confusion import Confusion
from monitor.evaluation.events import EventScores, intervals, per_day, score_events
from monitor.evaluation.ranking import Oracle, average_precision, best_f1, roc_auc
from monitor.evaluation.values import binary, ranked
from monitor.evaluation.vus import DEFAULT_WINDOW, vus_pr


@dataclass(frozen=True, slots=True)
class Report:
    """What scores and incidents of one series are worth. A measure that is not defined, for want of labels, is NaN."""

    rows: int
    unscored: int  # rows without a score: never flagged, ranked below all others, counted like all others
    anomalous: int  # rows
    threshold: float  # rows of a score above it are flagged
    points: Confusion  # rows at the threshold
    events: EventScores  # incidents, or runs of flagged rows where none were given
    alerts_per_day: float
    average_precision: float
    roc_auc: float
    vus_pr: float
    vus_window: int  # rows
    oracle: Oracle  # the best threshold for F1 of rows, found with the labels
    oracle_events: EventScores  # runs of rows flagged by the oracle


def evaluate(
    score: Float64,
    threshold: float,
    label: NDArray[Any],
    time: Float64,
    incidents: Int64 | None = None,
    vus_window: int = DEFAULT_WINDOW,
) -> Report:
    """Scores (n,), NaN where a row has none, and their threshold against labels (n,) 0 or 1; times (n,), s, ascending.

    `incidents` (M, 2) are rows [start, end), start being the row at which an incident was told. Not given, every run of
    flagged rows is one. Raises `MonitorError` for lengths that differ, labels beside 0 and 1, and impossible incidents.
    """
    truth = binary(label, len(score))
    if time.shape != score.shape:
        raise MonitorError(f"{len(score)} scores but {len(time)} times", "Give the event time of each scored row.")
    flagged = ranked(score) > threshold
    labelled = intervals(truth)
    events = score_events(labelled, intervals(flagged) if incidents is None else incidents, time)
    oracle = best_f1(score, truth)
    return Report(
        rows=len(score),
        unscored=int(np.count_nonzero(np.isnan(score))),
        anomalous=int(np.count_nonzero(truth)),
        threshold=threshold,
        points=Confusion.of(flagged, truth),
        events=events,
        alerts_per_day=per_day(events.incidents, time),
        average_precision=average_precision(score, truth),
        roc_auc=roc_auc(score, truth),
        vus_pr=vus_pr(score, truth, vus_window),
        vus_window=vus_window,
        oracle=oracle,
        oracle_events=score_events(labelled, intervals(ranked(score) >= oracle.threshold), time),
    )
