"""`monitor evaluate`: what a model's scores and incidents are worth against labels, beside the simplest detectors."""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table as Shown
from rich.text import Text

from monitor import detector
from monitor.batch import Int64, Record
from monitor.cli import config_option
from monitor.config import Settings, loading
from monitor.detector import Detector
from monitor.errors import MonitorError
from monitor.evaluation import backtest
from monitor.evaluation.comparison import METHODS, MODEL, Comparison, compare, rows_of
from monitor.evaluation.labels import read_labels
from monitor.evaluation.report import Report
from monitor.evaluation.tables import MEASURES
from monitor.feeds import files
from monitor.feeds.table import Table, records

_EXAMPLE = "monitor evaluate test.csv --labels labels.csv --model model"
_STREAMS = 40  # shown; --json has all
_WIDTH = 100  # where it is not a terminal that has one


@click.command(epilog=f"\b\nExample: {_EXAMPLE}")
@click.argument("patterns", nargs=-1, metavar="FILES...", required=True)
@click.option(
    "--labels", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Rows or intervals (CSV)."
)
@click.option("--model", type=click.Path(path_type=Path), metavar="DIR", help="Artefact folder; else model.path.")
@config_option
@click.option("--stream-column", metavar="NAME", help="Where it is not called stream.")
@click.option("--time-column", metavar="NAME", help="Where it is not called time.")
@click.option("--json", "as_json", is_flag=True, help="All measures of all streams, as JSON.")
def evaluate(
    patterns: tuple[str, ...],
    labels: Path,
    model: Path | None,
    config: Path | None,
    stream_column: str | None,
    time_column: str | None,
    as_json: bool,
) -> None:
    """Measure a model on labelled files: what it finds, how late, how often in vain.

    The rows go through the service's own pipeline. Labels are a column of 0
    and 1, one a row, or columns start and end of labelled intervals.
    """
    settings, loaded = prepared(config, model)
    table = read(patterns, loaded, stream_column, time_column)
    for note in table.notes:
        click.echo(f"note: {note}", err=True)
    source = Rows(table, settings)
    found = backtest.run(settings, loaded, source.batches())
    if not found.series:
        raise nothing_scored(found)
    rows = rows_of(found, source.offsets)
    if not any(np.isfinite(one.score).any() for one in rows):
        window, gap = loaded.manifest.architecture.window, found.max_gap
        raise MonitorError(
            f"none of {found.records} rows got a score: no window of {window} events was ever full",
            f"Give longer series. A silence of more than {gap:g} s (windows.max_gap) empties a window.",
        )
    compared = compare(rows, read_labels(labels, {one.stream: one.time for one in rows}), settings.incidents)
    if found.rejected:
        click.echo(f"note: {found.rejected} rows rejected, the first as {found.rejects[0][0]}", err=True)
    if as_json:
        click.echo(json.dumps(_plain(compared), indent=2, allow_nan=False))
    else:
        _show(compared, len(found.fired) - len(found.anomalies))


def prepared(config: Path | None, model: Path | None) -> tuple[Settings, Detector]:
    """Settings and the model they name, or the one given instead."""
    overrides = {"model": {"path": str(model.absolute())}} if model else None
    settings = loading.load(config, overrides=overrides)
    return settings, detector.load(settings.model.path, settings.model, settings.events.features)


def read(patterns: Sequence[str], loaded: Detector, stream_column: str | None, time_column: str | None) -> Table:
    """The model's features of the files; other columns, labels among them, are left out."""
    manifest = loaded.manifest
    mapping = files.Mapping(
        stream_column, time_column, features=manifest.feature_names, category=manifest.codes.__contains__
    )
    return files.read(patterns, mapping)


class Rows:
    """A table as the records that `monitor replay` makes of it, and where each row of a stream stands among them."""

    def __init__(self, table: Table, settings: Settings) -> None:
        self._table = table
        self._settings = settings
        self._offsets: defaultdict[str, list[int]] = defaultdict(list)

    def batches(self) -> Iterator[Sequence[Record]]:
        source = records(self._table, self._settings.topics.input.name)
        while batch := list(islice(source, self._settings.kafka.poll_records)):
            for record in batch:
                self._offsets[(record.key or b"").decode()].append(record.offset)
            yield batch

    @property
    def offsets(self) -> Mapping[str, Int64]:
        """(n,) of the rows of each stream, in their order, once the batches were taken."""
        return {stream: np.array(offsets, np.int64) for stream, offsets in self._offsets.items()}


