"""The events: who sends what when. Also a program that sends them, so that a load has a process of its own.

    python -m benchmarks.performance.workload '{"bootstrap": ..., "topic": ..., ...}'

Every stream is a wave of its own phase for each feature, with noise; a spike now and then makes an alert. Streams are
taken in an order that jumps through all of them, so that neighbours in time are not neighbours in memory.
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import asdict, dataclass
from functools import cache
from typing import TypeVar

import msgspec
import numpy as np
from kafka import KafkaProducer

from monitor.batch import Float32, Int64

Place = TypeVar("Place", int, Int64)

FEATURES, WINDOW, HIDDEN, PARTITIONS = 16, 32, 64, 8
NAMES = tuple(f"f{number:02d}" for number in range(FEATURES))
CYCLE = 1024
"""Rows of a stream before it repeats itself: sixteen waves."""
INTERVAL = 1.0
"""Seconds of event time between two events of a stream in the training rows."""
_JUMP = 7919  # no power of ten has a factor in common with it
_SLICE = 0.002  # s between two wake-ups of a paced load


@dataclass(frozen=True, slots=True)
class Load:
    """Events number `first` to `first + count - 1` of a topic. Stream `n` is in partition `n % PARTITIONS`."""

    bootstrap: str
    topic: str
    streams: int
    first: int
    count: int
    begin: float = 0.0  # s since the Unix epoch of event 0; with a rate an event's time is when it is sent
    step: float = INTERVAL  # s of event time between two events of a stream
    rate: float = 0.0  # events/s; 0: as fast as it goes
    spike_every: int = 0  # one event in so many is a spike; 0: none


def rows() -> Float32:
    """The normal rows (CYCLE, F) that all streams take theirs from, each from a place of its own on."""
    phase = np.arange(CYCLE)[:, None] * (2 * math.pi / 64) + np.arange(FEATURES)  # (CYCLE, F)
    noise = np.random.default_rng(0).normal(scale=0.05, size=phase.shape)
    made: Float32 = (10.0 * (np.arange(FEATURES) + 1) + np.sin(phase) + noise).round(4).astype(np.float32)
    return made


def place(stream: Place, turn: Place) -> Place:
    """Which row the turn-th event of a stream is; of many streams and turns at once."""
    return (turn + 7 * stream) % CYCLE


def name(stream: int) -> str:
    return f"stream-{stream:07d}"


@cache
def _texts() -> tuple[list[str], list[str]]:
    """The `features` member of each row, and the same of a spike."""
    table = rows().astype(np.float64)
    kinds = (table, 3 * table)
    normal, spiky = ([json.dumps(dict(zip(NAMES, row, strict=True))) for row in t.round(4).tolist()] for t in kinds)
    return normal, spiky


def event(load: Load, number: int, now: float | None = None) -> tuple[int, bytes, bytes, float]:
    """Partition, key, value and time (s) of an event."""
    turn, ordinal = divmod(number, load.streams)
    stream = ordinal * _JUMP % load.streams
    normal, spiky = _texts()
    spike = load.spike_every and number % load.spike_every == load.spike_every - 1
    when = now if now is not None else load.begin + load.step * turn
    features = (spiky if spike else normal)[place(stream, turn)]
    key = name(stream)
    value = f'{{"stream":"{key}","time":{when:.4f},"features":{features}}}'
    return stream % PARTITIONS, key.encode(), value.encode(), when


def send(load: Load) -> float:
    """Sends them all; the seconds that took. A paced load that falls behind catches up as fast as it can."""
    producer = KafkaProducer(
        bootstrap_servers=load.bootstrap,
        acks=1,
        linger_ms=2 if load.rate else 20,
        batch_size=2**15 if load.rate else 2**17,
    )
    begun = time.perf_counter()
    try:
        number, end = load.first, load.first + load.count
        while number < end:
            due = end
            if load.rate:
                due = min(end, load.first + int((time.perf_counter() - begun) * load.rate))
                if due <= number:
                    time.sleep(_SLICE)
                    continue
            while number < due:
                now = time.time() if load.rate else None
                partition, key, value, when = event(load, number, now)
                producer.send(load.topic, value, key, partition=partition, timestamp_ms=int(when * 1000))
                number += 1
        producer.flush(timeout=120)
    finally:
        producer.close()
    return time.perf_counter() - begun


def command(load: Load) -> list[str]:
    """What to start for it."""
    return [sys.executable, "-m", "benchmarks.performance.workload", json.dumps(asdict(load))]


if __name__ == "__main__":
    print(json.dumps({"seconds": send(msgspec.json.decode(sys.argv[1], type=Load))}))
