"""`python -m tests.faults`: runs what is not done yet, says each failure with what repeats it, writes the page."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from monitor.tied import tied
from tests.faults import report, results
from tests.faults.result import Result
from tests.faults.run import run
from tests.faults.schedule import KINDS, SESSION, plan, seeds
from tests.faults.world import World


def main() -> int:
    arguments = _parse()
    code = results.code_digest()
    kinds = arguments.only or list(KINDS)
    done = {s.run for s in results.load() if arguments.any_code or s.code == code} if not arguments.again else set()
    wanted = [(kind, seed) for kind in kinds for seed in seeds(kind, arguments.seed, arguments.runs)]
    todo = [entry for entry in wanted if entry not in done]
    if not arguments.report_only:
        if arguments.share is None:
            print(f"{len(wanted)} runs, {len(wanted) - len(todo)} of them done; product {code}", flush=True)
        if arguments.share is None and arguments.jobs > 1 and len(todo) > 1:
            _spread(arguments.jobs)
        else:
            number, of = map(int, (arguments.share or "0/1").split("/"))
            _run_all(todo[number::of], code)
    if arguments.share is not None:
        return 0
    stored = [s for s in results.load() if s.run in wanted and (arguments.any_code or s.code == code)]
    print(report.write(results.every(), arguments.date, SESSION))
    print(f"written: {report.FILE.relative_to(results.ROOT)}")
    failed = [s for s in stored if not s.ok]
    for entry in failed:
        print(f"failed: {repeat(*entry.run)}", file=sys.stderr)
    return 1 if failed or len(stored) < len(wanted) else 0


def repeat(kind: str, seed: int) -> str:
    """The command that makes the run again."""
    return f"make faults ARGS='--only {kind} --seed {seed} --runs 1 --again'"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(KINDS), help="this kind of fault; may be repeated")
    parser.add_argument("--runs", type=int, default=0, help="runs of each kind instead of those of the table")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first run of each kind")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each with brokers of its own")
    parser.add_argument("--again", action="store_true", help="make runs that are done once more")
    parser.add_argument("--any-code", action="store_true", help="take results of another state of the product as done")
    parser.add_argument("--report-only", action="store_true", help="make no run, write the page from what there is")
    parser.add_argument("--date", default=f"{datetime.now(UTC):%Y-%m-%d}", help="what the page says of when it was")
    parser.add_argument("--share", help=argparse.SUPPRESS)  # i/n: of the runs to do, each n-th from the i-th on
    return parser.parse_args()


def _spread(jobs: int) -> None:
    """The same command line in processes that share the runs."""
    children = [
        subprocess.Popen(tied([sys.executable, "-m", "tests.faults", *sys.argv[1:], "--share", f"{number}/{jobs}"]))
        for number in range(jobs)
    ]
    for child in children:
        child.wait()


def _run_all(todo: list[tuple[str, int]], code: str) -> None:
    kept = results.ROOT / "build" / "faults"
    with tempfile.TemporaryDirectory(prefix="faults-") as scratch, World(Path(scratch)) as world:
        for kind, seed in todo:
            folder = kept / f"{kind}-{seed}-{os.getpid()}-{time.time_ns() % 10**6}"
            result = run(plan(kind, seed), world, folder)
            results.append(result, code)
            print(line(result, folder), flush=True)


def line(result: Result, folder: Path) -> str:
    """One line of a run that is well; of another all that helps to repeat and to understand it."""
    told = f"{result.kind} {result.seed}: {len(result.injected)} faults, {result.alerts} alerts, {result.difference}"
    worst = f", recovery {max(result.recovery):.1f} s" if result.recovery else ""
    if result.fed_twice or result.not_fed:
        told += f", fed twice by its producer: {result.fed_twice}, not at all: {result.not_fed}"
    if result.ok:
        return f"ok      {told}{worst}, {result.seconds:.0f} s"
    said = "\n        ".join("\n".join(result.faults).splitlines())
    return (
        f"FAILED  {told}\n        {said}\n        injected: {'; '.join(result.injected)}\n"
        f"        logs: {folder}\n        again: {repeat(result.kind, result.seed)}"
    )


if __name__ == "__main__":
    sys.exit(main())
