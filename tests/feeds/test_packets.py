"""Frames to packets: what dpkt reads of a frame is what the columns read, and no frame breaks anything."""

from __future__ import annotations

import struct

import dpkt
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitor.feeds.frames import HEAD, Fault, Tally, frames
from monitor.feeds.packets import ARP, OTHER, Packets, decode
from tests.feeds import hostile as hostile_packets
from tests.feeds.made import ethernet, ipv4, ipv6, tcp, udp

ports = st.integers(0, 65_535)
address = st.tuples(*[st.integers(0, 255)] * 4).map(lambda parts: ".".join(map(str, parts)))


def read(*found: bytes, link: int = 1, time: int = 10**18) -> tuple[Packets, Tally]:
    tally = Tally()
    return decode(frames([(time, link, len(frame), frame) for frame in found]), 0, tally), tally


@st.composite
def well_formed(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from(("tcp", "udp", "icmp")))
    data = draw(st.binary(max_size=30))
    payload, protocol = {
        "tcp": (tcp(draw(ports), draw(ports), draw(st.integers(0, 63)), data), 6),
        "udp": (udp(draw(ports), draw(ports), data), 17),
        "icmp": (b"\x08\0\0\0\0\1\0\1" + data, 1),
    }[kind]
    tags = draw(st.lists(st.integers(0, 4095), max_size=2))
    ends = draw(st.integers(0, 255)), draw(st.integers(0, 255))
    if draw(st.booleans()):
        packet = ipv4(protocol, payload, draw(address), draw(address), options=draw(st.integers(0, 10)))
        return ethernet(0x0800, packet, *ends, tags=tags)
    source, target = draw(st.binary(min_size=16, max_size=16)), draw(st.binary(min_size=16, max_size=16))
    return ethernet(0x86DD, ipv6(58 if protocol == 1 else protocol, payload, source, target), *ends, tags=tags)


@settings(max_examples=300, deadline=None)
@given(st.lists(well_formed(), min_size=1, max_size=10))
def test_columns_hold_what_dpkt_reads(found: list[bytes]) -> None:
    packets, tally = read(*found)
    assert not tally
    for row, frame in enumerate(found):
        link = dpkt.ethernet.Ethernet(frame)
        ip, size = link.data, 4 if isinstance(link.data, dpkt.ip.IP) else 16
        transport = ip.data
        ported = isinstance(transport, dpkt.tcp.TCP | dpkt.udp.UDP)
        assert bytes(packets.mac[row]) == link.src
        assert packets.family[row] == (4 if size == 4 else 6)
        assert bytes(packets.source[row])[:size] == ip.src
        assert bytes(packets.target[row])[:size] == ip.dst
        assert packets.protocol[row] == ip.p
        assert packets.source_port[row] == (transport.sport if ported else 0)
        assert packets.target_port[row] == (transport.dport if ported else 0)
        assert packets.flags[row] == (transport.flags if isinstance(transport, dpkt.tcp.TCP) else 0)
        assert packets.size[row] == len(frame)


def test_arp_is_between_the_addresses_it_asks_about() -> None:
    question = (
        struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + bytes(6) + bytes([10, 0, 0, 9]) + bytes(6) + bytes([10, 0, 0, 7])
    )
    packets, tally = read(ethernet(0x0806, question))
    assert (packets.sources(), packets.channels(), packets.protocol[0]) == (["10.0.0.9"], ["10.0.0.9>10.0.0.7"], ARP)
    assert not tally


def test_what_is_neither_ip_nor_arp_is_between_mac_addresses() -> None:
    packets, tally = read(ethernet(0x88CC, bytes(30)))
    assert (packets.channels(), packets.protocol[0]) == (["02:00:00:00:00:01>02:00:00:00:00:02"], OTHER)
    assert not tally


def test_a_later_fragment_has_addresses_and_no_ports() -> None:
    first, later = (ethernet(0x0800, ipv4(17, udp(1000, 53, bytes(20)), fragment=at)) for at in (0x2000, 0x2003))
    packets, tally = read(first, later)
    assert packets.source_port.tolist() == [1000, 0]
    assert packets.sources() == ["10.0.0.1"] * 2
    assert not tally


def test_extension_headers_of_ipv6_are_passed_over() -> None:
    hop = bytes([60, 0]) + bytes(6)
    destination = bytes([44, 1]) + bytes(14)
    first, later = (bytes([17, 0]) + struct.pack(">HI", at, 1) for at in (1, 8 | 1))
    whole = ethernet(0x86DD, ipv6(0, hop + destination + first + udp(7, 9)))
    part = ethernet(0x86DD, ipv6(0, hop + destination + later + bytes(20)))
    packets, tally = read(whole, part)
    assert packets.protocol.tolist() == [17, 17]
    assert packets.source_port.tolist() == [7, 0]
    assert not tally


