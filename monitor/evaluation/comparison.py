"""The model, the best threshold there is, and the simplest detectors on the same rows, each in the same measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from monitor import config
from monitor.batch import Float64, Int64
from monitor.calibration.incident_count import Stretch, incidents, lay
from monitor.evaluation.backtest import Backtest, Fired, Series
from monitor.evaluation.baselines import Z_LINE
from monitor.evaluation.confusion import Confusion
from monitor.evaluation.events import SECONDS_A_DAY, intervals, per_day, score_events
from monitor.evaluation.ranking import Oracle, best_f1
from monitor.evaluation.report import Report, evaluate
from monitor.evaluation.values import Bool, ranked, ratio

MODEL, ORACLE, MAX_Z, FLAG_ALL = "model", "oracle", "max |z|", "flag all"
METHODS = (MODEL, ORACLE, MAX_Z, FLAG_ALL)
"""In the order they are shown. The oracle has the model's scores and the threshold with the best F1 of rows, found
with the labels: a bound, never a result."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The n rows of one stream as they are judged: rejected ones count too, and have no score."""

    stream: str
    time: Float64  # (n,) the newest time so far: when a row was heard of, so never falling
    score: Float64  # (n,) NaN where there is none
    z: Float64  # (n,)
    life: Int64  # (n,)
    incidents: Int64  # (M, 2) [row that told it, row behind its last anomalous one); faults of the data are not in it


@dataclass(frozen=True, slots=True)
class Comparison:
    """The reports of each method: of each stream, and of all together."""

    streams: Mapping[str, Mapping[str, Report]]  # by stream, by method
    overall: Mapping[str, Report]  # by method; `pooled` says how


def rows_of(backtest: Backtest, offsets: Mapping[str, Int64] | None = None) -> tuple[Rows, ...]:
    """The rows of each stream. `offsets` (n,) of all its records, rejected ones included; not given: of its events."""
    by_stream: dict[str, list[Fired]] = {}
    for one in backtest.anomalies:
        by_stream.setdefault(one.stream, []).append(one)
    return tuple(
        _rows(series, by_stream.get(series.stream, []), None if offsets is None else offsets.get(series.stream))
        for series in backtest.series
    )


def compare(rows: Sequence[Rows], labels: Mapping[str, Bool], rules: config.Incidents) -> Comparison:
    """The rows of each stream against its labels (n,), under the rules that make incidents of scores.

    Scores are error / threshold, so the model's threshold is 1. Each oracle is that of its stream; the overall one is
    a single threshold for all streams.
    """
    found: dict[str, dict[str, Report]] = {}
    for one in rows:
        label = labels[one.stream]
        model = evaluate(one.score, 1.0, label, one.time, one.incidents)
        spread = evaluate(one.z, Z_LINE, label, one.time, incidents_at(one, one.z, Z_LINE, rules))
        every = np.ones(len(one.time))
        whole = np.array([[0, len(every)]], np.int64)[: len(every)]
        found[one.stream] = {
            MODEL: model,
            ORACLE: _at_oracle(one, model, label, model.oracle, rules),
            MAX_Z: spread,
            FLAG_ALL: evaluate(every, 0.5, label, one.time, whole),
        }
    overall = {method: pooled([reports[method] for reports in found.values()], rows) for method in METHODS if found}
    if found:
        best = best_f1(
            np.concatenate([one.score for one in rows]), np.concatenate([labels[one.stream] for one in rows])
        )
        together = [_at_oracle(one, found[one.stream][MODEL], labels[one.stream], best, rules) for one in rows]
        overall[ORACLE] = pooled(together, rows)
    return Comparison(found, overall)


