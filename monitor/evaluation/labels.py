"""Label files: CSV, also gzipped, of one 0 or 1 for each row, or of labelled intervals.

- Rows: a column `label` or `anomaly` (or the only column beside `stream` and the time), one line for each row of the
  data, in the order of the data; with a column `stream`, in the order of each stream.
- Intervals: columns `start` and `end`, the first and the last labelled row, both included; with a column `stream` for
  data of several streams. Either row numbers counted from 0, or ISO 8601 times (UTC where they name no zone), or epoch
  seconds. Numbers are epoch seconds where any is at least 1e8 (March 1973), else row numbers.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from monitor.batch import Float64
from monitor.errors import MonitorError
from monitor.evaluation.values import Bool

SEPARATORS = (",", ";", "\t")
LABEL_NAMES = ("label", "anomaly")
OTHER_NAMES = ("stream", "time", "timestamp")
EARLIEST_EPOCH = 1e8  # s


@dataclass(frozen=True, slots=True)
class _Line:
    number: int  # in the file, from 1
    cells: Sequence[str]


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    names: tuple[str, ...]
    lines: tuple[_Line, ...]

    def at(self, line: _Line) -> str:
        return f"{self.path}, line {line.number}"

    def cell(self, line: _Line, name: str) -> str:
        return line.cells[self.names.index(name)].strip()


def read_labels(path: Path, times: Mapping[str, Float64]) -> dict[str, Bool]:
    """The labels (n,) of each stream whose times (n,) are given, in s since the Unix epoch, ascending.

    A stream that a file of intervals does not name has no anomaly. Raises `MonitorError` with file and line for a file
    that is not one of the two kinds or does not fit the rows.
    """
    file = _read(path)
    if "start" in file.names and "end" in file.names:
        return _from_intervals(file, times)
    return _from_rows(file, times)


def _from_rows(file: _File, times: Mapping[str, Float64]) -> dict[str, Bool]:
    column = _label_column(file)
    found: dict[str, list[bool]] = {name: [] for name in times}
    for line in file.lines:
        cell = file.cell(line, column)
        try:
            value = float(cell)
        except ValueError:
            value = np.nan
        if value not in {0, 1}:
            raise MonitorError(
                f"{file.at(line)}: label {cell!r} is neither 0 nor 1", "Label anomalous rows 1 and all others 0."
            )
        found[_stream(file, line, times)].append(value == 1)
    for stream, labels in found.items():
        rows = len(times[stream])
        if len(labels) != rows:
            of = f" of stream {stream!r}" if "stream" in file.names else ""
            raise MonitorError(
                f"{file.path}: {len(labels)} labels{of}, but the data have {rows} rows of it",
                "Give one label for each row of the data, in the same order, or intervals with columns start and end.",
            )
    return {stream: np.array(labels, np.bool_) for stream, labels in found.items()}


def _from_intervals(file: _File, times: Mapping[str, Float64]) -> dict[str, Bool]:
    spans, numeric = _spans(file)
    by_row = numeric and not (spans >= EARLIEST_EPOCH).any()
    labels = {stream: np.zeros(len(time), np.bool_) for stream, time in times.items()}
    for line, (start, end) in zip(file.lines, spans, strict=True):
        stream = _stream(file, line, times)
        told = f"{file.at(line)}: interval {file.cell(line, 'start')} to {file.cell(line, 'end')}"
        if start > end:
            raise MonitorError(f"{told} ends before it starts", "Give the first and the last labelled row or time.")
        if by_row:
            first, after = _rows(told, start, end, len(times[stream]))
        else:
            first = int(np.searchsorted(times[stream], start, "left"))
            after = int(np.searchsorted(times[stream], end, "right"))
        if first == after:
            raise MonitorError(
                f"{told} holds no row of stream {stream!r}",
                f"{_range(times[stream])} Times are in seconds and in UTC; leave out what the data do not cover.",
            )
        labels[stream][first:after] = True
    return labels


def _rows(told: str, start: float, end: float, rows: int) -> tuple[int, int]:
    if start != int(start) or end != int(end):
        raise MonitorError(f"{told}: not whole numbers", "Numbers below 1e8 are row numbers, counted from 0.")
    if start < 0 or end >= rows:
        raise MonitorError(
            f"{told} lies beyond the {rows} rows of the stream",
            "Rows are counted from 0 in each stream, and the last labelled row is named, not the one after it.",
        )
    return int(start), int(end) + 1


def _spans(file: _File) -> tuple[Float64, bool]:
    """(K, 2) starts and ends as numbers, and whether the file writes them as numbers; one file has one kind."""
    spans = np.empty((len(file.lines), 2))
    kinds: set[bool] = set()
    for row, line in enumerate(file.lines):
        for column, name in enumerate(("start", "end")):
            spans[row, column], numeric = _moment(file, line, name)
            kinds.add(numeric)
    if len(kinds) > 1:
        raise MonitorError(
            f"{file.path}: numbers and ISO times in the columns start and end", "Write all of them one way."
        )
    return spans, kinds == {True}


def _moment(file: _File, line: _Line, name: str) -> tuple[float, bool]:
    cell = file.cell(line, name)
    try:
        value = float(cell)
    except ValueError:
        pass
    else:
        if np.isfinite(value):
            return value, True
    try:
        moment = datetime.fromisoformat(cell)
    except ValueError as error:
        raise MonitorError(
            f"{file.at(line)}: {name} {cell!r} is neither a number nor a time",
            "Write a row number, seconds since 1970, or a time as 2024-05-01T12:00:00Z.",
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), False


def _stream(file: _File, line: _Line, times: Mapping[str, Float64]) -> str:
    if "stream" not in file.names:
        if len(times) != 1:
            raise MonitorError(
                f"{file.path}: no column 'stream', but the data have {len(times)} streams",
                "Add a column 'stream' that names the stream of each line.",
            )
        return next(iter(times))
    stream = file.cell(line, "stream")
    if stream not in times:
        known = ", ".join(sorted(times)[:5]) + (", ..." if len(times) > 5 else "")
        raise MonitorError(
            f"{file.at(line)}: stream {stream!r} is not in the data", f"Streams of the data: {known or 'none'}."
        )
    return stream


def _label_column(file: _File) -> str:
    hint = "Name the column of 0 and 1 'label', or give intervals with columns 'start' and 'end'."
    for name in LABEL_NAMES:
        if name in file.names:
            return name
    left = [name for name in file.names if name not in OTHER_NAMES]
    if len(left) != 1:
        raise MonitorError(f"{file.path}: no column 'label' among {', '.join(file.names)}", hint)
    return left[0]


def _read(path: Path) -> _File:
    try:
        with _open(path) as file:
            return _parse(path, file)
    except UnicodeDecodeError as error:
        raise MonitorError(
            f"{path}: not UTF-8 text ({error.reason})",
            "Labels are a CSV file, also gzipped; a table of another kind, such as Parquet, must be written as one.",
        ) from error
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise MonitorError(f"{path}: damaged gzip file ({error})", "Fetch or write the file again.") from error
    except OSError as error:
        told = error.strerror or error
        raise MonitorError(f"{path}: cannot be read ({told})", "Check the path and rights.") from error


def _open(path: Path) -> io.TextIOBase:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _parse(path: Path, text: Iterator[str]) -> _File:
    header = next(text, "")
    if header.lstrip()[:1] in ("{", "["):
        raise MonitorError(
            f"{path}: JSON, but labels are a CSV file",
            "Write a column 'label' of 0 and 1, a line for each row of the data, or columns 'start' and 'end'.",
        )
    separator = max(SEPARATORS, key=header.count)
    names = tuple(name.strip().strip('"') for name in header.strip().split(separator))
    if not any(names) or any(name.replace(".", "", 1).isdigit() for name in names):
        raise MonitorError(
            f"{path}: the first line does not name the columns", "Begin with a line such as 'label' or 'start,end'."
        )
    lines = []
    rows = csv.reader(text, delimiter=separator, strict=True)
    try:
        for row in rows:
            if not row:
                continue
            number = rows.line_num + 1
            if len(row) != len(names):
                raise MonitorError(
                    f"{path}, line {number}: {len(row)} cells, but the header has {len(names)}",
                    "Every line needs as many cells as the header.",
                )
            lines.append(_Line(number, row))
    except csv.Error as error:
        raise MonitorError(f"{path}, line {rows.line_num + 1}: {error}", "Check the quotes on this line.") from error
    return _File(path, names, tuple(lines))


def _range(time: Float64) -> str:
    if not len(time):
        return "The stream has no rows."
    first, last = (datetime.fromtimestamp(float(moment), UTC).isoformat() for moment in (time[0], time[-1]))
    return f"The stream runs from {first} to {last}."
