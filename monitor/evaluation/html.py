"""A backtest as one HTML document: nothing from elsewhere, no script, the same bytes for the same facts. Pure.

Stream and feature names and file names come from outside. Markup is made only by `tag`, which escapes every child that
is not markup itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from monitor import __version__
from monitor.evaluation import distributions, panels, tables
from monitor.evaluation.backtest import Backtest
from monitor.evaluation.comparison import Comparison, Rows
from monitor.evaluation.compression import Compression
from monitor.evaluation.hindsight import Hindsight
from monitor.evaluation.values import Bool
from monitor.evaluation.words import lasting, other_kinds
from monitor.web.markup import THIN, Html, join, moment, number, plural, significant, tag
from monitor.web.page import STYLE as PAGE_STYLE
from monitor.web.panels import model_card

STYLE = PAGE_STYLE + resources.files("monitor.evaluation").joinpath("report.css").read_text(encoding="utf-8")
CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Whatever a name may hold: the page runs nothing and asks nobody for anything. Heights are styles of elements."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the document is made of."""

    backtest: Backtest
    rows: tuple[Rows, ...]
    hindsight: Hindsight | None
    source: str  # what was read, as the user named it
    notes: Sequence[str] = ()  # of the reading, for people
    labels: Mapping[str, Bool] | None = None
    comparison: Comparison | None = None  # with labels
    compression: Compression | None = None  # where the model is a network and torch is there
    created: str = ""  # when, where it may be told; the document reads no clock


def render(facts: Facts) -> str:
    """The whole document."""
    sections = [
        ("summary", "Summary", _summary(facts)),
        ("timeline", "Timeline", panels.timeline(facts.backtest, facts.rows, facts.labels)),
        ("incidents", "Incidents", tables.incidents(facts.backtest, facts.rows, facts.labels)),
        ("worst", "Explanations", panels.explanations(facts.backtest)),
        ("measures", "Measures", tables.measures(facts.comparison)),
        ("scores", "Scores", distributions.scores(facts.backtest, facts.rows, facts.labels, facts.hindsight)),
        ("budget", "Budget", tables.budget(facts.backtest, facts.hindsight)),
        ("latent", "Latent space", _latent(facts)),
        ("model", "Model", _model(facts)),
    ]
    shown = [(anchor, title, body) for anchor, title, body in sections if body]
    links = [tag("a", title, href=f"#{anchor}") for anchor, title, _ in shown]
    body = join(
        (
            _header(facts),
            tag("nav", *links, aria_label="Sections"),
            tag("main", *(tag("div", body, id=anchor, class_="part") for anchor, _, body in shown)),
            _footer(facts),
        )
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=CONTENT_SECURITY_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"Backtest \u00b7 {facts.source}"),
        tag("style", Html(STYLE)),
    )
    return "<!doctype html>\n" + tag("html", head, tag("body", body), lang="en") + "\n"


def _latent(facts: Facts) -> Html:
    shown = (distributions.latent(facts.backtest, facts.labels), distributions.compression(facts.compression))
    return join(part for part in shown if part)


def _header(facts: Facts) -> Html:
    span = panels.span_of(facts.rows)
    when = f"{moment(span.low)} to {moment(span.high)}{THIN}UTC" if span else "no events"
    return tag(
        "header",
        tag("h1", "Backtest"),
        tag("span", tag("bdi", facts.source), class_="quiet source"),
        tag("span", when, class_="when quiet small"),
    )


def _summary(facts: Facts) -> Html:
    return join(
        (
            tag("section", tag("p", *_verdict(facts), class_="verdict")),
            tables.tiles(facts.backtest, facts.rows, facts.hindsight, facts.comparison),
            tag("div", panels.when(facts.backtest, facts.rows), tables.leaders(facts.backtest), class_="two"),
        )
    )


def _verdict(facts: Facts) -> list[str]:
    """The one paragraph that a person reads who reads no other."""
    backtest, hindsight = facts.backtest, facts.hindsight
    days = hindsight.stream_days if hindsight else 0.0
    fired = backtest.anomalies
    loud = len({(one.stream, one.partition) for one in fired})
    said: list[str] = [
        "This model and configuration would have opened ",
        tag("strong", plural(len(fired), "incident")),
        "" if len(backtest.series) == 1 else f" on {number(loud)} of {plural(len(backtest.series), 'stream')}",
    ]
    budget = backtest.manifest.calibration.alerts_per_stream_per_day
    if days:
        said += [" in ", tag("strong", lasting(days * 86_400)), " of stream time"]
        said += [f": {significant(len(fired) / days)} per stream and day"]
        said += [f", where the model was calibrated for {budget:g}" if budget is not None else ""]
    said.append(". ")
    if others := other_kinds(backtest.fired):
        said.append(f"Apart from these it would have reported {' and '.join(others)}. ")
    if facts.comparison and facts.comparison.overall:
        events = facts.comparison.overall["model"].events
        said += [
            "Of ",
            tag("strong", plural(events.labelled, "labelled event")),
            f" it found {number(events.found)}; ",
            tag("strong", number(len(events.false))),
            f" of its {plural(events.incidents, 'incident')} lie outside every label.",
        ]
    return said


def _model(facts: Facts) -> Html:
    backtest = facts.backtest
    rules = backtest.settings.incidents
    bands = rules.severity
    lasts = f", for at least {lasting(rules.min_duration)}" if rules.min_duration else ""
    cooldown = f", then {lasting(rules.cooldown)} of cooldown" if rules.cooldown else ""
    card = (
        ("Opens", f"{rules.open_after} of the last {rules.open_window} scores above 1{lasts}"),
        ("Closes", f"{rules.close_after} normal scores in a row{cooldown}"),
        ("Severity", f"warning from {bands.warning:g}, major from {bands.major:g}, critical from {bands.critical:g}"),
        ("Alert line", f"score 1 = error {significant(backtest.threshold)}"),
        ("Settings", tag("code", backtest.settings.digest()[:12], title=backtest.settings.digest())),
        *((f"{name}", f"{value:.4g}") for name, value in sorted(backtest.manifest.metrics.items())),
    )
    listed = tag("dl", *(join((tag("dt", term), tag("dd", text))) for term, text in card))
    reading = tag("section", tag("h2", "Configuration and metrics"), listed)
    return join(
        (
            tag("div", model_card(backtest.manifest, backtest.threshold), reading, class_="two even"),
            tables.notes(backtest, facts.notes),
        )
    )


def _footer(facts: Facts) -> Html:
    told = f"monitor {__version__}, backtest"
    return tag(
        "footer",
        tag("span", f"{told} of {facts.created}" if facts.created else told),
        tag("span", f"model {facts.backtest.manifest.digest[:12]}"),
        tag("span", "Event times in UTC. The score is error / threshold: above 1 is anomalous."),
    )