def pooled(reports: Sequence[Report], rows: Sequence[Rows]) -> Report:
    """One report of several streams.

    Rows, events and incidents are added up, and the rates follow from the sums. Average precision, ROC-AUC and VUS-PR
    are the plain mean over the streams that have them: rows of two streams are not one ranking. Alerts a day are those
    of a stream: all incidents over all stream-days.
    """
    points, events = reports[0].points, reports[0].events
    oracle_events = reports[0].oracle_events
    for one in reports[1:]:
        points, events, oracle_events = points + one.points, events + one.events, oracle_events + one.oracle_events
    return replace(
        reports[0],
        rows=sum(one.rows for one in reports),
        unscored=sum(one.unscored for one in reports),
        anomalous=sum(one.anomalous for one in reports),
        points=points,
        events=events,
        alerts_per_day=ratio(events.incidents, sum(stream_days(one.time) for one in rows)),
        average_precision=_mean([one.average_precision for one in reports]),
        roc_auc=_mean([one.roc_auc for one in reports]),
        vus_pr=_mean([one.vus_pr for one in reports]),
        oracle=Oracle(np.nan, points.precision, points.recall, points.f1),
        oracle_events=oracle_events,
    )


def incidents_at(rows: Rows, score: Float64, threshold: float, rules: config.Incidents) -> Int64:
    """(M, 2) rows [told, behind the last anomalous one) of the incidents that scores (n,) above a threshold make."""
    stretches = stretches_of(rows, score)
    if not stretches:
        return np.empty((0, 2), np.int64)
    scored = np.flatnonzero(np.isfinite(score))
    found = incidents(lay(stretches), threshold, rules)  # places among the scored rows
    return np.stack([scored[found[:, 0]], scored[found[:, 1]] + 1], axis=1)


def stretches_of(rows: Rows, score: Float64) -> list[Stretch]:
    """The scored rows, cut where the stream was forgotten; none where no row has a score."""
    scored = np.flatnonzero(np.isfinite(score))
    cuts = np.flatnonzero(np.diff(rows.life[scored])) + 1
    return [Stretch(rows.stream, rows.time[part], score[part]) for part in np.split(scored, cuts) if len(part)]


def stream_days(time: Float64) -> float:
    """Days of rows (n,) at their usual interval; 0 where there is no telling."""
    return len(time) * float(np.median(np.diff(time))) / SECONDS_A_DAY if len(time) > 1 else 0.0


def _rows(series: Series, fired: Sequence[Fired], offsets: Int64 | None) -> Rows:
    known = series.offset if offsets is None else offsets
    at = np.searchsorted(known, series.offset)
    count = len(known)
    time, score, z = (np.full(count, np.nan) for _ in range(3))
    life = np.zeros(count, np.int64)
    time[at], score[at], z[at], life[at] = series.time, series.score, series.z, series.life
    heard = np.fmax.accumulate(np.where(np.isnan(time), -np.inf, time))
    heard = np.where(np.isinf(heard), series.time[0], heard)  # rejected rows before the first event
    ticks = np.round(heard * 1000)  # alerts tell milliseconds
    spans = []
    for one in fired:
        if one.partition != series.partition:
            continue
        first = int(np.searchsorted(known, one.opened_offset))
        last = count if one.ended_at is None else int(np.searchsorted(ticks, round(one.ended_at * 1000), "right"))
        spans.append((first, max(last, first + 1)))
    return Rows(series.stream, heard, score, z, np.maximum.accumulate(life), np.array(spans, np.int64).reshape(-1, 2))


def _at_oracle(rows: Rows, model: Report, label: Bool, oracle: Oracle, rules: config.Incidents) -> Report:
    """The model's report with the oracle's threshold in place of its own, and incidents by the same rules."""
    if np.isnan(oracle.threshold):
        return replace(model, threshold=np.nan, points=Confusion.of(np.zeros(len(label), np.bool_), label))
    threshold = float(np.nextafter(oracle.threshold, -np.inf))  # the oracle flags its own threshold too
    found = incidents_at(rows, rows.score, threshold, rules)
    events = score_events(intervals(label), found, rows.time)
    return replace(
        model,
        threshold=oracle.threshold,
        points=Confusion.of(ranked(rows.score) > threshold, label),
        events=events,
        alerts_per_day=per_day(events.incidents, rows.time),
    )


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else np.nan
