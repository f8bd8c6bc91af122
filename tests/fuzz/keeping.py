"""The corpus that is kept: the fewest and smallest inputs that take every step which the whole corpus takes."""

from __future__ import annotations

import hashlib
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.target import CORPUS, ROOT, Target

MOST_BYTES = 48_000  # of one target, kept
LARGEST = 1500  # bytes of one input

_Step = tuple[str, int, int]  # file, from line, to line


def kept(name: str) -> list[bytes]:
    """The inputs of a target that are in the repository."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]


def steps(target: Target, data: bytes) -> set[_Step]:
    """Which lines of the program and of the oracle follow which, for one input."""
    taken: set[_Step] = set()
    root = str(ROOT)

    def line(frame: FrameType, event: str, _: Any) -> Any:
        file = frame.f_code.co_filename
        if not file.startswith((f"{root}/monitor", f"{root}/tests/fuzz")):
            return None
        before = 0

        def inside(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal before
            if event == "line":
                taken.add((file, before, frame.f_lineno))
                before = frame.f_lineno
            return inside

        return inside

    sys.settrace(line)
    try:
        with suppress(Exception):
            target.check(data)
    finally:
        sys.settrace(None)
    return taken


def keep(target: Target, corpus: Path) -> str:
    """Replaces what is kept of a target by the best of it and of `corpus`; says what it did."""
    found = corpus.iterdir() if corpus.exists() else ()
    known = {*kept(target.name), *(path.read_bytes() for path in found)}
    left = sorted((data for data in known if len(data) <= LARGEST), key=lambda data: (len(data), data))
    chosen: list[bytes] = []
    covered: set[_Step] = set()
    size = 0
    for data in left:  # the smallest first: a large one is taken only for what no smaller one does
        new = steps(target, data) - covered
        if new and size + len(data) <= MOST_BYTES:
            chosen.append(data)
            covered |= new
            size += len(data)
    folder = CORPUS / target.name
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for data in chosen:
        (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    return f"{target.name}: kept {len(chosen)} inputs of {len(known)}, {size:,} bytes, {len(covered)} steps"
