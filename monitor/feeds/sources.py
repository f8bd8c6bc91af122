"""Where vectors come from: captures and tables in files or a pipe, or an interface; each read as it is asked for."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, cast

from monitor import config
from monitor.errors import MonitorError, UsageError
from monitor.feeds import capture
from monitor.feeds.columns import CSV_SUFFIXES, Chunk, chunks, lines, stem
from monitor.feeds.files import Mapping
from monitor.feeds.frames import Tally
from monitor.feeds.interface import Interface
from monitor.feeds.joining import Joiner
from monitor.feeds.pipes import Pipe
from monitor.feeds.rows import RowReader
from monitor.feeds.traffic import Traffic
from monitor.feeds.vectors import Vectors

Format = Literal["capture", "csv", "ndjson"]
Stop = Callable[[], bool]


class Source(Protocol):
    """Something that can be fed. `notes` and `tally` tell of the last pass, once it is over."""

    tally: Tally
    total: int | None
    """Bytes in all; None where that is not known."""
    repeatable: bool

    def vectors(self) -> Iterator[Vectors]:
        """One pass from the start, in order; the same each time where it is repeatable."""

    def position(self) -> int:
        """Bytes of `total` that this pass has read."""

    def notes(self) -> Iterator[str]:
        """What was left out, moved or assumed, for people."""


class _Packets:
    """Captures and interfaces have this in common."""

    def __init__(self, feed: config.Feed) -> None:
        self._feed = feed
        self.tally = Tally()
        self._traffic = Traffic(feed, self.tally)

    def _begin(self) -> Traffic:
        self.tally.clear()
        self._traffic = Traffic(self._feed, self.tally)
        return self._traffic

    def _notes(self) -> Iterator[str]:
        traffic = self._traffic
        if traffic.frames and not traffic.packets:
            yield f"none of the {traffic.frames:,} frames is a packet that can be read"
        if traffic.disordered:
            yield f"{traffic.disordered:,} packets were older than one before them: they count as just as old"
        if traffic.evicted:
            yield (
                f"{traffic.evicted:,} times a host, channel, connection or flow was forgotten, or reported early: "
                f"there are more than feed.max_keys ({self._feed.max_keys:,})"
            )


class CaptureFiles(_Packets):
    """Capture files, one after the other."""

    repeatable = True

    def __init__(self, paths: Sequence[Path], feed: config.Feed) -> None:
        super().__init__(feed)
        self._paths = paths
        self.total: int | None = sum(path.stat().st_size for path in paths)
        self._before = 0
        self._file: BinaryIO | None = None

    def vectors(self) -> Iterator[Vectors]:
        traffic = self._begin()
        self._before = 0
        for path in self._paths:
            with path.open("rb") as file:
                self._file = file
                packed = file.read(2) == capture.GZIP
                file.seek(0)
                unpacked = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file
                for frames in capture.read(unpacked, str(path), self.tally):
                    yield traffic.push(frames)
                self._file = None
            self._before += path.stat().st_size
        yield traffic.end()

    def position(self) -> int:
        return self._before + (self._file.tell() if self._file is not None else 0)

    def notes(self) -> Iterator[str]:
        return self._notes()


class LiveInterface(_Packets):
    """An interface, until it is told to stop or goes down."""

    repeatable = False
    total: int | None = None

    def __init__(self, interface: Interface, feed: config.Feed, stop: Stop) -> None:
        super().__init__(feed)
        self._interface = interface
        self._stop = stop

    def vectors(self) -> Iterator[Vectors]:
        traffic = self._begin()
        try:
            for frames in self._interface.read(self._stop):
                yield traffic.push(frames)
        except MonitorError:
            yield traffic.end()  # what is known of the flows is told before the interface's end is
            raise
        yield traffic.end()

    def position(self) -> int:
        return 0

    def notes(self) -> Iterator[str]:
        yield from self._notes()
        if self._interface.lost:
            yield f"{self._interface.lost:,} packets were lost: they came faster than they were taken"


class _Tables:
    """Tables in files or from a pipe have this in common."""

    def __init__(self, mapping: Mapping, join: config.Join) -> None:
        self._mapping = mapping
        self._join = join
        self.tally = Tally()
        self._begin()

    def _begin(self) -> None:
        self.tally.clear()
        self._reader = RowReader(self._mapping, self.tally)
        self._joiner = Joiner(self._join) if self._join.sensors else None

    def _joined(self, vectors: Iterator[Vectors]) -> Iterator[Vectors]:
        if self._joiner is None:
            yield from vectors
            return
        for rows in vectors:
            yield self._joiner.push(rows)
        yield self._joiner.end()

    def notes(self) -> Iterator[str]:
        reader, joiner = self._reader, self._joiner
        if reader.example:
            yield f"the first cell that cannot be read: {reader.example}"
        if reader.left_out:
            yield f"columns with text: left out ({', '.join(reader.left_out)})"
        if reader.disordered:
            late = "older than one before them in their stream: the service counts them as late"
            yield f"{reader.disordered:,} rows are {late}"
        if joiner is not None and joiner.late:
            yield f"{joiner.late:,} values came after their interval was closed: left out (see feed.join.wait)"
        if joiner is not None and joiner.unused:
            yield f"{joiner.unused:,} values belong to none of feed.join.sensors: left out"
        if joiner is not None and joiner.silent:
            yield f"sensors without any value: {', '.join(joiner.silent)}; is the column missing, or named otherwise?"


class TableFiles(_Tables):
    """CSV, NDJSON and Parquet files, one after the other."""

    repeatable = True

    def __init__(self, paths: Sequence[Path], mapping: Mapping, join: config.Join) -> None:
        super().__init__(mapping, join)
        self._paths = paths
        self._sizes = [path.stat().st_size for path in paths]
        self.total: int | None = sum(self._sizes)
        self._read = 0

    def vectors(self) -> Iterator[Vectors]:
        self._begin()
        self._read = 0
        return self._joined(self._rows())

    def _rows(self) -> Iterator[Vectors]:
        for path, size in zip(self._paths, self._sizes, strict=True):
            header = not _is_ndjson(path)
            yield from self._reader.read(chunks(path, self._mapping.separator), str(path), stem(path), header=header)
            self._read += size

    def position(self) -> int:
        return self._read


class TablePipe(_Tables):
    """CSV or NDJSON from a pipe."""

    repeatable = False
    total: int | None = None

    def __init__(self, found: Iterator[Chunk], name: str, mapping: Mapping, join: config.Join, *, header: bool) -> None:
        super().__init__(mapping, join)
        self._chunks = found
        self._name = name
        self._header = header

    def vectors(self) -> Iterator[Vectors]:
        return self._joined(self._reader.read(self._chunks, self._name, "stdin", header=self._header))

    def position(self) -> int:
        return 0


class CapturePipe(_Packets):
    """A capture from a pipe, as `tcpdump -U -w -` writes it."""

    repeatable = False
    total: int | None = None

    def __init__(self, file: BinaryIO, name: str, feed: config.Feed, pause: Stop) -> None:
        super().__init__(feed)
        self._file = file
        self._name = name
        self._pause = pause

    def vectors(self) -> Iterator[Vectors]:
        traffic = self._begin()
        for frames in capture.read(self._file, self._name, self.tally, pause=self._pause):
            yield traffic.push(frames)
        yield traffic.end()

    def position(self) -> int:
        return 0

    def notes(self) -> Iterator[str]:
        return self._notes()


def of_files(paths: Sequence[Path], mapping: Mapping, feed: config.Feed) -> Source:
    """The source that these files are; captures and tables are told apart by how they begin.

    Raises `UsageError` where they are both, or cannot be read.
    """
    captures = [path for path in paths if _is_capture(path)]
    if not captures:
        return TableFiles(paths, mapping, feed.join)
    if len(captures) < len(paths):
        other = next(path for path in paths if path not in captures)
        raise UsageError(f"{captures[0]} is a capture, and {other} is none", "Feed them apart.")
    return CaptureFiles(paths, feed)


def of_pipe(descriptor: int, mapping: Mapping, feed: config.Feed, stop: Stop) -> Source:
    """The source that a pipe is: a capture, NDJSON or CSV, by how it begins. Each also gzipped."""
    pipe, name = Pipe(descriptor, stop), "standard input"
    if pipe.peek(2) == capture.GZIP:
        unpacked = io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=cast(BinaryIO, pipe))))
        start = unpacked.peek(4)[:4]
        found = _sniffed(start)
        if found == "capture":
            return CapturePipe(cast(BinaryIO, unpacked), name, feed, lambda: False)
        text = io.TextIOWrapper(unpacked, encoding="utf-8-sig", newline="")
        return TablePipe(_text(text, name, mapping, found), name, mapping, feed.join, header=found == "csv")
    found = _sniffed(pipe.peek(4))
    if found == "capture":
        return CapturePipe(cast(BinaryIO, pipe), name, feed, pipe.waiting)
    rows = _text(pipe.lines(), name, mapping, found, pipe.waiting)
    return TablePipe(rows, name, mapping, feed.join, header=found == "csv")


def _text(
    text: Iterator[str], name: str, mapping: Mapping, found: Format, pause: Stop = lambda: False
) -> Iterator[Chunk]:
    try:
        yield from lines(text, name, mapping.separator, csv_format=found == "csv", pause=pause)
    except UnicodeDecodeError as error:
        raise MonitorError(f"{name}: not UTF-8 text ({error.reason})", "Convert it to UTF-8.") from error


def _sniffed(start: bytes) -> Format:
    if capture.is_capture(start):
        return "capture"
    return "ndjson" if start.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] == b"{" else "csv"


def _is_ndjson(path: Path) -> bool:
    return Path(path.name.removesuffix(".gz")).suffix.lower() not in (*CSV_SUFFIXES, ".parquet", ".pq")


def _is_capture(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(4)
            if start[:2] == capture.GZIP:
                file.seek(0)
                start = gzip.GzipFile(fileobj=file).read(4)
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            return False
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})", "Check the path and rights.") from error
    except EOFError:
        return False
    # an empty capture is told as one by its name
    named = path.name.removesuffix(".gz").endswith((".pcap", ".pcapng", ".cap"))
    return capture.is_capture(start) or named
