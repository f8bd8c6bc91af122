"""Captures: every format gives the same frames, and damage is counted where it is."""

from __future__ import annotations

import gzip
import io
import struct
from contextlib import suppress

import dpkt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.errors import MonitorError
from monitor.feeds import capture
from monitor.feeds.frames import Fault, Tally
from tests.feeds.made import block, enhanced, ethernet, interface, ipv4, pcap, section, tcp

T = 1_700_000_000_123_456_789
FRAMES = [(T + i * 1_000_003, ethernet(0x0800, ipv4(6, tcp(1000 + i, 80, payload=bytes(i))))) for i in range(9)]


def read(data: bytes, most: int = 4) -> tuple[list[tuple[int, int, int, int]], Tally]:
    """Time, link, captured and size of each frame."""
    tally = Tally()
    out: list[tuple[int, int, int, int]] = []
    for batch in capture.read(io.BytesIO(data), "x.pcap", tally, most=most):
        out += zip(batch.time.tolist(), batch.link.tolist(), batch.captured.tolist(), batch.size.tolist(), strict=True)
    return out, tally


EXPECTED = [(time, 1, len(frame), len(frame)) for time, frame in FRAMES]


@pytest.mark.parametrize("order", "<>")
def test_pcap_and_pcapng_of_both_byte_orders_give_the_same_frames(order: str) -> None:
    nano = section(order) + interface(resolution=9, order=order)
    nano += b"".join(enhanced(time, frame, order=order) for time, frame in FRAMES)
    assert read(pcap(FRAMES, order=order)) == (EXPECTED, {})
    assert read(nano) == (EXPECTED, {})
    coarse = [(time // 1000 * 1000, *rest) for time, *rest in EXPECTED]
    assert read(pcap(FRAMES, order=order, nano=False)) == (coarse, {})


def test_a_frame_cut_by_the_snap_length_keeps_its_size_on_the_wire() -> None:
    found, tally = read(pcap(FRAMES, snap=54))
    assert [size for *_, size in found] == [len(frame) for _, frame in FRAMES]
    assert {captured for _, _, captured, _ in found} == {54}
    assert not tally


def test_pcapng_has_sections_and_interfaces_of_their_own() -> None:
    data = section("<") + interface(1) + block(5, bytes(8)) + interface(101, 9, 10)
    data += enhanced(T // 1000, FRAMES[0][1]) + enhanced(7, ipv4(6, tcp()), 1)
    data += section(">") + interface(113, 0x80 | 10, order=">") + enhanced(2048, b"x", order=">")
    found, tally = read(data)
    assert [(time, link) for time, link, *_ in found] == [
        (T // 1000 * 1000, 1),
        (10_000_000_007, 101),
        (2 * 10**9, 113),
    ]
    assert not tally


def test_simple_packets_have_no_time_and_old_ones_do() -> None:
    frame = FRAMES[0][1]
    old = block(2, struct.pack("<HHIIII", 0, 0, T // 1000 >> 32, T // 1000 & 0xFFFFFFFF, len(frame), 99) + frame)
    found, _ = read(section() + interface() + block(3, struct.pack("<I", len(frame)) + frame) + old)
    assert found == [(-1, 1, len(frame), len(frame)), (T // 1000 * 1000, 1, len(frame), 99)]


def test_what_dpkt_writes_is_read() -> None:
    for module in (dpkt.pcap, dpkt.pcapng):
        file = io.BytesIO()
        writer = module.Writer(file)
        for number, (_, frame) in enumerate(FRAMES):
            writer.writepkt(frame, ts=1000 + number)
        found, tally = read(file.getvalue())
        assert found == [(10**9 * (1000 + n), 1, len(frame), len(frame)) for n, (_, frame) in enumerate(FRAMES)]
        assert not tally


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_a_capture_cut_anywhere_gives_what_is_whole_and_counts_the_rest(kind: str) -> None:
    parts = [pcap([]), *(pcap([one])[24:] for one in FRAMES)]
    if kind == "pcapng":
        parts = [section() + interface(resolution=9), *(enhanced(time, frame) for time, frame in FRAMES)]
    data = b"".join(parts)
    ends = [sum(map(len, parts[: n + 1])) for n in range(len(parts))]
    for cut in range(len(parts[0]), len(data)):
        found, tally = read(data[:cut])
        assert found == EXPECTED[: sum(end <= cut for end in ends) - 1]
        assert tally == ({} if cut in ends else {Fault.TRUNCATED_FILE: 1})


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the file is empty"),
        (b"ti", "not a capture"),
        (b"time,a\n1,2\n", "not a capture"),
        (pcap([])[:23], "ends within its first header"),
    ],
)
def test_what_is_no_capture_is_refused_in_words(data: bytes, says: str) -> None:
    with pytest.raises(MonitorError, match=says):
        read(data)


@pytest.mark.parametrize(
    "damage",
    [
        pcap(FRAMES) + struct.pack("<IIII", 1, 0, 2**31, 60),
        section() + interface(resolution=9) + b"".join(enhanced(*one) for one in FRAMES) + struct.pack("<II", 6, 7),
        section() + interface(resolution=9) + b"".join(enhanced(*one) for one in FRAMES) + enhanced(1, b"x", 3),
        section() + interface(resolution=9) + b"".join(enhanced(*one) for one in FRAMES) + struct.pack("<II", 6, 2**31),
        section() + interface(resolution=9) + b"".join(enhanced(*one) for one in FRAMES) + block(6, b"short"),
    ],
)
def test_damage_ends_the_reading_and_is_counted(damage: bytes) -> None:
    assert read(damage) == (EXPECTED, {Fault.DAMAGED_FILE: 1})


def test_damage_of_gzip_is_counted_too() -> None:
    packed = gzip.compress(pcap(FRAMES))
    tally = Tally()
    list(capture.read(gzip.GzipFile(fileobj=io.BytesIO(packed[:-9])), "x", tally))  # type: ignore[arg-type]
    assert tally == {Fault.DAMAGED_FILE: 1}


whole = st.sampled_from(
    (
        pcap(FRAMES),
        pcap(FRAMES, order=">"),
        section() + interface(resolution=9, offset=5) + b"".join(enhanced(*one) for one in FRAMES),
        section(">") + interface(order=">") + b"".join(enhanced(*one, order=">") for one in FRAMES),
    )
)


@settings(max_examples=400, deadline=None)
@given(whole, st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), max_size=6), st.integers(0, 900))
def test_no_capture_breaks_the_reader(data: bytes, changes: list[tuple[int, int]], cut: int) -> None:
    changed = bytearray(data)
    for place, value in changes:
        if place < len(changed):
            changed[place] = value
    with suppress(MonitorError):
        read(bytes(changed[: max(cut, 1)]))
