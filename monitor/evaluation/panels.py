"""The pictures of a backtest's report. Every text from outside goes through `tag`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from monitor.alerts import SEVERITIES
from monitor.batch import Int64
from monitor.evaluation import charts
from monitor.evaluation.backtest import Backtest, Fired, Series
from monitor.evaluation.charts import Axis
from monitor.evaluation.comparison import Rows
from monitor.evaluation.events import intervals
from monitor.evaluation.excerpts import Excerpt
from monitor.evaluation.values import Bool
from monitor.evaluation.words import lasted, other_kinds, pair, worth
from monitor.web.markup import Html, moment, number, plural, significant, tag

STREAMS = 8  # of the timeline
BANDS = 200  # of one stream; more are joined with their neighbours
SHOWN = 3  # features of an incident
BARS = 60
_SPANS = {
    1: "second",
    10: "10 seconds",
    60: "minute",
    300: "5 minutes",
    900: "15 minutes",
    3600: "hour",
    86_400: "day",
    7 * 86_400: "week",
    28 * 86_400: "4 weeks",
    364 * 86_400: "52 weeks",
}


def span_of(rows: Sequence[Rows]) -> Axis | None:
    """From the first to the last event."""
    times = [one.time[[0, -1]] for one in rows if len(one.time)]
    if not times:
        return None
    low, high = float(min(time[0] for time in times)), float(max(time[1] for time in times))
    return Axis(low, high if high > low else low + 1.0)


def when(backtest: Backtest, rows: Sequence[Rows]) -> Html:
    """Incidents a day, or whatever span suits, by severity."""
    axis = span_of(rows)
    fired = backtest.anomalies
    if axis is None or not fired:
        return tag(
            "section",
            tag("h2", "When"),
            tag("p", "Nothing fired: no run of scores above the alert line was long enough.", class_="empty"),
        )
    span = next((span for span in _SPANS if (axis.high - axis.low) / span <= BARS - 2), max(_SPANS))
    first = np.floor(axis.low / span)
    whole = Axis(first * span, (np.floor(axis.high / span) + 1) * span)
    count = round((whole.high - whole.low) / span)
    begun = np.array([min(max(one.started_at, axis.low), axis.high) for one in fired])
    place = np.minimum((np.floor(begun / span) - first).astype(np.int64), count - 1)
    bands = np.array([SEVERITIES.index(one.severity) for one in fired])
    stacked = np.cumsum([np.bincount(place[bands == band], minlength=count) for band in range(3)], axis=0)
    most = Axis(0.0, 1.1 * float(max(stacked[-1].max(), 1)))
    edge = np.arange(count) / count
    below = np.zeros(count)
    plot = []
    for name, upper in zip(SEVERITIES, stacked, strict=True):
        plot.append(
            charts.bars(edge + 0.08 / count, edge + 0.92 / count, below / most.high, upper / most.high, 150, name)
        )
        below = upper.astype(np.float64)
    ticks = [(float(most.at(tick)), number(tick)) for tick in most.ticks(4) if tick == int(tick)]
    per = _SPANS[span]
    described = f"Incidents per {per}: {len(fired)} in all, at most {stacked[-1].max()} in one {per}."
    shown = [(name, name) for band, name in enumerate(SEVERITIES) if (bands == band).any()]
    return tag(
        "section",
        tag("h2", f"Incidents per {per}", tag("span", "by their first anomalous event", class_="count")),
        charts.legend(shown),
        charts.figure([charts.frame(plot, 150, described, charts.times(whole), ticks)]),
    )


def timeline(backtest: Backtest, rows: Sequence[Rows], labels: Mapping[str, Bool] | None) -> Html:
    """Score, alert line, incidents and labels of the streams where most happened."""
    axis = span_of(rows)
    if axis is None:
        return Html()
    ranked = sorted(range(len(rows)), key=lambda i: _rank(rows[i], labels))
    chosen = ranked[:STREAMS]
    left = ranked[STREAMS:]
    parts = []
    for i in chosen:
        series = backtest.series[i]
        own = [one for one in backtest.fired if (one.stream, one.partition) == (series.stream, series.partition)]
        several = sum(other.stream == series.stream for other in backtest.series) > 1
        parts.append(_stream(series, rows[i], own, None if labels is None else labels[series.stream], axis, several))
    entries = [("score", "score, highest and lowest of each column"), ("alert", "alert line (score 1)")]
    entries += [(name, name) for name in SEVERITIES if any(one.severity == name for one in backtest.anomalies)]
    entries += [("fault", "fault of the data, or drift")] if len(backtest.anomalies) < len(backtest.fired) else []
    entries += [("truth", "labelled")] if labels is not None else []
    count = f"{len(chosen)} of {plural(len(rows), 'stream')}, most incidents first" if left else ""
    fired = sum(len(rows[i].incidents) for i in left)
    rest = f"Not shown: {plural(len(left), 'stream')} with {plural(fired, 'incident')}." if left else ""
    return tag(
        "section",
        tag("h2", "Timeline", tag("span", count, class_="count")),
        charts.legend(entries),
        *parts,
        tag("p", rest, class_="quiet small") if rest else Html(),
    )


def _rank(rows: Rows, labels: Mapping[str, Bool] | None) -> tuple[int, int, float, str]:
    labelled = 0 if labels is None else len(intervals(labels[rows.stream]))
    peak = float(np.nanmax(rows.score)) if np.isfinite(rows.score).any() else 0.0
    return -len(rows.incidents), -labelled, -peak, rows.stream


def _stream(series: Series, rows: Rows, fired: Sequence[Fired], label: Bool | None, axis: Axis, several: bool) -> Html:
    height, lane = 128, 9
    known = rows.score[np.isfinite(rows.score)]
    name = f"{series.stream} (partition {series.partition})" if several else series.stream
    facts = [plural(sum(one.kind == "anomaly" for one in fired), "incident"), *other_kinds(fired)]
    if not len(known):
        facts = [f"never scored: {plural(len(rows.time), 'event')}, too few in a row for a window"]
        return tag("div", _lead(name, facts), class_="stream")
    facts.append(f"peak {significant(float(known.max()))}")
    low, peak = min(0.1, max(1e-4, float(np.quantile(known, 0.01)) / 2)), max(2.0, float(known.max()))
    y = Axis(low, peak * (peak / low) ** (1.4 * lane / height), log=True)  # the peak stays below the lane of incidents
    alert = height * (1 - float(y.at(1.0)))
    plot = [tag("rect", x="0", y="0", width="100%", height=str(lane), class_="lane")]
    if label is not None:
        spans = intervals(label)
        found = sum(bool(_overlap(rows.incidents, begin, end)) for begin, end in spans.tolist())
        facts.append(f"{found} of {plural(len(spans), 'label')} found" if len(spans) else "no label")
        for begin, end in charts.joined(spans, BANDS).tolist():
            first, last = float(rows.time[begin]), float(rows.time[end - 1])
            told = f"labelled {moment(first)} to {moment(last)}"
            where = float(axis.at(first)), float(axis.at(last))
            plot.append(charts.band(*where, lane, height - lane, "truth-shade", told))
            plot.append(charts.band(*where, height - lane + 3, lane - 3, "truth", told))
    plot.append(charts.stretched(height, charts.line(charts.envelope(rows.time, rows.score, axis), y, height, "score")))
    plot.append(charts.across(alert, "alert"))
    plot += [_incident(one, axis, lane) for one in _most(fired, BANDS)]
    if len(fired) > BANDS:
        facts.append(f"the {BANDS} highest are drawn")
    ticks = [(float(y.at(tick)), charts.power(tick)) for tick in y.ticks(4)]
    described = f"Score of {name} over time on a logarithmic scale: {', '.join(facts)}."
    body = charts.frame(plot, height, described, charts.times(axis, 6), ticks)
    return tag("div", _lead(name, facts), charts.figure([body]), class_="stream")


def _incident(one: Fired, axis: Axis, lane: int) -> Html:
    begin = float(axis.at(one.started_at))
    end = 1.0 if one.ended_at is None else float(axis.at(one.ended_at))
    told = f"{one.severity}, peak {significant(one.score)}, since {moment(one.started_at)}, lasted {lasted(one)}"
    if one.kind != "anomaly":
        return charts.band(begin, end, 0, lane, "fault", one.summary)
    return charts.band(begin, end, 0, lane, one.severity, told)


def _most(fired: Sequence[Fired], most: int) -> list[Fired]:
    chosen = sorted(fired, key=lambda one: (one.kind != "anomaly", -one.score))[:most]
    return sorted(chosen, key=lambda one: (one.kind == "anomaly", one.started_at))  # anomalies over faults


def _overlap(spans: Int64, begin: int, end: int) -> int:
    return int(np.count_nonzero((spans[:, 0] < end) & (spans[:, 1] > begin)))


def _lead(name: str, facts: Sequence[str]) -> Html:
    return tag(
        "div", tag("h3", tag("bdi", name)), tag("span", " \u00b7 ".join(facts), class_="quiet small"), class_="lead"
    )


def explanations(backtest: Backtest) -> Html:
    """Observed against expected around the incidents with the highest peaks."""
    fired = {one.incident: one for one in backtest.anomalies}
    names = backtest.manifest.feature_names
    shown = [
        _explained(fired[incident], excerpt, names)
        for incident, excerpt in backtest.excerpts.items()
        if incident in fired and fired[incident].features
    ]
    if not shown:
        return Html()
    count = "" if len(shown) == len(fired) else f"the {len(shown)} highest of {number(len(fired))}"
    entries = (
        ("observed", "observed"),
        ("expected", "expected by the model"),
        ("shade", "first to last anomalous event"),
    )
    return tag(
        "section",
        tag("h2", "Explanations", tag("span", count, class_="count")),
        charts.legend(entries),
        *shown,
    )


def _explained(one: Fired, excerpt: Excerpt, names: Sequence[str]) -> Html:
    top = worth(one, SHOWN)
    first = top[0]
    observed, expected = pair(first.observed, first.expected)
    worst = (
        f"{first.name} made {first.contribution:.0%} of the error at the peak: it was {observed} where "
        f"{expected} was expected."
    )
    span = f"{moment(one.started_at)}, lasted {lasted(one)}, peak {significant(one.score)} times the alert line"
    axis = Axis(float(excerpt.time[0]), float(max(excerpt.time[-1], excerpt.time[0] + 1e-3)))
    return tag(
        "div",
        tag(
            "div",
            tag("h3", tag("bdi", one.stream)),
            tag("span", one.severity, class_=f"badge {one.severity}"),
            tag("span", span, class_="quiet small"),
            class_="lead",
        ),
        tag("p", worst),
        tag("div", *(_feature(one, excerpt, axis, names, feature.name) for feature in top), class_="small-multiples"),
        class_="incident",
    )


def _feature(one: Fired, excerpt: Excerpt, axis: Axis, names: Sequence[str], name: str) -> Html:
    height = 96
    column = names.index(name)
    observed = excerpt.observed[:, column].astype(np.float64)
    expected = excerpt.expected[:, column].astype(np.float64)
    low, high = float(min(observed.min(), expected.min())), float(max(observed.max(), expected.max()))
    room = 0.08 * (high - low) or max(abs(high), 1.0) * 0.1
    y = Axis(low - room, high + room)
    end = axis.high if one.ended_at is None else one.ended_at
    lines = [
        charts.line(charts.envelope(excerpt.time, values, axis, 450), y, height, class_)
        for values, class_ in ((expected, "expected"), (observed, "observed"))
    ]
    told = "open" if one.ended_at is None else f"until {moment(one.ended_at)}"
    plot = [
        charts.band(float(axis.at(one.started_at)), float(axis.at(end)), 0, height, "shade", told),
        charts.upright(float(axis.at(one.opened_at)), height, "told", f"told {moment(one.opened_at)}"),
        charts.stretched(height, *lines),
    ]
    contribution = next(feature.contribution for feature in one.features if feature.name == name)
    ticks = [(float(y.at(tick)), f"{tick:.4g}") for tick in y.ticks(3)]
    described = f"{name}, observed against expected, from {moment(axis.low)} to {moment(axis.high)}."
    return tag(
        "figure",
        tag("h4", tag("bdi", name), tag("span", f" {contribution:.0%}", class_="quiet")),
        charts.frame(plot, height, described, charts.times(axis, 3), ticks),
    )
