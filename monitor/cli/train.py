"""`monitor train`: files or the past of a topic -> an artefact."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from monitor.cli import config_option
from monitor.cli.stopping import stopping
from monitor.cli.training_progress import Display, print_summary
from monitor.config import Settings, loading
from monitor.config.strictyaml import scalar
from monitor.errors import UsageError, install_hint
from monitor.feeds import descriptions, files
from monitor.feeds.history import series_from_records
from monitor.feeds.table import Table, in_time_order
from monitor.kafka import history
from monitor.model import artefact

EXAMPLES = """
  monitor train 'data/*.csv' --time-column ts --ignore label --out model
  monitor train --from-topic -c monitor.yaml --since 2026-03-01 --out model
"""
# One line of help each; options that belong together share it.
HELP = (
    (("out",), "Artefact folder to write, or to replace."),
    (("config",), "Settings: kafka, topics, events, training."),
    (("from_topic",), "Learn from the input topic, not files:"),
    (("since", "until"), "a range of time (ISO 8601, epoch seconds)"),
    (("from_offset", "to_offset"), "or of offsets, in every partition."),
    (("stream_column", "time_column"), "Where not called stream and time."),
    (("features", "ignore"), "Columns to learn; columns to leave out."),
    (("units",), "Unit of a feature, for alerts. Repeatable."),
    (("interval", "separator"), "Time between rows without one; CSV's."),
    (("window", "epochs"), "Window length in events; most passes."),
    (("hidden", "seed"), "Size of the network; start of the chance."),
    (("alerts", "resume"), "Budget per stream and day; go on."),
    (("sets",), "Any setting, as in training.loss=huber."),
)


class TrainCommand(click.Command):
    """A command whose help fits a screen of 80 x 24."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = {option.name: option for option in self.params}
        formatter.write(f"Usage: {ctx.command_path} [FILES]... --out DIR [OPTIONS]\n\n")
        formatter.write(f"  {(self.help or '').strip()}\n{EXAMPLES}\n")
        for names, text in HELP:
            parts = []
            for name in names:
                option = options[name]
                metavar = "" if getattr(option, "is_flag", False) else f" {option.metavar}"
                parts.append(", ".join(option.opts) + metavar)
            formatter.write(f"  {'  '.join(parts):<35} {text}\n")


@click.command("train", cls=TrainCommand)
@click.argument("patterns", nargs=-1, metavar="[FILES]...")
@click.option("--out", "-o", type=click.Path(path_type=Path, file_okay=False), required=True, metavar="DIR")
@config_option
@click.option("--from-topic", is_flag=True)
@click.option("--since", metavar="TIME")
@click.option("--until", metavar="TIME")
@click.option("--from-offset", type=click.IntRange(min=0), metavar="N")
@click.option("--to-offset", type=click.IntRange(min=0), metavar="N")
@click.option("--stream-column", metavar="S")
@click.option("--time-column", metavar="T")
@click.option("--features", metavar="A,B")
@click.option("--ignore", metavar="A,B")
@click.option("--unit", "units", multiple=True, metavar="NAME=UNIT")
@click.option("--interval", type=click.FloatRange(min=0, min_open=True), metavar="SEC")
@click.option("--separator", metavar="CHAR")
@click.option("--window", type=int, metavar="N")
@click.option("--epochs", type=int, metavar="N")
@click.option("--hidden", type=int, metavar="N")
@click.option("--alerts", type=float, metavar="BUDGET")
@click.option("--seed", type=int, metavar="N")
@click.option("--resume", is_flag=True)
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE")
def train(
    *,
    patterns: tuple[str, ...],
    out: Path,
    config: Path | None,
    from_topic: bool,
    units: tuple[str, ...],
    resume: bool,
    sets: tuple[str, ...],
    **options: Any,
) -> None:
    """Learn what normal looks like: from CSV, NDJSON, Parquet files or a topic."""
    settings = _settings(config, sets, options)
    _check_sources(patterns, from_topic, options)
    artefact.replaceable(out)
    display = Display()
    table = in_time_order(
        _from_topic(settings, options, display) if from_topic else _from_files(patterns, settings, options)
    )
    for note in table.notes:
        display.note(note)
    named = _pairs("--unit", units)
    _check_units(named, table.features)
    named = descriptions.units(table.features) | named
    _train(table, named, settings, out, display, reading=_reading(options), resume=resume)


def _reading(options: Mapping[str, Any]) -> str:
    """The options that tell how the files are read, as `monitor replay` takes them."""
    names = ("stream_column", "time_column", "ignore")
    return "".join(f" --{name.replace('_', '-')} {options[name]}" for name in names if options[name])


