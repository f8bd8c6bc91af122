"""Packets a second from a capture to vectors, beside the parsing of the same capture by dpkt alone; all in one run.

    python benchmarks/packets.py --packets 200000

A capture of that many packets is made first (30 hosts, web, names, a scan), then each way reads it, one core, the best
of three, by the processor's time. Nothing is asserted: the figures are for docs/feeding.md.
"""

from __future__ import annotations

import argparse
import random
import struct
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import dpkt

from monitor import config
from monitor.feeds import capture
from monitor.feeds.frames import Tally
from monitor.feeds.packets import decode
from monitor.feeds.traffic import Traffic
from monitor.feeds.vectors import records


def make(path: Path, count: int) -> None:
    """A capture of made traffic: half of it in 40 busy connections, the rest in many small ones."""
    chance = random.Random(1)  # noqa: S311  made traffic
    now = 1_700_000_000.0
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1))
        for _ in range(count):
            now += chance.expovariate(2000)
            number = chance.randrange(40) if chance.random() < 0.5 else chance.randrange(20_000)
            host, other = 1 + number % 30, 31 + number % 7
            back = chance.random() < 0.45
            ends = ((other, host), (80, 1024 + number)) if back else ((host, other), (1024 + number, 80))
            (a, b), (source, target) = ends
            size = 1400 if back else chance.randrange(0, 200)
            tcp = struct.pack(">HHIIBBHHH", source, target, 1, 1, 0x50, 0x10, 1000, 0, 0)
            ip = struct.pack(">BBHHHBBHBBBBBBBB", 0x45, 0, 40 + size, 1, 0, 64, 6, 0, 10, 0, 0, a, 10, 0, 0, b)
            frame = bytes([2, 0, 0, 0, 0, b, 2, 0, 0, 0, 0, a, 8, 0]) + ip + tcp + bytes(size)
            file.write(struct.pack("<IIII", int(now), int(now % 1 * 1e6), len(frame), len(frame)) + frame)


def by_dpkt(path: Path) -> int:
    """Every header as an object, as a program with dpkt would have it."""
    count = 0
    with path.open("rb") as file:
        for _, frame in dpkt.pcap.Reader(file):
            ip = dpkt.ethernet.Ethernet(frame).data
            count += bool(ip.src and ip.dst and ip.data.sport and ip.data.dport)
    return count


def by_columns(path: Path) -> int:
    count = 0
    with path.open("rb") as file:
        for frames in capture.read(file, str(path), Tally()):
            count += len(decode(frames, count, Tally()))
    return count


def to_vectors(path: Path, **feed: str) -> Iterable[object]:
    traffic = Traffic(config.Feed.model_validate(feed), Tally())
    with path.open("rb") as file:
        for frames in capture.read(file, str(path), Tally()):
            yield traffic.push(frames)
    yield traffic.end()


def to_events(path: Path) -> None:
    for vectors in to_vectors(path):
        for _ in records(vectors, "events"):  # type: ignore[arg-type]
            pass


def best(run: Callable[[], object]) -> float:
    """Seconds of the processor."""
    found = []
    for _ in range(3):
        begun = time.process_time()
        run()
        found.append(time.process_time() - begun)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--packets", type=int, default=200_000)
    count = parser.parse_args().packets
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.pcap"
        make(path, count)
        ways: dict[str, Callable[[], object]] = {
            "dpkt: headers as objects": lambda: by_dpkt(path),
            "columns: headers": lambda: by_columns(path),
            "damped statistics (100 features)": lambda: list(to_vectors(path)),
            "flows": lambda: list(to_vectors(path, vectors="flows")),
            "damped statistics, as JSON events": lambda: to_events(path),
        }
        reference = 0.0
        print(f"{count:,} packets\n{'':<36}{'packets/s':>12}{'x the time of dpkt':>22}")
        for name, run in ways.items():
            seconds = best(run)
            reference = reference or seconds
            print(f"{name:<36}{count / seconds:>12,.0f}{seconds / reference:>22.2f}")


if __name__ == "__main__":
    main()
