"""What a target is: a check that takes any bytes, and ends quietly or by an error that a caller is told to expect."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).parent / "corpus"


class WrongError(AssertionError):
    """An answer was given, and it is not the right one. Any other exception of a check is a crash."""


@dataclass(frozen=True, slots=True)
class Target:
    name: str
    check: Callable[[bytes], bool]
    """Whether the input was accepted. Raises what is a finding."""
    seeds: Callable[[], Sequence[bytes]]
    words: Sequence[bytes]
    """What a mutation may put into an input."""


def demand(holds: object, what: str) -> None:
    if not holds:
        raise WrongError(what)


@cache
def scratch() -> Path:
    """A folder of this process's own, in memory where there is such a place; whoever made the process removes it."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="monitor-fuzz-", dir=memory if os.access(memory, os.W_OK) else None))
