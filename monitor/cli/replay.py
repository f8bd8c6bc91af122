"""`monitor replay`: the service's pipeline on files, without Kafka; or dead letters, shown and fed back."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as Given
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path

import click
from rich.console import Console

from monitor import detector
from monitor.alerts import Alert
from monitor.assembly import assemble
from monitor.batch import Outcome, Record
from monitor.cli import config_option, dead_letters
from monitor.cli.incident_table import IncidentTable
from monitor.cli.train import parse_time
from monitor.config import Outputs, Settings, loading
from monitor.errors import MonitorError, UsageError
from monitor.evaluation.encoding import Encoding
from monitor.feeds.codes import CodesWriter
from monitor.feeds.files import Mapping, read
from monitor.feeds.table import records

_EXAMPLE = "monitor replay 'data/*.csv' --model model --ignore label"


@click.command(epilog=f"\b\nExample: {_EXAMPLE}\n         monitor replay --dead-letters --send -c monitor.yaml")
@click.argument("patterns", nargs=-1, metavar="[FILES]...")
@click.option("--model", type=click.Path(path_type=Path), metavar="DIR", help="Artefact folder; else model.path.")
@config_option
@click.option("--stream-column", metavar="NAME", help="Where it is not called stream.")
@click.option("--time-column", metavar="NAME", help="Where it is not called time.")
@click.option("--ignore", metavar="A,B", help="Columns to leave out, such as labels.")
@click.option("--latent", type=click.Path(path_type=Path), metavar="FILE", help="Codes too (Parquet): monitor decode.")
@click.option("--json", "as_json", is_flag=True, help="One alert a line; the default into a pipe.")
@click.option("--dead-letters", "rejected", is_flag=True, help="No files: count the dead letters by reason.")
@click.option("--reason", metavar="NAME", help="Only dead letters of this reason.")
@click.option("--since", metavar="TIME", help="Only those rejected since then (ISO 8601).")
@click.option("--export", type=click.Path(path_type=Path), metavar="FILE", help="Write them as NDJSON, to correct.")
@click.option("--send", is_flag=True, help="Send back, once, those that are events now.")
@click.option("--from", "edited", type=click.Path(path_type=Path), metavar="FILE", help="With --send: as corrected.")
def replay(
    patterns: tuple[str, ...],
    model: Path | None,
    config: Path | None,
    stream_column: str | None,
    time_column: str | None,
    ignore: str | None,
    latent: Path | None,
    as_json: bool,
    rejected: bool,
    reason: str | None,
    since: str | None,
    export: Path | None,
    send: bool,
    edited: Path | None,
) -> None:
    """Print the alerts the service would publish for files (CSV, NDJSON, Parquet).

    Rows are records of partition 0, merged by time. Or: dead letters, fed back.
    """
    of_files: dict[str, object] = {"--stream-column": stream_column, "--time-column": time_column, "--ignore": ignore}
    of_files |= {"--latent": latent, "--json": as_json}
    of_letters = {"--reason": reason, "--since": since, "--export": export, "--send": send, "--from": edited}
    _refuse_mixed(patterns, rejected, of_files if rejected else of_letters)
    overrides = {"model": {"path": str(model.absolute())}} if model else None
    settings = loading.load(config, overrides=overrides)
    if not rejected:
        _replay_files(settings, patterns, stream_column, time_column, ignore or "", as_json, latent)
        return
    if edited and (reason or since or not send):
        raise UsageError("--from without --send, or with a choice", "It names the dead letters: --send --from FILE.")
    if export and send:
        raise UsageError("--export and --send", "Export, correct, and then --send --from FILE.")
    choice = dead_letters.Choice(reason, parse_time("--since", since))
    if send:
        dead_letters.send(settings, choice, edited)
    elif export:
        dead_letters.export(settings, choice, export)
    else:
        dead_letters.show(settings, choice)


def _refuse_mixed(patterns: Sequence[str], rejected: bool, misplaced: Given[str, object]) -> None:
    if rejected and patterns:
        raise UsageError(f"--dead-letters and a file ({patterns[0]})", "Replay one of them.")
    if not rejected and not patterns and not any(misplaced.values()):
        raise UsageError("nothing to replay", f"Name files, as in {_EXAMPLE}, or give --dead-letters.")
    for flag, value in misplaced.items():
        if value:
            raise UsageError(f"{flag} is for {'files' if rejected else '--dead-letters'}", "Leave it out.")


def _replay_files(
    settings: Settings,
    patterns: Sequence[str],
    stream_column: str | None,
    time_column: str | None,
    ignore: str,
    as_json: bool,
    latent: Path | None,
) -> None:
    """The rows are read as the records 0, 1, 2, ... of partition 0 of the input topic."""
    loaded = detector.load(settings.model.path, settings.model, settings.events.features)
    ignored = tuple(name for name in ignore.split(",") if name)
    category = loaded.manifest.codes.__contains__
    table = read(patterns, Mapping(stream_column, time_column, ignore=ignored, category=category))
    for note in table.notes:
        click.echo(f"note: {note}", err=True)
    begun = time.perf_counter()
    found = IncidentTable()
    totals: Counter[str] = Counter()
    lines = as_json or not sys.stdout.isatty()
    with ExitStack() as open_files:
        process = assemble(settings.model_copy(update={"outputs": Outputs()}), loaded).process
        if latent is not None:
            encoding = Encoding(settings, loaded)
            process = partial(encoding.process, out=open_files.enter_context(CodesWriter(latent, encoding.card)))
        for alert in alerts_of(process, records(table, settings.topics.input.name), settings, totals):
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
    process: Callable[[Sequence[Record]], Outcome], source: Iterator[Record], settings: Settings, totals: Counter[str]
) -> Iterator[Alert]:
    """What `process` says of the records, in batches of `kafka.poll_records`; counts go into `totals`."""
    while batch := _take(source, settings.kafka.poll_records):
        outcome = process(batch)
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
