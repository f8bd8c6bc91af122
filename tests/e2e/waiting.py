"""Waiting for what takes its time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

_TICK = 0.3  # s; each look is a process of its own

SLOWNESS = float(os.environ.get("MONITOR_E2E_SLOWNESS") or 1)
"""How many times longer than usual anything may take: for a machine that is busy with other work."""

T = TypeVar("T")


def until(look: Callable[[], T], seconds: float, what: str, tick: float = _TICK) -> T:
    """The first true answer of `look`. Raises TimeoutError after `seconds`, with what was waited for and last seen.

    `SLOWNESS` times as long is waited.
    """
    deadline = time.monotonic() + seconds * SLOWNESS
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"not in {seconds * SLOWNESS:g} s: {what}; last seen: {found!r}")
        time.sleep(tick)
