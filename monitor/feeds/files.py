"""CSV, NDJSON and Parquet files as columns per stream."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Float32, Float64
from monitor.errors import MonitorError, UsageError
from monitor.feeds import cells
from monitor.feeds.columns import Cells, Chunk, chunks, expand, stem
from monitor.feeds.store import Store, by_stream
from monitor.feeds.table import Rows, Table, check_names, never
from monitor.feeds.vocabulary import LearnedCodes

STREAM_NAMES = ("stream",)  # columns taken for the stream and the time where none is named; as in the event contract
TIME_NAMES = ("time", "timestamp")


@dataclass(frozen=True, slots=True)
class Mapping:
    """What the columns of the files mean."""

    stream_column: str | None = None
    """Not given: a column `stream`; where there is none, a file is one stream, named like the file."""
    time_column: str | None = None
    """Not given: a column `time` or `timestamp`; where there is none, rows are `interval` apart."""
    features: tuple[str, ...] | None = None
    """Not given: every numeric column that is neither stream nor time nor ignored, in file order."""
    ignore: tuple[str, ...] = ()
    """Columns to leave out: labels, row numbers."""
    separator: str | None = None
    """Of CSV cells. Not given: found from the header line."""
    interval: float = 1.0
    """Seconds between two rows of a stream, where there is no time column."""
    start: float = 0.0
    """Time of the first row of a stream, where there is no time column; s since the Unix epoch."""
    category: Callable[[str], bool] = never
    """Whether a feature of this name is a category. Of the others, those that hold text are left out."""


def read(patterns: Sequence[str], mapping: Mapping = Mapping()) -> Table:
    """Read all files that `patterns` (names or globs) stand for; rows keep the order of the files.

    Numbers beyond float32 and infinite ones become missing and are counted in the notes.
    Raises `MonitorError` (what a file holds) or `UsageError` (what was asked for) with file, line and column.
    """
    _check_mapping(mapping)
    notes: dict[str, None] = {}  # a set that keeps its order
    first: _File | None = None
    ignored: set[str] = set()
    held = _Held()
    for path in expand(patterns):
        file = _read_file(path, mapping, first, held)
        first = first or file
        ignored.update(file.seen)
        notes.update(dict.fromkeys(file.notes))
    if first is None:
        raise UsageError("no files were named")
    for name in mapping.ignore:
        if name not in ignored:
            raise UsageError(f"--ignore {name}: no file has this column", _nearest(name, ignored))
    series = []
    for rows in held.by_stream(first.features):
        if first.time_column is None:
            time = mapping.start + mapping.interval * np.arange(len(rows), dtype=np.float64)
            series.append(Rows(rows.stream, time, rows.values))
        else:
            series.append(rows)
    if first.time_column is None:
        apart = f"rows are taken to be {mapping.interval:g} s apart; a column that holds it is named with --time-column"
        notes[f"no time column: {apart}"] = None
    categories = {name: tuple(held.codes[name]) for name in first.features if name in held.codes}
    return Table(first.features, tuple(series), tuple(notes), " ".join(patterns), categories)


@dataclass(slots=True)
class _Held:
    """What is kept of all files: nothing but numbers, so that it is about as large as what is learned from."""

    codes: dict[str, LearnedCodes] = field(default_factory=dict)  # of the categories met in any file
    streams: dict[str, int] = field(default_factory=dict)  # in order of first appearance
    stream: list[NDArray[np.int32]] = field(default_factory=list)  # of each row, its place in `streams`
    times: list[Float64] = field(default_factory=list)
    store: Store = field(default_factory=Store)

    def add(self, names: Sequence[str], times: Float64) -> None:
        """Streams and times of some rows."""
        places = [self.streams.setdefault(name, len(self.streams)) for name in names]
        self.stream.append(np.array(places, np.int32))
        self.times.append(times)

    def by_stream(self, features: Sequence[str]) -> list[Rows]:
        """Once, at the end."""
        code = np.concatenate(self.stream)
        return list(by_stream(tuple(self.streams), code, np.concatenate(self.times), self.store.take(features)))


@dataclass(slots=True)
class _File:
    """One file while it is read; its rows go to what is held of all files."""

    path: Path
    mapping: Mapping
    held: _Held
    numeric: Collection[str] = ()  # columns that must hold numbers; of the others, those with text are left out
    stream_column: str | None = None
    time_column: str | None = None
    features: tuple[str, ...] = ()
    seen: set[str] = field(default_factory=set)
    first_line: int = 0
    rows: int = 0
    time_unit: float | None = None
    columns: dict[str, None] = field(default_factory=dict)  # that are features, in file order
    text: dict[str, None] = field(default_factory=dict)  # columns left out because they hold text
    undecided: set[str] = field(default_factory=set)  # columns without a value so far
    notes: list[str] = field(default_factory=list)

    def add(self, chunk: Chunk) -> None:
        if not self.rows:
            self.first_line = chunk.lines[0]
        for name in chunk.cells:
            if name not in self.seen:
                self.seen.add(name)
                self._meet(name)
        self._add_stream_and_time(chunk)
        values = {}
        for name in self.columns:
            column = chunk.cells.get(name, ())
            if name in self.undecided:
                self._decide(name, column)
            if len(column) and name not in self.text:
                values[name] = self._values(name, column, chunk)
        for name in self.text:
            self.columns.pop(name, None)
        self.held.store.append(len(chunk.lines), values)
        self.rows += len(chunk.lines)

    def _meet(self, name: str) -> None:
        """A column comes up for the first time."""
        mapping = self.mapping
        if name in mapping.ignore:
            return
        named = mapping.features is not None and name in mapping.features
        if name == mapping.stream_column or (mapping.stream_column is None and name in STREAM_NAMES and not named):
            self.stream_column = name
        elif name == mapping.time_column or (mapping.time_column is None and name in TIME_NAMES and not named):
            if self.time_column is not None:
                self.notes.append(f"column {name!r}: left out, the time is taken from {self.time_column!r}")
                return
            self.time_column = name
        else:
            if not name:
                self.notes.append("a column without a name: left out")
            elif named or mapping.features is None:
                self.columns[name] = None
                if mapping.category(name):
                    self.held.codes.setdefault(name, LearnedCodes())
                else:
                    self.undecided.add(name)
            return
        if self.rows:
            raise self.error(self.first_line, name, "is missing here and given further down")

    def _add_stream_and_time(self, chunk: Chunk) -> None:
        for name in filter(None, (self.stream_column, self.time_column)):
            if name not in chunk.cells:
                raise self.error(chunk.lines[0], name, "is missing from here on")
        try:
            name = self.stream_column or ""
            streams = cells.names(chunk.cells[name]) if name else [stem(self.path)] * len(chunk.lines)
            name = self.time_column or ""
            if name:
                times, self.time_unit = cells.times(chunk.cells[name], self.time_unit)
            self.held.add(streams, times if name else np.zeros(len(chunk.lines)))
        except cells.BadCellError as error:
            raise self.error(chunk.lines[error.row], name, error.problem) from error

    def _decide(self, name: str, column: Cells) -> None:
        """Whether a column is a feature: its first value tells."""
        found = next((cell for cell in column if not cells.is_missing(cell)), None)
        if found is None:
            return
        self.undecided.discard(name)
        if name in self.numeric or cells.is_number(found):
            return
        if self.time_column is None and cells.is_time(found):
            raise UsageError(
                f"{self.path}: no time column, but {name!r} holds times",
                f"Name it with --time-column {name}, or leave it out with --ignore {name}.",
            )
        self.text[name] = None

    def _values(self, name: str, column: Cells, chunk: Chunk) -> Float32:
        try:
            wide = cells.codes(column, self.held.codes[name]) if name in self.held.codes else cells.numbers(column)
        except cells.BadCellError as error:
            raise self.error(chunk.lines[error.row], name, error.problem) from error
        with np.errstate(over="ignore"):
            values = wide.astype(np.float32)
        if count := int(np.count_nonzero(np.isinf(values))):
            self.notes.append(
                f"{self.path}: column {name!r}: {count} of {len(values)} numbers are infinite, taken for missing"
            )
            values[np.isinf(values)] = np.nan
        return values

    def error(self, line: int, column: str, problem: str) -> MonitorError:
        hint = f"Correct the cell, or leave the column out with --ignore {column}."
        if column in (self.stream_column, self.time_column):
            hint = "Every row needs one."
        elif column not in self.held.codes:
            hint = f"{hint[:-1]}, or learn it as categories: {_rule(column)}."
        return MonitorError(f"{self.path}, line {line}, column {column!r}: {problem}", hint)


def _rule(column: str) -> str:
    return f"training.features: [{{match: {column}, kind: category}}]"


def _read_file(path: Path, mapping: Mapping, first: _File | None, held: _Held) -> _File:
    if first is not None:  # text columns of the first file are left out everywhere
        mapping = replace(mapping, ignore=(*mapping.ignore, *first.text))
    file = _File(path, mapping, held, first.features if first is not None else mapping.features or ())
    file.time_unit = first.time_unit if first is not None else None
    for chunk in chunks(path, mapping.separator):
        file.add(chunk)
    if not file.rows:
        raise MonitorError(f"{path}: no rows", "Leave the file out, or check what wrote it.")
    _check_asked_for(file, mapping)
    found = tuple(file.columns)
    if mapping.features is not None:
        file.features = mapping.features
    elif not found:
        raise MonitorError(
            f"{path}: no numeric columns",
            f"It has {_listed(file.seen)}; name the features with --features, or learn text as categories: "
            f"{_rule(next(iter(file.text), '*'))}.",
        )
    else:
        file.features = found
    if file.text:
        example = _rule(next(iter(file.text)))
        file.notes.append(f"columns with text: left out ({_listed(file.text)}); to learn one as categories: {example}")
    check_names(file.features)
    if first is not None:
        _check_same_columns(file, first)
        file.features = first.features
    return file


def _check_mapping(mapping: Mapping) -> None:
    roles = [name for name in (mapping.stream_column, mapping.time_column) if name is not None]
    roles += [*(mapping.features or ()), *mapping.ignore]
    for name in roles:
        if roles.count(name) > 1:
            raise UsageError(f"column {name!r} is named twice", "A column is one of stream, time, feature or ignored.")
    if mapping.features == ():
        raise UsageError("no features were named", "Leave --features out to take every numeric column.")
    if mapping.separator is not None and len(mapping.separator) != 1:
        raise UsageError(f"separator {mapping.separator!r} is not one character", "As in --separator ';'.")


def _check_asked_for(file: _File, mapping: Mapping) -> None:
    asked = [("stream", mapping.stream_column), ("time", mapping.time_column)]
    asked += [("feature", name) for name in mapping.features or ()]
    for role, name in asked:
        if name is not None and name not in file.seen:
            raise UsageError(f"{file.path}: no column {name!r} ({role})", _nearest(name, file.seen))


def _check_same_columns(file: _File, first: _File) -> None:
    hint = "Files of one training share their columns; name the features with --features, or read the files apart."
    for role, here, there in (
        ("stream", file.stream_column, first.stream_column),
        ("time", file.time_column, first.time_column),
    ):
        if here != there:
            raise MonitorError(
                f"{file.path}: the {role} column is {here or 'missing'}, but {there or 'missing'} in {first.path}", hint
            )
    lacking = [name for name in first.features if name not in file.features]
    extra = [name for name in file.features if name not in first.features]
    if lacking:
        more = _nearest(lacking[0], extra) if extra else ""
        raise MonitorError(f"{file.path}: no column {lacking[0]!r}, which {first.path} has", more or hint)
    if extra:
        raise MonitorError(f"{file.path}: column {extra[0]!r}, which {first.path} has not", hint)


def _nearest(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, [other for other in known if other], n=1)
    return f"Did you mean {near[0]!r}?" if near else f"It has {_listed(known)}."


def _listed(names: Collection[str]) -> str:
    shown = sorted(name for name in names if name)
    return ", ".join(shown[:12]) + (f" and {len(shown) - 12} more" if len(shown) > 12 else "")
