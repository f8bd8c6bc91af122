"""Ctrl+C and SIGTERM, so that neither is lost on its way."""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn


class Cut:
    """Raises in the main thread when a signal comes, and again where it is asked.

    The Kafka client runs an event loop in the calling thread and may take what is raised inside it for a failed
    connection; so the signal is remembered too.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._handle)

    def check(self) -> None:
        """Raises KeyboardInterrupt or SystemExit (128 + number) once a signal has come."""
        if self.number is not None:
            self._leave(self.number)

    def forget(self) -> None:
        """The signal was what was waited for."""
        self.number = None

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        self._leave(number)

    def _leave(self, number: int) -> NoReturn:
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)
