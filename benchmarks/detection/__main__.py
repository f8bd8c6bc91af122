"""All methods on all sets -> docs/detection.md. What is measured already is kept, so a run that is cut goes on.

Rows of the page without a result for the present code stay as they were, and the page names those that are new.

python -m benchmarks.detection [--data DIR] [--only skab,smd] [--seeds 3] [--page-only]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.detection import hits, page, speed
from benchmarks.detection.data import VARIABLE, check, smd
from benchmarks.detection.method import Figures
from benchmarks.detection.methods import EXPLAINERS, SERVED
from benchmarks.detection.registry import BENCHMARKS, named
from benchmarks.detection.results import Result, Store, digest, run
from monitor.errors import UsageError

console = Console(stderr=True, highlight=False)
RESULTS = Path("build/detection")
PAGE = Path("docs/detection.md")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is not there, write the page; 2 where the folder or a name is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get(VARIABLE), help=f"default: ${VARIABLE}")
    parser.add_argument("--only", default=",".join(BENCHMARKS), help="comma-separated names (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="for what draws (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of results (default: %(default)s)")
    parser.add_argument("--page", type=Path, default=PAGE, help="what is written (default: %(default)s)")
    parser.add_argument("--page-only", action="store_true", help="write it from the results there are")
    options = parser.parse_args(arguments)
    try:
        named(options.only.split(","))
        store = Store(options.results)
        if not options.page_only:
            measure(check(options.data), options.only.split(","), options.seeds, store)
    except UsageError as error:
        console.print(f"error: {error}", markup=False)
        return error.exit_code
    previous = options.page.read_text(encoding="utf-8") if options.page.exists() else ""
    options.page.write_text(page.text(store, previous), encoding="utf-8")
    console.print(f"wrote {options.page}", markup=False)
    return 0


def measure(folder: Path, names: Sequence[str], seeds: int, store: Store) -> None:
    """One seed of all, then the next, so that the page has every row early."""
    torch.set_num_threads(1)
    for seed in range(seeds):
        for name in names:
            benchmark = BENCHMARKS[name]
            runner = None
            for entry in benchmark.entries:
                if store.get(name, entry.method.name, digest(entry.method), seed) or (seed and not entry.drawn):
                    continue
                runner = runner or benchmark.load(folder)
                result = run(runner, entry.method, seed)
                store.put(name, entry.method.name, digest(entry.method), seed, result)
                console.print(f"{name}  {entry.method.name}  seed {seed}  {result.seconds:.0f} s", markup=False)
    for seed in range(seeds if "smd" in names else 0):
        for name, settings in EXPLAINERS.items():
            if not store.get(page.HITS, name, digest(settings), seed):
                figures = hits.run(folder, smd(folder), settings, seed)
                store.put(page.HITS, name, digest(settings), seed, _figures(figures))
                console.print(f"hit rates  {name}  seed {seed}", markup=False)
    for name, settings in SERVED.items():
        if not store.get(page.SPEED, name, digest(settings), 0):
            rate = speed.windows_a_second(settings)
            store.put(page.SPEED, name, digest(settings), 0, _figures({page.RATE: rate}))


def _figures(figures: Figures) -> Result:
    return Result(figures=dict(figures), seconds=0.0, fit_seconds=0.0, models=0, parameters=0.0)


if __name__ == "__main__":
    sys.exit(main())
