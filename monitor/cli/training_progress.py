"""What `monitor train` shows: progress while it learns, and a summary at the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from monitor.model.manifest import Manifest, Method

if TYPE_CHECKING:
    from monitor.model.training import Progress

READ_REPORT = 100_000
"""Records between two lines of progress, where there is no terminal."""


class Display:
    """Progress on standard error: a bar on a terminal, else one line per epoch."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._live: Live | None = None
        self._reported = 0
        self._epoch_ended = False
        self._last = (0, 0)  # epoch and step; told twice when the epoch has been validated

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=8, transient=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def note(self, text: str) -> None:
        """Something the reader should know: what was left out, what looks wrong."""
        self._console.print(f"note: {text}", markup=False)

    def learning(self, rows: int, streams: int, features: int) -> None:
        """What goes into training, before the first epoch ends."""
        self._console.print(f"learning from {rows:,} rows (streams: {streams:,}, features: {features})", markup=False)

    def reading(self, done: int, total: int) -> None:
        """So many of the topic's records are read."""
        if done - self._reported >= READ_REPORT or done >= total > self._reported:
            self._reported = done
            self._console.print(f"read {done:,} of {total:,} records", markup=False)

    def stopping(self) -> None:
        kept = "the best epoch is kept" if self._epoch_ended else "no epoch has ended, so no model will be written"
        self._console.print(f"stopping after this step, {kept} (once more: end at once)", markup=False)

    def progress(self, now: Progress) -> None:
        """After every step on a terminal; else once an epoch."""
        self._epoch_ended = now.best_epoch is not None
        if self._live is not None:
            self._live.update(_bar(now))
        elif (now.epoch, now.step) == self._last:
            self._console.print(f"epoch {now.epoch}/{now.epochs}  {_figures(now)}", markup=False)
        self._last = (now.epoch, now.step)


def _bar(now: Progress) -> Table:
    row = Table.grid(padding=(0, 1))
    done = now.epoch - 1 + now.step / max(1, now.steps)
    row.add_row(
        f"epoch {now.epoch}/{now.epochs}", ProgressBar(total=now.epochs, completed=done, width=20), _figures(now)
    )
    return row


def _figures(now: Progress) -> str:
    parts = [
        f"loss {_loss(now.train_loss)}",
        f"validation {_loss(now.validation_loss)}",
        f"best {now.best_epoch or '-'}",
    ]
    return "  ".join((*parts, f"ETA {_duration(now.eta_seconds)}"))


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def print_summary(manifest: Manifest, folder: Path, reading: str = "", windows_per_second: float = 0.0) -> None:
    """What was learned, on standard output; `reading` are the options that such files need to be read again."""
    training, calibration = manifest.training, manifest.calibration
    windows = (training.fit_windows, training.validation_windows, calibration.windows)
    rows = [
        ("rows", f"{training.rows:,} (streams: {training.streams:,}, features: {len(manifest.features)})"),
        ("windows", "{:,} fit, {:,} validation, {:,} calibration".format(*windows)),
        ("best epoch", f"{training.best_epoch} of {training.epochs}"),
        *([("speed", f"{windows_per_second:,.0f} windows a second fitted")] if windows_per_second else []),
        *((name.replace("_", " "), f"{value:.4g}") for name, value in sorted(manifest.metrics.items(), reverse=True)),
        ("threshold", threshold_in_words(manifest)),
        ("artefact", f"{folder} ({manifest.digest[:12]}; onnx and torch agree)"),
        ("next", f"monitor replay FILES --model {folder}{reading}"),
    ]
    for name, text in rows:
        click.echo(f"{name:<18} {text}")


def threshold_in_words(manifest: Manifest) -> str:
    """The threshold and what it asks for: `0.731, for 1 incident a day per stream (95 % range: 0.4 to 2.1)`."""
    calibration = manifest.calibration
    if calibration.expected is None:
        share = f"below which {100 * calibration.quantile:.6g} % of {calibration.windows:,} normal windows stay"
        return f"{calibration.threshold:.4g}, {share}"
    low, rate, high = calibration.expected
    asked = f"{calibration.alerts_per_stream_per_day:g} a day per stream"
    promised = f"expect {rate:.2g} incidents (95 % range: {low:.2g} to {high:.2g}) for a budget of {asked}"
    return f"{calibration.threshold:.4g}, {_ORIGIN[calibration.method]}: {promised}"


_ORIGIN: Mapping[Method, str] = {
    "incidents": "by counting",
    "tail": "from the tail of the errors",
    "largest": "the largest error there was",
    "saturated": "where incidents begin to merge",
}
