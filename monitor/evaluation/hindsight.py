"""What other thresholds would have fired on the rows of a backtest: the budget table, and the curve of the tail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from monitor.batch import Float64
from monitor.calibration.incident_count import curve, lay
from monitor.evaluation.backtest import Backtest
from monitor.evaluation.comparison import Rows, incidents_at, stream_days, stretches_of
from monitor.evaluation.events import EventScores, intervals, score_events
from monitor.evaluation.values import Bool

BUDGETS = (0.1, 1.0, 10.0, 100.0)
"""Incidents per stream per day."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A threshold and what it would have fired."""

    budget: float | None  # incidents per stream per day that it was found for; None: the configured one
    score: float  # the threshold as a multiple of the configured one
    incidents: int
    per_day: float  # incidents per stream per day
    severities: dict[str, int]  # of these incidents, by the bands of the configuration, from this threshold
    events: EventScores | None  # of these incidents against the labels, where there are some


@dataclass(frozen=True, slots=True)
class Passed:
    """How many incidents each level would have made, from the highest score downwards."""

    level: Float64  # (L,) multiples of the configured threshold, strictly descending
    per_day: Float64  # (L,) incidents per stream-day


@dataclass(frozen=True, slots=True)
class Hindsight:
    stream_days: float
    choices: tuple[Choice, ...]  # the configured threshold first
    passed: Passed | None  # None without a stream-day


def look_back(backtest: Backtest, rows: Sequence[Rows], labels: Mapping[str, Bool] | None = None) -> Hindsight | None:
    """For each budget, the lowest threshold that would have kept it on exactly these rows; None without a score.

    They are no calibration: rows with anomalies in them raise the line, and the rows to come are others.
    """
    rules = backtest.settings.incidents
    stretches = [stretch for one in rows for stretch in stretches_of(one, one.score)]
    if not stretches:
        return None
    days = sum(stream_days(one.time) for one in rows)
    lines: list[tuple[float | None, float]] = [(None, 1.0)]
    passed = None
    if days:
        counted = curve(lay(stretches), rules, most=3 * max(BUDGETS) * days)
        lines += [(budget, float(counted.level[counted.lowest(budget * days)])) for budget in BUDGETS]
        passed = Passed(counted.level, counted.total() / days)
    choices = []
    for budget, line in lines:
        if budget is None:
            spans = [one.incidents for one in rows]
            peaks = np.array([one.score for one in backtest.anomalies])
        else:
            spans = [incidents_at(one, one.score, line, rules) for one in rows]
            pairs = zip(rows, spans, strict=True)
            peaks = np.array([np.nanmax(one.score[a:b]) / line for one, found in pairs for a, b in found.tolist()])
        events = None
        if labels is not None:
            pairs = zip(rows, spans, strict=True)
            events = reduce(
                EventScores.__add__,
                [score_events(intervals(labels[one.stream]), found, one.time) for one, found in pairs],
            )
        severities = _bands(peaks, rules.severity.major, rules.severity.critical)
        choices.append(Choice(budget, line, len(peaks), len(peaks) / days if days else np.nan, severities, events))
    return Hindsight(days, tuple(choices), passed)


def _bands(peaks: Float64, major: float, critical: float) -> dict[str, int]:
    return {
        "critical": int(np.count_nonzero(peaks >= critical)),
        "major": int(np.count_nonzero((peaks >= major) & (peaks < critical))),
        "warning": int(np.count_nonzero(peaks < major)),
    }
