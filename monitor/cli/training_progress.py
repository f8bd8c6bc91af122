"""What `monitor train` shows: progress while it learns, and a summary at the end."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from monitor.model.manifest import Manifest

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
        self._epoch_told = 0

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

    def reading(self, done: int, total: int) -> None:
        """So many of the topic's records are read."""
        if done - self._reported >= READ_REPORT or done >= total > self._reported:
            self._reported = done
            self._console.print(f"read {done:,} of {total:,} records", markup=False)

    def stopping(self) -> None:
        self._console.print("stopping after this step, the best epoch is kept (once more: end at once)", markup=False)

    def progress(self, now: Progress) -> None:
        """After every step on a terminal; else once an epoch."""
        if self._live is not None:
            self._live.update(_bar(now))
        elif now.step >= now.steps and now.epoch > self._epoch_told:
            self._epoch_told = now.epoch
            self._console.print(f"epoch {now.epoch}/{now.epochs}  {_figures(now)}", markup=False)


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
    if now.eta_seconds is not None:
        parts.append(f"ETA {_duration(now.eta_seconds)}")
    return "  ".join(parts)


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def print_summary(manifest: Manifest, folder: Path) -> None:
    """What was learned, on standard output."""
    training, calibration = manifest.training, manifest.calibration
    windows = (training.fit_windows, training.validation_windows, calibration.windows)
    rows = [
        ("rows", f"{training.rows:,} of {training.streams:,} streams, {len(manifest.features)} features"),
        ("windows", "{:,} fit, {:,} validation, {:,} calibration".format(*windows)),
        ("best epoch", f"{training.best_epoch} of {training.epochs}"),
        *((name.replace("_", " "), f"{value:.4g}") for name, value in manifest.metrics.items()),
        ("threshold", threshold_in_words(manifest)),
        ("artefact", f"{folder}  {manifest.digest[:12]}"),
    ]
    table = Table.grid(padding=(0, 2))
    for name, text in rows:
        table.add_row(name, text)
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True, markup=False)
    console.print(table)
    console.print(f"\nnext: monitor replay FILES --model {folder}")


def threshold_in_words(manifest: Manifest) -> str:
    """The threshold and what it asks for: `0.731: 99.93 % of normal windows stay below it, ...`."""
    calibration = manifest.calibration
    budget = calibration.alerts_per_stream_per_day
    if budget is None:
        budget = (1 - calibration.quantile) * calibration.windows_per_stream_per_day
    return (
        f"{calibration.threshold:.4g}: {100 * calibration.quantile:.6g} % of normal windows stay below it, about "
        f"{budget:.3g} above it per stream and day"
    )
