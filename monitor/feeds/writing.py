"""Rows of some streams as a file that `files` reads again: CSV, NDJSON or Parquet, by the ending of its name."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from math import isnan
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from monitor.errors import MonitorError, UsageError, install_hint
from monitor.feeds.columns import CSV_SUFFIXES, NDJSON_SUFFIXES, PARQUET_SUFFIXES
from monitor.feeds.table import Rows, Table

ENDINGS = (CSV_SUFFIXES[0], NDJSON_SUFFIXES[0], PARQUET_SUFFIXES[0])
_DIGITS = 9
"""Significant digits of a value in CSV: as many as tell a float32 from every other."""


def check_ending(path: Path) -> None:
    """Raises `UsageError` for a name that tells no format, or a folder that is not there: ask before the work."""
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"{path}: the name does not tell the format", f"Known endings: {', '.join(ENDINGS)}.")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: no folder {path.parent}", "Make it first, or name another place.")


def write(path: Path, table: Table) -> None:
    """Columns stream, time (s since the Unix epoch) and the features, stream after stream; missing values are empty.

    Raises `UsageError` where Parquet is asked for without pyarrow, `MonitorError` where the place cannot be written.
    """
    check_ending(path)
    suffix = path.suffix.lower()
    try:
        if suffix == PARQUET_SUFFIXES[0]:
            _parquet(path, table)
        elif suffix == NDJSON_SUFFIXES[0]:
            with path.open("wb") as file:
                for rows in table.series:
                    for time, cells in zip(rows.time.tolist(), _cells(rows, table), strict=True):
                        given = {name: cell for name, cell in zip(table.features, cells, strict=True) if cell != ""}
                        file.write(msgspec.json.encode({"stream": rows.stream, "time": time, **given}) + b"\n")
        else:
            with path.open("w", encoding="utf-8", newline="") as text:
                out = csv.writer(text, lineterminator="\n")
                out.writerow(["stream", "time", *table.features])
                for rows in table.series:
                    for time, cells in zip(rows.time.tolist(), _cells(rows, table), strict=True):
                        out.writerow([rows.stream, time, *cells])
    except OSError as error:
        raise MonitorError(
            f"{path}: cannot be written ({error.strerror or error})", "Check path and rights."
        ) from error


def _cells(rows: Rows, table: Table) -> Iterator[list[float | str]]:
    """Each row's values: a category as its text, what is missing as an empty one."""
    names = [table.categories.get(feature) for feature in table.features]
    for values in rows.values.tolist():
        yield [
            "" if isnan(value) else float(f"{value:.{_DIGITS}g}") if known is None else known[int(value)]
            for value, known in zip(values, names, strict=True)
        ]


def _parquet(path: Path, table: Table) -> None:
    try:
        import pyarrow as pa  # noqa: PLC0415  an extra, and slow to import
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(f"{path}: Parquet needs pyarrow", install_hint("train")) from error
    values = np.concatenate([rows.values for rows in table.series])
    columns: dict[str, Any] = {
        "stream": pa.array([rows.stream for rows in table.series for _ in range(len(rows))]),
        "time": pa.array(np.concatenate([rows.time for rows in table.series])),
    }
    for place, feature in enumerate(table.features):
        column = values[:, place]
        known = table.categories.get(feature)
        if known is None:
            columns[feature] = pa.array(column, mask=np.isnan(column))
        else:
            columns[feature] = pa.array([None if isnan(code) else known[int(code)] for code in column.tolist()])
    pq.write_table(pa.table(columns), path, compression="zstd")
