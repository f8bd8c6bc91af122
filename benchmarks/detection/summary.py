"""Figures of several seeds as one line, and lines as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from benchmarks.detection.method import Figures, Published
from benchmarks.detection.results import Result


@dataclass(frozen=True, slots=True)
class Line:
    """A method's row of the table."""

    name: str
    mean: Figures
    spread: Figures  # standard deviation over the seeds; empty for one seed
    seeds: int = 0  # 0 where others measured
    fit_seconds: float = float("nan")  # wall time of all fits of one seed
    models: int = 0  # fitted with one seed
    parameters: float = float("nan")  # of a model, on average


def line(name: str, results: Sequence[Result]) -> Line:
    """Of a method, one result for each seed."""
    mean, spread = {}, {}
    for figure in results[0].figures:
        values = [one.figures[figure] for one in results]
        mean[figure] = float(np.mean(values))
        if len(results) > 1:
            spread[figure] = float(np.std(values))
    seconds = float(np.mean([one.fit_seconds for one in results]))
    return Line(name, mean, spread, len(results), seconds, results[0].models, results[0].parameters)


def published(row: Published) -> Line:
    """A row that others measured."""
    name = f"published: {row.name}" + (f" ({row.note})" if row.note else "")
    return Line(name, row.figures, {})


def markdown(lines: Sequence[Line], shown: Sequence[str] = ()) -> str:
    """A table with the figures that are to be shown, or every one that some line has, in the order of the last line.

    Of figures without a place in the last line, those of published rows come behind.
    """
    extra = [name for one in lines for name in one.mean if name not in lines[-1].mean]
    columns = [*(shown or lines[-1].mean), *dict.fromkeys(extra)]
    rows = [["", *columns, "seeds", "fit s", "parameters"], ["---", *["---:"] * (len(columns) + 3)]]
    for one in lines:
        cells = [_cell(one, name) for name in columns]
        rows.append([one.name.replace("|", r"\|"), *cells, *_cost(one)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cost(one: Line) -> list[str]:
    if not one.seeds:
        return ["", "", ""]
    several = f"{one.models} x " if one.models > 1 else ""
    counted = bool(one.parameters) and not isnan(one.parameters)
    return [str(one.seeds), f"{one.fit_seconds:.1f}", f"{several}{one.parameters:,.0f}" if counted else ""]


def _cell(one: Line, name: str) -> str:
    if name not in one.mean:
        return ""
    value = one.mean[name]
    digits = 1 if abs(value) >= 10 else 3
    told = "-" if isnan(value) else f"{value:.{digits}f}"
    spread = f"{one.spread.get(name, 0.0):.{digits}f}"
    return f"{told} ± {spread}" if float(spread) > 0 else told
