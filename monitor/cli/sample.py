"""`monitor sample`: synthetic normal windows, drawn from a variational model."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from monitor.cli import config_option
from monitor.cli.decode import decoding
from monitor.config import loading
from monitor.feeds.table import Rows, Table
from monitor.feeds.writing import check_ending, write


@click.command(epilog="Example: monitor sample --model model --count 100 --out normal.csv")
@click.option("--out", "-o", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE")
@click.option("--model", type=click.Path(path_type=Path), metavar="DIR", help="Artefact folder; else model.path.")
@config_option
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="Windows.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N", help="Of the chance.")
def sample(out: Path, model: Path | None, config: Path | None, count: int, seed: int) -> None:
    """Draw synthetic normal windows from a variational model.

    Each is a stream of its own, sample-1 to sample-N, of as many events as a
    window has, at the model's usual interval from time 0. The same seed gives
    the same file. CSV, NDJSON or Parquet, by the ending of its name.
    """
    check_ending(out)
    overrides = {"model": {"path": str(model.absolute())}} if model else None
    settings = loading.load(config, overrides=overrides)
    drawing = decoding(settings, "drawing from a model")
    manifest = drawing.manifest
    windows = drawing.sample(count, seed)
    time = manifest.training.interval * np.arange(windows.shape[1], dtype=np.float64)
    series = tuple(Rows(f"sample-{number}", time, values) for number, values in enumerate(windows, 1))
    write(out, Table(manifest.feature_names, series, categories=manifest.values))
    click.echo(
        f"{count} windows of {windows.shape[1]} events, seed {seed}, drawn from {settings.model.path}; see {out}"
    )
