"""What was measured, kept in files: a run that is cut goes on where it stopped, and the page is written from what is.

A result holds for the code and the settings it was measured with: the name of its file has a digest of both.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import benchmarks.detection
import monitor
from benchmarks.detection.method import Figures, Fitted, Method, Series
from benchmarks.detection.registry import Runner

UNCOUNTED = ("__main__.py", "hits.py", "page.py", "results.py", "speed.py", "summary.py")
"""Files beside this one that no figure depends on."""
PRODUCT = ("batch.py", "calibration", "config", "evaluation", "imputation.py", "model")
"""Parts of the package that figures depend on."""


@dataclass(frozen=True, slots=True)
class Result:
    """One method on one benchmark with one seed."""

    figures: Figures
    seconds: float  # wall time, metrics included
    fit_seconds: float  # of it, fitting
    models: int  # how many were fitted
    parameters: float  # of one, on average; NaN where a method has none


@dataclass(slots=True)
class Timed:
    """A method that is watched."""

    method: Method
    seconds: float = 0.0
    parameters: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.method.name

    def fit(self, series: Sequence[Series], seed: int) -> Fitted:
        started = time.perf_counter()
        fitted = self.method.fit(series, seed)
        self.seconds += time.perf_counter() - started
        self.parameters.append(int(getattr(fitted, "parameters", 0)))
        return fitted


def run(benchmark: Runner, method: Method, seed: int) -> Result:
    watched, started = Timed(method), time.perf_counter()
    figures = benchmark(watched, seed)
    count = len(watched.parameters)
    return Result(
        figures=dict(figures),
        seconds=time.perf_counter() - started,
        fit_seconds=watched.seconds,
        models=count,
        parameters=sum(watched.parameters) / count,
    )


def digest(*settings: object) -> str:
    """Of the code that figures depend on, and of these settings as they print."""
    here, product = Path(benchmarks.detection.__file__).parent, Path(monitor.__file__).parent
    files = [path for path in sorted(here.glob("*.py")) if path.name not in UNCOUNTED]
    for name in PRODUCT:
        part = product / name
        files += sorted(part.rglob("*.py")) if part.is_dir() else [part]
    found = hashlib.sha256(repr(settings).encode())
    for path in files:
        found.update(path.read_bytes())
    return found.hexdigest()[:12]


class Store:
    """A folder of results."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, benchmark: str, name: str, of: str, seed: int) -> Result | None:
        """By benchmark, method, digest and seed."""
        path = self._path(benchmark, name, of, seed)
        if not path.exists():
            return None
        return Result(**json.loads(path.read_text(encoding="utf-8")))

    def put(self, benchmark: str, name: str, of: str, seed: int, result: Result) -> None:
        path = self._path(benchmark, name, of, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(result), indent=1), encoding="utf-8")
        part.replace(path)

    def seeds(self, benchmark: str, name: str, of: str) -> list[Result]:
        """All there are, in the order of their seeds, up to the first that is not there."""
        found: list[Result] = []
        while (result := self.get(benchmark, name, of, len(found))) is not None:
            found.append(result)
        return found

    def _path(self, benchmark: str, name: str, of: str, seed: int) -> Path:
        words = "".join(letter if letter.isalnum() else "-" for letter in name)
        return self._folder / benchmark / f"{words}-{seed}-{of}.json"
