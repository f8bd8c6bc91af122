"""docs/detection.md from the results. The words are in `page.md` beside this file, the numbers are measured."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.detection.methods import EXPLAINERS, OURS, SERVED
from benchmarks.detection.registry import BENCHMARKS, Benchmark
from benchmarks.detection.results import Store, digest
from benchmarks.detection.summary import Line, line, markdown, published

WORDS = Path(__file__).with_name("page.md")
HITS, SPEED = "hit-rates", "speed"
"""Folders of results beside those of the benchmarks."""
RATE = "windows a second"


def text(store: Store, previous: str = "") -> str:
    """The whole page; what is not measured yet is said to be missing.

    Rows of the `previous` page stay where the present code has no result for them: a run of one set, or one method,
    need not measure all others again. `machine` names what is new.
    """
    found = {name: _lines(name, benchmark, store) for name, benchmark in BENCHMARKS.items()}
    blocks = {f"table {name}": _table(BENCHMARKS[name], lines) for name, lines in found.items()}
    blocks |= {"goals": _goals(found), "hits": _hits(store), "speed": _speed(store)}
    order = {f"table {name}": [entry.method.name for entry in one.entries] for name, one in BENCHMARKS.items()}
    order |= {"hits": list(EXPLAINERS), "speed": list(SERVED)}
    page = WORDS.read_text(encoding="utf-8")
    for name, block in blocks.items():
        merged = kept(block, within(previous, name), order.get(name, ()))
        page = page.replace(f"{{{{{name}}}}}", f"<!-- {name} -->\n{merged}\n<!-- end -->")
    return page.replace("{{machine}}", _machine(store))


def within(page: str, name: str) -> str:
    """What a page has in a block; nothing where it has none."""
    _, found, rest = page.partition(f"<!-- {name} -->\n")
    return rest.partition("\n<!-- end -->")[0] if found else ""


def kept(block: str, before: str, order: Sequence[str]) -> str:
    """A table with the rows of the one before that it has not; `order` of what is measured, behind what is published.

    Where the columns are others, or there was no table, nothing can be kept.
    """
    if not before.startswith("|"):
        return block
    if not block.startswith("|"):
        return before
    new, old = (text.split("\n") for text in (block, before))
    if new[:2] != old[:2]:
        return block
    rows = {_first(row): row for row in old[2:]} | {_first(row): row for row in new[2:] if "not measured" not in row}
    places = {name.replace("|", r"\|"): place for place, name in enumerate(order)}
    measured = sorted((name for name in rows if name in places), key=lambda name: places[name])
    others = [name for name in rows if name not in places and (not order or name.startswith("published"))]
    return "\n".join([*new[:2], *(rows[name] for name in [*others, *measured])])


def _first(row: str) -> str:
    """What tells a row from the others: the name, and in the table of goals the figure too."""
    cells = re.split(r"(?<!\\)\|", row)
    return cells[1].strip() + (f" {cells[2].strip()}" if cells[3].strip().startswith((">=", "<=")) else "")


def _lines(name: str, benchmark: Benchmark, store: Store) -> list[Line]:
    measured = []
    for entry in benchmark.entries:
        results = store.seeds(name, entry.method.name, digest(entry.method))
        if results:
            measured.append(line(entry.method.name, results))
    return measured


def _table(benchmark: Benchmark, lines: Sequence[Line]) -> str:
    if not lines:
        return "Not measured yet."
    return markdown([*map(published, benchmark.published), *lines], benchmark.shown)


def _goals(found: dict[str, list[Line]]) -> str:
    rows = ["| set | figure | goal | ours | |", "|---|---|---:|---:|---|"]
    for name, benchmark in BENCHMARKS.items():
        ours = next((one for one in found[name] if one.name == OURS), None)
        for goal in benchmark.goals:
            bound = f"{'<=' if goal.most else '>='} {goal.value:g}"
            value = f"{ours.mean[goal.figure]:.4f}" if ours else ""
            told = "not measured" if ours is None else "reached" if goal.reached(ours.mean) else "**not reached**"
            rows.append(f"| {benchmark.title} | {goal.figure} | {bound} | {value} | {told} |")
    return "\n".join(rows)


def _hits(store: Store) -> str:
    lines = []
    for name, settings in EXPLAINERS.items():
        results = store.seeds(HITS, name, digest(settings))
        if results:
            lines.append((line(name, results), len(results)))
    if not lines:
        return "Not measured yet."
    columns = list(lines[-1][0].mean)
    rows = [f"| | {' | '.join(columns)} | seeds |", f"|---|{'---:|' * (len(columns) + 1)}"]
    for one, seeds in lines:
        cells = [
            f"{one.mean[name]:.2f}" + (f" ± {one.spread[name]:.2f}" if one.spread.get(name, 0.0) >= 0.005 else "")
            for name in columns
        ]
        rows.append(f"| {one.name} | {' | '.join(cells)} | {seeds} |")
    return "\n".join(rows)


def _speed(store: Store) -> str:
    rates = {
        name: results[0].figures[RATE]
        for name, settings in SERVED.items()
        if (results := store.seeds(SPEED, name, digest(settings)))
    }
    if not rates:
        return "Not measured yet."
    base = next(iter(rates.values()))
    rows = ["| | windows a second | times the first |", "|---|---:|---:|"]
    rows += [f"| {name} | {rate:,.0f} | {rate / base:.1f} |" for name, rate in rates.items()]
    return "\n".join(rows)


def _machine(store: Store) -> str:
    names, spent = [], []
    for name, benchmark in BENCHMARKS.items():
        for entry in benchmark.entries:
            results = store.seeds(name, entry.method.name, digest(entry.method))
            spent += [result.seconds for result in results]
            names += [f"{benchmark.title}: {entry.method.name}"] if results else []
    return (
        f"Measured with the code of this page: {len(spent)} runs, {sum(spent) / 60:.0f} minutes on one thread of a "
        f"{platform.machine()} processor that other work shared, Python {platform.python_version()}, torch "
        f"{torch.__version__.split('+')[0]} ({'; '.join(names)}). All other rows are of runs before."
    )
