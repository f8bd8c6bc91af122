"""Hostile bytes of the incident state's topic."""

from __future__ import annotations

import struct
from collections import deque
from typing import Any

import msgspec
import numpy as np

from monitor import incident_state, level_state
from monitor.incident_state import (
    Finding,
    Incident,
    Loud,
    Maker,
    Peak,
    Point,
    Reading,
    Trouble,
    UnreadableStateError,
)
from monitor.level import Course, Running
from monitor.level_state import Drift, Farthest, Level, Shift
from tests.fuzz.target import demand

MAKER = Maker("m" * 12, "c" * 12)


def check(data: bytes) -> bool:
    """What is taken is what the bytes say, member by member and bit by bit."""
    try:
        loud, maker, level = incident_state.from_bytes(data)
    except UnreadableStateError:
        return False
    written = incident_state.to_bytes(loud, maker, level)
    given, taken = (msgspec.msgpack.decode(value) for value in (data, written))
    demand(_bits(taken) == _bits(_cut(_completed(given), taken)), f"{given} was taken for {taken}")
    again = incident_state.to_bytes(*incident_state.from_bytes(written))
    demand(again == written, "written again it is another")
    return level is None or check_level(level)


def check_level(data: bytes) -> bool:
    """The same of what is learned of a stream."""
    try:
        level = level_state.unpack(data)
    except UnreadableStateError:
        return False
    written = level_state.pack(level)
    given, taken = (msgspec.msgpack.decode(value) for value in (data, written))
    demand(_bits(taken) == _bits(_cut(given, taken)), f"{given} was taken for {taken}")
    demand(level_state.pack(level_state.unpack(written)) == written, "written again it is another")
    return True


def _completed(given: Any) -> Any:
    """With what an earlier version did not write: the time of a peak, for which that of its beginning stands."""
    recent, held, incident = given[3], given[5], given[6]
    begun = [entry[1:] for entry in recent] + [each[:2] for each in (held, incident) if each]
    for spot, peak in begun:
        if len(peak) < 6 or peak[5] is None:
            peak[5:6] = spot[:1]
    return [*given, *[[], None][len(given) - 9 :]] if len(given) < 11 else given


def _cut(given: Any, taken: Any) -> Any:
    """What is given without the members that a later version may have put behind those of this one."""
    if isinstance(taken, list) and isinstance(given, list):
        return [_cut(one, other) for one, other in zip(given, taken, strict=False)]
    return float(given) if isinstance(taken, float) and isinstance(given, int) else given


def _bits(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_bits(item) for item in tree]
    return struct.pack("=d", tree) if isinstance(tree, float) else tree


def seeds() -> list[bytes]:
    column = np.array([1.5, np.nan, -0.0], np.float32)
    peak, point = Peak(2.5, 0.1, column, column, column, 1.7e9), Point(-1, 1.7e9, 12)
    incident = Incident(point, peak, point, point, 1.7e9, "major", 3)
    finding = Finding("stuck", (Reading("flow", 1.5, -0.0),), 32.0, 32.0, 1.7e9, "x 1000")
    trouble = Trouble(point, finding, point, point, 1.7e9, 2)
    louds = [
        Loud(),
        Loud(deque([(1, point, peak), (3, point, peak)]), 4, heard=point),
        Loud(seen=9, held=(point, peak), heard=point),
        Loud(incident=incident, cooling_until=1.8e9, heard=point),
        Loud(troubles={"stuck": trouble, "unit_jump": trouble}, heard=point),
    ]
    made = [incident_state.to_bytes(loud, MAKER) for loud in louds]
    own = Running(np.array([0.5, -0.0], np.float32), np.array([3.5, 0], np.float32))
    drift = Drift(point, (1,), Farthest(1.5, 1.7e9), point, 1.7e9, 3.0)
    course = Course(12, own, own.weight, 2, 1.7e9)
    level = Level(own, Shift(own, own.mean), 1, point, 1.7e9, 1.7e9, course, drift)
    made += [incident_state.to_bytes(louds[0], MAKER, level_state.pack(one)) for one in (Level(own), level)]
    severity = made[3].rindex(b"\x01\x03\xcb")  # that of "major", and the normal scores behind it
    found = [  # by the fuzzer: a severity counted from the end, and nesting in what a later version may add
        made[3][:severity] + b"\xff" + made[3][severity + 1 :],
        b"\x9c" + made[0][1:] + b"\x91" * 3000 + b"\x00",
    ]
    return [*made, *found, b""]


WORDS = [
    *(bytes([byte]) for byte in (0x00, 0x01, 0x7F, 0x80, 0x90, 0x92, 0x99, 0xA0, 0xC0, 0xC1, 0xC2, 0xC3, 0xE0, 0xFF)),
    b"\xc4\x00",
    b"\xc4\x04\x00\x00\x80\x7f",
    b"\xc5\xff\xff",
    b"\xca\x7f\x80\x00\x00",
    b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
    b"\xcb\xff\xf0\x00\x00\x00\x00\x00\x00",
    b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xd9\x02\xc3\x28",
    b"\x91" * 40,
    b"\x91" * 1200,
]
