"""Captures: pcap and pcapng, also gzipped, from a file or a pipe, as batches of frames.

The formats' magic numbers, file headers, interfaces and their options are dpkt's; the records are taken apart here,
because its readers drop what a packet measured on the wire, know one interface, and trust every length.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from struct import Struct, error
from typing import Any, BinaryIO

from monitor.errors import MonitorError, UsageError, install_hint
from monitor.feeds.frames import BATCH, Fault, Frames, Tally, frames

GZIP = b"\x1f\x8b"
MOST_CAPTURED = 2**18
"""A record that claims more captured bytes is damage: 262,144 is the most that capture programs write."""
_MOST_BLOCK = 2**24
_DAMAGE = (gzip.BadGzipFile, zlib.error, EOFError)
_MICRO, _NANO, _MODIFIED = 0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34
_PCAP = {
    magic.to_bytes(4, order): ("<" if order == "little" else ">", magic)
    for magic in (_MICRO, _NANO, _MODIFIED)
    for order in ("little", "big")
}
"""What a pcap file begins with: the byte order of its headers, and what they look like."""
_SECTION_BLOCK, _INTERFACE, _OLD_PACKET, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 2, 3, 6
_SECTION = _SECTION_BLOCK.to_bytes(4, "big")
_BYTE_ORDER = 0x1A2B3C4D
_RESOLUTION, _OFFSET = 9, 14  # options of an interface
_HINT = "Captures are pcap or pcapng files, as tcpdump -w and Wireshark write them; each also gzipped."

Packet = tuple[int, int, int, bytes]  # time in ns, link type, bytes on the wire, bytes captured


def is_capture(start: bytes) -> bool:
    """Whether a file that begins with these 4 bytes is a capture."""
    return start[:4] in _PCAP or start[:4] == _SECTION


def read(
    file: BinaryIO, name: str, tally: Tally, *, most: int = BATCH, pause: Callable[[], bool] = lambda: False
) -> Iterator[Frames]:
    """Batches of at most `most` frames; fewer where `pause` says that the next one is not there yet.

    Damage ends the reading and is tallied. Raises `MonitorError` where it is no capture from the start.
    """
    dpkt = _library(name)
    found: list[Packet] = []
    packets = _packets(file, name, dpkt)
    try:
        for packet in packets:
            found.append(packet)
            if len(found) >= most or pause():
                yield frames(found)
                found = []
    except _CutError:
        tally[Fault.TRUNCATED_FILE] += 1
    except (_DamagedError, dpkt.Error, error, *_DAMAGE):
        tally[Fault.DAMAGED_FILE] += 1
    if found:
        yield frames(found)


def _library(name: str) -> Any:
    try:
        import dpkt  # noqa: PLC0415  an extra: only who reads captures needs it
        import dpkt.pcap  # noqa: PLC0415
        import dpkt.pcapng  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(f"{name}: captures need dpkt", install_hint("packets")) from error
    return dpkt


class _DamagedError(Exception):
    pass


class _CutError(Exception):
    pass


def _packets(file: BinaryIO, name: str, dpkt: Any) -> Iterator[Packet]:
    try:
        start = file.read(4)
    except _DAMAGE as fault:
        raise MonitorError(f"{name}: damaged gzip file ({fault})", "Fetch or write the file again.") from fault
    if not start:
        raise MonitorError(f"{name}: the file is empty", _HINT)
    if start in _PCAP:
        yield from _pcap(file, name, start, dpkt)
    elif start == _SECTION:
        yield from _Sections(file, dpkt).packets(start)
    else:
        raise MonitorError(f"{name}: not a capture (it begins with {start.hex()})", _HINT)


def _pcap(file: BinaryIO, name: str, start: bytes, dpkt: Any) -> Iterator[Packet]:
    rest = file.read(20)
    if len(rest) < 20:
        raise MonitorError(f"{name}: the file ends within its first header", _HINT)
    order, magic = _PCAP[start]
    header = (dpkt.pcap.LEFileHdr if order == "<" else dpkt.pcap.FileHdr)(start + rest)
    link = header.linktype & 0x0FFFFFFF  # above it: whether frames end in a checksum
    unit = 1 if magic == _NANO else 1000
    record = Struct(order + ("IIIIIHBB" if magic == _MODIFIED else "IIII"))
    while head := file.read(record.size):
        if len(head) < record.size:
            raise _CutError
        seconds, fraction, captured, wire, *_ = record.unpack(head)
        if captured > MOST_CAPTURED:
            raise _DamagedError
        data = file.read(captured)
        if len(data) < captured:
            raise _CutError
        yield seconds * 1_000_000_000 + fraction * unit, link, wire, data


@dataclass(frozen=True, slots=True)
class _Interface:
    link: int
    snap: int
    ticks: int  # of a second
    offset: int  # s, added to each time

    def time(self, high: int, low: int) -> int:
        return self.offset * 1_000_000_000 + ((high << 32 | low) * 1_000_000_000) // self.ticks


class _Sections:
    """pcapng: sections, each with a byte order and interfaces of its own."""

    def __init__(self, file: BinaryIO, dpkt: Any) -> None:
        self._file = file
        self._dpkt = dpkt
        self._order = "<"
        self._interfaces: list[_Interface] = []

    def packets(self, start: bytes) -> Iterator[Packet]:
        while start:
            if start == _SECTION:
                self._section()
                start = self._file.read(4)
                continue
            kind, body = self._block(start)
            if kind == _INTERFACE:
                self._interfaces.append(self._interface(body))
            elif kind in (_ENHANCED, _OLD_PACKET, _SIMPLE):
                yield self._packet(kind, body)
            start = self._file.read(4)

    def _exactly(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) < count:
            raise _CutError
        return data

    def _section(self) -> None:
        length, mark = self._exactly(4), self._exactly(4)
        if mark == _BYTE_ORDER.to_bytes(4, "little"):
            self._order = "<"
        elif mark == _BYTE_ORDER.to_bytes(4, "big"):
            self._order = ">"
        else:
            raise _DamagedError
        (size,) = Struct(self._order + "I").unpack(length)
        self._rest(size, 12)
        self._interfaces = []

    def _block(self, start: bytes) -> tuple[int, bytes]:
        kind, size = Struct(self._order + "II").unpack(start + self._exactly(4))
        return kind, self._rest(size, 8)

    def _rest(self, size: int, taken: int) -> bytes:
        """What is left of a block, without the length that is repeated at its end."""
        if size % 4 or not taken + 4 <= size <= _MOST_BLOCK:
            raise _DamagedError
        return self._exactly(size - taken)[:-4]

    def _interface(self, body: bytes) -> _Interface:
        size = (len(body) + 12).to_bytes(4, "little" if self._order == "<" else "big")
        kind = _INTERFACE.to_bytes(4, "little" if self._order == "<" else "big")
        pcapng = self._dpkt.pcapng
        reader = pcapng.InterfaceDescriptionBlockLE if self._order == "<" else pcapng.InterfaceDescriptionBlock
        block = reader(kind + size + body + size)
        ticks, offset = 10**6, 0
        for option in block.opts:
            if option.code == _RESOLUTION and option.data:
                power = option.data[0] & 0x7F
                ticks = (2 if option.data[0] & 0x80 else 10) ** power
            elif option.code == _OFFSET and len(option.data) == 8:
                (offset,) = Struct(self._order + "q").unpack(option.data)
        return _Interface(block.linktype, block.snaplen, ticks, offset)

    def _packet(self, kind: int, body: bytes) -> Packet:
        if kind == _SIMPLE:  # a simple packet: of the first interface, and without a time
            (wire,) = Struct(self._order + "I").unpack_from(body)
            interface, time = self._known(0), -1
            captured, begin = min(wire, interface.snap or wire, len(body) - 4), 4
        else:
            layout = "IIIII" if kind == _ENHANCED else "HHIIII"
            number, *more = Struct(self._order + layout).unpack_from(body)
            high, low, captured, wire = more[-4:]
            interface = self._known(number)
            time, begin = max(interface.time(high, low), -1), 20
        if captured > MOST_CAPTURED or begin + captured > len(body):
            raise _DamagedError
        return min(time, 2**63 - 1), interface.link, wire, body[begin : begin + captured]

    def _known(self, number: int) -> _Interface:
        if number >= len(self._interfaces):
            raise _DamagedError
        return self._interfaces[number]
