"""Processes that are measured: on a core of their own where there are two, by the system's own account of them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from prometheus_client.parser import text_string_to_metric_families

from monitor.tied import tied

ROOT = Path(__file__).parents[2]
START_SECONDS = 300.0
"""Longest wait for a process to start or to end."""


def cores() -> list[int]:
    """The cores this process may use; the last ones are for what is measured, the first for broker and load."""
    return sorted(os.sched_getaffinity(0))


ALL = cores()
SHARED = set(ALL[:-1] or ALL)


def apart(number: int = 0) -> set[int]:
    """The core of the number-th measured process."""
    return {ALL[-1 - number % len(ALL)]}


class Process:
    """A child with its log. `core` names the cores it may use; all where it is not given."""

    def __init__(
        self, command: Sequence[str], log: Path, core: set[int] | None = None, environment: Mapping[str, str] = {}
    ) -> None:
        self.log = log
        self.begun = time.time()
        variables = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment}
        before = os.sched_getaffinity(0)
        with log.open("ab") as output:
            os.sched_setaffinity(0, core or before)  # inherited, so that even its first threads have it
            try:
                self._process = subprocess.Popen(
                    tied([str(part) for part in command], variables), stdout=output, stderr=output, cwd=ROOT
                )
            finally:
                os.sched_setaffinity(0, before)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def cpu(self) -> float:
        """User and system seconds of all its threads (proc(5), fields 14 and 15), in hundredths."""
        return cpu_seconds(self.pid)

    def resident(self) -> int:
        """Bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def check(self) -> None:
        """Raises SystemExit with the end of the log where it has ended."""
        if self.ended:
            sys.exit(f"a process ended with code {self._process.returncode}:\n{tail(self.log)}")

    def told(self) -> dict[str, Any]:
        """The last line of its log, as JSON."""
        found: dict[str, Any] = json.loads(self.log.read_text(encoding="utf-8").splitlines()[-1])
        return found

    def end(self) -> None:
        if not self.ended:
            self.go_on()
            self._process.terminate()
            try:
                self._process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def run(
    command: Sequence[str], log: Path, core: set[int] | None = None, environment: Mapping[str, str] = {}
) -> dict[str, Any]:
    """What a child prints as its last line, as JSON. Raises SystemExit where it fails."""
    output = log.with_suffix(".out")
    output.unlink(missing_ok=True)
    with Process(command, output, core, environment) as child:
        if child._process.wait() != 0:
            sys.exit(f"{command[:4]} failed:\n{tail(output)}")
    return child.told()


def cpu_seconds(pid: int) -> float:
    """User and system seconds of a process and all its threads (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:] if log.exists() else ""


def get(port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def scrape(port: int) -> dict[str, float]:
    """Samples by name, and `name/labels` where there are any (their values, joined by commas)."""
    return {
        "/".join([sample.name, *filter(None, [",".join(sample.labels.values())])]): sample.value
        for family in text_string_to_metric_families(get(port, "/metrics"))
        for sample in family.samples
    }
