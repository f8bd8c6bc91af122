"""Programs that the demo starts: none of them outlives it, however it ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from monitor.errors import MonitorError
from monitor.tied import tied

_GRACE = 5.0  # s for a command that was interrupted
_STOP_TIMEOUT: Final = 20.0  # s for the service to finish its batch, commit and leave the group
_LOG_TAIL = 2000


def _tied(command: Sequence[str], folder: Path) -> list[str]:
    """Dies with the demo, and leaves nothing outside its folder: torch makes a temporary one when it is imported."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    return tied(command, {"TMPDIR": str(temporary)})


def monitor(*arguments: str) -> list[str]:
    """The command line that runs this very program."""
    return [sys.executable, "-m", "monitor", *arguments]


def call(folder: Path, *arguments: str, output: Path | None = None) -> None:
    """Runs `monitor ARGUMENTS` on this terminal; with `output`, what it prints goes there. Raises MonitorError when it
    fails: it has said why.
    """
    with output.open("wb") if output else nullcontext() as file:
        # Of our process group: Ctrl+C reaches it as it would reach a command typed by hand.
        process = subprocess.Popen(_tied(monitor(*arguments), folder), stdin=subprocess.DEVNULL, stdout=file)
        try:
            code = process.wait()
        except BaseException:
            _end(process, _GRACE)
            raise
    if code:
        raise MonitorError(f"monitor {arguments[0]} failed with exit code {code}", "Its own message stands above.")


class Service:
    """`monitor run` as a process of its own, with its log in a file."""

    def __init__(self, config: Path, log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            # A session of its own: Ctrl+C at the terminal is for the demo, which then stops the service in order.
            self._process = subprocess.Popen(
                _tied(monitor("run", "-c", str(config)), log.parent),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def require_running(self) -> None:
        """Raises MonitorError, with the end of its log, when it has ended by itself."""
        if (code := self._process.poll()) is not None:
            raise MonitorError(f"the service ended by itself with exit code {code}", self.tail())

    def stop(self) -> int:
        """SIGTERM, and SIGKILL where that is not heard in time; the exit code."""
        return _end(self._process, _STOP_TIMEOUT)

    def tail(self) -> str:
        text = self.log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:]
        return f"The end of {self.log}:\n{text}"


def _end(process: subprocess.Popen[bytes], timeout: float) -> int:
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
    except BaseException:  # a second Ctrl+C: at once
        process.kill()
        process.wait()
        raise
    return process.wait()
