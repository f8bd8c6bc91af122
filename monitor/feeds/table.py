"""Rows of some streams as columns, and the same rows as the event records a topic would hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isnan

import msgspec
import numpy as np

from monitor.batch import Float32, Float64, RawRecord
from monitor.errors import MonitorError


@dataclass(frozen=True, slots=True)
class Rows:
    """The n rows of one stream, in the order they were read."""

    stream: str
    time: Float64  # (n,) s since the Unix epoch
    values: Float32  # (n, F) source units, NaN = missing

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of some streams with the same F features."""

    features: tuple[str, ...]
    series: tuple[Rows, ...]  # in order of first appearance
    notes: tuple[str, ...] = ()  # what was left out or assumed, for people
    source: str = ""  # what was read, as the user named it
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of features that are categories: their values are codes, places in this."""

    def __len__(self) -> int:
        return sum(map(len, self.series))


def never(_name: str) -> bool:
    """For who has no categories."""
    return False


def check_names(features: Sequence[str]) -> None:
    """Raise `MonitorError` for a feature name that events cannot carry as it is."""
    for name in features:
        if not name.isprintable() or '"' in name or "\\" in name:
            raise MonitorError(
                f"feature {name!r}: a name must not hold quotes, backslashes or unprintable characters",
                "Rename the column, or leave it out.",
            )


def in_time_order(table: Table) -> Table:
    """The table with each stream sorted by time and the first row of each time kept; the notes count the others.

    A stream that is in order already is not copied.
    """
    series, moved, dropped = [], 0, 0
    for rows in table.series:
        if np.all(np.diff(rows.time) > 0):
            series.append(rows)
            continue
        order = np.argsort(rows.time, kind="stable")
        time = rows.time[order]
        keep = np.ones(len(time), bool)
        keep[1:] = np.diff(time) > 0
        moved += int(np.count_nonzero(np.diff(rows.time) < 0))
        dropped += int(np.count_nonzero(~keep))
        series.append(Rows(rows.stream, time[keep], rows.values[order][keep]))
    notes = list(table.notes)
    if moved:
        notes.append(f"rows sorted: {moved} of {len(table)} were older than the row before")
    if dropped:
        notes.append(f"{dropped} of {len(table)} rows dropped: their stream has a row of the same time")
    return replace(table, series=tuple(series), notes=tuple(notes))


def records(table: Table, topic: str) -> Iterator[RawRecord]:
    """The rows as event records of partition 0, the streams merged by time as a live topic would hold them.

    Within a stream the order of the rows is kept, late ones included. Values survive float32 -> JSON -> float32 to
    the bit; a missing value is a feature left out, a category its text.
    """
    if not table.series:
        return
    # A stream's next row waits until its time has come; one that is late already follows at once: the running maximum.
    due = np.concatenate([np.maximum.accumulate(rows.time) for rows in table.series])
    which = np.repeat(np.arange(len(table.series)), [len(rows) for rows in table.series])
    row = np.concatenate([np.arange(len(rows)) for rows in table.series])
    encode = msgspec.json.Encoder().encode
    keys = [rows.stream.encode() for rows in table.series]
    order = np.lexsort((row, which, due))
    for offset, (series, at) in enumerate(zip(which[order].tolist(), row[order].tolist(), strict=True)):
        rows = table.series[series]
        time = float(rows.time[at])
        features: dict[str, float | str] = {
            name: value
            for name, value in zip(table.features, rows.values[at].tolist(), strict=True)
            if not isnan(value)
        }
        for name, names in table.categories.items():
            if name in features:
                features[name] = names[int(features[name])]
        value = encode({"stream": rows.stream, "time": time, "features": features})
        yield RawRecord(topic, 0, offset, round(time * 1000), keys[series], value)
