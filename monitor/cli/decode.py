"""`monitor decode`: codes that `monitor replay --latent` wrote, back to rows, and what that lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table as Shown
from rich.text import Text

from monitor.cli import config_option
from monitor.config import Settings, loading
from monitor.errors import MonitorError, UsageError, install_hint
from monitor.evaluation.encoding import Tiles, as_table, originals, tiles
from monitor.feeds import files
from monitor.feeds.codes import Card, read_codes
from monitor.feeds.writing import check_ending, write
from monitor.model import artefact

if TYPE_CHECKING:
    from monitor.model.decoding import Decoding, Loss

_BYTES = 4  # of a value and of a number of a code: both are float32
_KINDS = {"value": "RMS error", "change": "RMS error of its change", "category": "share wrong"}


@click.command(epilog="Example: monitor decode codes.parquet --model model --out rows.csv --against data.csv")
@click.argument("codes", type=click.Path(path_type=Path), metavar="CODES")
@click.option("--out", "-o", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE")
@click.option("--model", type=click.Path(path_type=Path), metavar="DIR", help="Artefact folder; else model.path.")
@config_option
@click.option("--against", multiple=True, metavar="FILES", help="What was encoded: tells what decoding lost.")
@click.option("--stream-column", metavar="NAME", help="Of these files, where it is not called stream.")
@click.option("--time-column", metavar="NAME", help="Of these files, where it is not called time.")
def decode(
    codes: Path,
    out: Path,
    model: Path | None,
    config: Path | None,
    against: tuple[str, ...],
    stream_column: str | None,
    time_column: str | None,
) -> None:
    """Decode what `monitor replay --latent` wrote: rows as the model has them.

    Windows that do not overlap are decoded, from their codes alone. CSV,
    NDJSON or Parquet, by the ending of the name. Needs the extra train.
    """
    check_ending(out)
    overrides = {"model": {"path": str(model.absolute())}} if model else None
    settings = loading.load(config, overrides=overrides)
    card, coded = read_codes(codes)
    decoder = decoding(settings, "decoding")
    manifest = decoder.manifest
    if card.model != manifest.digest:
        raise MonitorError(
            f"{codes} was written by model {card.model[:12]}, not by {manifest.digest[:12]} in {settings.model.path}",
            "Name the model that wrote it with --model: codes of different models have nothing in common.",
        )
    chosen = tiles(coded, card)
    if not len(chosen.end):
        raise MonitorError(f"{codes} has no code", f"No window of {card.window} events was ever full.")
    write(out, as_table(chosen, decoder.decode(chosen.code), manifest))
    console = Console(highlight=False, width=None if Console().is_terminal else 100)
    for line in _told(card, chosen, len(manifest.features)):
        console.print(line, markup=False, soft_wrap=True)
    if decoder.levels_unknown:
        names = ", ".join(decoder.levels_unknown)
        console.print(
            f"Read as a change: {names}. A code tells their course, not the level it began at: that is the training "
            "mean here.",
            markup=False,
            soft_wrap=True,
        )
    if not against:
        console.print("What decoding lost is told with --against FILES, the files that were encoded.", markup=False)
        return
    table = files.read(
        against,
        files.Mapping(
            stream_column, time_column, features=manifest.feature_names, category=manifest.codes.__contains__
        ),
    )
    found, windows = originals(chosen, table, manifest)
    if not len(found):
        raise MonitorError(
            f"none of the {len(chosen.end)} decoded windows is in {' '.join(against)}",
            "Name the files that were encoded; streams and times must be the same.",
        )
    loss = decoder.lost(chosen.code[found], windows)
    console.print(
        f"error {loss.error:.4g} (root mean square, standardised units), {loss.explained:.1%} of the variance kept, "
        f"over {loss.windows} windows",
        markup=False,
        soft_wrap=True,
    )
    console.print(_by_feature(loss))


def decoding(settings: Settings, what: str) -> Decoding:
    """The model of the settings, to be decoded. Raises `UsageError` without torch, or where a code tells no window."""
    loaded = artefact.load(settings.model.path, settings.events.features)
    try:
        # torch is of the extra `train` and slow to import: only who decodes pays for it.
        from monitor.model import decoding as reference  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise UsageError(f"{what} needs {error.name}, which is not installed", install_hint("train")) from error
    return reference.Decoding(loaded)


def _told(card: Card, chosen: Tiles, features: int) -> Sequence[str]:
    values, code = _BYTES * card.window * features, _BYTES * card.code
    covered = len(chosen.end) * card.window
    return [
        f"{len(chosen.end)} windows of {card.window} events decoded: {covered} of {chosen.events} events "
        f"({covered / chosen.events:.1%}), all that fill whole windows side by side",
        f"compression {values / code:.3g} to 1: {values} bytes of values a window, {code} of code (float32, times not "
        "counted)",
    ]


def _by_feature(loss: Loss) -> Shown:
    shown = Shown(box=None, header_style="bold", pad_edge=False)
    for name in ("feature", "lost", "unit", "as"):
        shown.add_column(name, justify="right" if name == "lost" else "left", no_wrap=name != "as")
    for one in loss.features:
        shown.add_row(Text(one.name), f"{one.error:.4g}", Text(one.unit), _KINDS[one.kind])
    return shown
