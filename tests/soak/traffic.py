"""Events without end: streams start, live for a while and fall silent; some turn anomalous, some records are bad."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tests.models import FEATURES

PARTITIONS = 3
LIVE = (600, 600, 300)  # streams that send at a time, by partition
LIFE = 24  # events of a stream, one a second of event time
MAX_STREAMS = 1000  # of a partition: those that send, and some that have fallen silent. Reached where LIVE is 600
IDLE_TIMEOUT = 30.0  # s of event time; where LIVE is 300 it comes before the cap
EVENTS_PER_TICK = sum(LIVE)
_VARIANTS = 16  # rows of a tick that streams share: encoding each event anew would be most of the work
_ANOMALOUS_EVERY, _BAD_EVERY, _TWICE_EVERY = 40, 500, 200
_CALM, _ALARMED = slice(0, 12), slice(12, 18)


class Sent(NamedTuple):
    partition: int
    key: bytes
    value: bytes
    timestamp: int  # ms


def ticks(begin: float, count: int, seed: int) -> Iterator[list[Sent]]:
    """The records of each second of event time from `begin` (s since the Unix epoch) on."""
    luck = np.random.default_rng(seed)
    base = 10.0 * (np.arange(len(FEATURES)) + 1)
    for tick in range(count):
        usual = base + np.sin(tick / 12 + np.arange(len(FEATURES)))
        rows = usual + luck.normal(scale=0.05, size=(_VARIANTS, len(FEATURES)))
        loud = rows + np.array([8.0] + [0.0] * (len(FEATURES) - 1))
        yield _tick(int(begin) + tick, tick, [_encoded(row) for row in rows], [_encoded(row) for row in loud])


def _encoded(row: Sequence[float]) -> bytes:
    return b",".join(b'"%b":%.4f' % (name.encode(), value) for name, value in zip(FEATURES, row, strict=True))


def _tick(time: int, tick: int, usual: list[bytes], loud: list[bytes]) -> list[Sent]:
    records = []
    for partition, live in enumerate(LIVE):
        newest = (tick + LIFE) * live // LIFE
        for stream in range(newest - live, newest):
            age = tick + LIFE - (stream * LIFE // live + 1)  # 0 to LIFE - 1
            name = b"p%d-%d" % (partition, stream)
            # Of the anomalous every other one recovers; the rest are silent with their incident open.
            alarmed = stream % _ANOMALOUS_EVERY == 0 and (
                _ALARMED.start <= age < (_ALARMED.stop if stream % (2 * _ANOMALOUS_EVERY) else LIFE)
            )
            row = (loud if alarmed else usual)[stream % _VARIANTS]
            if (stream + tick) % _BAD_EVERY == 0:
                value = b'{"stream":"%b","time":%d,"features":{%b' % (name, time, row)
            else:
                told = time - 1 if (stream + tick) % _TWICE_EVERY == 0 else time
                value = b'{"stream":"%b","time":%d,"features":{%b}}' % (name, told, row)
            records.append(Sent(partition, name, value, time * 1000))
    return records
