"""Flows: the packets of a socket in both directions, summed up when it ends, falls silent, or has lasted long enough.

Time-outs as in NetFlow and IPFIX (RFC 7011, RFC 5470 section 5.1.1): a flow that is silent for `idle` is over; one that
lasts longer than `active` is reported in parts, a vector for each interval of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Literal

import numpy as np

from monitor.feeds.packets import ACK, FIN, PROTOCOLS, PSH, RST, SYN, URG, Packets
from monitor.feeds.vectors import Ascending, Text, Vectors

NUMBERS = (
    "flow.duration",
    "flow.forward_packets",
    "flow.backward_packets",
    "flow.forward_bytes",
    "flow.backward_bytes",
    "flow.forward_size_mean",
    "flow.forward_size_deviation",
    "flow.backward_size_mean",
    "flow.backward_size_deviation",
    "flow.size_min",
    "flow.size_max",
    "flow.gap_mean",
    "flow.gap_deviation",
    "flow.gap_max",
    "flow.fin",
    "flow.syn",
    "flow.rst",
    "flow.psh",
    "flow.ack",
    "flow.urg",
    "flow.backward_packet_share",
    "flow.backward_byte_share",
    "flow.packet_rate",
    "flow.byte_rate",
)
CATEGORIES = ("flow.protocol", "flow.source_port", "flow.target_port", "flow.end")
End = Literal["closed", "idle", "active", "evicted", "stopped"]
_FLAGS = (FIN, SYN, RST, PSH, ACK, URG)


@dataclass(slots=True)
class _Flow:
    """What is kept of one flow: whole numbers (bytes, ns), so that sums are exact."""

    key: bytes
    stream: str
    forward: bool  # which of the socket's two directions its first packet had
    protocol: int
    source_port: int
    target_port: int
    begin: int
    last: int
    packets: list[int] = field(default_factory=lambda: [0, 0])
    bytes: list[int] = field(default_factory=lambda: [0, 0])
    squares: list[int] = field(default_factory=lambda: [0, 0])
    least: int = 2**31
    most: int = 0
    gaps: int = 0
    gap: int = 0
    gap_squares: int = 0
    gap_most: int = 0
    flags: list[int] = field(default_factory=lambda: [0] * 6)
    ended: int = 0  # a bit for each direction that sent FIN, and one for RST

    def add(self, time: int, way: int, size: int, flags: int) -> None:
        if self.packets[0] or self.packets[1]:
            gap = time - self.last
            self.gaps += 1
            self.gap += gap
            self.gap_squares += gap * gap
            self.gap_most = max(self.gap_most, gap)
        self.last = time
        self.packets[way] += 1
        self.bytes[way] += size
        self.squares[way] += size * size
        self.least, self.most = min(self.least, size), max(self.most, size)
        if flags:
            for place, flag in enumerate(_FLAGS):
                if flags & flag:
                    self.flags[place] += 1
            if flags & (FIN | RST):
                self.ended |= (1 << way if flags & FIN else 0) | (4 if flags & RST else 0)

    @property
    def closed(self) -> bool:
        """Both sides have said FIN, or one RST: what still comes is the rest of it, until a SYN begins another."""
        return self.ended >= 3

    def numbers(self) -> tuple[float, ...]:
        """In the order of NUMBERS."""
        seconds = (self.last - self.begin) * 1e-9
        packets, size = sum(self.packets), sum(self.bytes)
        forward, backward = (_moments(self.packets[way], self.bytes[way], self.squares[way]) for way in (0, 1))
        gap_mean, gap_deviation = _moments(self.gaps, self.gap, self.gap_squares)
        # a rate over less than a millisecond says more about the clock than about the flow
        over = max(seconds, 1e-3)
        return (
            seconds,
            *self.packets,
            *self.bytes,
            *forward,
            *backward,
            self.least,
            self.most,
            gap_mean * 1e-9,
            gap_deviation * 1e-9,
            self.gap_most * 1e-9,
            *self.flags,
            self.packets[1] / packets,
            self.bytes[1] / size if size else 0.0,
            packets / over,
            size / over,
        )


class Flows:
    """The flows that are going on. All times are the packets' own, so how they are cut into batches changes nothing."""

    def __init__(self, stream: Literal["host", "channel"], active: float, idle: float, most: int) -> None:
        """Time-outs in seconds; beyond `most` flows the one that was silent for longest is reported early."""
        self._by_host = stream == "host"
        self._active, self._idle = round(active * 1e9), round(idle * 1e9)
        self._most = most
        self._flows: dict[bytes, _Flow] = {}  # the longest silent first
        self._ascending = Ascending()
        self.evicted = 0

    def update(self, packets: Packets) -> Vectors:
        """Vectors of what ended with these packets; their times do not fall, neither here nor since the last call."""
        keys = packets.keys()
        streams = packets.sources() if self._by_host else packets.channels()
        out: list[tuple[_Flow, End, int]] = []
        flows = self._flows
        columns = (
            packets.time,
            packets.size,
            packets.flags,
            packets.protocol,
            packets.source_port,
            packets.target_port,
        )
        for key, stream, forward, time, size, flags, protocol, source_port, target_port in zip(
            keys.socket, streams, keys.socket_forward.tolist(), *(column.tolist() for column in columns), strict=True
        ):
            self._silent(time, out)
            flow = flows.pop(key, None)
            if flow is not None and time - flow.begin >= self._active:
                out.append((flow, "active", flow.begin + self._active))
                # the next part goes on in the same direction, and with what was closed already
                flow = _Flow(
                    key, flow.stream, flow.forward, flow.protocol, flow.source_port, flow.target_port, time, time,
                    ended=flow.ended,
                )  # fmt: skip
            elif flow is not None and flow.closed and flags & (SYN | ACK) == SYN:
                out.append((flow, "closed", time))
                flow = _Flow(key, stream, forward, protocol, source_port, target_port, time, time)
            elif flow is None:
                if len(flows) >= self._most:
                    oldest = flows.pop(next(iter(flows)))
                    self.evicted += 1
                    out.append((oldest, "evicted", time))
                flow = _Flow(key, stream, forward, protocol, source_port, target_port, time, time)
            flow.add(time, 0 if forward == flow.forward else 1, size, flags)
            flows[key] = flow
        return self._vectors(out)

    def end(self) -> Vectors:
        """Vectors of all that is still going on: there is no more to come."""
        out: list[tuple[_Flow, End, int]] = [(flow, "stopped", flow.last) for flow in self._flows.values()]
        self._flows.clear()
        return self._vectors(out)

    def _silent(self, now: int, out: list[tuple[_Flow, End, int]]) -> None:
        while self._flows:
            flow = next(iter(self._flows.values()))
            if now - flow.last < self._idle:
                return
            del self._flows[flow.key]
            out.append((flow, "closed" if flow.closed else "idle", flow.last + self._idle))

    def _vectors(self, out: list[tuple[_Flow, End, int]]) -> Vectors:
        streams = [flow.stream for flow, _, _ in out]
        time = self._ascending.times(streams, np.array([at for _, _, at in out], np.int64))
        values = np.array([flow.numbers() for flow, _, _ in out], np.float64).reshape(len(out), len(NUMBERS))
        text: dict[str, Sequence[Text]] = {
            "flow.protocol": [PROTOCOLS.get(flow.protocol, str(flow.protocol)) for flow, _, _ in out],
            "flow.source_port": [port(flow.source_port) for flow, _, _ in out],
            "flow.target_port": [port(flow.target_port) for flow, _, _ in out],
            "flow.end": [end for _, end, _ in out],
        }
        return Vectors(NUMBERS, streams, time, values.astype(np.float32), text)


def port(number: int) -> str:
    """A port as a category: the system ports by number, the others by the range that IANA gives them (RFC 6335)."""
    if number == 0:
        return "none"
    return str(number) if number < 1024 else "user" if number < 49_152 else "dynamic"


def _moments(count: int, total: int, squares: int) -> tuple[float, float]:
    """Mean and deviation, from exact sums."""
    if not count:
        return 0.0, 0.0
    return total / count, sqrt(count * squares - total * total) / count
