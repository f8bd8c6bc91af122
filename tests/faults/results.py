"""Results of runs, one line of JSON each, appended by however many processes at once.

The file is committed: what the page says can be traced to its runs, and `make faults` goes on on another machine.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monitor.local_kafka import KAFKA_VERSION
from tests.faults.result import Result

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_name("runs.jsonl")
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Stored:
    """A line. `code` says with which product the run was made, `kafka` with which release of the brokers."""

    code: str
    kafka: str
    facts: dict[str, Any]

    @property
    def run(self) -> tuple[str, int]:
        return self.facts["kind"], self.facts["seed"]

    @property
    def ok(self) -> bool:
        return not self.facts["faults"]


def code_digest() -> str:
    """Of the product's code; comments and docstrings do not count."""
    total = hashlib.sha256()
    for path in sorted((ROOT / "monitor").rglob("*.py")):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):
                node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]  # just looked
        total.update(f"{path.relative_to(ROOT)}\n{ast.dump(tree)}\n".encode())
    return total.hexdigest()[:_SHOWN]


def _is_text(part: ast.AST) -> bool:
    return isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) and isinstance(part.value.value, str)


def append(result: Result, code: str, file: Path = FILE) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"code": code, "kafka": KAFKA_VERSION, **result.as_json()}) + "\n"
    with file.open("a") as sink:
        fcntl.flock(sink, fcntl.LOCK_EX)
        sink.write(line)


def every(file: Path = FILE) -> Iterator[Stored]:
    """All results, also those of runs that were made again."""
    for line in file.read_text().splitlines() if file.exists() else ():
        facts = json.loads(line)
        yield Stored(facts.pop("code"), facts.pop("kafka"), facts)


def load(file: Path = FILE) -> Iterator[Stored]:
    """The newest result of each run (kind and seed) with each product: what need not be done again."""
    newest = {(stored.code, *stored.run): stored for stored in every(file)}
    yield from newest.values()
