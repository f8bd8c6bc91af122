"""Frames -> packets: the headers of many frames at once, as columns; whatever a frame holds, it is read or counted.

Written by hand in columns because a library that makes an object of each header takes about ten times as long
(`benchmarks/packets.py`); the tests hold it to what dpkt reads of the same frames.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Int64
from monitor.feeds.frames import HEAD, LAST_TIME, Fault, Frames, Tally

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]

TCP, UDP, ICMP, ICMP6, SCTP = 6, 17, 1, 58, 132
ARP, OTHER = 0x100, 0x101
"""Protocols that have no number of IP's: ARP, and frames that are neither IP nor ARP."""
PROTOCOLS = {TCP: "tcp", UDP: "udp", ICMP: "icmp", ICMP6: "icmp6", SCTP: "sctp", ARP: "arp", OTHER: "other"}
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32

ETHERNET, LINUX_SLL, LINUX_SLL2 = 1, 113, 276
LOOPBACK = (0, 108)  # four bytes before the packet
RAW = (12, 14, 101, 228, 229)  # begins with the IP header
_KNOWN = np.array([ETHERNET, LINUX_SLL, LINUX_SLL2, *LOOPBACK, *RAW])
_LINK_HEADER = {ETHERNET: 14, LINUX_SLL: 16, LINUX_SLL2: 20, **dict.fromkeys(LOOPBACK, 4), **dict.fromkeys(RAW, 0)}

_IPV4, _IPV6, _ARP, _TAGS = 0x0800, 0x86DD, 0x0806, (0x8100, 0x88A8, 0x9100)
_MOST_TAGS, _MOST_EXTENSIONS = 4, 8
_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION = 0, 43, 44, 51, 60
_EXTENSIONS = (_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION)


@dataclass(frozen=True, slots=True)
class Keys:
    """Whose statistics a packet counts in: as bytes, one for each of N packets."""

    host: Sequence[bytes]  # source MAC and address
    channel: Sequence[bytes]  # the two addresses, the same for both directions
    forward: Mask  # (N,) the direction
    socket: Sequence[bytes]  # and the two ports and the protocol
    socket_forward: Mask


@dataclass(frozen=True, slots=True)
class Packets:
    """N packets."""

    number: Int64  # (N,) which frame of the source it was, from 0
    time: Int64  # (N,) ns since the Unix epoch
    size: Int64  # (N,) bytes on the wire
    mac: Bytes  # (N, 6) of the sender; zeros where the link has none
    family: Bytes  # (N,) 4, 6, or 0 where the addresses are MAC addresses
    source: Bytes  # (N, 16) address, padded with zeros
    target: Bytes  # (N, 16)
    protocol: Int64  # (N,) IP's number, ARP or OTHER
    source_port: Int64  # (N,) 0 where there are none: ICMP, later fragments
    target_port: Int64  # (N,)
    flags: Bytes  # (N,) of TCP

    def __len__(self) -> int:
        return len(self.time)

    def take(self, rows: Mask | Int64 | slice) -> Self:
        """Some of them."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))

    def at(self, time: Int64) -> Self:
        """The same packets at other times (N,)."""
        return replace(self, time=time)

    def keys(self) -> Keys:
        family = self.family[:, None]
        before = _compare(self.source, self.target)
        forward = before <= 0
        first = np.where(forward[:, None], self.source, self.target)
        second = np.where(forward[:, None], self.target, self.source)
        channel = np.concatenate((family, first, second), axis=1)
        straight = (before < 0) | ((before == 0) & (self.source_port <= self.target_port))
        low = np.where(straight, self.source_port, self.target_port)
        high = np.where(straight, self.target_port, self.source_port)
        tail = np.stack((low, high, self.protocol), axis=1).astype(">u2").view(np.uint8)
        return Keys(
            _rows(np.concatenate((self.mac, family, self.source), axis=1)),
            _rows(channel),
            forward,
            _rows(np.concatenate((channel, tail), axis=1)),
            straight,
        )

    def sources(self) -> list[str]:
        """Text of the sender's address, of each."""
        ends = _rows(np.concatenate((self.family[:, None], self.source), axis=1))
        return [_text(end) for end in ends]

    def targets(self) -> list[str]:
        """Text of the receiver's address, of each."""
        ends = _rows(np.concatenate((self.family[:, None], self.target), axis=1))
        return [_text(end) for end in ends]

    def ends(self) -> tuple[list[bytes], list[bytes]]:
        """Sender and receiver of each: the family, and the 16 bytes of the address."""
        family = self.family[:, None]
        source, target = (np.concatenate((family, end), axis=1) for end in (self.source, self.target))
        return _rows(source), _rows(target)

    def macs(self) -> list[bytes]:
        """The sender's MAC of each."""
        return _rows(self.mac)

    def channels(self) -> list[str]:
        """`10.0.0.7>10.0.0.9` of each: sender and receiver."""
        return [f"{source}>{target}" for source, target in zip(self.sources(), self.targets(), strict=True)]


