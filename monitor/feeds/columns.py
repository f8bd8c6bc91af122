"""Files as chunks of raw columns: CSV, NDJSON and Parquet, also gzipped. What the cells mean is decided in `files.py`.

CSV and NDJSON need only the base install (1 to 2 million cells a second); Parquet needs pyarrow, of the extra `train`.
"""

from __future__ import annotations

import csv
import glob
import gzip
import io
import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from monitor.batch import Float64
from monitor.errors import MonitorError, UsageError, install_hint

CHUNK_ROWS = 16_384
SEPARATORS = (",", ";", "\t")
CSV_SUFFIXES = (".csv", ".tsv", ".txt")
NDJSON_SUFFIXES = (".ndjson", ".jsonl", ".json")
PARQUET_SUFFIXES = (".parquet", ".pq")

Cells = Sequence[Any] | Float64
"""One column of a chunk: text from CSV, JSON values from NDJSON, Python values from Parquet, its floats as an array."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of a file. Every column is as long as `lines`; `None` and empty text are missing cells."""

    lines: Sequence[int]  # where each row stands in its file, counted from 1
    cells: Mapping[str, Cells]  # in file order


def expand(patterns: Sequence[str]) -> tuple[Path, ...]:
    """The files that names and globs stand for: patterns in the order given, the files of one sorted, none twice."""
    if not patterns:
        raise UsageError("no files were named", "Name at least one file or pattern, as in 'data/*.csv'.")
    found: dict[Path, None] = {}
    for pattern in patterns:
        names = [pattern] if Path(pattern).is_file() else sorted(glob.glob(pattern, recursive=True))
        files = [path for path in map(Path, names) if path.is_file()]
        if not files and Path(pattern).is_dir():
            raise UsageError(f"{pattern}: is a folder", f"Name its files, as in '{pattern}/*.csv'.")
        if not files:
            raise UsageError(f"{pattern}: no such file", "Check the path; a pattern must match at least one file.")
        found.update(dict.fromkeys(files))
    return tuple(found)


def stem(path: Path) -> str:
    """The file's name without its format: `pumps/pump-7.csv.gz` -> `pump-7`."""
    name = path.name.encode("utf-8", "replace").decode().removesuffix(".gz")  # a stream's name is valid text
    return name.removesuffix(Path(name).suffix)


def chunks(path: Path, separator: str | None = None) -> Iterator[Chunk]:
    """The rows of one file, at most `CHUNK_ROWS` at a time, by the format its name ends in.

    A file without rows gives no chunk. Raises `MonitorError` with the file and the line for all that cannot be read.
    """
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    try:
        if suffix in CSV_SUFFIXES or suffix in NDJSON_SUFFIXES:
            with _open(path) as file:
                yield from lines(file, path, separator, csv_format=suffix in CSV_SUFFIXES)
        elif suffix in PARQUET_SUFFIXES:
            yield from _parquet(path)
        else:
            known = ", ".join((*CSV_SUFFIXES, *NDJSON_SUFFIXES, *PARQUET_SUFFIXES))
            raise UsageError(
                f"{path}: the name does not tell the format", f"Known endings: {known}; each also with .gz."
            )
    except UnicodeDecodeError as error:
        raise MonitorError(f"{path}: not UTF-8 text ({error.reason})", "Convert the file to UTF-8.") from error
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise MonitorError(f"{path}: damaged gzip file ({error})", "Fetch or write the file again.") from error
    except OSError as error:
        raise MonitorError(
            f"{path}: cannot be read ({error.strerror or error})", "Check the path and rights."
        ) from error


def lines(
    file: Iterable[str],
    name: object,
    separator: str | None = None,
    *,
    csv_format: bool,
    pause: Callable[[], bool] = lambda: False,
) -> Iterator[Chunk]:
    """The rows of CSV or NDJSON lines; a chunk is shorter where `pause` says that the next line is not there yet."""
    yield from _csv(name, iter(file), separator, pause) if csv_format else _ndjson(name, iter(file), pause)


def _open(path: Path) -> io.TextIOBase:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open("r", encoding="utf-8-sig", newline="")


def sniff(header: str) -> str:
    """The separator that stands most often between the quoted parts of a header line."""
    bare = "".join(header.split('"')[::2])
    return max(SEPARATORS, key=bare.count)


