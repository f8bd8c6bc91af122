"""The panels of the status page: tiles, tables, the model card. Every text from outside goes through `tag`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from monitor.model.architecture import Architecture, ClosedForm, Design, Joint
from monitor.model.manifest import Manifest, Scoring, TrainingRecord
from monitor.status import PartitionStatus, Status, StreamScore
from monitor.web.markup import THIN, UNKNOWN, Html, join, moment, number, percent, plural, significant, tag

ROWS = 25  # of any table; the rest is counted in words
NAMES = 12  # feature names spelled out on the model card


def tiles(status: Status) -> Html:
    lags = [partition.lag for partition in status.partitions]
    known = [lag for lag in lags if lag is not None]
    live = sum(partition.live for partition in status.partitions)
    warming = sum(partition.warming for partition in status.partitions)
    seen = status.events + status.rejects
    behind = f"records over {plural(len(lags), 'partition')}" if lags else "no partitions yet"
    return tag(
        "div",
        _tile("Events per second", number(status.events_per_second), f"{number(status.events)} events so far"),
        _tile("Lag", number(sum(known)) if known else UNKNOWN, behind),
        _tile(
            "Live streams",
            number(live),
            f"{number(warming)} warming up" if warming else "all windows full" if live else "none yet",
        ),
        _tile(
            "Open incidents",
            number(status.open_total),
            f"{plural(status.alerts, 'alert')} published",
            alarm=status.open_total > 0,
        ),
        _tile("Rejected", number(status.rejects), f"{percent(status.rejects, seen)} of all records"),
        class_="tiles",
    )


def _tile(title: str, value: str, below: str, alarm: bool = False) -> Html:
    return tag(
        "div",
        tag("h2", title),
        tag("div", value, class_="number"),
        tag("div", below, class_="quiet small"),
        class_="tile alarm" if alarm else "tile",
    )


def open_incidents(status: Status) -> Html:
    if not status.open_incidents:
        expect = "No open incidents. One opens when enough of a stream's last scores are above 1.0."
        return _section("Open incidents", empty=expect)
    rows = [
        (
            _name(incident.stream),
            tag("td", incident.what.replace("_", " "), class_="nowrap"),
            tag("td", tag("span", incident.severity, class_=f"badge {incident.severity}")),
            tag("td", significant(incident.score), class_="n over"),
            tag("td", f"{moment(incident.started_at)}", class_="nowrap"),
            tag("td", str(incident.partition), class_="n late"),
        )
        for incident in status.open_incidents[:ROWS]
    ]
    heads = ("Stream", "What", "Severity", ">Peak score", "Since (event time, UTC)", ">>Partition")
    return _section("Open incidents", heads, rows, total=status.open_total)


def worst_streams(status: Status) -> Html:
    if not status.worst:
        return _section("Highest scores", empty="No scores yet. A stream is scored once its window is full.")
    rows = [_score_row(worst) for worst in status.worst[:ROWS]]
    hidden = [worst.score for worst in status.worst[ROWS:]]
    rest = max(hidden + ([] if status.other_worst is None else [status.other_worst]), default=None)
    if rest is not None:
        rows.append(
            (
                tag("td", "all other streams, at most", class_="quiet"),
                tag("td", significant(rest), class_="n quiet"),
                tag("td", _bar(rest)),
            )
        )
    return _section("Highest scores", ("Stream", ">Latest score", "Alert line at the middle"), rows)


def _score_row(worst: StreamScore) -> tuple[Html, ...]:
    return (
        _name(worst.stream),
        tag("td", significant(worst.score), class_="n over" if worst.score > 1 else "n"),
        tag("td", _bar(worst.score), class_="bar"),
    )


def _bar(score: float) -> Html:
    """A score of 0 and up on a finite line: score / (score + 1) puts the alert line in the middle, 3 at 3/4."""
    share = 1.0 if not math.isfinite(score) else max(0.0, score) / (max(0.0, score) + 1.0)
    return tag(
        "svg",
        tag("rect", class_="track", width="100", height="10", rx="2"),
        tag("rect", class_="fill over" if score > 1 else "fill", width=f"{100 * share:.1f}", height="10", rx="1"),
        tag("rect", class_="line", x="49.6", width="0.8", height="10"),
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def last_rejects(status: Status) -> Html:
    if not status.last_rejects:
        return _section(
            "Last rejects", empty="Nothing rejected. Records that cannot be read show here, with the reason."
        )
    rows = [
        (
            tag("td", tag("code", reject.reason), class_="nowrap"),
            tag(
                "td",
                reject.detail,
                tag(
                    "div",
                    f"{reject.topic}, partition {reject.partition}, offset {reject.offset}",
                    class_="quiet small",
                ),
                class_="text",
            ),
        )
        for reject in status.last_rejects[:ROWS]
    ]
    return _section("Last rejects", ("Reason", "Detail"), rows, total=status.rejects)


def assignment(status: Status) -> Html:
    topic, *written = status.topics
    targets = [part for name in written for part in (", ", tag("code", name))][1:]
    lost = plural(status.data_lost, "record")
    names = _list(
        (
            ("Group", tag("code", status.group)),
            ("Topics", join((tag("code", topic), " \u2192 ", *targets))),
            ("Delivery", status.delivery.replace("_", " ")),
            *(
                [("Data lost", tag("span", f"{lost} gone before they were read", class_="over"))]
                if status.data_lost
                else ()
            ),
            ("Settings", tag("code", status.settings_digest[:12], title=status.settings_digest)),
        )
    )
    if not status.partitions:
        expect = "No partitions yet: the group is still dealing them out, or it has more members than partitions."
        return tag("section", tag("h2", "Assignment"), names, tag("p", expect, class_="empty"))

    def behind(partition: PartitionStatus) -> tuple[bool, float]:
        return partition.state != "reading", math.inf if partition.lag is None else partition.lag

    chosen = sorted(status.partitions, key=behind, reverse=True)[:ROWS]
    rows = [
        (
            tag("td", str(partition.partition), class_="n"),
            tag("td", UNKNOWN if partition.lag is None else number(partition.lag), class_="n"),
            tag("td", number(partition.position), class_="n"),
            tag("td", number(partition.live), class_="n", title=f"{number(partition.warming)} warming up"),
            tag("td", _progress(partition)),
        )
        for partition in sorted(chosen, key=lambda partition: partition.partition)
    ]
    heads = (">Partition", ">Lag", ">Position", ">Streams", "State")
    return _section("Assignment", heads, rows, total=len(status.partitions), before=names)


def _progress(partition: PartitionStatus) -> Html:
    if partition.state == "reading":
        return tag("span", "reading", class_="quiet")
    if partition.state == "stuck":
        return tag("span", "stuck", class_="badge critical", title="stands still though there is more to read")
    # Never 100 while it goes on.
    share = "" if partition.recovered is None else f" {math.floor(99 * partition.recovered)}{THIN}%"
    left = f"{plural(partition.recovery_left, 'record')} to go"
    return tag("span", f"recovering{share}", class_="badge warn", title=left)


def shared_names(status: Status) -> Html:
    if not status.shared:
        return join(())
    rows = [
        (_name(name.stream), tag("td", ", ".join(map(str, name.partitions)), class_="n"))
        for name in status.shared[:ROWS]
    ]
    return _section("One name, several partitions: key the input by stream", ("Stream", ">Partitions"), rows)


def warming_streams(status: Status) -> Html:
    if not status.warming:
        return _section("Warming up", empty="No stream is warming up. A new one shows here until its window is full.")
    rows = [
        (_name(stream.stream), tag("td", f"{stream.events} of {stream.needed} events", class_="n"))
        for stream in status.warming[:ROWS]
    ]
    total = sum(partition.warming for partition in status.partitions)
    return _section("Warming up", ("Stream", ">Window"), rows, total=max(total, len(status.warming)))


def model_card(model: Manifest, threshold: float) -> Html:
    shape, calibration, training = model.architecture, model.calibration, model.training
    names = model.feature_names
    listed = ", ".join(names[:NAMES]) + (f" and {len(names) - NAMES} more" if len(names) > NAMES else "")
    line = significant(threshold)
    if threshold != calibration.threshold:
        line += f" (set in the configuration; calibrated {significant(calibration.threshold)})"
    budget = calibration.alerts_per_stream_per_day
    origin = "" if budget is None else f", for a budget of {budget:g} a stream and day"
    span = f"{moment(training.first_time)[:10]} to {moment(training.last_time)[:10]}"
    card = (
        ("Detector", _detector(shape)),
        ("Window", f"{plural(shape.window, 'event')}, scored over the {_scored(model.scoring)}"),
        ("Features", f"{len(names)}: {listed}"),
        ("Threshold", line),
        (
            "Calibrated",
            f"above {100 * calibration.quantile:.6g} % of {plural(calibration.windows, 'normal window')}{origin}",
        ),
        ("Trained", f"{plural(training.rows, 'row')} of {plural(training.streams, 'stream')}, {span}"),
        ("Fit", _fit(shape, training)),
        ("Source", training.source),
        ("Digest", tag("code", model.digest[:12], title=model.digest)),
    )
    return tag("section", tag("h2", "Model"), _list(card))


def _detector(shape: Design) -> str:
    match shape:
        case Joint(members=members):
            return "mean of " + "; ".join(map(_detector, members))
        case ClosedForm(network=kind):
            return {"max_z": "largest |z|", "pca": "principal components", "mahalanobis": "Mahalanobis distance"}[kind]
        case Architecture():
            size = f"hidden {', '.join(map(str, shape.hidden)) or 'none'}, code {shape.code}"
            return f"{shape.network.upper().replace('_', '-')} autoencoder, {shape.objective}, {size}"


def _fit(shape: Design, training: TrainingRecord) -> str:
    windows = plural(training.fit_windows, "window")
    if not training.epochs:
        return windows
    losses = {
        one.loss for one in (shape.members if isinstance(shape, Joint) else (shape,)) if isinstance(one, Architecture)
    }
    learned = f"{', '.join(losses)} loss, {training.optimiser}, best epoch {training.best_epoch} of {training.epochs}"
    return f"{windows}, {learned}"


def _scored(scoring: Scoring) -> str:
    last = "last event" if scoring.last == 1 else f"last {scoring.last} events"
    return " and the ".join("whole window" if span == "window" else last for span in scoring.spans)


def _list(pairs: Iterable[tuple[str, str]]) -> Html:
    return tag("dl", *(join((tag("dt", term), tag("dd", text))) for term, text in pairs))


def _name(text: str) -> Html:
    """A stream name; bdi keeps right-to-left marks in it from turning the rest of the row around."""
    return tag("td", tag("bdi", text), class_="name", title=text)


def _section(
    title: str,
    heads: Sequence[str] = (),
    rows: Sequence[Sequence[Html]] = (),
    total: int | None = None,
    empty: str = "",
    before: Html | None = None,
) -> Html:
    """A titled table. `total`: how many there are, shown or not.

    A head that begins with `>` stands over numbers, one with `>>` over numbers that a narrow screen leaves out.
    """
    if empty:
        return tag("section", tag("h2", title), tag("p", empty, class_="empty"))
    count = "" if total is None else number(total) if total <= len(rows) else f"{len(rows)} of {number(total)}"
    head = tag("tr", *(_head(text) for text in heads))
    return tag(
        "section",
        tag("h2", title, tag("span", count, class_="count")),
        before or Html(),
        tag("div", tag("table", tag("thead", head), tag("tbody", *(tag("tr", *row) for row in rows))), class_="scroll"),
    )


def _head(text: str) -> Html:
    late = " late" if text.startswith(">>") else ""
    return tag("th", text.lstrip(">"), class_=f"n{late}") if text.startswith(">") else tag("th", text)
