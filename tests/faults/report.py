"""docs/reliability.md from the results. The words are here, the numbers are measured."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from textwrap import fill
from typing import Any

from monitor.local_kafka import KAFKA_VERSION
from tests.faults.results import ROOT, Stored
from tests.faults.schedule import KINDS, STOP_WITHIN
from tests.fuzz.__main__ import table as fuzz_table
from tests.soak.__main__ import RESULTS as SOAK
from tests.soak.report import section as soak_section

FILE = ROOT / "docs" / "reliability.md"
WIDTH = 120
FUZZ_INPUTS = 1_000_000  # of each target, to publish
SOAK_EVENTS = 10_000_000  # to publish

_HEAD = """\
# Reliability

*For the same input, artefact and configuration, a reader of the alert topic (`read_committed`) sees the same alerts,
byte for byte, whatever crashed, restarted or moved meanwhile.* The table below is the evidence: members and brokers
were killed, frozen and cut off in the middle of their work, and the alerts compared with those of an undisturbed run.
`make faults` measures it and writes this page; do not edit it by hand.

## How it is measured

1. A run is made from its kind and its seed: a recorded stream, the members (one to three real processes, as
   `monitor run` starts them), and a schedule of faults. The recording has three partitions, with streams that turn loud
   and calm again, fall silent, have gaps and missing values, are evicted or stay loud to the end, and with late,
   duplicate, out-of-order and unreadable events in between.
2. The recording is produced to a real Apache Kafka while the members read it and the faults are injected. A member that
   was killed is started again, as a supervisor would.
3. When all input is committed, the alert topic is read back (`read_committed`) and compared with what the scoring
   pipeline alone makes of the same input, in one process, without Kafka: stream by stream, in order, as bytes. The dead
   letters (each bad record once) and the incident state (there where an incident is open, gone where none is) are
   compared too. A run in which nothing was injected, or which should have led to no alert, counts as failed.

The columns:

- *runs*: made / to publish.
- *alerts*: compared, over all runs. *Lost*: missing. *Doubled*: there more than once. *Different*: with other bytes,
  not expected at all, or (counted by stream) in another order.
- *first score after the fault*: from the fault to the end of the longest silence that followed, in the partition that
  was silent longest. Silence is time without a scored window. It includes the fault itself (a broker that is
  stopped for 10 s, a member frozen past its session), the start of a new process (about 2 s here) and, where
  partitions have to move to another member, the session time-out, {session} s here. Your `kafka.session_timeout` counts
  instead.

What it proves, and what not: what is killed here is processes, on one machine with one disk and loopback connections; a
power cut of all brokers at once is a question of Kafka's own replication and flushing. With `delivery: at_least_once`
repeats of the same message are promised, and left out of the count; anything else is not. The proof is not blind:
`tests/faults/test_faults.py` breaks the order on purpose (offsets committed before alerts), keeps memory after an
abort, and publishes an alert twice, and the harness reports each.
"""

_KAFKA = """\
## Which Kafka

The harness found a fault of Kafka itself, known there as KAFKA-20734: **Kafka 4.3.0, 4.3.1 and 4.4.0 can forget how a
transaction ended.** Where a partition has no leader at the moment in which the coordinator ends a transaction (all its
replicas were killed and are coming back), it takes the partition for deleted, writes no commit or abort mark there, and
calls the transaction complete. What was published then stays hidden from `read_committed` readers until the next
transaction of the same producer ends there, and shares its end: it can come twice, or be lost. No client can prevent
that. Kafka 4.2 and older do it right, and the table is made with {kafka}.

It needs all in-sync replicas of a partition to go at once, within some milliseconds of a commit: the one broker of a
small installation, or a power cut; not one node of three. It was found with 4.3.1, where 1 of 70 runs of `broker-kill`
doubled two alerts and a dead letter; `broker-kill-at-commit` was made to look for it on purpose. `monitor check` says
so of such brokers, and `monitor run` warns in its log.

