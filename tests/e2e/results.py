"""The newest result of each scenario, in a file beside the code: what was played alone joins what was played before."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.e2e.scenario import Played

FILE = Path(__file__).with_name("results.json")


@dataclass(frozen=True, slots=True)
class Result:
    """`load`: processes that wanted a core, over five minutes; `on`: versions of what it ran on."""

    name: str
    word: str
    told: str
    seconds: int
    date: str
    load: int
    on: str


def load(file: Path = FILE) -> dict[str, Result]:
    """By the scenario's name."""
    if not file.exists():
        return {}
    return {name: Result(**entry) for name, entry in json.loads(file.read_text()).items()}


def keep(played: Sequence[Played], date: str, on: str, file: Path = FILE) -> dict[str, Result]:
    """Those that were there and these; of the same name these."""
    results = load(file)
    for one in played:
        # Of what failed, the last line.
        told = one.told.strip().splitlines()[-1] if one.word == "FAILED" else " ".join(one.told.split())
        busy = round(os.getloadavg()[1])
        results[one.scenario.name] = Result(one.scenario.name, one.word, told, round(one.seconds), date, busy, on)
    text = json.dumps({name: asdict(results[name]) for name in sorted(results)}, indent=1)
    file.write_text(text + "\n")
    return results
