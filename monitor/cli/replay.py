"""`monitor replay`: the service's pipeline on files, without Kafka."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import click
from rich.console import Console

from monitor import detector
from monitor.alerts import Alert
from monitor.assembly import assemble
from monitor.batch import Record
from monitor.cli import config_option
from monitor.cli.incident_table import IncidentTable
from monitor.config import Settings, loading
from monitor.errors import MonitorError
from monitor.feeds.files import Mapping, read
from monitor.feeds.table import records
from monitor.pipeline import Pipeline


@click.command(epilog="Example: monitor replay 'data/*.csv' --model model --ignore label")
@click.argument("patterns", nargs=-1, required=True, metavar="FILES...")
@click.option("--model", type=click.Path(path_type=Path), metavar="DIR", help="Artefact folder; else model.path.")
@config_option
@click.option("--stream-column", metavar="NAME", help="Where it is not called stream.")
@click.option("--time-column", metavar="NAME", help="Where it is not called time.")
@click.option("--ignore", default="", metavar="A,B", help="Columns to leave out, such as labels.")
@click.option("--json", "as_json", is_flag=True, help="One alert a line, as published; the default into a pipe.")
def replay(
    patterns: tuple[str, ...],
    model: Path | None,
    config: Path | None,
    stream_column: str | None,
    time_column: str | None,
    ignore: str,
    as_json: bool,
) -> None:
    """Print the alerts the service would publish for files (CSV, NDJSON, Parquet).

    The rows are read as the records 0, 1, 2, ... of partition 0 of the input topic, all streams merged by time.
    """
    overrides = {"model": {"path": str(model.absolute())}} if model else None
    settings = loading.load(config, overrides=overrides)
    loaded = detector.load(settings.model.path, settings.model, settings.events.features)
    pipeline = assemble(settings, loaded)
    ignored = tuple(name for name in ignore.split(",") if name)
    table = read(patterns, Mapping(stream_column=stream_column, time_column=time_column, ignore=ignored))
    for note in table.notes:
        click.echo(f"note: {note}", err=True)
    begun = time.perf_counter()
    found = IncidentTable()
    totals: Counter[str] = Counter()
    lines = as_json or not sys.stdout.isatty()
    for alert in alerts_of(pipeline, records(table, settings.topics.input.name), settings, totals):
        found.add(alert)
        if lines:
            sys.stdout.write(alert.to_bytes().decode() + "\n")
    if not lines and len(found):
        Console().print(found.render(len(found)))
    _summarise(totals, len(found), time.perf_counter() - begun)
    if totals["rejects"] and not totals["events"]:
        raise MonitorError(
            "no row became an event",
            "Columns to leave out are named with --ignore, the time's and the stream's with --time-column and "
            "--stream-column.",
        )


def alerts_of(
    pipeline: Pipeline, source: Iterator[Record], settings: Settings, totals: Counter[str]
) -> Iterator[Alert]:
    """What the pipeline says of the records, in batches of `kafka.poll_records`; counts go into `totals`."""
    while batch := _take(source, settings.kafka.poll_records):
        outcome = pipeline.process(batch)
        totals.update(events=outcome.counts.events, windows=outcome.counts.windows, rejects=len(outcome.rejects))
        totals.update(f"  {reject.reason}: {reject.detail}" for reject in outcome.rejects)
        yield from outcome.alerts


def _take(source: Iterator[Record], most: int) -> Sequence[Record]:
    return list(islice(source, most))


def _summarise(totals: Counter[str], incidents: int, seconds: float) -> None:
    rate = totals["events"] / seconds if seconds > 0 else 0.0
    click.echo(
        f"{totals['events']} events, {totals['windows']} windows scored, {totals['rejects']} rejected, "
        f"{incidents} incidents, {rate:.0f} events/s",
        err=True,
    )
    for text, count in totals.most_common():
        if text.startswith("  "):
            click.echo(f"{text} ({count} x)", err=True)
