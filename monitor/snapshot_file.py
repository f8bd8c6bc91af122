"""One snapshot as a file: the windows of a partition as they stood at one offset, and what they belong to.

    magic (8) | length of the header (4) | SHA-256 of the header (32) | header, MessagePack | columns | SHA-256 (32)

The columns are those of `Image` in a fixed order, each as it lies in memory: the lengths of the names in characters,
all names as one UTF-8 text, then the arrays. The last digest is over everything before it. The header has its own, so
that what is wrong with a file can be told without reading the windows, and never from bytes that are damaged.

The digest is SHA-256: processors of the last years compute it in hardware, which makes it the fastest of the standard
library's cryptographic digests (1.7 GB/s where BLAKE2b reaches 0.9), and without that it still reads 200 MB in half a
second. CRC-32 is faster, but lets one damage in four billion pass. Reading, writing and hashing release the GIL.
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from io import FileIO
from math import prod
from typing import Annotated, Any, NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.windows import Image

_MAGIC = b"windows\n"
_VERSION = 2
_PREAMBLE = struct.Struct("<8sI32s")
_DIGEST_BYTES = 32
_LENGTH_BYTES = 4
_MOST_HEADER_BYTES = 64 * 1024
_CHUNK_BYTES = 2**20  # small enough to stay in the processor's cache between the disk and the digest

Natural = Annotated[int, msgspec.Meta(ge=0)]


class Misfit(StrEnum):
    """Why a snapshot was not used: a bounded label in the metrics."""

    ABSENT = "absent"
    UNREADABLE = "unreadable"
    DAMAGED = "damaged"
    OTHER_FORMAT = "other_format"
    OTHER_FEATURES = "other_features"
    OTHER_WINDOW = "other_window"
    OTHER_TOPIC = "other_topic"
    OTHER_GROUP = "other_group"
    BEYOND_COMMIT = "beyond_commit"
    BEFORE_LOG = "before_log"
    TOO_FAR_BACK = "too_far_back"


class UnfitError(Exception):
    """A snapshot that cannot be used, and why."""

    def __init__(self, reason: Misfit, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Identity:
    """What windows belong to: those of anything else are of no use."""

    topic: str  # name of the input topic
    topic_id: str  # the brokers' id of it, empty where they have none
    group: str
    features: str  # digest of the features' names in their order
    window: int  # T
    width: int  # F


class Header(msgspec.Struct, frozen=True):
    """What a file says of itself. Verified by its own digest, and its sizes against the file's."""

    version: int
    byteorder: str
    topic: str
    topic_id: str
    group: str
    features: str
    window: Natural
    width: Natural
    partition: Natural
    offset: Natural
    clock: float
    streams: Natural  # S
    names: Natural  # bytes of all the names


class _Format(msgspec.Struct):
    """The part of a header that every version has."""

    version: int
    byteorder: str


def write(file: FileIO, identity: Identity, image: Image, going: Callable[[], bool]) -> bool:
    """Writes a whole file; False where `going` said no on the way. Raises OSError."""
    names = "".join(image.names).encode("utf-8", "surrogatepass")
    header = Header(
        version=_VERSION,
        byteorder=sys.byteorder,
        partition=image.partition,
        offset=image.offset,
        clock=image.clock,
        streams=len(image.names),
        names=len(names),
        **asdict(identity),
    )
    text = msgspec.msgpack.encode(header)
    digest = hashlib.sha256()
    lengths = np.fromiter(map(len, image.names), np.uint32, len(image.names))
    columns = [np.ascontiguousarray(getattr(image, name), dtype) for name, dtype, _ in _columns(header)]
    preamble = _PREAMBLE.pack(_MAGIC, len(text), hashlib.sha256(text).digest())
    for part in (memoryview(preamble + text), _bytes(lengths), memoryview(names), *map(_bytes, columns)):
        for chunk in _chunks(part):
            if not going():
                return False
            digest.update(chunk)
            _write_all(file, chunk)
    _write_all(file, memoryview(digest.digest()))
    return True


