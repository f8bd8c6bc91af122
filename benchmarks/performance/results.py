"""What was measured, one JSON file for each part: the page is written from these files alone."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import benchmarks
import monitor
from benchmarks.performance.processes import ALL

RESULTS = Path(__file__).with_name("results")
"""Where those of docs/performance.md are."""
LIBRARIES = ("numpy", "onnxruntime", "torch", "kafka-python", "msgspec")
_PAGE = ("page.py", "page.md", "plots.py", "svg.py", "__main__.py", "guard.py", "results.py")
"""Files beside this one that no figure depends on."""


def machine() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "cpu": name or platform.machine(),
        "cores": len(ALL),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": platform.python_version(),
        "versions": {"monitor": monitor.__version__, **{name: version(name) for name in LIBRARIES}},
    }


def digest() -> str:
    """Of the code that figures depend on."""
    roots = [Path(monitor.__file__).parent, Path(benchmarks.__file__).parent / "performance"]
    roots.append(Path(benchmarks.__file__).parent / "peers")
    found = hashlib.sha256()
    for path in sorted(path for root in roots for path in root.rglob("*.py")):
        if path.parent.name != "performance" or path.name not in _PAGE:
            found.update(path.read_bytes())
    return found.hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of results."""

    folder: Path

    def get(self, part: str) -> dict[str, Any] | None:
        path = self.folder / f"{part}.json"
        if not path.exists():
            return None
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def put(self, part: str, figures: dict[str, Any], about: dict[str, Any]) -> None:
        """Replaces the result of a part as a whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{part}.json"
        text = json.dumps({**about, "figures": figures}, indent=1, default=float)
        partial = path.with_suffix(".tmp")
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(path)


def about(command: str, size: str, begun: float, load: float) -> dict[str, Any]:
    """When, where and how a part was measured; `load` is the machine's load average before."""
    return {
        "command": command,
        "size": size,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "seconds": round(time.time() - begun),
        "load": [round(load, 2), round(os.getloadavg()[0], 2)],
        "digest": digest(),
        "machine": machine(),
    }


def middle(values: Sequence[float]) -> dict[str, float]:
    """Median, lowest, highest and number of the rounds."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "rounds": len(values)}