A second fault is in the releases of Kafka 4 that were looked at (4.2.2 and 4.3.1): a group coordinator whose partition
changes hands while it is being loaded can take a load that was cut short for a whole one, and then knows of no commit,
or of an old one, until it is loaded again. On two cores with a load average above 60, a broker came back like that
once in 60 kills, and a member that believed it published 78 alerts twice. A member now believes the newest commit
that it has made itself over what the brokers say, and says so in its log. All runs of killed and frozen brokers were
made again after that; of those before it, two of `coordinator-kill` had also broken down, with time-outs of the harness
on brokers that got no processor. A commit that no living member has made is still the brokers' to know.
"""


def write(results: Iterable[Stored], date: str, session: float, file: Path = FILE, soak: Path = SOAK) -> str:
    """Writes the page and returns the table of `results`."""
    chosen = [stored for stored in results if stored.run[0] in KINDS]
    table = "\n".join(_table(chosen))
    lines = [
        _HEAD.format(session=f"{session:g}"),
        "## The table\n",
        _paragraph(_summary(chosen)),
        "",
        table,
        "",
        *_foot(chosen, date),
        *_failed(chosen),
        "",
        _KAFKA.format(kafka=KAFKA_VERSION).rstrip(),
        *_fuzz(),
        *_soak(soak),
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines).rstrip() + "\n")
    return table


def _summary(results: Sequence[Stored]) -> Iterable[str]:
    facts = [stored.facts for stored in results]
    letters = sum(run["dead_letters"] for run in facts)
    wrong = sum(sum(run[part].values()) for run in facts for part in ("dead_letter_difference", "states"))
    exits = sorted(second for run in facts for second in run["exits"])
    yield f"{len(results)} runs; {sum(not stored.ok for stored in results)} of them failed."
    yield f"{letters:,} dead letters were compared; {wrong} of them, or of the incident states, were wrong."
    if exits:
        yield f"{len(exits)} members were told to stop (`SIGTERM`), in these runs or at their end: they had left after"
        yield f"{median(exits):.2f} s (median) and {exits[-1]:.2f} s (worst). More than {STOP_WITHIN:g} s,"
        yield "or an exit code other than 0 (1 where its brokers were away and it says so), fails a run."
    if twice := [run for run in facts if run.get("fed_twice", 0) or run.get("not_fed", 0)]:
        yield f"In {len(twice)} runs the harness's own producer fed records twice"
        yield f"({sum(run['fed_twice'] for run in twice)}) or not at all ({sum(run['not_fed'] for run in twice)}) when"
        yield "its broker was killed; what the input topic then held is what the comparison is with."


def _table(results: Sequence[Stored]) -> Iterable[str]:
    yield (
        "| kind | fault | runs | faults injected | alerts | lost | doubled | different "
        "| first score after the fault: median | worst |"
    )
    yield "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for name, kind in KINDS.items():
        if runs := [stored.facts for stored in results if stored.run[0] == name]:
            yield _row(f"`{name}`", kind.title, kind.runs, runs)
    yield _row("**all**", "", sum(kind.runs for kind in KINDS.values()), [stored.facts for stored in results])


def _row(name: str, title: str, planned: int, runs: Sequence[dict[str, Any]]) -> str:
    def total(*counts: str) -> str:
        return str(sum(int(run["difference"][count]) for run in runs for count in counts))

    seconds = sorted(second for run in runs for second in run["recovery"])
    failed = sum(bool(run["faults"]) for run in runs)
    cells = [
        name,
        title,
        f"{len(runs)} / {planned}" + (f", **{failed} failed**" if failed else ""),
        str(sum(len(run["injected"]) for run in runs)),
        f"{sum(run['alerts'] for run in runs):,}",
        total("lost"),
        total("doubled"),
        total("different", "order"),
        *([f"{median(seconds):.1f} s", f"{seconds[-1]:.1f} s"] if seconds and title else ["", ""]),
    ]
    return "| " + " | ".join(cells) + " |"


def _foot(results: Sequence[Stored], date: str) -> Iterable[str]:
    codes = sorted({stored.code for stored in results})
    kafkas = " and ".join(sorted({stored.kafka for stored in results}))
    seeds = {name: sorted({stored.run[1] for stored in results if stored.run[0] == name}) for name in KINDS}
    yield f"- Date: {date}."
    yield f"- Machine: {_machine()}; brokers, members and harness share it."
    client, python = version("kafka-python"), platform.python_version()
    yield f"- Versions: Apache Kafka {kafkas}, kafka-python {client}, Python {python}."
    digests = ", ".join(f"`{code}`" for code in codes)
    yield f"- Product: {digests} (SHA-256 of the code of `monitor`, comments left out; its first 12 digits)."
    ranges = "; ".join(f"`{name}` {_ranges(numbers)}" for name, numbers in seeds.items() if numbers)
    yield _paragraph([f"- Seeds: {ranges}."], "  ")
    yield ""
    yield "```sh"
    yield "make faults                                                         # everything; resumed where it stopped"
    yield "make faults ARGS='--only kill-at-arrow --seed 17 --runs 1 --again'  # one run"
    yield "```"


def _failed(results: Sequence[Stored]) -> Iterable[str]:
    failed = [stored for stored in results if not stored.ok]
    if failed:
        yield from ("", "## Failed runs", "")
        for stored in failed:
            kind, seed = stored.run
            yield f"- `{kind}`, seed {seed}: {str(stored.facts['faults'][0]).strip().splitlines()[-1][:200]}"


def _fuzz() -> Iterable[str]:
    yield from ("", "## Hostile input", "")
    yield _paragraph(
        [
            "`make fuzz`: each reader of bytes from outside under a coverage-guided fuzzer (atheris). A wrong",
            "answer is one that an independent reading of the same bytes contradicts; a crash is any error but",
            f"the ones that the reader promises. {FUZZ_INPUTS:,} inputs of each target are to be published: a row",
            "with fewer is not complete.",
        ]
    )
    yield from ("", fuzz_table())


def _soak(file: Path) -> Iterable[str]:
    if file.exists():
        found = json.loads(file.read_text())
        yield from ("", soak_section(found))
        if found["events"] < SOAK_EVENTS:
            yield f"{SOAK_EVENTS:,} events are to be published: **this soak was shorter.**"


def _paragraph(sentences: Iterable[str], indent: str = "") -> str:
    text = " ".join(sentences)
    return fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


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
