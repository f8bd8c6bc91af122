"""The pictures of a backtest's report that know no time: how scores are spread, and how codes lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from monitor.batch import Float64
from monitor.evaluation import charts
from monitor.evaluation.backtest import Backtest
from monitor.evaluation.charts import Axis
from monitor.evaluation.comparison import Rows
from monitor.evaluation.hindsight import Hindsight
from monitor.evaluation.values import Bool
from monitor.web.markup import Html, number, percent, plural, significant, tag

BINS = 60


def scores(
    backtest: Backtest, rows: Sequence[Rows], labels: Mapping[str, Bool] | None, hindsight: Hindsight | None
) -> Html:
    """How the scores are spread, and how often each level is passed."""
    score = np.concatenate([np.empty(0), *(one.score for one in rows)])
    known = np.isfinite(score)
    if not known.any():
        return Html()
    truth = None if labels is None else np.concatenate([labels[one.stream] for one in rows])[known]
    score = np.maximum(score[known], 1e-6)
    x = Axis(max(1e-4, float(np.quantile(score, 0.0005)) / 1.5), max(3.0, 1.3 * float(score.max())), log=True)
    parts = [_histogram(score, truth, x), _tail(score, x, hindsight)]
    above = int(np.count_nonzero(score > 1))
    said = (
        f"{percent(above, len(score))} of {plural(len(score), 'score')} lie above the alert line "
        f"(error {significant(backtest.threshold)}). Both scales are logarithmic."
    )
    return tag(
        "section", tag("h2", "Scores"), tag("p", said, class_="quiet small"), tag("div", *parts, class_="two even")
    )


def _histogram(score: Float64, truth: Bool | None, x: Axis) -> Html:
    height = 190
    edges = np.geomspace(x.low, x.high, BINS + 1)
    inside = np.clip(score, x.low, x.high)
    kinds = [("normal", np.ones(len(score), np.bool_))] if truth is None else [("normal", ~truth), ("truth", truth)]
    counts = [np.histogram(inside[rows], edges)[0] for _, rows in kinds]
    y = Axis(0.5, max(10.0, 1.5 * float(np.sum(counts, axis=0).max())), log=True)
    place = x.at(edges)
    plot, below = [], np.full(BINS, 0.5)
    total = np.zeros(BINS)
    for (class_, _), count in zip(kinds, counts, strict=True):
        total = total + count
        upper = np.maximum(total, 0.5)
        plot.append(charts.bars(place[:-1], place[1:] - 0.1 / BINS, y.at(below), y.at(upper), height, class_))
        below = upper
    plot.append(charts.upright(float(x.at(1.0)), height, "alert", "alert line"))
    shown = [("normal", "all events")] if truth is None else [("normal", "not labelled"), ("truth", "labelled")]
    body = charts.frame(
        plot,
        height,
        f"Histogram of {len(score)} scores.",
        [(float(x.at(tick)), charts.power(tick)) for tick in x.ticks(6)],
        [(float(y.at(tick)), number(tick)) for tick in y.ticks(4)],
    )
    title = tag("h4", "Events by score")
    return tag("figure", title, charts.legend([*shown, ("alert", "alert line")]), body)


def _tail(score: Float64, x: Axis, hindsight: Hindsight | None) -> Html:
    """Events a stream-day above each level, from the highest down."""
    height = 190
    days = hindsight.stream_days if hindsight and hindsight.stream_days else 0.0
    descending = np.sort(score)[::-1]
    rank = np.arange(1, len(descending) + 1)
    kept = np.unique(np.geomspace(1, len(rank), 400).astype(np.int64)) - 1
    level, rate = descending[kept], rank[kept] / (days or 1.0)
    y = Axis(float(rate[0]) / 2, max(float(rate[-1]), 4 * float(rate[0])), log=True)
    shape = charts.Envelope(x.at(level[::-1]), rate[::-1], rate[::-1])
    plot = [
        charts.stretched(height, charts.line(shape, y, height, "tail", whole=True)),
        charts.upright(float(x.at(1.0)), height, "alert", "alert line"),
    ]
    ticks = [(float(y.at(tick)), charts.power(tick)) for tick in y.ticks(5)]
    body = charts.frame(
        plot,
        height,
        "How often each score is passed.",
        [(float(x.at(tick)), charts.power(tick)) for tick in x.ticks(6)],
        ticks,
    )
    title = tag("h4", "Events above a score, per stream and day" if days else "Events above a score")
    return tag("figure", title, charts.legend([("score", "observed"), ("alert", "alert line")]), body)


def latent(backtest: Backtest, labels: Mapping[str, Bool] | None) -> Html:
    """The codes in the plane of their two largest principal components."""
    codes = backtest.latent
    if codes is None or len(codes.code) < 3:
        return Html()
    height = 300
    plane, explained = principal(codes.code.astype(np.float64))
    low, high = np.quantile(plane, [0, 1], axis=0)
    room = np.where(high > low, 0.05 * (high - low), 1.0)
    share = (plane - low + room) / (high - low + 2 * room)
    loud = codes.score > 1
    groups = [("dots", ~loud), ("dots loud", loud)]
    shown = [("dot", "score at most 1"), ("loud", "score above 1")]
    if labels is not None:
        truth = np.array(
            [
                bool(labels[backtest.series[s].stream][r])
                for s, r in zip(codes.series.tolist(), codes.row.tolist(), strict=True)
            ]
        )
        groups = [("dots", ~loud & ~truth), ("dots missed", ~loud & truth), ("dots loud", loud)]
        shown = [("dot", "score at most 1"), ("missed", "labelled, score at most 1"), ("loud", "score above 1")]
    plot = [charts.dots(share[rows, 0], share[rows, 1], height, class_) for class_, rows in groups]
    said = (
        f"Codes of {plural(len(codes.code), 'window')} ({codes.code.shape[1]} numbers each), evenly chosen, with more "
        f"of those above the alert line. The two axes hold {explained[0]:.0%} and {explained[1]:.0%} of the variance. "
        "Each dot is one window; what lies apart looks unlike the rest to the model."
    )
    return tag(
        "section",
        tag("h2", "Latent space"),
        tag("p", said, class_="quiet small"),
        charts.legend(shown),
        charts.figure([charts.frame(plot, height, f"Scatter of {len(codes.code)} codes.", (), ())]),
    )


def principal(codes: Float64) -> tuple[Float64, tuple[float, float]]:
    """Codes (n, C) -> (n, 2) on their two largest principal components, and the share of the variance of each.

    The sign of a component is that of its largest loading, so that the same codes give the same picture.
    """
    centred = codes - codes.mean(axis=0)
    left, singular, right = np.linalg.svd(centred, full_matrices=False)
    count = min(2, len(singular))
    turn = np.sign(right[np.arange(count), np.abs(right[:count]).argmax(axis=1)])
    plane = np.zeros((len(codes), 2))
    plane[:, :count] = left[:, :count] * singular[:count] * np.where(turn == 0, 1.0, turn)
    share = singular**2 / (float((singular**2).sum()) or 1.0)
    return plane, (float(share[0]), float(share[1]) if count > 1 else 0.0)
