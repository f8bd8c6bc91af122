"""What the loop tells the probes: that it turns, and its newest status. One thread writes, others read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from monitor.status import Status


class Health:
    """A stopped loop is stuck; a loop that waits for brokers or through a rebalance still turns."""

    def __init__(self, stuck_after: float, clock: Callable[[], float]) -> None:
        """`stuck_after` in seconds of `clock`, which is monotonic."""
        self._status: Status | None = None
        self._stopping = False
        self._stuck_after = stuck_after
        self._clock = clock
        self._beaten = clock()

    @property
    def status(self) -> Status | None:
        """The newest status; None before the first. From `stop` on it says so, whatever the loop is still doing."""
        if self._status is None or not self._stopping:
            return self._status
        return replace(self._status, state="stopping")

    def report(self, status: Status) -> None:
        """What the loop says of itself."""
        self._status = status

    def beat(self, now: float) -> None:
        """The loop turned."""
        self._beaten = now

    def stop(self) -> None:
        """Unready from now on: no new work shall come here. May be called from a signal handler."""
        self._stopping = True

    def stuck(self) -> str | None:
        """Why the process should be restarted; None while the loop turns."""
        still = self._clock() - self._beaten
        if still <= self._stuck_after:
            return None
        return f"the loop has not turned for {still:.0f} s (web.stuck_after is {self._stuck_after:g})"
