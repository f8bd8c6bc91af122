"""Figures of several seeds as one line, and lines as a Markdown table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.detection.method import Figures, Method, Published
from benchmarks.detection.registry import Runner


@dataclass(frozen=True, slots=True)
class Line:
    """A method's row of the table."""

    name: str
    mean: Figures
    spread: Figures  # standard deviation over the seeds; empty for one seed
    seconds: float | None  # wall time of one seed, fitting and metrics included; None where others measured


def measure(run: Runner, method: Method, seeds: Sequence[int]) -> Line:
    """A method on a benchmark, once for each seed."""
    start = time.perf_counter()
    each = [run(method, seed) for seed in seeds]
    seconds = (time.perf_counter() - start) / len(each)
    mean = {name: float(np.mean([figures[name] for figures in each])) for name in each[0]}
    spread = {name: float(np.std([figures[name] for figures in each])) for name in each[0]} if len(each) > 1 else {}
    return Line(method.name, mean, spread, seconds)


def published(row: Published) -> Line:
    """A row that others measured."""
    name = f"published: {row.name}" + (f" ({row.note})" if row.note else "")
    return Line(name, row.figures, {}, None)


def markdown(lines: Sequence[Line]) -> str:
    """A table with every figure that some line has, in the order of the last line, which has been measured here."""
    extra = [name for line in lines for name in line.mean if name not in lines[-1].mean]
    columns = [*lines[-1].mean, *dict.fromkeys(extra)]
    rows = [["", *columns, "s"], ["---", *["---:"] * (len(columns) + 1)]]
    for line in lines:
        cells = [_cell(line, name) for name in columns]
        rows.append([line.name.replace("|", r"\|"), *cells, "" if line.seconds is None else f"{line.seconds:.1f}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(line: Line, name: str) -> str:
    if name not in line.mean:
        return ""
    value = line.mean[name]
    digits = 1 if abs(value) >= 10 else 3
    told = "-" if np.isnan(value) else f"{value:.{digits}f}"
    return f"{told} ± {line.spread[name]:.{digits}f}" if line.spread.get(name) else told