@pytest.mark.parametrize(
    ("link", "before"),
    [
        (101, b""),
        (12, b""),
        (228, b""),
        (0, b"\2\0\0\0"),
        (108, b"\0\0\0\2"),
        (113, b"\0\0\0\1\0\6" + bytes([2, 0, 0, 0, 0, 1, 0, 0]) + b"\x08\0"),
        (276, b"\x08\0\0\0\0\0\0\1\0\1\0\6" + bytes([2, 0, 0, 0, 0, 1, 0, 0])),
    ],
)
def test_every_link_type_leads_to_the_same_packet(link: int, before: bytes) -> None:
    packets, tally = read(before + ipv4(6, tcp(1234, 80)), link=link)
    assert packets.channels() == ["10.0.0.1>10.0.0.2"]
    assert packets.target_port.tolist() == [80]
    assert not tally


@pytest.mark.parametrize(
    ("frame", "link", "time", "fault"),
    [
        (ethernet(0x0800, ipv4(6, tcp())), 147, 10**18, Fault.UNKNOWN_LINK),
        (ethernet(0x0800, ipv4(6, tcp())), 1, -1, Fault.NO_TIME),
        (ethernet(0x0800, ipv4(6, tcp())), 1, 0, Fault.NO_TIME),
        (ethernet(0x0800, ipv4(6, tcp())), 1, 2**63 - 1, Fault.BAD_TIME),
        (b"", 1, 10**18, Fault.CUT_SHORT),
        (bytes(13), 1, 10**18, Fault.CUT_SHORT),
        (ethernet(0x0800, ipv4(6, tcp())[:19]), 1, 10**18, Fault.CUT_SHORT),
        (ethernet(0x0800, ipv4(6, tcp())[:33]), 1, 10**18, Fault.CUT_SHORT),
        (ethernet(0x0800, b"\x44" + ipv4(6, tcp())[1:]), 1, 10**18, Fault.MALFORMED),
        (ethernet(0x0800, b"\x65" + ipv4(6, tcp())[1:]), 1, 10**18, Fault.MALFORMED),
        (ethernet(0x86DD, ipv6(0, bytes([0, 255]) + bytes(6))), 1, 10**18, Fault.CUT_SHORT),
        (ethernet(0x86DD, ipv6(6, tcp()[:13])), 1, 10**18, Fault.CUT_SHORT),
        (ethernet(0x0806, bytes(27)), 1, 10**18, Fault.CUT_SHORT),
        (ethernet(0x0806, bytes(28)), 1, 10**18, Fault.MALFORMED),
    ],
)
def test_a_frame_that_is_no_packet_is_counted(frame: bytes, link: int, time: int, fault: Fault) -> None:
    packets, tally = read(frame, link=link, time=time)
    assert tally == {fault: 1}
    assert len(packets) == 0


@st.composite
def hostile(draw: st.DrawFn) -> tuple[int, int, int, bytes]:
    frame = bytearray(draw(st.one_of(st.binary(max_size=2 * HEAD), well_formed())))
    for _ in range(draw(st.integers(0, 4))):
        if frame:
            frame[draw(st.integers(0, len(frame) - 1))] = draw(st.integers(0, 255))
    cut = draw(st.integers(0, len(frame)))
    time = draw(st.one_of(st.just(10**18), st.integers(-1, 2**63 - 1)))
    link = draw(st.one_of(st.sampled_from((1, 0, 12, 101, 108, 113, 276, 228, 229)), st.integers(0, 2**28)))
    return time, link, draw(st.integers(0, 2**32 - 1)), bytes(frame[:cut])


@settings(max_examples=300, deadline=None)
@given(st.lists(hostile(), max_size=40))
@example([])
def test_any_frames_are_packets_or_counted_and_none_depends_on_its_company(
    found: list[tuple[int, int, int, bytes]],
) -> None:
    tally = Tally()
    packets = decode(frames(found), 5, tally)
    assert len(packets) + tally.total() == len(found)
    packets.keys()
    packets.channels()
    one_by_one = [decode(frames([frame]), 5 + row, Tally()) for row, frame in enumerate(found)]
    for name in ("number", "source", "target", "source_port", "protocol", "flags", "mac", "size"):
        alone = [getattr(packet, name) for packet in one_by_one if len(packet)]
        assert getattr(packets, name).tolist() == (np.concatenate(alone).tolist() if alone else [])


def test_both_directions_share_keys_and_differ_in_direction() -> None:
    there = ethernet(0x0800, ipv4(6, tcp(5000, 80), "10.0.0.1", "10.0.0.2"), 1, 2)
    back = ethernet(0x0800, ipv4(6, tcp(80, 5000), "10.0.0.2", "10.0.0.1"), 2, 1)
    other = ethernet(0x0800, ipv4(6, tcp(5001, 80), "10.0.0.1", "10.0.0.2"), 1, 2)
    keys = read(there, back, other)[0].keys()
    assert keys.channel[0] == keys.channel[1] == keys.channel[2]
    assert keys.socket[0] == keys.socket[1] != keys.socket[2]
    assert keys.forward.tolist() == [True, False, True]
    assert keys.socket_forward.tolist() == [True, False, True]
    assert keys.host[0] == keys.host[2] != keys.host[1]


def test_hostile_packets_are_packets_or_counted_and_no_vector_is_infinite() -> None:
    found = hostile_packets.run(10_000)
    assert found["packets"] > 1000
    assert min(found[fault] for fault in (Fault.CUT_SHORT, Fault.MALFORMED, Fault.UNKNOWN_LINK)) > 0
