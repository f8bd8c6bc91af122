"""Tiles and tables of a backtest's report. Every text from outside goes through `tag`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan

import numpy as np

from monitor.alerts import SEVERITIES
from monitor.evaluation.backtest import Backtest
from monitor.evaluation.comparison import FLAG_ALL, MAX_Z, METHODS, MODEL, ORACLE, Comparison, Rows
from monitor.evaluation.hindsight import Hindsight
from monitor.evaluation.rarity import among_blocks
from monitor.evaluation.report import Report
from monitor.evaluation.values import Bool
from monitor.evaluation.words import lasted, lasting, leading, share
from monitor.web.markup import THIN, UNKNOWN, Html, moment, number, percent, plural, significant, tag

INCIDENTS = 40  # of the table; the rest is counted
NAMES = 8
STREAMS = 20


def _delay(report: Report) -> str:
    rows, seconds = report.events.median_delay_rows, report.events.median_delay_seconds
    return UNKNOWN if isnan(rows) else f"{plural(rows, 'row')}, {lasting(seconds)}"


MEASURES: dict[str, Callable[[Report], str]] = {
    "Labelled events found": lambda one: f"{number(one.events.found)} of {number(one.events.labelled)}",
    "Event precision": lambda one: share(one.events.precision),
    "Event recall": lambda one: share(one.events.recall),
    "Event F1": lambda one: share(one.events.f1),
    "Detection delay (median)": _delay,
    "Alerts a stream and day": lambda one: significant(one.alerts_per_day),
    "False incidents": lambda one: number(len(one.events.false)),
    "Row F1": lambda one: share(one.points.f1),
    "False alarm rate (FAR)": lambda one: share(one.points.far),
    "Missed alarm rate (MAR)": lambda one: share(one.points.mar),
    "Average precision": lambda one: share(one.average_precision),
    "ROC-AUC": lambda one: share(one.roc_auc),
    "VUS-PR": lambda one: share(one.vus_pr),
}
BY_STREAM = {
    "Found": "Labelled events found",
    "Precision": "Event precision",
    "Recall": "Event recall",
    "Delay": "Detection delay (median)",
    "Alerts a day": "Alerts a stream and day",
    "FAR": "False alarm rate (FAR)",
    "MAR": "Missed alarm rate (MAR)",
    "AP": "Average precision",
    "AUC": "ROC-AUC",
    "VUS-PR": "VUS-PR",
}
"""Heads of the table with a row for each stream."""
HEADS = {MODEL: "This model", ORACLE: "Oracle threshold", MAX_Z: "max |z| > 3", FLAG_ALL: "Flag everything"}


@dataclass(frozen=True, slots=True)
class Cell:
    content: str
    class_: str | None = None
    title: str | None = None


def tiles(backtest: Backtest, rows: Sequence[Rows], hindsight: Hindsight | None, comparison: Comparison | None) -> Html:
    fired = backtest.anomalies
    loud = len({(one.stream, one.partition) for one in fired})
    events = sum(len(one.offset) for one in backtest.series)
    scored = sum(int(np.count_nonzero(np.isfinite(one.score))) for one in rows)
    severities = Counter(one.severity for one in fired)
    told = ", ".join(f"{number(severities[name])} {name}" for name in reversed(SEVERITIES) if severities[name])
    still = sum(one.open for one in fired)
    days = hindsight.stream_days if hindsight else 0.0
    budget = backtest.manifest.calibration.alerts_per_stream_per_day
    parts = [
        _tile("Incidents", number(len(fired)), told or "nothing fired"),
        _tile(
            "A stream and day",
            significant(len(fired) / days) if days else UNKNOWN,
            f"calibrated for {budget:g}" if budget is not None else f"{plural(still, 'incident')} open at the end",
        ),
        _tile("Streams with incidents", number(loud), f"of {number(len(backtest.series))}"),
        _tile("Events scored", number(scored), f"of {number(events)}, {number(backtest.rejected)} rejected"),
    ]
    if comparison and comparison.overall:
        found = comparison.overall[MODEL].events
        recall = UNKNOWN if isnan(found.recall) else f"{100 * found.recall:.0f}{THIN}%"
        parts.append(_tile("Labelled events found", recall, f"{number(found.found)} of {number(found.labelled)}"))
    else:
        peak = max((one.score for one in fired), default=nan)
        parts.append(_tile("Highest peak", significant(peak), "times the alert line"))
    return tag("div", *parts, class_="tiles")


def leaders(backtest: Backtest) -> Html:
    """How many of each severity, and which features led."""
    fired = backtest.anomalies
    if not fired:
        return tag("section", tag("h2", "What led"), tag("p", "No incident, so no feature to blame.", class_="empty"))
    first = Counter(one.features[0].name for one in fired if one.features)
    most = first.most_common(NAMES)
    lines = [[name_cell(name), *figures(number(count), percent(count, len(fired)))] for name, count in most]
    others = sum(first.values()) - sum(count for _, count in most)
    if others:
        rest = Cell(f"{number(len(first) - len(most))} other features", "quiet")
        lines.append([rest, *figures(number(others), percent(others, len(fired)))])
    severities = Counter(one.severity for one in fired)
    reasons = Counter(one.reason or "open at the end" for one in fired)
    badges = [
        tag("span", f"{number(severities[name])} {name}", class_=f"badge {name}")
        for name in reversed(SEVERITIES)
        if severities[name]
    ]
    said = ", ".join(f"{number(count)} {name.replace('_', ' ')}" for name, count in reasons.most_common())
    return tag(
        "section",
        tag("h2", "What led"),
        tag("div", *badges, tag("span", said, class_="quiet small"), class_="lead"),
        table(("Largest contribution", ">Incidents", ">Share"), lines),
    )


def incidents(backtest: Backtest, rows: Sequence[Rows], labels: Mapping[str, Bool] | None) -> Html:
    """The highest peaks first, faults of the data last."""
    if not backtest.fired:
        return Html()
    true = matched(backtest, rows, labels)
    rare = among_blocks(backtest)
    ordered = sorted(backtest.fired, key=lambda one: (one.kind != "anomaly", -one.score, one.opened_at, one.incident))
    lines = []
    for one in ordered[:INCIDENTS]:
        fault = one.kind != "anomaly"
        badge = tag(
            "span",
            "drift" if one.kind == "drift" else "data" if fault else one.severity,
            class_="badge" if fault else f"badge {one.severity}",
        )
        told = one.summary.removeprefix(f"{one.stream}: ") if fault else leading(one, 3)
        cells = [Cell(moment(one.started_at), "nowrap"), name_cell(one.stream), Cell(badge)]
        cells += figures(significant(one.score))
        if rare is not None:
            cells += figures(UNKNOWN if fault else f"{rare.p[one.incident]:.2g}")
        cells += [*figures(lasted(one)), Cell(told, "features small")]
        if labels is not None:
            hit = true.get(one.incident)
            mark = tag("span", "true" if hit else "false alarm", class_="badge truth" if hit else "badge warn")
            cells.append(Cell(UNKNOWN if hit is None else mark))
        lines.append(cells)
    heads = ["Since", "Stream", "Severity", ">Peak", *[">p"] * (rare is not None), ">Lasted", "Contributions"]
    heads += ["Label"] * (labels is not None)
    count = number(len(lines)) if len(lines) == len(ordered) else f"the {len(lines)} worst of {number(len(ordered))}"
    parts = [tag("h2", "Incidents", tag("span", count, class_="count")), table(heads, lines)]
    if rare is not None:
        parts.append(tag("p", rare.told, class_="quiet small"))
    return tag("section", *parts)


def measures(comparison: Comparison | None) -> Html:
    """Against labels: all streams together, then each."""
    if comparison is None or not comparison.overall:
        return Html()
    overall = comparison.overall
    lines = [
        [Cell(name, "measure"), *figures(*(show(overall[method]) for method in METHODS))]
        for name, show in MEASURES.items()
    ]
    explained = (
        "Rows, events and incidents of all streams are added up; average precision, ROC-AUC and VUS-PR are means over "
        f"the streams. The oracle is the threshold with the best row F1, found with these very labels (here "
        f"{significant(overall[ORACLE].threshold)} times the alert line): a bound, not a result. Flagging everything "
        "is one endless incident that overlaps every label: read event measures beside the false alarm rate. Scores "
        "are never point-adjusted."
    )
    heads = ("All streams", *(f">{HEADS[method]}" for method in METHODS))
    parts = [tag("h2", "Measures"), tag("p", explained, class_="quiet small"), table(heads, lines)]
    if len(comparison.streams) > 1:
        chosen = list(comparison.streams.items())[:STREAMS]
        each = [
            [name_cell(stream), *figures(*(MEASURES[name](reports[MODEL]) for name in BY_STREAM.values()))]
            for stream, reports in chosen
        ]
        told = plural(len(comparison.streams), "stream")
        told = told if len(chosen) == len(comparison.streams) else f"{len(chosen)} of {told}"
        parts += [tag("h3", f"This model, by stream ({told})", class_="next")]
        parts += [table(("Stream", *(f">{name}" for name in BY_STREAM)), each)]
    return tag("section", *parts)


def budget(backtest: Backtest, hindsight: Hindsight | None) -> Html:
    if hindsight is None:
        return Html()
    heads = ["Incidents a stream", ">Threshold", ">Of the alert line", ">Would have fired", ">A day", "Severities"]
    heads += [">Labels found", ">False alarms"] * (hindsight.choices[0].events is not None)
    lines = []
    for one in hindsight.choices:
        bands = ", ".join(f"{number(count)} {name}" for name, count in one.severities.items() if count)
        cells = [Cell("as configured" if one.budget is None else f"{one.budget:g} a day", "measure")]
        cells += figures(significant(one.score * backtest.threshold), f"\u00d7{THIN}{significant(one.score)}")
        cells += [*figures(number(one.incidents), significant(one.per_day)), Cell(bands or "none", "features small")]
        if one.events is not None:
            found = f"{number(one.events.found)} of {number(one.events.labelled)}"
            cells += figures(found, number(len(one.events.false)))
        lines.append(cells)
    said = (
        "In hindsight: the lowest threshold that would have kept each budget on exactly these rows, under the same "
        "incident rules. It is no calibration: anomalies among the rows raise it, and the rows to come are others. A "
        "budget that is not used up cannot be: at a lower line incidents grow into each other."
    )
    asked = backtest.manifest.calibration.alerts_per_stream_per_day
    if asked is not None:
        said += f" The model was calibrated, on held-out normal rows, for {asked:g} a stream and day."
    return tag("section", tag("h2", "Budget"), tag("p", said, class_="quiet small"), table(heads, lines, own=0))


def notes(backtest: Backtest, texts: Sequence[str]) -> Html:
    lines = [*texts, *(f"rejected ({number(count)} x): {reason}" for reason, count in backtest.rejects)]
    if not lines:
        return Html()
    return tag("section", tag("h2", "Notes"), tag("ul", *(tag("li", text) for text in lines), class_="notes small"))


def matched(backtest: Backtest, rows: Sequence[Rows], labels: Mapping[str, Bool] | None) -> dict[str, bool]:
    """By incident, whether it overlaps a labelled row."""
    if labels is None:
        return {}
    found: dict[str, bool] = {}
    for series, one in zip(backtest.series, rows, strict=True):
        own = [
            told for told in backtest.anomalies if (told.stream, told.partition) == (series.stream, series.partition)
        ]
        for told, (begin, end) in zip(own, one.incidents.tolist(), strict=True):
            found[told.incident] = bool(labels[one.stream][begin:end].any())
    return found


def name_cell(text: str) -> Cell:
    """The element bdi keeps right-to-left marks in a name from turning the rest of the row around."""
    return Cell(tag("bdi", text), "name", text)


def figures(*texts: str) -> list[Cell]:
    """Numbers, to the right."""
    return [Cell(text, "n") for text in texts]


def table(heads: Sequence[str], lines: Sequence[Sequence[Cell]], own: int = -1) -> Html:
    """A head that begins with `>` stands over numbers. `own` is a row that stands out.

    On a narrow screen each row becomes a list, in which every cell but the first has its head beside it.
    """
    names = [text.lstrip(">") for text in heads]
    classes = ["n" if name != text else None for name, text in zip(names, heads, strict=True)]
    head = [tag("th", name, class_=class_, scope="col") for name, class_ in zip(names, classes, strict=True)]
    rows = [
        tag(
            "tr",
            *(
                tag("td", tag("span", cell.content), class_=cell.class_, title=cell.title, data_head=name)
                for cell, name in zip(cells, names, strict=True)
            ),
            class_="own" if place == own else None,
        )
        for place, cells in enumerate(lines)
    ]
    stacked = "stack" if len(heads) > 3 else None
    whole = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *rows), class_=stacked)
    return tag("div", whole, class_="scroll")


def _tile(title: str, value: str, below: str) -> Html:
    return tag(
        "div",
        tag("h2", title),
        tag("div", value, class_="number"),
        tag("div", below, class_="quiet small"),
        class_="tile",
    )
