"""Hostile packets by the million: `python -m tests.feeds.hostile 1000000` (some minutes); a test runs a slice."""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np

from monitor import config
from monitor.feeds.frames import Fault, Tally, frames
from monitor.feeds.traffic import Traffic
from tests.feeds.made import ethernet, ipv4, ipv6, tcp, udp

LINKS = (1, 1, 1, 1, 0, 12, 101, 108, 113, 276, 147)
_BATCH = 5000


def seeds() -> list[bytes]:
    """Well-formed frames, to be damaged."""
    hop = bytes([44, 0]) + bytes(6) + bytes([17, 0, 0, 1]) + bytes(4)
    return [
        ethernet(0x0800, ipv4(6, tcp(1000, 80, payload=bytes(40)))),
        ethernet(0x0800, ipv4(17, udp(53, 53, bytes(20)), options=3), tags=(7, 9)),
        ethernet(0x0800, ipv4(17, udp(1, 2), fragment=0x2000)),
        ethernet(0x86DD, ipv6(6, tcp(payload=bytes(9)))),
        ethernet(0x86DD, ipv6(0, hop + udp())),
        ethernet(0x0806, bytes.fromhex("00010800060400010200000000010a00000102000000000200000000") + bytes(4)),
        ethernet(0x88CC, bytes(20)),
        ipv4(1, bytes(12)),
    ]


def run(count: int, seed: int = 1) -> Counter[str]:
    """So many hostile frames through packets, damped statistics and flows; what became of them.

    Raises `AssertionError` where a vector is not finite, or a frame is neither a packet nor counted.
    """
    chance = np.random.default_rng(seed)
    tally, made = Tally(), seeds()
    settings = config.Feed(max_keys=2000)
    both = Traffic(settings, tally), Traffic(settings.model_copy(update={"vectors": "flows"}), Tally())
    now, vectors = 10**18, 0
    for begin in range(0, count, _BATCH):
        n = min(_BATCH, count - begin)
        found = []
        for frame, changes, cut in zip(
            chance.integers(0, len(made), n), chance.integers(0, 6, n), chance.integers(0, 120, n), strict=True
        ):
            data = bytearray(made[frame])
            for place, value in chance.integers(0, 256, (changes, 2)):
                # of most headers the first bytes decide the most
                data[place % min(len(data), 64)] = value
            now += int(chance.integers(0, 10**7))
            time = now if chance.random() < 0.98 else int(chance.integers(-1, 2**63 - 1))
            link = LINKS[chance.integers(len(LINKS))]
            found.append((time, link, int(chance.integers(0, 2**32)), bytes(data[:cut]) if cut < 60 else bytes(data)))
        batch = frames(found)
        for traffic in both:
            one = traffic.push(batch)
            assert np.isfinite(one.values).all()
            vectors += len(one)
    packets, faults = both[0].packets, tally.total()
    assert packets + faults == count, (packets, faults, count)
    assert both[1].packets == packets
    flows = both[1].end()
    assert np.isfinite(flows.values).all()
    return Counter({str(fault): tally[fault] for fault in Fault}) + Counter(
        packets=packets, vectors=vectors + len(flows)
    )


if __name__ == "__main__":
    for name, number in run(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000).most_common():
        print(f"{name:<16} {number:>12,}")
