"""From the start of the process to the first score, with a model on disk and no backlog; import time and weight.

A topic has one whole window of one stream. First score: the group has committed it. The peers start the same way.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.performance import environments
from benchmarks.performance.bench import Bench, console
from benchmarks.performance.parts.cost import PEERS
from benchmarks.performance.processes import ROOT, START_SECONDS, Process, apart
from benchmarks.performance.results import middle
from benchmarks.performance.workload import WINDOW, send

_IMPORT = "import time; a = time.perf_counter(), time.process_time(); import {}; print(time.perf_counter() - a[0])"


def measure(bench: Bench, folder: Path) -> dict[str, Any]:
    serving, peers = environments.serving(folder), environments.peers(folder)
    topic = bench.topic("start")
    send(bench.load(topic, 1, 0, WINDOW, time.time() - 100))
    first: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    ways: dict[str, Callable[[str], Process]] = {"monitor": lambda group: bench.member(topic, group).process}
    for name, script in PEERS.items():
        ways[name] = _starter(bench, peers, script, topic)
    imported: list[float] = []
    for number in range(bench.size.rounds):
        for name, begin in ways.items():
            group = f"start-{bench.number('group')}"
            begun = time.perf_counter()
            with begin(group) as process:
                deadline = begun + START_SECONDS
                while bench.committed(group) < WINDOW:
                    process.check()
                    if time.perf_counter() > deadline:
                        raise SystemExit(f"{name} scored nothing in time")
                    time.sleep(0.01)
                first.setdefault(name, []).append(time.perf_counter() - begun)
                cpu.setdefault(name, []).append(process.cpu())
        imported.append(_imported(serving))
        told = ", ".join(f"{name} {values[-1]:.2f}" for name, values in first.items())
        console.print(f"round {number + 1} of {bench.size.rounds}, s to the first score: {told}", markup=False)
    return {
        "first score": {name: middle(values) for name, values in first.items()},
        "cpu": {name: middle(values) for name, values in cpu.items()},
        "import": middle(imported),
        "weight": {"monitor, serving": _weight(serving), "peers": _weight(peers)},
        "heaviest": _heaviest(serving),
    }


def _starter(bench: Bench, python: Path, script: str, topic: str) -> Callable[[str], Process]:
    def start(group: str) -> Process:
        path = ROOT / "benchmarks" / "peers" / script
        command = [str(python), str(path), bench.broker.bootstrap, topic, f"{topic}.alerts", group, str(bench.model)]
        return Process(command, bench.scratch / f"{group}.log", apart(), {"PYTHONPATH": ""})

    return start


def _imported(python: Path) -> float:
    """Seconds that `monitor run` imports for, files in the cache."""
    command = [str(python), "-c", _IMPORT.format("monitor.cli.run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/")
    return float(done.stdout)


def _weight(python: Path) -> int:
    """Bytes of the files in an environment; pip itself is left out."""
    files = (path for path in python.parents[1].rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files if "/pip" not in str(path))


def _heaviest(python: Path) -> dict[str, int]:
    """Bytes of the five largest packages."""
    packages = next(python.parents[1].glob("lib/*/site-packages"))
    found = {
        folder.name: sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        for folder in packages.iterdir()
        if folder.is_dir() and folder.name != "pip"
    }
    return dict(sorted(found.items(), key=lambda one: -one[1])[:5])
