"""The pictures of a backtest's report that know no time: how scores are spread, and how codes lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from monitor.batch import Float64
from monitor.calibration.tail import Tail
from monitor.evaluation import charts
from monitor.evaluation.backtest import Backtest
from monitor.evaluation.charts import Axis
from monitor.evaluation.comparison import Rows
from monitor.evaluation.compression import Compression
from monitor.evaluation.hindsight import Hindsight
from monitor.evaluation.tables import Cell, figures, name_cell, table
from monitor.evaluation.values import Bool
from monitor.web.markup import Html, number, percent, plural, significant, tag

BINS = 60
CURVE = 120  # points of a fitted one
FAR = 1e3  # times rarer than the rarest that was seen
FEATURES = 8  # with an error of their own


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
    fitted = _in_scores(backtest)
    parts = [_histogram(score, truth, x), _passed(score, x, hindsight, fitted)]
    above = int(np.count_nonzero(score > 1))
    said = (
        f"{percent(above, len(score))} of {plural(len(score), 'score')} lie above the alert line "
        f"(error {significant(backtest.threshold)}). Both scales are logarithmic."
    )
    if fitted is not None:
        said += (
            f" The threshold was read off a generalised Pareto tail (shape {fitted.shape:.2f}) that was fitted in "
            f"training to the peaks of {plural(fitted.peaks, 'incident')} of held-out normal rows: where "
            "incidents come more often than it says, these rows are not like those."
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


def _in_scores(backtest: Backtest) -> Tail | None:
    """The tail that the threshold was read off, in multiples of the threshold."""
    fitted = backtest.manifest.calibration.tail
    if fitted is None:
        return None
    unit = backtest.threshold
    return Tail(fitted.level / unit, fitted.shape, fitted.scale / unit, fitted.peaks, fitted.rate)


def _passed(score: Float64, x: Axis, hindsight: Hindsight | None, fitted: Tail | None) -> Html:
    """Events and incidents a stream-day above each level, from the highest down, and the tail that was fitted."""
    height = 190
    days = hindsight.stream_days if hindsight and hindsight.stream_days else 0.0
    descending = np.sort(score)[::-1]
    rank = np.arange(1, len(descending) + 1)
    kept = np.unique(np.geomspace(1, len(rank), 400).astype(np.int64)) - 1
    level, rate = descending[kept], rank[kept] / (days or 1.0)
    drawn = curve_of(fitted, x) if fitted is not None and days else None
    low = float(rate[0])
    if drawn is not None:  # down to where it meets the alert line, unless that is far away
        low = min(low, max(low / FAR, float(np.interp(1.0, *drawn))))
    y = Axis(low / 2, max(float(rate[-1]), 4 * float(rate[0])), log=True)
    shape = charts.Envelope(x.at(level[::-1]), rate[::-1], rate[::-1])
    plot = [
        charts.stretched(height, charts.line(shape, y, height, "tail", whole=True)),
        charts.upright(float(x.at(1.0)), height, "alert", "alert line"),
    ]
    shown = [("score", "events" if days else "observed")]
    if hindsight is not None and hindsight.passed is not None:
        made = hindsight.passed
        kept = np.flatnonzero((made.per_day > 0) & (made.level >= x.low))[::-1]
        kept = kept[np.unique(np.linspace(0, len(kept) - 1, 400).astype(np.int64))] if len(kept) else kept
        shape = charts.Envelope(x.at(made.level[kept]), made.per_day[kept], made.per_day[kept])
        plot.append(charts.stretched(height, charts.line(shape, y, height, "observed", whole=True)))
        shown.append(("observed", "incidents"))
    if drawn is not None:
        above = drawn[1] >= y.low
        shape = charts.Envelope(x.at(drawn[0][above]), drawn[1][above], drawn[1][above])
        plot.append(charts.stretched(height, charts.line(shape, y, height, "fit", whole=True)))
        shown.append(("fit", "incidents by the tail fitted in training"))
    ticks = [(float(y.at(tick)), charts.power(tick)) for tick in y.ticks(5)]
    body = charts.frame(
        plot,
        height,
        "How often each score is passed.",
        [(float(x.at(tick)), charts.power(tick)) for tick in x.ticks(6)],
        ticks,
    )
    title = tag("h4", "Above a score, per stream and day" if days else "Events above a score")
    return tag("figure", title, charts.legend([*shown, ("alert", "alert line")]), body)


def curve_of(fitted: Tail, x: Axis) -> tuple[Float64, Float64] | None:
    """Levels (K,) of an axis from that of the tail upwards, and how often a day each is passed; None beyond it."""
    if fitted.level >= x.high:
        return None
    level = np.geomspace(max(fitted.level, x.low), x.high, CURVE)
    return level, np.array([fitted.rate_above(one) for one in level.tolist()])


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


def compression(found: Compression | None) -> Html:
    """What the network keeps of a window, beside as many principal components."""
    if found is None:
        return Html()
    height, size = 220, len(found.explained)
    y, at = Axis(min(0.0, found.network), 1.0), np.arange(1, size + 1, dtype=np.float64)
    x = Axis(0.0, float(size))
    shape = charts.Envelope(x.at(at), found.explained, found.explained)
    here = np.array([float(x.at(float(found.code)))])
    plot = [
        charts.upright(float(here[0]), height, "grid"),
        charts.stretched(height, charts.line(shape, y, height, "score", whole=True)),
        charts.dots(here, y.at(np.array([found.network])), height, "dots loud", 5),
    ]
    body = charts.frame(
        plot,
        height,
        f"Explained variance by size of the code: {found.explained[found.code - 1]:.1%} by PCA and "
        f"{found.network:.1%} by the network with {found.code} numbers.",
        [(float(x.at(tick)), number(tick)) for tick in x.ticks(6) if tick == int(tick)],
        [(float(y.at(tick)), f"{tick:.0%}") for tick in y.ticks(5)],
    )
    chart = tag(
        "figure",
        tag("h4", "Explained variance by size of the code"),
        charts.legend([("score", "principal components"), ("loud", "the network")]),
        body,
    )
    ranked = sorted(found.features, key=lambda one: (-max(one.pca, one.network), one.name))
    lines = [[Cell("all features"), *figures(significant(found.pca_error), significant(found.network_error))]]
    lines += [
        [name_cell(one.name), *figures(significant(one.pca), significant(one.network))] for one in ranked[:FEATURES]
    ]
    said = (
        f"With {plural(found.code, 'number')} for a window, PCA keeps "
        f"{found.explained[found.code - 1]:.1%} of the variance, the network {found.network:.1%}. "
        f"Measured on {plural(found.tested, 'window')} below the alert line. PCA was fitted to the "
        f"{number(found.fitted)} before them, so it knows these rows; the network knows only what it was trained on."
    )
    more = f"The {FEATURES} largest of {number(len(ranked))} features." if len(ranked) > FEATURES else ""
    errors = tag(
        "figure",
        tag("h4", "Reconstruction error at this size"),
        table(("mean square, standardised units", ">PCA", ">network"), lines, own=0),
        tag("p", more, class_="quiet small") if more else Html(),
    )
    return tag(
        "section",
        tag("h2", "PCA against the code"),
        tag("p", said, class_="quiet small"),
        tag("div", chart, errors, class_="two even"),
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
