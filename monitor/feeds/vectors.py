"""Feature vectors on their way out: as columns, with times that ascend in each stream, and as events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Literal

import msgspec
import numpy as np

from monitor.batch import Float32, Float64, Int64, RawRecord

STEP = 1000
"""Least ns between two events of a stream: what a float64 of seconds since 1970 tells apart, with room."""
_MOST_STREAMS = 200_000
_KEY_PICKS = -1

Text = str | float | bool | None
"""A category's value, as JSON has it; None: left out."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """n vectors of F features, in the order they are to be sent."""

    names: tuple[str, ...]  # F
    stream: Sequence[str]  # (n,)
    time: Float64  # (n,) s since the Unix epoch
    values: Float32  # (n, F) NaN: left out
    text: Mapping[str, Sequence[Text]] = field(default_factory=dict)  # of categories, (n,) each, beside the F

    def __len__(self) -> int:
        return len(self.stream)

    def part(self, begin: int, end: int) -> Vectors:
        text = {name: cells[begin:end] for name, cells in self.text.items()}
        return Vectors(self.names, self.stream[begin:end], self.time[begin:end], self.values[begin:end], text)


class Ascending:
    """Moves a time that is not after the one before it in its stream to just after it: the service takes an event
    with an equal time for a repetition, and packets of one burst have equal times.
    """

    def __init__(self) -> None:
        self._newest: dict[str, int] = {}  # least recently seen first

    def times(self, streams: Sequence[str], time: Int64) -> Float64:
        """(n,) ns -> s since the Unix epoch, in steps of a microsecond."""
        newest = self._newest
        found = []
        for stream, moment in zip(streams, time.tolist(), strict=True):
            before = newest.pop(stream, -1)
            now = max(moment // STEP, before + 1)
            newest[stream] = now
            found.append(now)
            if len(newest) > _MOST_STREAMS:
                del newest[next(iter(newest))]
        return np.array(found, np.float64) / (10**9 // STEP)


def records(vectors: Vectors, topic: str, codec: Literal["json", "msgpack"] = "json") -> Iterator[RawRecord]:
    """Each vector as an event record, keyed by its stream; the numbers have the digits that a float32 needs."""
    encode = msgspec.json.Encoder().encode if codec == "json" else msgspec.msgpack.Encoder().encode
    digits = _digits(vectors.values)
    whole = not np.isnan(vectors.values).any()
    names = vectors.names
    for row, (stream, time, values) in enumerate(
        zip(vectors.stream, vectors.time.tolist(), digits.tolist(), strict=True)
    ):
        pairs = zip(names, values, strict=True)
        features: dict[str, Text] = dict(pairs) if whole else {k: v for k, v in pairs if not isnan(v)}
        for name, cells in vectors.text.items():
            cell = cells[row]
            if cell is not None:
                features[name] = cell
        value = encode({"stream": stream, "time": time, "features": features})
        yield RawRecord(topic, _KEY_PICKS, -1, int(time * 1000), stream.encode(), value)


def _digits(values: Float32) -> Float64:
    """The nearest numbers of seven digits where these are the same float32, else of nine, which always are.

    A float32 as it stands is written out with seventeen, which is twice as much to send and to read.
    """
    wide = values.astype(np.float64)
    size = np.abs(wide)
    usual = (size > 1e-30) & (size < 1e30)
    place = np.floor(np.log10(np.where(usual, size, 1.0)))
    few, many = 10.0 ** (6 - place), 10.0 ** (8 - place)
    short = np.rint(wide * few) / few
    return np.where(usual, np.where(short.astype(np.float32) == values, short, np.rint(wide * many) / many), wide)
