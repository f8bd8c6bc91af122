"""Packets and captures made for the tests."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import numpy as np

from monitor.feeds.packets import TCP, UDP, Packets


def packets(rows: Sequence[tuple[int, int, int, int, int, int]], first: int = 0) -> Packets:
    """Packets from (time in ns, host, other host, port, other port, size); the port tells TCP from UDP."""
    n = len(rows)
    source, target = np.zeros((n, 16), np.uint8), np.zeros((n, 16), np.uint8)
    mac = np.zeros((n, 6), np.uint8)
    columns = np.array(rows, np.int64).reshape(n, 6)
    source[:, :4] = target[:, :4] = (10, 0, 0, 0)
    source[:, 3], target[:, 3], mac[:, 5] = columns[:, 1], columns[:, 2], columns[:, 1]
    protocol = np.where((columns[:, 3] + columns[:, 4]) % 2 == 0, TCP, UDP)
    return Packets(
        first + np.arange(n),
        columns[:, 0].copy(),
        columns[:, 5].copy(),
        mac,
        np.full(n, 4, np.uint8),
        source,
        target,
        protocol,
        columns[:, 3].copy(),
        columns[:, 4].copy(),
        np.zeros(n, np.uint8),
    )


def ethernet(kind: int, payload: bytes, source: int = 1, target: int = 2, tags: Sequence[int] = ()) -> bytes:
    vlan = b"".join(struct.pack(">HH", 0x8100, tag) for tag in tags)
    return bytes([2, 0, 0, 0, 0, target]) + bytes([2, 0, 0, 0, 0, source]) + vlan + struct.pack(">H", kind) + payload


def ipv4(
    protocol: int,
    payload: bytes,
    source: str = "10.0.0.1",
    target: str = "10.0.0.2",
    fragment: int = 0,
    options: int = 0,
) -> bytes:
    head = struct.pack(">BBHHHBBH", 0x45 + options, 0, 20 + 4 * options + len(payload), 7, fragment, 64, protocol, 0)
    ends = b"".join(bytes(map(int, end.split("."))) for end in (source, target))
    return head + ends + bytes(4 * options) + payload


def ipv6(
    protocol: int, payload: bytes, source: bytes = b"\xfe\x80" + bytes(13) + b"\1", target: bytes = bytes(15) + b"\2"
) -> bytes:
    return struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64) + source + target + payload


def tcp(source: int = 40_000, target: int = 80, flags: int = 2, payload: bytes = b"") -> bytes:
    return struct.pack(">HHIIBBHHH", source, target, 1, 1, 5 << 4, flags, 1000, 0, 0) + payload


def udp(source: int = 40_000, target: int = 53, payload: bytes = b"") -> bytes:
    return struct.pack(">HHHH", source, target, 8 + len(payload), 0) + payload


def pcap(
    frames: Iterable[tuple[int, bytes]], link: int = 1, nano: bool = True, order: str = "<", snap: int = 65_535
) -> bytes:
    """A capture of (time in ns, frame)."""
    magic = 0xA1B23C4D if nano else 0xA1B2C3D4
    out = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snap, link)]
    for time, frame in frames:
        seconds, rest = divmod(time, 10**9)
        kept = frame[:snap]
        out.append(struct.pack(order + "IIII", seconds, rest if nano else rest // 1000, len(kept), len(frame)) + kept)
    return b"".join(out)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link: int = 1, resolution: int | None = None, offset: int | None = None, order: str = "<") -> bytes:
    options = b""
    if resolution is not None:
        options += struct.pack(order + "HHB3x", 9, 1, resolution)
    if offset is not None:
        options += struct.pack(order + "HHq", 14, 8, offset)
    options += bytes(4) if options else b""
    return block(1, struct.pack(order + "HHI", link, 0, 0) + options, order)


def enhanced(time: int, frame: bytes, number: int = 0, wire: int | None = None, order: str = "<") -> bytes:
    head = struct.pack(order + "IIIII", number, time >> 32, time & 0xFFFFFFFF, len(frame), wire or len(frame))
    return block(6, head + frame, order)