def read_header(file: FileIO) -> Header:
    """The header, the file being at its beginning. Raises UnfitError, OSError."""
    start = file.read(_PREAMBLE.size) or b""
    if len(start) < _PREAMBLE.size:
        _damaged("it ends before its header")
    magic, length, digest = _PREAMBLE.unpack(start)
    if magic != _MAGIC or length > _MOST_HEADER_BYTES:
        _damaged("it does not begin as one")
    text = file.read(length) or b""
    if hashlib.sha256(text).digest() != digest:
        _damaged("the digest of its header differs")
    try:
        found = msgspec.msgpack.decode(text, type=_Format)
        if (found.version, found.byteorder) != (_VERSION, sys.byteorder):
            made = f"format {found.version}, {found.byteorder}-endian"
            raise UnfitError(Misfit.OTHER_FORMAT, f"{made}; {_VERSION}, {sys.byteorder}-endian is expected")
        header = msgspec.msgpack.decode(text, type=Header)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise UnfitError(Misfit.DAMAGED, f"its header is not one: {error}") from error
    # Before anything of that size is allocated: a header may say what it likes, the file is as long as it is.
    expected = _PREAMBLE.size + length + _size(header)
    actual = os.fstat(file.fileno()).st_size
    if actual != expected:
        _damaged(f"it has {actual} bytes, not {expected}")
    return header


def read_image(file: FileIO, header: Header) -> Image:
    """The windows, the file being where `read_header` left it. Raises UnfitError, OSError."""
    digest = hashlib.sha256()
    place = file.tell()
    file.seek(0)
    digest.update(file.read(place) or b"")
    lengths = np.empty(header.streams, np.uint32)
    text = bytearray(header.names)
    arrays: dict[str, NDArray[Any]] = {name: np.empty(shape, dtype) for name, dtype, shape in _columns(header)}
    for part in (_bytes(lengths), memoryview(text), *map(_bytes, arrays.values())):
        _read_all(file, part, digest.update)
    end = bytearray(_DIGEST_BYTES)
    _read_all(file, memoryview(end), lambda _: None)
    if digest.digest() != end:
        _damaged("its digest differs")
    names = _names(lengths, text)
    return Image(partition=header.partition, offset=header.offset, clock=header.clock, names=names, **arrays)


def _columns(header: Header) -> list[tuple[str, type[np.generic], tuple[int, ...]]]:
    """The arrays of an image, in the order of the file: name, type, shape."""
    s = header.streams
    return [
        ("count", np.int64, (s,)),
        ("last_time", np.float64, (s,)),
        ("last_offset", np.int64, (s,)),
        ("last_clock", np.float64, (s,)),
        ("marks", np.int64, (s, 2)),
        ("streaks", np.int32, (s, 2)),
        ("values", np.float32, (s, header.window, header.width)),
    ]


def _size(header: Header) -> int:
    """Bytes behind the header, in Python's unbounded integers."""
    arrays = sum(np.dtype(dtype).itemsize * prod(shape) for _, dtype, shape in _columns(header))
    return header.streams * _LENGTH_BYTES + header.names + arrays + _DIGEST_BYTES


def _names(lengths: NDArray[np.uint32], text: bytearray) -> list[str]:
    """The names, cut from one text, which costs far less than to decode each of them."""
    try:
        joined = text.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise UnfitError(Misfit.DAMAGED, f"its names are not text: {error.reason}") from error
    ends = np.cumsum(lengths, dtype=np.int64)
    if (int(ends[-1]) if len(ends) else 0) != len(joined):
        _damaged("its names have other lengths than it says")
    stops = ends.tolist()
    return [joined[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]


def _bytes(array: NDArray[Any]) -> memoryview:
    """The memory of a contiguous array; not by memoryview's own `cast`, which refuses a dimension of 0."""
    return array.reshape(-1).view(np.uint8).data


def _chunks(data: memoryview) -> Iterator[memoryview]:
    return (data[start : start + _CHUNK_BYTES] for start in range(0, len(data), _CHUNK_BYTES))


def _write_all(file: FileIO, data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]


def _read_all(file: FileIO, target: memoryview, seen: Callable[[memoryview], None]) -> None:
    for chunk in _chunks(target):
        rest = chunk
        while rest:
            count = file.readinto(rest)
            if not count:
                _damaged("it became shorter while it was read")
            rest = rest[count:]
        seen(chunk)


def _damaged(detail: str) -> NoReturn:
    raise UnfitError(Misfit.DAMAGED, detail)
