"""What the loop tells the probes: that it turns, and its newest status. One thread writes, others read."""

from __future__ import annotations

from collections.abc import Callable

from monitor.status import Status


class Health:
    """A stopped loop is stuck; a loop that waits for brokers or through a rebalance still turns."""

    def __init__(self, stuck_after: float, clock: Callable[[], float]) -> None:
        """`stuck_after` in seconds of `clock`, which is monotonic."""
        self.status: Status | None = None
        self._stuck_after = stuck_after
        self._clock = clock
        self._beaten = clock()

    def beat(self, now: float) -> None:
        """The loop turned."""
        self._beaten = now

    def stuck(self) -> str | None:
        """Why the process should be restarted; None while the loop turns."""
        still = self._clock() - self._beaten
        if still <= self._stuck_after:
            return None
        return f"the loop has not turned for {still:.0f} s (web.stuck_after is {self._stuck_after:g})"
