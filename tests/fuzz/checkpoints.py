"""Hostile metadata of commits. The first byte of an input chooses the offset."""

from __future__ import annotations

from monitor import checkpoint
from monitor.checkpoint import UnreadableCheckpointError
from tests.fuzz import oracle
from tests.fuzz.target import demand

OFFSETS = (0, 1, 7, 1000, 2**31, 2**53 + 1, 2**63 - 1)


def check(data: bytes) -> bool:
    """The decoder and the oracle agree, and what was decoded encodes to what decodes to the same."""
    offset = OFFSETS[data[0] % len(OFFSETS)] if data else 0
    metadata = data[1:].decode(errors="surrogateescape")
    expected, unsure = oracle.checkpoint(offset, metadata)
    try:
        found = checkpoint.decode(offset, metadata)
    except UnreadableCheckpointError:
        demand(expected is None or unsure, f"refused, but it is {expected}")
        return False
    demand(found == expected, f"decoded to {found}, it is {expected}")
    demand(checkpoint.decode(offset, found.encode()) == found, "it does not survive another commit")
    return True


def seeds() -> list[bytes]:
    made = [
        checkpoint.Checkpoint(1000, 990, 1.7e9, (checkpoint.Eviction(995, 3),), 5, 2, 1, "f" * 12, "t", 9),
        checkpoint.Checkpoint(1000, 1000),
    ]
    return [b"\x03" + one.encode().encode() for one in made] + [
        b"\x00",
        b"\x03[[",
        b'\x03{"x":' + b"[" * 3000,
        b'\x03{"v":1,"back":0}',
    ]


WORDS = [
    *b'{ } [ ] " , : \\ 0 1 -1 1.0 1e2 null true -0 1e999 NaN 9223372036854775808 \xff \\ud800'.split(),
    *b'"v":1 "back": "clock": "evictions":[[1,2]] "live": "short": "loud": "state":'.split(),
    *b'"features": "topic":'.split(),
    b"[" * 50,
    b"[" * 1000,
]
