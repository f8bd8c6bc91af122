"""The members as processes, and what each is seen to use, once a second."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from monitor.tied import tied

STOPS_WITHIN = 30.0  # s
_STARTED = re.compile(r'"http": ?"http://([^"]+)"')


@dataclass(frozen=True, slots=True)
class Sample:
    seconds: float  # since the process was started
    events: float  # that it has taken
    resident: int  # bytes
    series: int
    streams: float
    idle: float  # streams it forgot because they were silent
    capacity: float  # and because there were too many
    alerts: float


@dataclass
class Life:
    """One process."""

    member: int
    log: Path
    process: subprocess.Popen[bytes]
    begun: float
    samples: list[Sample] = field(default_factory=list)
    end: str = "the end"  # what ended it
    code: int | None = None
    stopped_in: float = 0.0  # s

    def address(self) -> str:
        found = _STARTED.search(self.log.read_text(errors="replace"))
        return found[1].replace("0.0.0.0", "127.0.0.1") if found else ""

    def sample(self) -> None:
        """Adds one, where the process answers."""
        address = self.address()
        if not address or self.process.poll() is not None:
            return
        with suppress(OSError, ValueError):
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
                lines = [line for line in answer.read().decode().splitlines() if line and line[0] != "#"]
            found: dict[str, float] = {}
            for line in lines:
                sample, _, number = line.rpartition(" ")
                name = sample if "streams_evicted" in sample else sample.partition("{")[0]
                found[name] = found.get(name, 0.0) + float(number)
            self.samples.append(
                Sample(
                    time.monotonic() - self.begun,
                    found["monitor_events_total"],
                    resident(self.process.pid),
                    len(lines),
                    found["monitor_streams_active"],
                    found['monitor_streams_evicted_total{reason="idle"}'],
                    found['monitor_streams_evicted_total{reason="capacity"}'],
                    found["monitor_alerts_total"],
                )
            )


def resident(pid: int) -> int:
    """Bytes of a process that are in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Members:
    """Starts and ends processes; a thread looks at those that run. Start and end them from the main thread."""

    def __init__(self, folder: Path, files: list[Path]) -> None:
        self._folder = folder
        self._files = files
        self.lives: list[Life] = []
        self._running: dict[int, Life] = {}
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def start(self) -> None:
        for member in range(len(self._files)):
            self._begin(member)
        self._watch.start()

    def restart(self, member: int, number: signal.Signals) -> None:
        self._end(member, number)
        self._begin(member)

    def stop(self) -> None:
        for member, life in list(self._running.items()):
            self._end(member, signal.SIGTERM)
            life.end = "the end"
        self._over.set()
        if self._watch.is_alive():
            self._watch.join()

    def kill(self) -> None:
        self._over.set()
        for life in self.lives:
            if life.process.poll() is None:
                life.process.kill()
                life.process.wait()

    def check(self) -> None:
        """Raises AssertionError where a member ended by itself."""
        for life in self._running.values():
            code = life.process.poll()
            assert code is None, f"a member ended by itself, exit {code}:\n{life.log.read_text()[-2000:]}"

    def _begin(self, member: int) -> None:
        log = self._folder / f"member-{member}.{len(self.lives)}.log"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MONITOR_")}
        command = [sys.executable, "-m", "monitor", "run", "-c", str(self._files[member])]
        with log.open("wb") as sink:
            process = subprocess.Popen(
                tied(command),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env={**clean, "OMP_NUM_THREADS": "1"},
            )
        life = Life(member, log, process, time.monotonic())
        self.lives.append(life)
        self._running[member] = life

    def _end(self, member: int, number: signal.Signals) -> None:
        life = self._running.pop(member)
        begun = time.monotonic()
        life.end = number.name
        life.process.send_signal(number)
        life.code = life.process.wait(STOPS_WITHIN)
        life.stopped_in = time.monotonic() - begun

    def _look(self) -> None:
        while not self._over.wait(1.0):
            for life in list(self._running.values()):
                life.sample()