def decode(frames: Frames, first: int, tally: Tally) -> Packets:
    """The packets among frames, the first of which is number `first` of its source; the others are tallied."""
    n = len(frames)
    reader = _Reader(frames)
    good = np.ones(n, np.bool_)

    def refuse(fault: Fault, which: Mask) -> None:
        nonlocal good
        count = int(np.count_nonzero(which & good))
        if count:
            tally[fault] += count
            good &= ~which

    refuse(Fault.NO_TIME, frames.time < 0)
    # a capture that was written without a clock has zeros
    refuse(Fault.NO_TIME, frames.time == 0)
    refuse(Fault.BAD_TIME, frames.time >= LAST_TIME)
    refuse(Fault.UNKNOWN_LINK, ~np.isin(frames.link, _KNOWN))
    at, kind, mac = reader.link()
    refuse(Fault.CUT_SHORT, at > frames.captured)
    ip4, ip6, arp = kind == _IPV4, kind == _IPV6, kind == _ARP
    source, target = np.zeros((n, 16), np.uint8), np.zeros((n, 16), np.uint8)
    protocol = np.full(n, OTHER)
    family = np.zeros(n, np.uint8)

    version, header = reader.byte(at) >> 4, (reader.byte(at) & 15).astype(np.int64) * 4
    refuse(Fault.CUT_SHORT, (ip4 & (at + 20 > reader.end)) | (ip6 & (at + 40 > reader.end)))
    refuse(Fault.MALFORMED, (ip4 & ((version != 4) | (header < 20))) | (ip6 & (version != 6)))
    family[ip4], family[ip6] = 4, 6
    protocol[ip4] = reader.byte(at + 9)[ip4]
    for address, place in ((source, 12), (target, 16)):
        address[ip4, :4] = reader.bytes(at + place, 4, ip4)
    later = ip4 & (reader.word(at + 6) & 0x1FFF > 0)
    transport = at + header
    if ip6.any():
        for address, place in ((source, 8), (target, 24)):
            address[ip6] = reader.bytes(at + place, 16, ip6)
        end, follows, fragment = reader.extensions(at, ip6)
        transport[ip6], protocol[ip6] = end[ip6], follows[ip6]
        later |= ip6 & fragment
        refuse(Fault.CUT_SHORT, ip6 & (transport > reader.end))
    if arp.any():
        refuse(Fault.CUT_SHORT, arp & (at + 28 > reader.end))
        refuse(Fault.MALFORMED, arp & ((reader.word(at + 2) != _IPV4) | (reader.byte(at + 5) != 4)))
        protocol[arp], family[arp] = ARP, 4
        for address, place in ((source, 14), (target, 24)):
            address[arp, :4] = reader.bytes(at + place, 4, arp)
    neither = good & ~(ip4 | ip6 | arp)
    if neither.any():
        source[neither, :6] = mac[neither]
        ethernet = neither & (frames.link == ETHERNET)
        target[ethernet, :6] = frames.head[ethernet, :6]

    ip = (ip4 | ip6) & ~later
    tcp, ported = ip & (protocol == TCP), ip & np.isin(protocol, (TCP, UDP, SCTP))
    refuse(Fault.CUT_SHORT, (ported & (transport + 4 > reader.end)) | (tcp & (transport + 14 > reader.end)))
    zero = np.int64(0)
    return Packets(
        first + np.arange(n),
        frames.time,
        frames.size,
        mac,
        family,
        source,
        target,
        protocol,
        np.where(ported, reader.word(transport), zero),
        np.where(ported, reader.word(transport + 2), zero),
        np.where(tcp, reader.byte(transport + 13), 0).astype(np.uint8),
    ).take(good)