def _train(
    table: Table,
    units: Mapping[str, str],
    settings: Settings,
    out: Path,
    display: Display,
    *,
    reading: str,
    resume: bool,
) -> None:
    try:
        # torch is of the extra `train` and slow to import: only this command pays for it, once its input is good.
        from monitor.cli.training_checkpoint import CheckpointFile  # noqa: PLC0415
        from monitor.model import export, training  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            f"training needs a library that is not installed: {error.name}", install_hint("train")
        ) from error
    series = [training.Series(rows.stream, rows.time, rows.values) for rows in table.series]
    display.learning(len(table), len(series), len(table.features))
    kept = CheckpointFile(out)
    resumed = kept.read() if resume else None
    if resumed is not None:
        display.note(f"going on after epoch {resumed.epochs}")
    with stopping(display.stopping) as stop, display:
        trained = training.train(
            series,
            table.features,
            units,
            settings.training,
            source=table.source,
            rules=settings.incidents,
            meanings=descriptions.meanings(table.features),
            feed=settings.feed if descriptions.made_by(settings.feed, table.features) else None,
            categories=table.categories,
            progress=display.progress,
            should_stop=stop,
            resumed=resumed,
            keep=kept.write,
        )
        stopped = stop() or trained.cut_short
    for warning in trained.warnings:
        display.note(warning)
    print_summary(export.save(trained, out), out, reading, trained.windows_per_second)
    if stopped:
        display.note("it was stopped early: the same command with --resume goes on")
    else:
        kept.remove()


def _settings(config_file: Path | None, sets: Sequence[str], options: Mapping[str, Any]) -> Settings:
    overrides: dict[str, Any] = {}
    flags: dict[str, str] = {}
    flagged = {name: options[name] for name in ("window", "epochs", "hidden", "seed")}
    flagged["alerts_per_stream_per_day"] = options["alerts"]
    given = {f"training.{name}": value for name, value in flagged.items() if value is not None}
    flags.update({key: "--" + key.removeprefix("training.") for key in given})
    if "training.alerts_per_stream_per_day" in flags:
        flags["training.alerts_per_stream_per_day"] = "--alerts"
    for key, text in _pairs("--set", sets).items():
        if key in given:
            raise UsageError(f"{flags[key]} and --set {key} are the same setting", "Give one of them.")
        given[key] = scalar(text)
        flags[key] = f"--set {key}"
    for key, value in given.items():
        *sections, name = key.split(".")
        inside = overrides
        for section in sections:
            inside = inside.setdefault(section, {})
            if not isinstance(inside, dict):
                raise UsageError(f"--set {key}: {section} is a setting, not a section", loading.HINT)
        inside[name] = value
    return loading.load_with_origins(config_file, None, overrides, flags).settings


def _check_sources(patterns: Sequence[str], from_topic: bool, options: Mapping[str, Any]) -> None:
    example = "monitor train 'data/*.csv' --out model"
    of_files = ("stream_column", "time_column", "ignore", "interval", "separator")
    of_topic = ("since", "until", "from_offset", "to_offset")
    if from_topic and patterns:
        raise UsageError(f"--from-topic and a file ({patterns[0]})", "Learn from one of them.")
    if not from_topic and not patterns:
        raise UsageError("nothing to learn from", f"Name files, as in {example}, or give --from-topic.")
    for name in of_files if from_topic else of_topic:
        if options[name] is not None:
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} is for {'files' if from_topic else '--from-topic'}", "Leave it out.")
    if any(options[name] is not None for name in ("since", "until")) and any(
        options[name] is not None for name in ("from_offset", "to_offset")
    ):
        raise UsageError("a range of time and a range of offsets", "Give one of them.")


def _check_units(units: Mapping[str, str], features: Sequence[str]) -> None:
    for name in units:
        if name not in features:
            raise UsageError(f"--unit {name}: no such feature", f"The features are {', '.join(features)}.")


def _from_files(patterns: Sequence[str], settings: Settings, options: Mapping[str, Any]) -> Table:
    given = {name: options[name] for name in ("stream_column", "time_column", "interval", "separator")}
    mapping = files.Mapping(
        features=_names(options["features"]),
        ignore=_names(options["ignore"]) or (),
        category=settings.training.is_category,
        **{name: value for name, value in given.items() if value is not None},
    )
    return files.read(patterns, mapping)


def _from_topic(settings: Settings, options: Mapping[str, Any], display: Display) -> Table:
    since, until = (parse_time(f"--{name}", options[name]) for name in ("since", "until"))
    if since is not None and until is not None and since >= until:
        raise UsageError("--since is not before --until", "The range is from --since up to --until.")
    batches = history.read(
        settings.kafka,
        settings.topics.input.name,
        since=since,
        until=until,
        from_offset=options["from_offset"],
        to_offset=options["to_offset"],
        progress=display.reading,
    )
    features = _names(options["features"]) or settings.events.features
    source = f"topic {settings.topics.input.name}"
    return series_from_records(batches, features, settings.events, source, settings.training.is_category)


def parse_time(flag: str, text: str | None) -> float | None:
    """ISO 8601 (UTC where it names no zone) or a number of seconds -> s since the Unix epoch."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise UsageError(f"{flag} {text}: not a time", "As in 2026-03-01T12:00:00Z or 1772366400.") from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(seconds):
        raise UsageError(f"{flag} {text}: not a time", "As in 2026-03-01T12:00:00Z or 1772366400.")
    return seconds


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def _pairs(flag: str, texts: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{flag} {text}: not NAME=VALUE", f"As in {flag} NAME=VALUE.")
        if name.strip() in pairs:
            raise UsageError(f"{flag} {name.strip()} is given twice", "Give it once.")
        pairs[name.strip()] = value.strip()
    return pairs
