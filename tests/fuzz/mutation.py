"""Damaged inputs without a fuzzer: the same for a seed, on every platform."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

_WIDTHS = (0, 0, 0, 1, 1, 2, 5, 12)  # bytes that an edit replaces


def mutations(seeds: Sequence[bytes], words: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Endless. An edit puts in a word, some bytes of another seed, or a random byte."""
    luck = random.Random(seed)
    while True:
        value = bytearray(luck.choice(seeds))
        for _ in range(luck.randint(1, 4)):
            place, choice = luck.randrange(len(value) + 1), luck.random()
            if choice < 0.7:
                part = luck.choice(words)
            elif choice < 0.85:
                other = luck.choice(seeds)
                begin = luck.randrange(len(other) + 1)
                part = other[begin : begin + luck.randint(1, 16)]
            else:
                part = bytes([luck.randrange(256)])
            value[place : place + luck.choice(_WIDTHS)] = part
        yield bytes(value)
