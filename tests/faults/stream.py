"""A recorded stream with known incidents: every way in which a stream becomes loud, and every way it falls quiet.

Same `Shape`, same records to the byte, in every process and on every machine. The artefact it suits is `tiny_artefact`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from tests.models import FEATURES, START, waves

LONG_AGO = 86_400  # s; beyond events.max_age of the deployments
GUESTS_EVERY = 4  # rows
_LATE_ROWS = 3


class Sent(NamedTuple):
    """A record of the recording. Its offset is its place among those of its partition."""

    partition: int
    timestamp: int  # ms since the Unix epoch
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Shape:
    """What is in a recording. `rows` is its length in seconds of event time; `mix` the share of hostile events."""

    seed: int
    partitions: int = 3
    rows: int = 200
    mix: float = 0.02


@dataclass(frozen=True, slots=True)
class _Stream:
    name: str
    values: list[list[float]]  # (rows, F)
    silent: frozenset[int]  # rows without an event
    holes: float = 0.0  # share of the events that lack a feature


def record(shape: Shape) -> list[Sent]:
    """All records, in the order in which they are produced."""
    made: list[Sent] = []
    parts = [_partition(shape, partition) for partition in range(shape.partitions)]
    for row in range(shape.rows):  # partitions side by side, as producers would write them
        for part in parts:
            made += part[row]
    return made


def _partition(shape: Shape, partition: int) -> list[list[Sent]]:
    """The records of one partition, by row."""
    rng = np.random.default_rng((shape.seed, partition))
    streams = _streams(shape, partition, rng)
    recent: list[bytes] = []
    rows = []
    for row in range(shape.rows):
        at = START + row
        events = [(s.name, _event(s, row, rng)) for s in streams if row not in s.silent]
        if row % GUESTS_EVERY == 0 and partition % 2 == 0:  # seen once: the table fills, and somebody has to leave
            events.append((f"guest-{partition}-{row}", _plain(f"guest-{partition}-{row}", row, streams[0].values[row])))
        sent: list[Sent] = []
        for name, value in events:
            sent.append(Sent(partition, round(at * 1000), name.encode(), value))
            recent.append(value)
            if rng.random() < shape.mix:
                sent.append(_hostile(partition, at, recent, rng))
        if len(sent) > 1 and rng.random() < shape.mix * len(sent):  # two neighbours change places
            i = int(rng.integers(len(sent) - 1))
            sent[i], sent[i + 1] = sent[i + 1], sent[i]
        rows.append(sent)
        recent = recent[-40:]
    return rows


def _streams(shape: Shape, partition: int, rng: Generator) -> list[_Stream]:
    rows = shape.rows
    never: frozenset[int] = frozenset()

    def values(loud: Iterator[tuple[int, int, float]]) -> list[list[float]]:
        made = waves(rows, len(FEATURES), int(rng.integers(2**31)))
        for begin, length, height in loud:
            made[begin : begin + length, int(rng.integers(len(FEATURES)))] += height
        return [[float(value) for value in row] for row in made]

    def bursts(every: int, first: int = 20) -> Iterator[tuple[int, int, float]]:
        for begin in range(first + int(rng.integers(every)), rows - 12, every):
            yield begin, int(rng.integers(3, 9)), float(rng.choice([2.0, 5.0, 9.0]))

    def gaps(length: int, *begins: float) -> frozenset[int]:
        return frozenset(row for part in begins for row in range(int(part * rows), int(part * rows) + length))

    third = rows // 3
    dies = int(rows * 0.55)
    return [
        _Stream(f"calm-{partition}", values(iter(())), never),
        _Stream(f"long-{partition}", values(iter([(third // 2, 2 * third, 6.0)])), never),  # open for most of the time
        _Stream(f"often-{partition}", values(bursts(24)), never),  # within the cooldown, and beyond it
        _Stream(f"rare-{partition}", values(bursts(70)), never),
        _Stream(f"gappy-{partition}", values(bursts(30)), gaps(14, 0.3, 0.62)),
        _Stream(f"holed-{partition}", values(bursts(36)), never, holes=0.15),
        _Stream(f"dies-{partition}", values(iter([(dies - 12, 60, 7.0)])), frozenset(range(dies, rows))),
        _Stream(f"late-loud-{partition}", values(iter([(rows - 14, 14, 7.0)])), never),  # open when the input ends
        _Stream("shared", values(bursts(40)), never),  # the same name in each partition
    ]


def _plain(stream: str, row: float, values: Sequence[float | None]) -> bytes:
    features = dict(zip(FEATURES, values, strict=True))
    return json.dumps({"stream": stream, "time": START + row, "features": features}).encode()


def _event(stream: _Stream, row: int, rng: Generator) -> bytes:
    values: list[float | None] = list(stream.values[row])
    if rng.random() < stream.holes:
        values[int(rng.integers(len(values)))] = None
    return _plain(stream.name, row, values)


def _hostile(partition: int, at: float, recent: Sequence[bytes], rng: Generator) -> Sent:
    """Poison, a duplicate, or a late event, each as likely as the next."""
    some = json.loads(recent[int(rng.integers(len(recent)))])
    now, name = round(at * 1000), some["stream"].encode()
    match int(rng.integers(10)):
        case 0 | 1 | 2:
            return Sent(partition, now, name, recent[-1])
        case 3 | 4 | 5:
            some["time"] -= float(rng.integers(1, 4 * _LATE_ROWS)) / 4
        case 6:
            return Sent(partition, now, b"poison", recent[-1][: int(rng.integers(1, 30))], (("from", b"tests"),))
        case 7:
            return Sent(partition, now, b"poison", bytes(rng.integers(0, 256, 20, dtype=np.uint8)))
        case 8:
            some["time"] -= LONG_AGO
        case _:
            some["features"]["nobody-knows-it"] = 1.0
    return Sent(partition, now, name, json.dumps(some).encode())
