"""docs/detection.md from the results. The words are in `page.md` beside this file, the numbers are measured."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.detection.methods import EXPLAINERS, OURS, SERVED, entries
from benchmarks.detection.registry import BENCHMARKS, Benchmark
from benchmarks.detection.results import Store, digest
from benchmarks.detection.summary import Line, line, markdown, published

WORDS = Path(__file__).with_name("page.md")
HITS, SPEED = "hit-rates", "speed"
"""Folders of results beside those of the benchmarks."""
RATE = "windows a second"


def text(store: Store) -> str:
    """The whole page; what is not measured yet is said to be missing."""
    found = {name: _lines(name, benchmark, store) for name, benchmark in BENCHMARKS.items()}
    blocks = {f"table {name}": _table(BENCHMARKS[name], lines) for name, lines in found.items()}
    blocks |= {"goals": _goals(found), "hits": _hits(store), "speed": _speed(store), "machine": _machine(store)}
    page = WORDS.read_text(encoding="utf-8")
    for name, block in blocks.items():
        page = page.replace(f"{{{{{name}}}}}", block)
    return page


def _lines(name: str, benchmark: Benchmark, store: Store) -> list[Line]:
    measured = []
    for entry in entries(benchmark.rule):
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
    spent = [
        result.seconds
        for name, benchmark in BENCHMARKS.items()
        for entry in entries(benchmark.rule)
        for result in store.seeds(name, entry.method.name, digest(entry.method))
    ]
    return (
        f"{len(spent)} runs, {sum(spent) / 60:.0f} minutes on one thread of a {platform.machine()} processor that "
        f"other work shared, Python {platform.python_version()}, torch {torch.__version__.split('+')[0]}"
    )