def _csv(name: object, file: Iterator[str], separator: str | None, pause: Callable[[], bool]) -> Iterator[Chunk]:
    first = next(file, "")
    if not first.strip():
        what = "the first line is empty" if first else "the file is empty"
        raise MonitorError(f"{name}: {what}", "The first line must name the columns.")
    delimiter = separator or sniff(first)
    rows = csv.reader(itertools.chain([first], file), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        header = [column.strip() for column in next(rows)]
        _check_header(name, header)
        while True:
            lines: list[int] = []
            block: list[list[str]] = []
            for row in rows:
                if not row:
                    continue  # a blank line
                if len(row) != len(header):
                    raise MonitorError(
                        f"{name}, line {rows.line_num}: {len(row)} cells, but the header has {len(header)}",
                        "Every line needs as many cells as the header; look for a stray or missing separator.",
                    )
                lines.append(rows.line_num)
                block.append(row)
                if len(block) == CHUNK_ROWS or pause():
                    break
            if not block:
                return
            yield Chunk(lines, dict(zip(header, zip(*block, strict=True), strict=True)))
    except csv.Error as error:
        raise MonitorError(f"{name}, line {rows.line_num}: {error}", "Check the quotes on this line.") from error


def _check_header(path: object, header: Sequence[str]) -> None:
    hint = "The first line must name the columns."
    if _looks_like_data(header):
        raise MonitorError(f"{path}, line 1: numbers where the column names should be", hint)
    seen: set[str] = set()
    for name in header:
        if name and name in seen:
            raise MonitorError(f"{path}, line 1: column {name!r} is there twice", "Give every column its own name.")
        seen.add(name)


def _looks_like_data(header: Sequence[str]) -> bool:
    """Only numbers, and not the distinct whole ones that data frames number their columns with."""
    try:
        for name in header:
            float(name)
    except ValueError:
        return False
    return len(set(header)) < len(header) or not all(name.isdigit() for name in header)


def _ndjson(name: object, file: Iterator[str], pause: Callable[[], bool]) -> Iterator[Chunk]:
    decode = msgspec.json.Decoder().decode
    numbers: list[int] = []
    block: list[dict[str, Any]] = []
    for number, line in enumerate(file, start=1):
        if line.strip():
            try:
                value = decode(line)
            except (msgspec.DecodeError, RecursionError) as error:
                raise MonitorError(
                    f"{name}, line {number}: not JSON ({error})", "Every line must be one JSON object."
                ) from error
            numbers.append(number)
            block.append(_flat(name, number, value))
        if block and (len(block) == CHUNK_ROWS or pause()):
            yield _together(numbers, block)
            numbers, block = [], []
    if block:
        yield _together(numbers, block)


def _together(numbers: list[int], block: list[dict[str, Any]]) -> Chunk:
    columns: dict[str, list[Any]] = {}
    for row, values in enumerate(block):
        for name, cell in values.items():
            if name not in columns:
                columns[name] = [None] * len(block)
            columns[name][row] = cell
    return Chunk(numbers, columns)


def _flat(path: object, line: int, value: object) -> dict[str, Any]:
    """An event (`{"stream": .., "time": .., "features": {..}}`) or a flat object, as one flat object."""
    hint = 'Every line must be an event {"stream": .., "time": .., "features": {..}} or a flat object.'
    if not isinstance(value, dict):
        raise MonitorError(f"{path}, line {line}: not a JSON object", hint)
    if "features" not in value:
        return value
    features = value["features"]
    if not isinstance(features, dict):
        raise MonitorError(f"{path}, line {line}: 'features' is not an object", hint)
    outer = {name: value[name] for name in ("stream", "time") if name in value}
    if both := sorted(outer.keys() & features.keys()):
        raise MonitorError(f"{path}, line {line}: {both[0]!r} is in the event and in its features", hint)
    return outer | features


def _parquet(path: Path) -> Iterator[Chunk]:
    try:
        import pyarrow as pa  # noqa: PLC0415  an extra: only who reads Parquet needs it
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(f"{path}: Parquet needs pyarrow", install_hint("train")) from error
    try:
        file = pq.ParquetFile(path, pre_buffer=False)  # else the whole file would be read before its first rows
        line = 1
        for batch in file.iter_batches(batch_size=CHUNK_ROWS):
            cells: dict[str, Cells] = {}
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
                    # Python's datetime holds no nanoseconds
                    column = column.cast(pa.timestamp("us", getattr(column.type, "tz", None)), safe=False)  # noqa: PLW2901
                if pa.types.is_floating(column.type) and not column.null_count:
                    # An array, not an object for each number; of other types, Python's values keep what they mean.
                    cells[name] = column.to_numpy(zero_copy_only=False).astype("f8")
                else:
                    cells[name] = column.to_pylist()
            yield Chunk(range(line, line + batch.num_rows), cells)
            line += batch.num_rows
        pa.default_memory_pool().release_unused()
    except pa.ArrowInvalid as error:
        raise MonitorError(f"{path}: not a Parquet file ({error})", "Check what wrote it.") from error
