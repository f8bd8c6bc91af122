"""Fails where the service has become clearly more expensive than what is stored, as a ratio within one run.

python -m benchmarks.performance.guard [--rounds 3] [--most 1.2]

Measured is CPU of an event over raw consume + raw forward, in the same rounds; the stored ratio is that of
docs/performance.md. Exit code 1 where the median is more than a fifth above it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.performance.bench import Bench, Size, console
from benchmarks.performance.parts import cost
from benchmarks.performance.results import RESULTS, Store

EVENTS = 40_000


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.performance.guard", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--most", type=float, default=1.2, help="times the stored ratio (default: %(default)s)")
    options = parser.parse_args(arguments)
    known = Store(RESULTS).get("cost")
    if known is None:
        console.print(f"error: {RESULTS}/cost.json is not there\n  Measure it: make bench PART=cost", markup=False)
        return 2
    stored = known["figures"]["ratio"]["median"]
    torch.set_num_threads(1)
    size = Size(rounds=options.rounds, events=EVENTS)
    with tempfile.TemporaryDirectory(prefix="monitor-bench-") as scratch, Bench(Path(scratch), size) as bench:
        ratio = cost.measure(bench, Path(scratch), peers=False)["ratio"]["median"]
    text, code = verdict(ratio, stored, options.most)
    console.print(text, markup=False)
    return code


def verdict(ratio: float, stored: float, most: float) -> tuple[str, int]:
    """What is said, and the exit code."""
    allowed = f"stored is {stored:.2f}, allowed {most * stored:.2f}"
    told = f"CPU of an event is {ratio:.2f} x raw consume + raw forward; {allowed}"
    if ratio <= most * stored:
        return f"ok: {told}", 0
    hint = "Find out why with make bench PART=profile; where it is meant, store it with make bench PART=cost."
    return f"too expensive: {told}\n  {hint}", 1


if __name__ == "__main__":
    sys.exit(main())
