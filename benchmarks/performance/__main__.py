"""All figures of docs/performance.md, or some: each beside its peer, in the same run, in rounds.

python -m benchmarks.performance [PART ...] [--quick | --long] [--resume] [--page-only]
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.performance import page
from benchmarks.performance.bench import FULL, LONG, QUICK, Bench, Size, console
from benchmarks.performance.parts import cost, forward, latency, members, profile, start, streams
from benchmarks.performance.results import RESULTS, Store, about, digest

Part = Callable[[Bench, Path], dict[str, Any]]
PARTS: dict[str, Part] = {
    "cost": cost.measure,
    "streams": streams.measure,
    "latency": latency.measure,
    "members": members.measure,
    "start": start.measure,
    "profile": profile.measure,
    "forward": forward.measure,
}
QUICK_PARTS = ("cost", "streams", "latency")
PAGE = Path("docs/performance.md")
BUILD = Path("build/performance")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what is asked for and writes the page."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _options(given)
    results, target = options.results, options.page
    size: Size = QUICK if options.quick else LONG if options.long else FULL
    if options.rounds:
        size = Size(options.rounds, size.events, size.levels, size.sustained, size.step, size.many)
    store = Store(results)
    command = shlex.join(["python", "-m", "benchmarks.performance", *given])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it tidies up as after Ctrl+C
    torch.set_num_threads(1)
    names = [] if options.page_only else options.part or (QUICK_PARTS if options.quick else PARTS)
    wanted = []
    for name in names:
        known = store.get(name)
        if options.resume and known and known["digest"] == digest() and known["size"] == size.words:
            console.print(f"{name}: measured already", markup=False)
        else:
            wanted.append(name)
    try:
        if wanted:
            _measure(wanted, size, options.environments, store, command)
    except KeyboardInterrupt:
        return 130
    page.write(store, target)
    console.print(f"wrote {target}", markup=False)
    return 0


def _options(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.performance", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("part", nargs="*", help=f"{', '.join(PARTS)}; all where none is named")
    much = parser.add_mutually_exclusive_group()
    much.add_argument(
        "--quick",
        action="store_true",
        help="cost, streams, latency (or what is named) once and small: two minutes; into build/",
    )
    much.add_argument("--long", action="store_true", help="more rounds of more events: an hour or two")
    parser.add_argument("--rounds", type=int, help="instead of what these say")
    parser.add_argument("--resume", action="store_true", help="leave out what this code has measured already")
    parser.add_argument("--page-only", action="store_true", help="write the page from the results there are")
    parser.add_argument("--results", type=Path, help=f"folder of results (default: {RESULTS.name} beside the program)")
    parser.add_argument("--page", type=Path, help=f"what is written (default: {PAGE})")
    parser.add_argument("--environments", type=Path, default=BUILD, help="where peers are installed (%(default)s)")
    options = parser.parse_args(given)
    if not Path("/proc/self/stat").exists():
        parser.error("CPU seconds are read from /proc, which only Linux has")
    for name in set(options.part) - PARTS.keys():
        parser.error(f"there is no part {name!r}; they are {', '.join(PARTS)}")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    options.results = options.results or (BUILD / "quick" if options.quick else RESULTS)
    options.page = options.page or (BUILD / "quick" / "performance.md" if options.quick else PAGE)
    options.environments = options.environments.resolve()
    return options


def _measure(names: Sequence[str], size: Size, environments: Path, store: Store, command: str) -> None:
    """Each part is stored as soon as it is done, so a run that is cut can go on with --resume."""
    with tempfile.TemporaryDirectory(prefix="monitor-bench-") as scratch, Bench(Path(scratch), size) as bench:
        for name in names:
            begun, load = time.time(), os.getloadavg()[0]
            console.print(f"{name} ...", markup=False)
            store.put(name, PARTS[name](bench, environments), about(command, size.words, begun, load))
            console.print(f"{name}: {time.time() - begun:.0f} s", markup=False)


if __name__ == "__main__":
    sys.exit(main())
