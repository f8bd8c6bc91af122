"""The type of a usual event, so that one call reads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from math import nan
from typing import Any, NoReturn

import msgspec
import numpy as np

from monitor import config
from monitor.batch import Float64
from monitor.codecs.codec import Category
from monitor.codecs.layout import Layout

_UNTYPABLE = re.compile(r'["\\\x00-\x1f]')  # in a name that msgspec takes for no field's


def reader(decoder: Callable[[Any], Any], layout: Layout, rules: config.Events) -> Callable[[bytes], Any]:
    """What reads a value as a struct with `features` (numbers first), `stream` and `time`.

    `decoder` makes a decoder of a type. Raises `msgspec.ValidationError` for every value where a feature's name cannot
    be a field's.
    """
    if _UNTYPABLE.search("".join(layout.features)):
        return _untyped
    # Field names must be identifiers, feature names need not be: f0, f1, ... carry them through `rename`.
    absent: tuple[Any, ...] = (nan,) if rules.missing == "impute" else ()
    columns = msgspec.defstruct(
        "Columns",
        [
            *((f"f{i}", float, *absent) for i in layout.numbers),
            *((f"f{i}", Category, *absent) for i in layout.categories),
        ],
        rename={f"f{i}": name for i, name in enumerate(layout.features)},
        forbid_unknown_fields=rules.unknown == "reject",
        gc=False,
    )
    event = msgspec.defstruct(
        "Event", [("features", columns), ("stream", str | None, None), ("time", float | None, None)], gc=False
    )
    decode: Callable[[bytes], Any] = decoder(event).decode
    return decode


def _untyped(_value: bytes) -> NoReturn:
    raise msgspec.ValidationError("a feature's name cannot be a field's")


def numbers(rows: Sequence[tuple[Any, ...]], layout: Layout) -> Float64:
    """Rows with their numbers first -> (N, numbers)."""
    count = len(layout.numbers)
    if layout.categories:
        rows = [row[:count] for row in rows]
    return np.array(rows, np.float64).reshape(len(rows), count)


def categories(rows: Sequence[tuple[Any, ...]], layout: Layout) -> list[list[Any]]:
    """The same rows -> (categories, N)."""
    first = len(layout.numbers)
    return [[row[at] for row in rows] for at in range(first, first + len(layout.categories))]
