"""The members of a run as processes, and the supervisor that starts again what ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from monitor.tied import tied
from tests.faults.deployment import Deployment
from tests.faults.plan import Arrow
from tests.faults.schedule import STOP_WITHIN

ROOT = Path(__file__).parents[2]
LAUNCHER = "tests.faults.member"
_RESTART = 0.2  # s a supervisor takes


@dataclass
class Life:
    """One process of a member."""

    member: int
    process: subprocess.Popen[bytes]
    log: Path
    arrow: Arrow | None
    told_to_stop: float = 0.0  # when, monotonic; 0: it was not
    return_after_stop: bool = False
    frozen_until: float = 0.0  # monotonic; 0: it runs
    replaced: bool = False  # another process has its name: it may end as it likes
    pipe: subprocess.Popen[bytes] | None = None  # carries its log, and ends with it
    over: bool = False

    def has(self, event: str) -> bool:
        """Whether its log tells of it."""
        return f'"event": "{event}"' in self.log.read_text(errors="replace")


@dataclass
class Members:
    """Keeps the members that should be there. `tend` is called many times a second, from the thread that made this."""

    deployment: Deployment
    bootstraps: list[str]  # of each member; empty: the deployment's
    freeze_seconds: float
    arrows: list[list[Arrow]]
    broken: str = ""
    lives: list[Life] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    injected: list[tuple[float, str]] = field(default_factory=list)
    exits: list[float] = field(default_factory=list)  # s from SIGTERM to the end
    file_limit: int = 0
    broker: int = 0  # process id of the one broker
    _due: list[tuple[float, int]] = field(default_factory=list)  # when to start which member

    def start(self, member: int) -> Life:
        waiting = self.arrows[member] if member < len(self.arrows) else []
        arrow = waiting.pop(0) if waiting else None
        plan: dict[str, Any] = {"broken": self.broken, "file_limit": self.file_limit}
        if arrow is not None:
            plan |= {"arrow": asdict(arrow), "broker": self.broker}
            del plan["arrow"]["lasts"]  # which is the harness's part
        bootstrap = self.bootstraps[member] if member < len(self.bootstraps) else ""
        file = self.deployment.file(member, bootstrap)
        log = self.deployment.folder / f"member-{member}.{sum(life.member == member for life in self.lives)}.log"
        command = [sys.executable, "-m", LAUNCHER, json.dumps(plan), "run", "-c", str(file)]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MONITOR_")}
        with log.open("wb") as sink:
            out: IO[bytes] | int = sink
            cat = None
            if self.file_limit:  # the log is no file to a process that may not write large files
                cat = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=sink)
                assert cat.stdin is not None
                out = cat.stdin
            process = subprocess.Popen(
                tied(command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**clean, "OMP_NUM_THREADS": "1"},
            )
            if cat is not None and cat.stdin is not None:
                cat.stdin.close()
        life = Life(member, process, log, arrow, pipe=cat)
        self.lives.append(life)
        return life

    def of(self, member: int) -> Life | None:
        """The newest process of a member, if it runs."""
        found = [life for life in self.lives if life.member == member and not life.over]
        return found[-1] if found else None

    def kill(self, member: int) -> bool:
        life = self.of(member)
        if life is None or life.process.poll() is not None:
            return False
        self.note(f"kill member {member}")
        life.process.kill()
        return True

    def freeze(self, member: int, seconds: float, *, replace: bool = False) -> bool:
        life = self.of(member)
        if life is None or life.process.poll() is not None:
            return False
        self.note(f"freeze member {member}" + (" and replace it" if replace else ""))
        life.process.send_signal(signal.SIGSTOP)
        life.frozen_until = time.monotonic() + seconds
        if replace:
            life.replaced = True
            self._due.append((time.monotonic() + 0.5, member))
        return True

    def terminate(self, member: int, *, back: bool) -> bool:
        life = self.of(member)
        if life is None or life.told_to_stop or life.process.poll() is not None:
            return False
        life.told_to_stop, life.return_after_stop = time.monotonic(), back
        life.process.send_signal(signal.SIGTERM)
        return True

    def note(self, what: str) -> None:
        self.injected.append((time.monotonic(), what))

    def tend(self) -> None:
        """Thaws who is due, notes who ended and why, starts who should be there."""
        now = time.monotonic()
        for life in self.lives:
            if life.over:
                continue
            if life.frozen_until and now >= life.frozen_until:
                life.process.send_signal(signal.SIGCONT)
                life.frozen_until = 0.0
            elif life.arrow is not None and life.arrow.action == "freeze" and _froze(life.process.pid):
                self.note(f"{life.arrow}, member {life.member}")
                life.arrow, life.frozen_until = None, now + self.freeze_seconds
            if life.process.poll() is not None:
                self._ended(life, now)
            elif life.told_to_stop and not life.replaced and now - life.told_to_stop > 3 * STOP_WITHIN:
                self.failures.append(f"member {life.member} did not stop in {3 * STOP_WITHIN:g} s: {life.log}")
                life.process.kill()
        for at, member in list(self._due):
            if now >= at:
                self._due.remove((at, member))
                self.start(member)

    def _ended(self, life: Life, now: float) -> None:
        life.over = True
        if life.pipe is not None:
            life.pipe.wait()
        code = life.process.returncode
        if life.replaced:
            return
        if life.told_to_stop:
            self.exits.append(now - life.told_to_stop)
            said = life.log.read_text(errors="replace")
            unborn = code == -signal.SIGTERM and '"started"' not in said
            away = code == 1 and "stopped before the last batch could be published" in said  # as the manual has it
            if (code != 0 and not unborn and not away) or self.exits[-1] > STOP_WITHIN:
                told = f"member {life.member} took {self.exits[-1]:.1f} s to stop, exit code {code}"
                self.failures.append(f"{told}: {tail(life.log)}")
            if not life.return_after_stop:
                return
        elif code == -signal.SIGKILL:
            if life.arrow is not None and '"injected"' in tail(life.log, 3000):
                self.note(f"{life.arrow}, member {life.member}")
        else:
            self.failures.append(f"member {life.member} ended by itself, exit code {code}: {tail(life.log)}")
        self._due.append((now + _RESTART, life.member))

    @property
    def armed(self) -> bool:
        """Whether a member still has a knife to use."""
        return any(life.arrow is not None and not life.over for life in self.lives) or any(self.arrows)

    @property
    def starting(self) -> bool:
        return bool(self._due)

    @property
    def frozen(self) -> bool:
        return any(life.frozen_until for life in self.lives if not life.over)

    def stop(self) -> None:
        """All of them, in order."""
        self._due.clear()
        for life in self.lives:
            if not life.over and life.frozen_until:
                life.process.send_signal(signal.SIGCONT)
                life.frozen_until = 0.0
            if not life.over and not life.told_to_stop and life.process.poll() is None:
                life.told_to_stop = time.monotonic()
                life.process.send_signal(signal.SIGTERM)
            life.return_after_stop = False
        while any(not life.over for life in self.lives):
            self.tend()
            self._due.clear()
            time.sleep(0.02)

    def ask_where_they_stand(self) -> None:
        """Each running member writes the stacks of its threads to its log."""
        for life in self.lives:
            if life.process.poll() is None:
                life.process.send_signal(signal.SIGUSR1)
        time.sleep(0.5)

    def kill_all(self) -> None:
        for life in self.lives:
            if life.process.poll() is None:
                life.process.kill()
                life.process.wait()
            if life.pipe is not None:
                life.pipe.wait()

    def told(self, event: str) -> Iterator[dict[str, Any]]:
        """Facts of each line of all logs about one event."""
        for life in self.lives:
            for line in life.log.read_text(errors="replace").splitlines():
                if f'"event": "{event}"' in line or f'"event":"{event}"' in line:
                    try:
                        yield json.loads(line)
                    except ValueError:  # cut by a kill
                        continue


def tail(log: Path, size: int = 1500) -> str:
    return f"{log}:\n{log.read_text(errors='replace')[-size:]}"


def _froze(pid: int) -> bool:
    """Whether the child has stopped itself; leaves its state for whoever waits for it."""
    try:
        found = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return found is not None and found.si_code == os.CLD_STOPPED
