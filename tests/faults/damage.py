"""What disks and people do to snapshots while no member runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from io import FileIO
from itertools import cycle
from pathlib import Path
from random import Random

from monitor.snapshot_file import Identity, read_header, read_image, write

SMALLEST = 64  # bytes that a process on a full disk may still write into a file


def damage(folder: Path, how: str, random: Random) -> int:
    """Damages each snapshot of the folder, in one of the ways `how` (several joined by "+") after the other.

    Returns how many there were.
    """
    files = sorted(folder.rglob("*.windows"))
    for file, way in zip(files, cycle(how.split("+"))):
        HOW[way](file, random)
    return len(files)


def _truncate(file: Path, random: Random) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: random.randrange(len(content))])


def _flip(file: Path, random: Random) -> None:
    content = bytearray(file.read_bytes())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    file.write_bytes(content)


def _swap(file: Path, random: Random) -> None:
    """What a member with another artefact would have left: whole, and wrong in each value."""
    with FileIO(file) as source:
        header = read_header(source)
        image = read_image(source, header)
    other = Identity(header.topic, header.topic_id, header.group, "0" * 64, header.window, header.width)
    with FileIO(file, "w") as sink:
        write(sink, other, replace(image, values=image.values + 100), lambda: True)


def _leave(file: Path, random: Random) -> None:
    pass  # the disk is full: what is there is good, and grows old


HOW: Mapping[str, Callable[[Path, Random], None]] = {
    "truncated": _truncate,
    "flipped": _flip,
    "other": _swap,
    "full": _leave,
}