class _Reader:
    """Bytes of all frames at places that differ from frame to frame; beyond what was captured they are 0."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self.end = np.minimum(frames.captured, HEAD)  # (N,)
        self._head = frames.head
        self._flat = np.ascontiguousarray(frames.head).reshape(-1)
        self._begin = np.arange(len(frames)) * HEAD

    def byte(self, at: Int64) -> Bytes:
        inside = (at >= 0) & (at < HEAD)
        if not len(at):
            return np.empty(0, np.uint8)
        return np.where(inside, self._flat[self._begin + np.where(inside, at, 0)], 0).astype(np.uint8)

    def word(self, at: Int64) -> Int64:
        """Big-endian, two bytes."""
        return self.byte(at).astype(np.int64) << 8 | self.byte(at + 1)

    def bytes(self, at: Int64, count: int, which: Mask) -> Bytes:
        """(those of `which`, count) bytes."""
        places = np.minimum(at[which], HEAD - count)
        found: Bytes = self._flat[(self._begin[which] + places)[:, None] + np.arange(count)]
        return found

    def link(self) -> tuple[Int64, Int64, Bytes]:
        """Where the network header begins (N,), what it is, as Ethernet tells it (N,), and the sender's MAC (N, 6)."""
        link, head = self.frames.link, self._head
        at, kind = np.zeros(len(link), np.int64), np.zeros(len(link), np.int64)
        mac = np.zeros((len(link), 6), np.uint8)
        for number in np.unique(link).tolist():
            here = link == number
            if number not in _LINK_HEADER:
                continue
            at[here] = _LINK_HEADER[number]
            match number:
                case 1:
                    kind[here] = self.word(np.full(len(link), 12))[here]
                    mac[here] = head[here, 6:12]
                case 113:
                    kind[here] = self.word(np.full(len(link), 14))[here]
                    mac[here] = head[here, 6:12]
                case 276:
                    kind[here] = self.word(np.zeros(len(link), np.int64))[here]
                    mac[here] = head[here, 12:18]
                case _:  # the version is in the IP header
                    version = self.byte(at)[here] >> 4
                    kind[here] = np.where(version == 4, _IPV4, np.where(version == 6, _IPV6, 0))
        for _ in range(_MOST_TAGS):
            tagged = np.isin(kind, _TAGS)
            if not tagged.any():
                break
            kind = np.where(tagged, self.word(at + 2), kind)
            at = np.where(tagged, at + 4, at)
        return at, kind, mac

    def extensions(self, at: Int64, ip6: Mask) -> tuple[Int64, Int64, Mask]:
        """IPv6: where the transport header begins, its protocol, and whether it is in an earlier fragment."""
        end, follows = at + 40, self.byte(at + 6).astype(np.int64)
        later = np.zeros(len(at), np.bool_)
        for _ in range(_MOST_EXTENSIONS):
            more = ip6 & ~later & np.isin(follows, _EXTENSIONS) & (end + 8 <= self.end)
            if not more.any():
                break
            length = (self.byte(end + 1).astype(np.int64) + 1) * 8
            length = np.where(follows == _AUTHENTICATION, (self.byte(end + 1).astype(np.int64) + 2) * 4, length)
            fragment = follows == _FRAGMENT
            length = np.where(fragment, 8, length)
            later |= more & fragment & (self.word(end + 2) >> 3 > 0)
            follows = np.where(more, self.byte(end), follows)
            end = np.where(more, end + length, end)
        # headers that go on beyond what was captured, or for ever
        return np.where(~later & np.isin(follows, _EXTENSIONS), HEAD + 1, end), follows, later


def _compare(left: Bytes, right: Bytes) -> Int64:
    """(N,) below 0, 0 or above 0 as the address at the left is less, equal or greater."""
    a = np.ascontiguousarray(left).view(">u8").astype(np.uint64)
    b = np.ascontiguousarray(right).view(">u8").astype(np.uint64)
    high = (a[:, 0] > b[:, 0]).astype(np.int64) - (a[:, 0] < b[:, 0])
    low = (a[:, 1] > b[:, 1]).astype(np.int64) - (a[:, 1] < b[:, 1])
    return np.where(high != 0, high, low)


def _rows(columns: Bytes) -> list[bytes]:
    width = columns.shape[1]
    found: list[bytes] = np.ascontiguousarray(columns).view(f"V{width}").ravel().tolist()
    return found


@lru_cache(maxsize=65_536)
def _text(end: bytes) -> str:
    """An address as people write it, from its family and 16 bytes."""
    if end[0] == 4:
        return socket.inet_ntop(socket.AF_INET, end[1:5])
    if end[0] == 6:
        return socket.inet_ntop(socket.AF_INET6, end[1:])
    return end[1:7].hex(":")
