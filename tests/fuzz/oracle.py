"""What must come of an input, worked out again from the written rules: docs/concepts.md, and the modules' docstrings.

Nothing of the code under test is used here but its settings and the values it takes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, nan

from monitor import config
from monitor.batch import RawRecord, Reason
from monitor.checkpoint import Checkpoint, Eviction
from tests.fuzz.strictjson import Array, NotJsonError, Number, Object, Value, Word, read

LAST_TIME = 253_402_300_799.0  # 9999-12-31T23:59:59Z
LONGEST_STREAM = 255
DEEPEST_EVENT = 500
CERTAIN_DEPTH = 200
"""Nesting of a checkpoint that every reader takes; how much more is its own affair: it says no, or is right."""


@dataclass(frozen=True, slots=True)
class Row:
    """What an accepted event must become."""

    stream: str
    time: float
    arrival: float
    values: bytes  # float32 as the machine has it; NaN is the one of the C library


@dataclass(slots=True)
class Verdict:
    row: Row | None = None  # None: it must be rejected,
    reasons: set[Reason] = field(default_factory=set)  # for one of these reasons: all faults it has


def event(record: RawRecord, features: Sequence[str], rules: config.Events) -> Verdict:
    """The verdict over one record."""
    value = record.value
    if value is None:
        return Verdict(reasons={Reason.TOMBSTONE})
    if not value:
        return Verdict(reasons={Reason.EMPTY})
    if len(value) > rules.max_bytes:
        return Verdict(reasons={Reason.OVERSIZED})
    try:
        document = read(value, non_finite=True)
    except NotJsonError:
        # A reader that works from outside in may meet another fault before it sees the end.
        return Verdict(reasons={Reason.NOT_JSON, Reason.NOT_AN_EVENT})
    if document.depth > DEEPEST_EVENT:
        return Verdict(reasons={Reason.NOT_JSON})
    if not isinstance(document.value, Object):
        return Verdict(reasons={Reason.NOT_AN_EVENT, Reason.NOT_JSON})
    return _event(document.value, record, features, rules)


def _event(members: Object, record: RawRecord, features: Sequence[str], rules: config.Events) -> Verdict:
    given = members.last("features")
    if not isinstance(given, Object):
        return Verdict(reasons={Reason.NOT_AN_EVENT})
    faults: set[Reason] = set()
    stream = _stream(members.last("stream"), record.key)
    if stream is None:
        faults.add(Reason.BAD_STREAM)
    time = _time(members.last("time"), record.timestamp)
    if time is None:
        faults.add(Reason.BAD_TIME)
    arrival = record.timestamp / 1000 if record.timestamp >= 0 else time
    if time is not None and arrival is not None:
        if time - arrival > rules.max_ahead:
            faults.add(Reason.IN_FUTURE)
        if rules.max_age is not None and arrival - time > rules.max_age:
            faults.add(Reason.TOO_OLD)
    row = [_value(given.last(name), rules, faults) for name in features]
    if rules.unknown == "reject" and any(name not in features for name, _ in given.members):
        faults.add(Reason.UNKNOWN_FEATURE)
    if faults or stream is None or time is None or arrival is None:
        return Verdict(reasons=faults)
    return Verdict(row=Row(stream, time, arrival, b"".join(row)))


def _stream(given: Value | None, key: bytes | None) -> str | None:
    if given is None or given == Word("null"):
        try:
            given = (key or b"").decode()
        except UnicodeDecodeError:
            return None
    return given if isinstance(given, str) and 1 <= len(given) <= LONGEST_STREAM else None


def _time(given: Value | None, timestamp: int) -> float | None:
    if given is None or given == Word("null"):
        time = timestamp / 1000 if timestamp >= 0 else inf
    elif isinstance(given, Number):
        time = number(given)
    else:
        return None
    return time if 0 <= time < LAST_TIME else None


def _value(given: Value | None, rules: config.Events, faults: set[Reason]) -> bytes:
    """Four bytes of a row; a fault where the policy says so."""
    if given is None or given == Word("null"):
        policy, reason = rules.missing, Reason.MISSING_FEATURE
    elif isinstance(given, Number):
        try:
            packed = struct.pack("=f", number(given))
        except OverflowError:  # it would round to an infinite float32
            packed = struct.pack("=f", inf)
        if struct.unpack("=f", packed)[0] not in (inf, -inf):
            return packed
        policy, reason = rules.non_finite, Reason.NON_FINITE
    else:
        assert isinstance(given, str | Word | Array | Object)
        policy, reason = rules.non_numeric, Reason.NON_NUMERIC
    if policy == "reject":
        faults.add(reason)
    return struct.pack("=f", nan)


def number(given: Number) -> float:
    """The nearest float64, infinite where there is none; NaN counts as infinite, neither is a number of JSON."""
    if given.text in ("NaN", "Infinity", "-Infinity"):
        return inf
    if given.text == "-0":
        return 0.0  # a whole number has one zero
    return float(given.text)


def checkpoint(offset: int, metadata: str) -> tuple[Checkpoint | None, bool]:
    """What the metadata of a commit must decode to, None where it is none; and whether a reader may refuse it yet.

    It may where a whole number is written as 1.0 or 1e2 or does not fit 64 bits, a member is given twice, it nests
    deep, or any number of it, be it in a member that nobody knows, is beyond a double.
    """
    try:
        document = read(metadata.encode())
    except (NotJsonError, UnicodeEncodeError):
        return None, True
    if not isinstance(document.value, Object):
        return None, True
    given = document.value
    unsure = document.depth > CERTAIN_DEPTH or len({name for name, _ in given.members}) < len(given.members)
    unsure |= _beyond_double(given)
    whole: dict[str, int] = {}
    for name in ("v", "back", "live", "short", "loud", "state"):
        found = given.last(name)
        if found is None and name not in ("v", "back"):
            found = Number("0")
        count, odd = _whole(found)
        if count is None:
            return None, True
        whole[name] = count
        unsure |= odd
    texts: dict[str, str] = {}
    for name in ("features", "topic"):
        text = given.last(name)
        if text is not None and not isinstance(text, str):
            return None, True
        texts[name] = text or ""
    if whole["v"] != 1 or not 0 <= whole["back"] <= offset:
        return None, True
    begin = offset - whole["back"]
    clock = given.last("clock")
    if clock is not None and clock != Word("null") and not isinstance(clock, Number):
        return None, True
    seconds = number(clock) if isinstance(clock, Number) else -inf
    if isinstance(clock, Number) and seconds in (inf, -inf):
        return None, True
    steps = given.last("evictions")
    evictions = []
    for step in steps.items if isinstance(steps, Array) else ():
        pair = [_whole(item) for item in step.items] if isinstance(step, Array) else []
        if len(pair) != 2 or pair[0][0] is None or pair[1][0] is None:
            return None, True
        evictions.append(Eviction(begin + pair[0][0], begin + pair[0][0] - pair[1][0]))
        unsure |= pair[0][1] or pair[1][1]
    if steps is not None and not isinstance(steps, Array):
        return None, True
    made = Checkpoint(
        offset,
        begin,
        seconds,
        tuple(evictions),
        live=whole["live"],
        short=whole["short"],
        loud=whole["loud"],
        features=texts["features"],
        topic=texts["topic"],
        state_end=whole["state"],
    )
    return made, unsure


def _beyond_double(value: Value) -> bool:
    """Whether any number in it is; without recursion, as hostile metadata nests deep."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, Number) and number(one) in (inf, -inf):
            return True
        left.extend([member for _, member in one.members] if isinstance(one, Object) else [])
        left.extend(one.items if isinstance(one, Array) else [])
    return False


def _whole(given: Value | None) -> tuple[int | None, bool]:
    """The whole number, and whether it is written in a way that not every reader takes for one."""
    if not isinstance(given, Number):
        return None, True
    if given.text.lstrip("-").isdigit():
        count = int(given.text) if len(given.text) < 400 else None
        return count, count is None or not -(2**63) <= count < 2**63
    value = number(given)
    return (int(value), True) if value not in (inf, -inf) and value == int(value) else (None, True)
