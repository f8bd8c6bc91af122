"""What captures and interfaces give: frames as columns, and why some were set aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Int64

HEAD = 192
"""Bytes of each frame that are looked at: enough for a frame's headers with tags, options and extensions."""
BATCH = 4096
"""Most frames at a time."""
LAST_TIME = 9 * 10**18
"""Times are from 0 (1970) to below this (in the year 2255), ns: what 64 bits hold, with room."""


class Fault(StrEnum):
    """Why a frame, or a row, became no vector: counted, never fatal."""

    DAMAGED_FILE = "damaged_file"
    TRUNCATED_FILE = "truncated_file"
    NO_TIME = "no_time"
    BAD_TIME = "bad_time"
    TIME_JUMP = "time_jump"
    UNKNOWN_LINK = "unknown_link"
    CUT_SHORT = "cut_short"
    MALFORMED = "malformed"
    BAD_CELL = "bad_cell"


MEANING = {
    Fault.DAMAGED_FILE: "the file is damaged: what follows the damage cannot be read",
    Fault.TRUNCATED_FILE: "the file ends in the middle of a packet",
    Fault.NO_TIME: "packets without a time stamp",
    Fault.BAD_TIME: "packets with a time outside of 1970 to 2255",
    Fault.TIME_JUMP: "packets more than a day ahead of the one before, with none that agrees after them",
    Fault.UNKNOWN_LINK: "packets of a link type that is not known here",
    Fault.CUT_SHORT: "packets captured without all of their headers",
    Fault.MALFORMED: "packets with headers that contradict themselves",
    Fault.BAD_CELL: "rows with a cell that cannot be read",
}


@dataclass(frozen=True, slots=True)
class Frames:
    """N frames in the order of the capture."""

    time: Int64  # (N,) ns since the Unix epoch; -1: none
    link: Int64  # (N,) link-layer type, as in a capture file
    captured: Int64  # (N,) bytes that were captured
    size: Int64  # (N,) bytes on the wire
    head: NDArray[np.uint8]  # (N, HEAD) the first bytes, zeros after them

    def __len__(self) -> int:
        return len(self.time)


def frames(found: Sequence[tuple[int, int, int, bytes]]) -> Frames:
    """Frames from (time in ns, link type, bytes on the wire, bytes captured)."""
    if not found:
        none = np.empty(0, np.int64)
        return Frames(none, none, none, none, np.empty((0, HEAD), np.uint8))
    times, links, sizes, data = zip(*found, strict=True)
    captured = np.fromiter(map(len, data), np.int64, len(data))
    heads = b"".join([frame[:HEAD].ljust(HEAD, b"\0") for frame in data])
    sizes_there = np.maximum(np.array(sizes, np.int64), captured)
    return Frames(
        np.array(times, np.int64),
        np.array(links, np.int64),
        captured,
        sizes_there,
        np.frombuffer(heads, np.uint8).reshape(len(data), HEAD),
    )


class Tally(Counter[Fault]):
    """How many of what was met could not be taken, by reason."""

    def lines(self) -> Iterator[str]:
        for fault, count in self.most_common():
            yield f"{count:,} x {fault}: {MEANING[fault]}"
