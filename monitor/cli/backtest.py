"""`monitor backtest`: what would have fired over files or a topic range, as one HTML file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from monitor.batch import Record
from monitor.cli import config_option
from monitor.cli.decode import decoding
from monitor.cli.evaluate import Rows, nothing_scored, prepared, read
from monitor.cli.train import parse_time
from monitor.config import Settings
from monitor.errors import MonitorError, UsageError
from monitor.evaluation.backtest import Backtest, run
from monitor.evaluation.comparison import Rows as Judged
from monitor.evaluation.comparison import compare, rows_of
from monitor.evaluation.compression import Compression
from monitor.evaluation.compression import compare as compare_codes
from monitor.evaluation.hindsight import look_back
from monitor.evaluation.html import Facts, render
from monitor.evaluation.labels import read_labels
from monitor.kafka import history
from monitor.model.architecture import Architecture
from monitor.web.markup import plural

_EXAMPLE = "monitor backtest 'data/*.csv' --model model --out report.html"


@click.command(
    epilog=f"\b\nExample: {_EXAMPLE}\n         monitor backtest --from-topic --since 2026-03-01 -c m.yaml -o r.html"
)
@click.argument("patterns", nargs=-1, metavar="[FILES]...")
@click.option(
    "--out", "-o", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE", help="HTML."
)
@click.option("--model", type=click.Path(path_type=Path), metavar="DIR", help="Artefact folder; else model.path.")
@config_option
@click.option("--labels", type=click.Path(path_type=Path), metavar="FILE", help="Labelled rows or intervals (CSV).")
@click.option("--from-topic", is_flag=True, help="The input topic, not files:")
@click.option("--since", metavar="TIME", help="from this time (ISO 8601)")
@click.option("--until", metavar="TIME", help="up to this time.")
@click.option("--stream-column", metavar="NAME", help="Where it is not called stream.")
@click.option("--time-column", metavar="NAME", help="Where it is not called time.")
def backtest(
    patterns: tuple[str, ...],
    out: Path,
    model: Path | None,
    config: Path | None,
    labels: Path | None,
    from_topic: bool,
    **options: Any,
) -> None:
    """Write what would have fired as a report: one HTML file, for any browser."""
    _check(patterns, from_topic, options)
    if not out.parent.is_dir():
        raise UsageError(f"{out}: no folder {out.parent}", "Make it first, or name another place.")
    settings, loaded = prepared(config, model)
    notes: Sequence[str] = ()
    known: Rows | None = None
    if from_topic:
        batches, source = _topic(settings, options), f"topic {settings.topics.input.name}"
    else:
        table = read(patterns, loaded, options["stream_column"], options["time_column"])
        known = Rows(table, settings)
        batches, source, notes = known.batches(), " ".join(patterns), table.notes
    found = run(settings, loaded, batches)
    if not found.series:
        raise nothing_scored(found)
    rows = rows_of(found, known.offsets if known else None)
    truth = None
    if labels is not None:
        _check_streams(rows)
        truth = read_labels(labels, {one.stream: one.time for one in rows})
    compared = None if truth is None else compare(rows, truth, settings.incidents)
    facts = Facts(
        found, rows, look_back(found, rows, truth), source, notes, truth, compared, _compression(settings, found)
    )
    _write(out, render(facts))
    click.echo(f"{_told(found)}; see {out}")


def _compression(settings: Settings, found: Backtest) -> Compression | None:
    """PCA against the network, which takes torch: without it, and of baselines, the report has no such picture."""
    design = found.manifest.architecture
    if not isinstance(design, Architecture):
        return None
    try:
        model = decoding(settings, "PCA against the network")
    except UsageError as error:
        click.echo(f"note: {error.message}: left out of the report", err=True)
        return None
    return compare_codes(*model.reconstruction(found.calm), design.code, found.manifest.features)


def _topic(settings: Settings, options: Mapping[str, Any]) -> Iterator[Sequence[Record]]:
    since, until = (parse_time(f"--{name}", options[name]) for name in ("since", "until"))
    if since is not None and until is not None and since >= until:
        raise UsageError("--since is not before --until", "The range is from --since up to --until.")
    return history.read(settings.kafka, settings.topics.input.name, since=since, until=until)


def _check(patterns: Sequence[str], from_topic: bool, options: Mapping[str, Any]) -> None:
    if from_topic and patterns:
        raise UsageError(f"--from-topic and a file ({patterns[0]})", "Look back at one of them.")
    if not from_topic and not patterns:
        raise UsageError("nothing to look back at", f"Name files, as in {_EXAMPLE}, or give --from-topic.")
    for name in ("stream_column", "time_column") if from_topic else ("since", "until"):
        if options[name] is not None:
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} is for {'files' if from_topic else '--from-topic'}", "Leave it out.")


def _check_streams(rows: Sequence[Judged]) -> None:
    names = [one.stream for one in rows]
    for name in names:
        if names.count(name) > 1:
            raise MonitorError(
                f"stream {name!r} is in several partitions, and labels name no partition", "Key the topic by stream."
            )


def _write(out: Path, document: str) -> None:
    try:
        out.write_bytes(document.encode("utf-8", "replace"))
    except OSError as error:
        raise MonitorError(f"{out}: cannot be written ({error.strerror or error})", "Check path and rights.") from error


def _told(found: Backtest) -> str:
    scored = sum(int((one.score == one.score).sum()) for one in found.series)
    told = f"{plural(len(found.fired), 'incident')}, {plural(scored, 'event')} scored, {found.rejected} rejected"
    return told.replace("\u202f", " ")
