"""Standard input, or any pipe, read so that one sees whether more is there already, and can be told to stop."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator

_PART = 65_536
_PATIENCE = 0.2
"""Seconds after which a silent pipe is asked again whether to stop."""


class Pipe:
    """Enough of a binary file for the readers: `read`, `peek`, lines; it ends where the pipe does, or with `stop`."""

    def __init__(self, descriptor: int, stop: Callable[[], bool]) -> None:
        self._descriptor = descriptor
        self._stop = stop
        self._buffer = b""
        self._ended = False

    def waiting(self) -> bool:
        """Whether the next bytes are not there yet."""
        return not self._buffer and not self._ended and not self._readable(0)

    def peek(self, count: int) -> bytes:
        while len(self._buffer) < count and self._more():
            pass
        return self._buffer[:count]

    def read(self, count: int = -1) -> bytes:
        parts, have = [self._buffer], len(self._buffer)
        self._buffer = b""
        while (count < 0 or have < count) and self._more():
            parts.append(self._buffer)
            have += len(self._buffer)
            self._buffer = b""
        data = b"".join(parts)
        if count >= 0:
            data, self._buffer = data[:count], data[count:]
        return data

    def lines(self) -> Iterator[str]:
        """Decoded lines with their ends. Raises `UnicodeDecodeError`."""
        encoding = "utf-8-sig"
        while line := self._line():
            yield line.decode(encoding)
            encoding = "utf-8"

    def _line(self) -> bytes:
        parts = []
        while True:
            line, newline, self._buffer = self._buffer.partition(b"\n")
            parts.append(line + newline)
            if newline or not self._more():
                # told to stop in the middle of a line: half of it is nothing
                return b"" if not newline and self._stop() else b"".join(parts)

    def _readable(self, seconds: float) -> bool:
        return bool(select.select([self._descriptor], [], [], seconds)[0])

    def _more(self) -> bool:
        """Put what is there next into the buffer; False at the end."""
        while not self._ended:
            if self._stop():
                self._ended = True
            elif self._readable(_PATIENCE):
                part = os.read(self._descriptor, _PART)
                self._buffer += part
                self._ended = not part
                return not self._ended
        return False
