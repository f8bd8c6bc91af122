"""Vectors of hosts: what a host sent and got in an interval, counted; one for each interval that it had a part in.

An attack is seldom one odd packet or flow. A scan is many destination ports in a second, a flood is many SYNs: numbers
of a host and a second, which a person understands without knowing the statistics.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from monitor.feeds.packets import ACK, ARP, ICMP, ICMP6, RST, SYN, TCP, UDP, Packets
from monitor.feeds.vectors import Ascending, Vectors

NUMBERS = (
    "host.sent_packets",
    "host.sent_bytes",
    "host.received_packets",
    "host.received_bytes",
    "host.sent_size",
    "host.received_size",
    "host.targets",
    "host.sources",
    "host.target_ports",
    "host.connections_begun",
    "host.connections_asked",
    "host.resets_sent",
    "host.resets_received",
    "host.questions",
    "host.question_size",
    "host.icmp",
    "host.arp",
    "host.macs",
)
DNS = 53


@dataclass(slots=True)
class _Host:
    """Of one host in the interval that goes on."""

    stream: str
    sent: int = 0
    sent_bytes: int = 0
    received: int = 0
    received_bytes: int = 0
    targets: set[bytes] = field(default_factory=set)
    sources: set[bytes] = field(default_factory=set)
    ports: set[tuple[bytes, int]] = field(default_factory=set)
    begun: int = 0
    asked: int = 0
    resets_sent: int = 0
    resets_received: int = 0
    questions: int = 0
    question_bytes: int = 0
    icmp: int = 0
    arp: int = 0
    macs: set[bytes] = field(default_factory=set)

    def numbers(self, seconds: float) -> tuple[float, ...]:
        """In the order of NUMBERS."""
        return (
            self.sent / seconds,
            self.sent_bytes / seconds,
            self.received / seconds,
            self.received_bytes / seconds,
            self.sent_bytes / self.sent if self.sent else 0.0,
            self.received_bytes / self.received if self.received else 0.0,
            len(self.targets) / seconds,
            len(self.sources) / seconds,
            len(self.ports) / seconds,
            self.begun / seconds,
            self.asked / seconds,
            self.resets_sent / seconds,
            self.resets_received / seconds,
            self.questions / seconds,
            self.question_bytes / self.questions if self.questions else 0.0,
            self.icmp / seconds,
            self.arp / seconds,
            max(1, len(self.macs)),
        )


class Hosts:
    """The hosts of the interval that goes on. All times are the packets' own, so their batches change nothing."""

    def __init__(self, interval: float, most: int) -> None:
        """Length of an interval in s; they begin at whole multiples of it since 1970. Beyond `most` hosts the one first
        seen in the interval is reported before its end, and what it still does in it becomes another vector.
        """
        self._seconds = interval
        self._step = round(interval * 1e9)
        self._most = most
        self._hosts: dict[bytes, _Host] = {}  # first seen first
        self._interval = -1
        self._ascending = Ascending()
        self.evicted = 0

    def update(self, packets: Packets) -> Vectors:
        """Vectors of the intervals that these packets end; their times do not fall, here or since the last call."""
        out: list[tuple[_Host, int]] = []
        sources, targets = packets.ends()
        columns = (
            packets.time // self._step, packets.size, packets.protocol, packets.flags, packets.source_port,
            packets.target_port,
        )  # fmt: skip
        for source, target, name, other, mac, interval, size, protocol, flags, source_port, target_port in zip(
            sources, targets, packets.sources(), packets.targets(), packets.macs(),
            *(column.tolist() for column in columns), strict=True,
        ):  # fmt: skip
            if interval != self._interval:
                self._close(out)
                self._interval = interval
            host = self._of(source, name, out)
            host.sent += 1
            host.sent_bytes += size
            host.macs.add(mac)
            if protocol == ARP:
                host.arp += 1
                continue  # its target may be nobody
            host.targets.add(target)
            begins = protocol == TCP and flags & (SYN | ACK) == SYN
            if protocol in (TCP, UDP) and (begins or target_port <= source_port):
                # an answer goes to whatever port was asked from: those say nothing
                host.ports.add((target, target_port))
            host.begun += begins
            host.resets_sent += protocol == TCP and flags & RST > 0
            host.icmp += protocol in (ICMP, ICMP6)
            if target_port == DNS and source_port != DNS:
                host.questions += 1
                host.question_bytes += size
            if _many(target):
                continue
            host = self._of(target, other, out)
            host.received += 1
            host.received_bytes += size
            host.sources.add(source)
            host.asked += begins
            host.resets_received += protocol == TCP and flags & RST > 0
        return self._vectors(out)

    def end(self) -> Vectors:
        """Vectors of the interval that goes on: there is no more to come."""
        out: list[tuple[_Host, int]] = []
        self._close(out)
        return self._vectors(out)

    def _of(self, key: bytes, name: str, out: list[tuple[_Host, int]]) -> _Host:
        host = self._hosts.get(key)
        if host is None:
            if len(self._hosts) >= self._most:
                out.append((self._hosts.pop(next(iter(self._hosts))), self._interval))
                self.evicted += 1
            host = self._hosts[key] = _Host(name)
        return host

    def _close(self, out: list[tuple[_Host, int]]) -> None:
        out.extend((host, self._interval) for host in self._hosts.values())
        self._hosts.clear()

    def _vectors(self, out: list[tuple[_Host, int]]) -> Vectors:
        streams = [host.stream for host, _ in out]
        time = self._ascending.times(streams, np.array([(at + 1) * self._step for _, at in out], np.int64))
        values = np.array([host.numbers(self._seconds) for host, _ in out], np.float64).reshape(len(out), len(NUMBERS))
        return Vectors(NUMBERS, streams, time, values.astype(np.float32))


def _many(end: bytes) -> bool:
    """Whether an address (its family and 16 bytes) is a group's, or everybody's: no host has it."""
    if end[0] == 4:
        return end[1] >= 224
    return end[1] == 0xFF if end[0] == 6 else bool(end[1] & 1)