def nothing_scored(found: backtest.Backtest) -> MonitorError:
    reason = found.rejects[0][0] if found.rejects else "there are no rows"
    return MonitorError(
        f"no row became an event: {reason}",
        "The files must hold the model's features; the stream and the time are named with --stream-column and "
        "--time-column.",
    )


def _show(compared: Comparison, faults: int) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    overall = Shown(box=None, header_style="bold", pad_edge=False)
    overall.add_column("all streams" if len(compared.streams) > 1 else Text(next(iter(compared.streams))), no_wrap=True)
    for name in ("model", "oracle", "max |z| > 3", "flag all"):
        overall.add_column(name, justify="right", no_wrap=True)
    for name, show in MEASURES.items():
        overall.add_row(name, *(_ascii(show(compared.overall[method])) for method in METHODS))
    console.print(overall)
    total = compared.overall[MODEL]
    told = [
        f"{total.rows} rows, {total.anomalous} labelled, {total.unscored} without a score: never flagged, ranked last.",
        "The oracle threshold was found with these labels: a bound, not a result.",
    ]
    if faults:
        told.append(f"{faults} faults of the data were reported too; they are not counted here.")
    if len(compared.streams) > 1:
        told.append("Rows, events and incidents are added up; AP, ROC-AUC and VUS-PR are means over the streams.")
        console.print()
        console.print(_by_stream(compared))
    if len(compared.streams) > _STREAMS:
        told.append(f"{len(compared.streams) - _STREAMS} more streams: --json")
    console.print()
    for line in told:
        console.print(line, markup=False, soft_wrap=True)


def _by_stream(compared: Comparison) -> Shown:
    """One line of 80 columns for each stream."""
    shown = Shown(box=None, header_style="bold", pad_edge=False)
    shown.add_column("stream", max_width=16, no_wrap=True, overflow="ellipsis")
    for name in ("found", "P", "R", "F1", "delay", "a day", "FAR", "MAR", "AP", "AUC", "VUS"):
        shown.add_column(name, justify="right", no_wrap=True)
    for stream, reports in list(compared.streams.items())[:_STREAMS]:
        one = reports[MODEL]
        events, points = one.events, one.points
        rates = [events.precision, events.recall, events.f1]
        ranks = [points.far, points.mar, one.average_precision, one.roc_auc, one.vus_pr]
        shown.add_row(
            Text(stream),
            f"{events.found}/{events.labelled}",
            *map(_short, rates),
            _short(events.median_delay_rows, "g"),
            _short(one.alerts_per_day, ".3g"),
            *map(_short, ranks),
        )
    return shown


def _short(value: float, form: str = ".2f") -> str:
    return "-" if math.isnan(value) else format(value, form)


def _ascii(text: str) -> str:
    return text.replace("\u202f", " ").replace("\u2013", "-")


def _plain(compared: Comparison) -> dict[str, Any]:
    return {
        "overall": {method: _facts(report) for method, report in compared.overall.items()},
        "streams": {
            stream: {method: _facts(report) for method, report in reports.items()}
            for stream, reports in compared.streams.items()
        },
    }


def _facts(report: Report) -> dict[str, Any]:
    """All that was counted, and the rates that follow; a measure that is not defined is null."""
    points, events = report.points, report.events
    facts: dict[str, Any] = {
        "rows": report.rows,
        "unscored": report.unscored,
        "anomalous": report.anomalous,
        "threshold": report.threshold,
        "event_precision": events.precision,
        "event_recall": events.recall,
        "event_f1": events.f1,
        "events_labelled": events.labelled,
        "events_found": events.found,
        "incidents": events.incidents,
        "incidents_false": len(events.false),
        "delay_rows": events.median_delay_rows,
        "delay_seconds": events.median_delay_seconds,
        "alerts_per_stream_per_day": report.alerts_per_day,
        **asdict(points),
        "row_precision": points.precision,
        "row_recall": points.recall,
        "row_f1": points.f1,
        "far": points.far,
        "mar": points.mar,
        "average_precision": report.average_precision,
        "roc_auc": report.roc_auc,
        "vus_pr": report.vus_pr,
        "vus_window": report.vus_window,
    }
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in facts.items()
    }
