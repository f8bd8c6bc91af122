"""`monitor alerts`: follows the alert topic."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from pydantic import ValidationError
from rich.console import Console
from rich.live import Live

from monitor.alerts import Alert, parse
from monitor.batch import Record
from monitor.cli import config_option
from monitor.cli.incident_table import IncidentTable
from monitor.config import loading
from monitor.kafka.connect import check_options
from monitor.kafka.tail import follow
from monitor.repeats import Repeats


@click.command(epilog="Example: monitor alerts -c monitor.yaml --all --json | jq .stream")
@config_option
@click.option("--json", "as_json", is_flag=True, help="One alert a line, as published; the default into a pipe.")
@click.option("--all", "everything", is_flag=True, help="Begin with the oldest alert the topic holds.")
@click.option("--once", is_flag=True, help="Stop at the end of the topic; implies --all.")
def alerts(config: Path | None, as_json: bool, everything: bool, once: bool) -> None:
    """Follow the alert topic: a live table of incidents, or JSON lines.

    Shows each alert once: it reads what is committed (read_committed), and leaves out a repeat (same id), as
    at-least-once delivery may bring. Joins no group, commits nothing. Ctrl+C stops.
    """
    settings = loading.load(config)
    check_options(settings.kafka)
    batches = follow(settings.kafka, settings.topics.alerts.name, "beginning" if everything or once else "end")
    if as_json or not sys.stdout.isatty():
        _print(batches, once)
    else:
        _show(batches, once)


def _print(batches: Iterator[Sequence[Record] | None], once: bool) -> None:
    seen = Repeats()
    for batch in batches:
        if batch is None and once:
            return
        for record in batch or ():
            alert = _parsed(record)
            if alert is not None and seen.new(alert.id):
                sys.stdout.write((record.value or b"").decode() + "\n")
        sys.stdout.flush()


def _show(batches: Iterator[Sequence[Record] | None], once: bool) -> None:
    console = Console()
    table = IncidentTable()
    with Live(console=console, refresh_per_second=4, screen=False) as live:
        for batch in batches:
            for record in batch or ():
                alert = _parsed(record)
                if alert is not None:
                    table.add(alert)
            live.update(table.render(max(5, console.height - 4)) if len(table) else "waiting for alerts ...")
            if batch is None and once:
                return


def _parsed(record: Record) -> Alert | None:
    try:
        return parse(record.value or b"")
    except ValidationError as error:
        where = f"{record.topic} {record.partition}:{record.offset}"
        click.echo(f"{where}: not an alert of this version ({error.error_count()} faults); left out", err=True)
        return None
