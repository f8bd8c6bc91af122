"""The trivial methods on all sets, beside what others published, and how long each takes.

python -m benchmarks.detection --data DIR [--only skab,smd]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.detection.baselines import FlagAll, MaxZ, PcaError, Random
from benchmarks.detection.data import VARIABLE, check
from benchmarks.detection.registry import BENCHMARKS, named
from benchmarks.detection.summary import markdown, measure, published
from monitor.errors import UsageError

console = Console(stderr=True, highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one Markdown table a benchmark; 2 where the folder or a name is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get(VARIABLE), help=f"default: ${VARIABLE}")
    parser.add_argument("--only", default=",".join(BENCHMARKS), help="comma-separated names (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="for what draws (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        folder, chosen = check(options.data), named(options.only.split(","))
    except UsageError as error:
        console.print(f"error: {error}", markup=False)
        return error.exit_code
    for benchmark in chosen:
        run, rule = benchmark.load(folder), benchmark.rule
        lines = [
            *map(published, benchmark.published),
            measure(run, Random(), range(options.seeds)),
            *(measure(run, method, [0]) for method in (FlagAll(), MaxZ(rule), PcaError(rule))),
        ]
        print(f"## {benchmark.title}\n\n{markdown(lines)}\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
