"""Raw cells of one column -> float64: numbers, categories, and times in any of the forms that files write them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np

from monitor.batch import Float64
from monitor.categories import Codes
from monitor.feeds.columns import Cells

MISSING_TEXT = frozenset({"", "nan", "na", "n/a", "null", "none"})
# An epoch number this large is in a finer unit: 1e11 s is the year 5138, 1e11 ms is 1973.
EPOCH_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
_PLAIN = {int, float, type(None)}


class BadCellError(ValueError):
    """Cell `row` of the column cannot be read; `problem` says why, for the middle of a sentence."""

    def __init__(self, row: int, problem: str) -> None:
        super().__init__(problem)
        self.row = row
        self.problem = problem


def is_missing(cell: object) -> bool:
    return cell is None or (isinstance(cell, str) and cell.strip().lower() in MISSING_TEXT)


def is_number(cell: object) -> bool:
    try:
        _number(cell)
    except (ValueError, TypeError):
        return False
    return True


def is_time(cell: object) -> bool:
    """Whether it can be read as a time that is no plain number."""
    try:
        times([cell])
    except BadCellError:
        return False
    return not is_number(cell)


def numbers(cells: Cells) -> Float64:
    """(n,) float64, missing cells as NaN, infinite numbers as they are. Raises `BadCellError` at the first other."""
    if isinstance(cells, np.ndarray):
        return cells
    types = set(map(type, cells))
    try:
        if types == {str} or types <= _PLAIN:
            return np.array(cells, dtype=np.float64)  # the fast way: no cell is missing, or as None only
    except (ValueError, OverflowError):
        pass  # find out which cell
    return _each(cells, lambda cell: np.nan if is_missing(cell) else _number(cell), "is not a number")


def codes(cells: Cells, known: Codes) -> Float64:
    """(n,) float64 codes of a category. Raises `BadCellError` at the first cell that is no text, number or boolean."""
    result = np.empty(len(cells))
    for row, cell in enumerate(cells):
        try:
            result[row] = known[_plain(cell)]
        except TypeError as error:
            raise BadCellError(row, f"{_shown(cell)} is no category") from error
    return result


def times(cells: Cells, unit: float | None = None) -> tuple[Float64, float | None]:
    """(n,) float64 s since the Unix epoch, from ISO 8601 text (UTC where it names no zone) or epoch numbers.

    Not given a unit (numbers to a second), the largest of the numbers decides whether they are seconds, milli-, micro-
    or nanoseconds. Also returns the unit (None for text), for the rows that follow: one column has one unit.
    Raises `BadCellError` at the first cell that is no time, a missing one included.
    """
    try:
        told = numbers(cells)
    except BadCellError:
        return _each(cells, _moment, "is not a time"), unit
    bad = np.flatnonzero(~np.isfinite(told))
    if len(bad):
        raise BadCellError(int(bad[0]), f"{_shown(cells[bad[0]])} is not a time")
    if unit is None:
        largest = np.abs(told).max(initial=0.0)
        unit = next((unit for limit, unit in EPOCH_UNITS if largest >= limit), 1.0)
    return told / unit, unit


def names(cells: Cells) -> list[str]:
    """(n,) stream names: text without surrounding spaces, or whole numbers as text."""
    if set(map(type, cells)) == {str}:
        stripped = [cell.strip() for cell in cells]
        if all(stripped):
            return stripped
    result = []
    for row, cell in enumerate(cells):
        if cell is None or cell == "" or (isinstance(cell, str) and not cell.strip()):
            raise BadCellError(row, "the stream has no name")
        if isinstance(cell, bool) or not isinstance(cell, str | int):
            raise BadCellError(row, f"{_shown(cell)} is not a stream name")
        result.append(str(cell).strip())
    return result


def _each(cells: Cells, read: Callable[[object], float], problem: str) -> Float64:
    result = np.empty(len(cells))
    for row, cell in enumerate(cells):
        try:
            result[row] = read(cell)
        except (ValueError, TypeError, OverflowError) as error:
            raise BadCellError(row, f"{_shown(cell)} {problem}") from error
    return result


def _number(cell: object) -> float:
    if isinstance(cell, bool) or not isinstance(cell, str | int | float | Decimal):
        raise TypeError
    if isinstance(cell, int):
        try:
            return float(cell)
        except OverflowError:
            return np.inf if cell > 0 else -np.inf
    return float(cell)


def _plain(cell: Any) -> Any:
    """What JSON would have of it."""
    return float(cell) if isinstance(cell, Decimal) else cell


def _moment(cell: object) -> float:
    moment = cell if isinstance(cell, datetime) else datetime.fromisoformat(_text(cell))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _text(cell: object) -> str:
    if not isinstance(cell, str):
        raise TypeError
    return cell.strip()


def _shown(cell: Any) -> str:
    if is_missing(cell):
        return "an empty cell"
    text = repr(cell.item() if isinstance(cell, np.generic) else cell)
    return text if len(text) <= 40 else text[:37] + "..."
