"""docs/reliability.md from the results. The words are here, the numbers are measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from monitor.local_kafka import KAFKA_VERSION
from tests.faults.results import ROOT, Stored
from tests.faults.schedule import KINDS, STOP_WITHIN

FILE = ROOT / "docs" / "reliability.md"

_HEAD = """\
# Reliability

*For the same input, artefact and configuration, a reader of the alert topic (`read_committed`) sees the same alerts,
byte for byte, whatever crashed, restarted or moved meanwhile.* This page shows it. `make faults` measures it and writes
this page; do not edit it by hand.

## How it is measured

Each run feeds a recorded stream (three partitions; streams that turn loud and calm again, fall silent, have gaps and
missing values, are evicted, stay loud to the end; late, duplicate, out-of-order and unreadable events among them) to
members that are real processes on a real Apache Kafka, and injects faults while it flows. What a run does follows from
its kind and its seed. When all input is committed, the alerts that a `read_committed` reader sees are compared with
those of the same recording without members, brokers or faults, stream by stream, in order, as bytes. So are the dead
letters (each bad record once) and the incident state (open where an incident is open, gone where it is closed).

- *lost*, *doubled*, *different*, *order*: alerts that are missing, that stand there more than once, that have other
  bytes or should not be there, and streams whose alerts came in another order.
- *recovery*: from a fault to the end of the longest silence that follows it, in the partition that was silent longest.
  Silence is time without a scored window; it includes the fault's own duration, the start of a new process (about 2 s
  on this machine) and, where partitions have to move, the session time-out, {session} s here.
- A member that ends by itself, or does not leave with exit code 0 within {stop:g} s of its `SIGTERM`, fails the run.

The harness can fail: `tests/faults/test_faults.py` shows that it catches offsets committed before alerts, memory kept
after an abort, and a repeat.
"""


def write(results: Iterable[Stored], date: str, session: float, file: Path = FILE) -> str:
    """Writes the page and returns the table."""
    chosen = list(results)
    table = "\n".join(_table(chosen))
    parts = [_HEAD.format(session=f"{session:g}", stop=STOP_WITHIN), "## Results\n", table, "", *_foot(chosen, date)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(parts) + "\n")
    return table


def _table(results: Sequence[Stored]) -> Iterable[str]:
    yield (
        "| fault | runs | injected | seeds | alerts | lost | doubled | different | order | failed runs "
        "| recovery median | worst |"
    )
    yield "|---|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for name, kind in KINDS.items():
        mine = [stored.facts for stored in results if stored.run[0] == name]
        if mine:
            yield _row(kind.title, name, mine)
    everything = [stored.facts for stored in results]
    yield _row("**all**", "", everything)


def _row(title: str, name: str, runs: Sequence[dict[str, Any]]) -> str:
    def total(part: str, count: str) -> int:
        return sum(int(run[part][count]) for run in runs)

    injected = sum(len(run["injected"]) for run in runs)
    seconds = sorted(second for run in runs for second in run["recovery"])
    recovery = [f"{median(seconds):.1f} s", f"{seconds[-1]:.1f} s"] if seconds and name else ["", ""]
    cells = [
        f"{title} (`{name}`)" if name else title,
        str(len(runs)),
        str(injected),
        _ranges(sorted(run["seed"] for run in runs)) if name else "",
        str(sum(run["alerts"] for run in runs)),
        *(str(total("difference", count)) for count in ("lost", "doubled", "different", "order")),
        str(sum(bool(run["faults"]) for run in runs)),
        *recovery,
    ]
    return "| " + " | ".join(cells) + " |"


def _foot(results: Sequence[Stored], date: str) -> Iterable[str]:
    facts = [stored.facts for stored in results]
    letters = sum(run["dead_letters"] for run in facts)
    wrong = sum(sum(run[part].values()) for run in facts for part in ("dead_letter_difference", "states"))
    exits = sorted(second for run in facts for second in run["exits"])
    yield f"{letters} dead letters compared; {wrong} of them, or of the incident states, were wrong."
    if exits:
        yield (
            f"{len(exits)} members were told to stop (`SIGTERM`), in these runs or at their end; "
            f"they had left after {median(exits):.2f} s (median) and {exits[-1]:.2f} s (worst)."
        )
    codes = sorted({stored.code for stored in results})
    yield ""
    yield f"{date}. {_machine()}; Python {platform.python_version()}, kafka-python {version('kafka-python')}, "
    yield f"Apache Kafka {KAFKA_VERSION}; code {', '.join(codes)}."
    yield ""
    yield "```sh"
    yield "make faults                                                # everything, resumed where it stopped"
    yield "make faults ARGS='--only kill-at-arrow --seed 17 --runs 1'  # one run"
    yield "```"
    failed = [stored for stored in results if not stored.ok]
    if failed:
        yield ""
        yield "## Failed runs"
        yield ""
        for stored in failed:
            kind, seed = stored.run
            yield f"- `{kind}`, seed {seed}: {str(stored.facts['faults'][0]).strip().splitlines()[-1][:200]}"


def _ranges(numbers: Sequence[int]) -> str:
    """1, 2, 3, 7 -> 1-3, 7."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in found)


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB"
