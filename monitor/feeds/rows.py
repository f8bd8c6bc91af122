"""Rows of tables -> vectors, chunk by chunk: what `files` reads whole for training, this passes on as it comes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from monitor.batch import Float64
from monitor.errors import MonitorError, UsageError
from monitor.feeds import cells
from monitor.feeds.columns import Cells, Chunk
from monitor.feeds.files import STREAM_NAMES, TIME_NAMES, Mapping
from monitor.feeds.frames import Fault, Tally
from monitor.feeds.table import check_names
from monitor.feeds.vectors import Text, Vectors


class RowReader:
    """Reads the tables of one feed, one after the other: what a column is stays what it was when it was met.

    A row with a cell that cannot be read is tallied, and left out; `example` says where the first one is.
    """

    def __init__(self, mapping: Mapping, tally: Tally) -> None:
        self._mapping = mapping
        self._tally = tally
        self._stream_column: str | None = None
        self._time_column: str | None = None
        self._kinds: dict[str, str] = {}  # of each feature: number, category, text; absent: not known yet
        self._columns: tuple[str, ...] | None = None  # of the first table with a header
        self._first = ""
        self._unit: float | None = None
        self._counts: dict[str, int] = {}  # rows of each stream, where there is no time column
        self.example = ""
        self.disordered = 0
        """Rows that are older than the row before in their stream."""
        self._newest: dict[str, float] = {}

    @property
    def left_out(self) -> tuple[str, ...]:
        """Columns of text that no rule makes categories."""
        return tuple(name for name, kind in self._kinds.items() if kind == "text")

    def read(self, chunks: Iterable[Chunk], name: str, stem: str, *, header: bool) -> Iterator[Vectors]:
        """Vectors of one table's chunks; `header` where its columns are the same in all rows (not in NDJSON).

        Raises `MonitorError` for a column that is missing, renamed or new.
        """
        empty = True
        for chunk in chunks:
            if empty:
                self._check(name, tuple(chunk.cells), header=header)
            empty = False
            yield self._vectors(chunk, name, stem)
        if empty:
            raise MonitorError(f"{name}: no rows", "Leave the file out, or check what wrote it.")

    def _check(self, name: str, columns: tuple[str, ...], *, header: bool) -> None:
        mapping = self._mapping
        self._stream_column = mapping.stream_column or next((c for c in STREAM_NAMES if c in columns), None)
        self._time_column = mapping.time_column or next((c for c in TIME_NAMES if c in columns), None)
        asked = {"stream": mapping.stream_column, "time": mapping.time_column}
        for role, column in asked.items():
            if column is not None and column not in columns:
                raise UsageError(f"{name}: no column {column!r} ({role})", _nearest(column, columns))
        if not header:
            return
        for column in mapping.features or ():
            if column not in columns:
                raise MonitorError(f"{name}: no column {column!r} (feature)", _nearest(column, columns))
        for column in mapping.ignore:
            if column not in columns:
                raise UsageError(f"{name}: no column {column!r} (--ignore)", _nearest(column, columns))
        if self._columns is None:
            self._columns, self._first = columns, name
            check_names([column for column in columns if column])
            return
        for column in self._columns:
            if column not in columns:
                new = [other for other in columns if other not in self._columns]
                raise MonitorError(f"{name}: no column {column!r}, which {self._first} has", _nearest(column, new))
        for column in columns:
            if column not in self._columns:
                raise MonitorError(
                    f"{name}: column {column!r}, which {self._first} has not", "Feed it apart, or --ignore it in both."
                )

    def _vectors(self, chunk: Chunk, name: str, stem: str) -> Vectors:
        n = len(chunk.lines)
        keep = np.ones(n, np.bool_)

        def each(column: str, read: Callable[[Cells], Any], blank: Any) -> Any:
            """A whole column at once; where that fails, cell by cell, and rows with bad cells are left out."""
            found = chunk.cells.get(column)
            if found is None:
                return read([None] * n) if column in (self._stream_column, self._time_column) else blank
            try:
                return read(found)
            except cells.BadCellError:
                pass
            result = []
            for row, cell in enumerate(found):
                try:
                    result.append(read([cell])[0])
                except cells.BadCellError as error:
                    result.append(blank[row])
                    keep[row] = False
                    self.example = (
                        self.example or f"{name}, line {chunk.lines[row]}, column {column!r}: {error.problem}"
                    )
            return result

        nothing: list[Any] = [None] * n
        stream = each(self._stream_column, cells.names, [stem] * n) if self._stream_column else [stem] * n
        time: Float64 | None = None
        if self._time_column:
            time = np.array(each(self._time_column, self._times, np.zeros(n)), np.float64)
        columns: list[Any] = []
        names: list[str] = []
        text: dict[str, Any] = {}
        for column in self._features(chunk):
            kind = self._kind(column, chunk)
            if kind == "number":
                names.append(column)
                columns.append(each(column, cells.numbers, np.full(n, np.nan)))
            elif kind == "category":
                text[column] = each(column, _texts, nothing)
        with np.errstate(over="ignore"):
            values = np.array(columns, np.float64).reshape(len(names), n).T.astype(np.float32)
        values[np.isinf(values)] = np.nan  # JSON has no infinity
        if time is None:
            time = self._spaced(stream)
        bad = n - int(np.count_nonzero(keep))
        if bad:
            self._tally[Fault.BAD_CELL] += bad
            rows = np.flatnonzero(keep).tolist()
            stream = [stream[row] for row in rows]
            text = {column: [found[row] for row in rows] for column, found in text.items()}
            time, values = time[keep], values[keep]
        self._look_at_order(stream, time)
        return Vectors(tuple(names), stream, time, values, text)

    def _times(self, found: Cells) -> Float64:
        times, self._unit = cells.times(found, self._unit)
        return times

    def _features(self, chunk: Chunk) -> Iterator[str]:
        roles = {self._stream_column, self._time_column, "", *self._mapping.ignore}
        if self._mapping.features is not None:
            yield from self._mapping.features
            return
        for column in chunk.cells:
            # of two columns that could be the time the other one is no feature either
            if column not in roles and not (self._mapping.time_column is None and column in TIME_NAMES):
                yield column

    def _kind(self, column: str, chunk: Chunk) -> str:
        kind = self._kinds.get(column)
        if kind is not None:
            return kind
        found = next((cell for cell in chunk.cells.get(column, ()) if not cells.is_missing(cell)), None)
        if self._mapping.category(column):
            kind = "category"
        elif found is None:
            return "number"  # nothing there yet: all missing
        elif cells.is_number(found) or self._mapping.features is not None:
            kind = "number"
        else:
            if self._time_column is None and cells.is_time(found):
                raise UsageError(
                    f"no time column, but {column!r} holds times",
                    f"Name it with --time-column {column}, or leave it out with --ignore {column}.",
                )
            kind = "text"
        self._kinds[column] = kind
        return kind

    def _spaced(self, streams: list[str]) -> Float64:
        time = np.empty(len(streams))
        for row, stream in enumerate(streams):
            count = self._counts.get(stream, 0)
            time[row] = self._mapping.start + self._mapping.interval * count
            self._counts[stream] = count + 1
        return time

    def _look_at_order(self, streams: list[str], time: Float64) -> None:
        for stream, moment in zip(streams, time.tolist(), strict=True):
            newest = self._newest.get(stream, moment)
            if moment < newest:
                self.disordered += 1
            else:
                self._newest[stream] = moment


def _texts(found: Cells) -> list[Text]:
    for row, cell in enumerate(found):
        if not isinstance(cell, str | int | float | None):
            raise cells.BadCellError(row, "is no category")
    return [None if cells.is_missing(cell) else cell for cell in found]


def _nearest(column: str, known: Iterable[str]) -> str:
    known = [name for name in known if name]
    near = difflib.get_close_matches(column, known, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(known[:12]) or 'no other columns'}."
