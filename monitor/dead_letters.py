"""Dead letters read back: the record as it was, why it was rejected, and which of them have been sent back since.

A dead letter has the record's key, value and headers, and behind those the facts in headers of our own. One line of
NDJSON holds the same for an editor. What was sent back is told by markers in the same topic and partition, written in
the transaction that sent it: retention, which takes the oldest first, takes a letter before the marker that names it.
"""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Any, NamedTuple

import msgspec

from monitor.batch import RawRecord, Record
from monitor.errors import UsageError

REPLAYED = "monitor-replayed"
"""Header of a record that was sent back: topic/partition/offset of its dead letter."""
SENT_BACK = "monitor-sent-back"
"""Header of a marker: how many letters its value names."""

_OURS = "monitor-"
_REASON = f"{_OURS}reason"
_CUT = {f"{_OURS}value-bytes": "value", f"{_OURS}headers-left-out": "headers", f"{_OURS}key-bytes": "key"}
_FACTS = {f"{_OURS}{name}" for name in ("reason", "detail", "topic", "partition", "offset", "timestamp")}
_ADDED = {*_FACTS, *_CUT, REPLAYED}
_UNKNOWN = -1


class Place(NamedTuple):
    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A rejected record, and the dead letter that holds it."""

    place: Place  # of the letter
    rejected_at: int  # ms since the Unix epoch
    reason: str
    detail: str
    cut: tuple[str, ...]  # what was too large for a dead letter: key, value, headers
    record: RawRecord  # as it was in the topic that it came from

    def again(self) -> RawRecord:
        """The record to send back: its own bytes and time, and where this letter lies."""
        return self.record._replace(headers=(*self.record.headers, (REPLAYED, str(self.place).encode())))


def parse(record: Record) -> DeadLetter | None:
    """None for a record that is no dead letter: a marker, or written by something else."""
    names = [name for name, _ in record.headers]
    if _REASON not in names:
        return None
    # A record that was a dead letter before, or that pretends to, has such headers of its own: the last are ours.
    begin = len(names) - 1 - names[::-1].index(_REASON)
    facts = {name: (content or b"").decode(errors="replace") for name, content in record.headers[begin:]}
    try:
        partition, offset, timestamp = (int(facts[_OURS + name]) for name in ("partition", "offset", "timestamp"))
        topic, detail = facts[f"{_OURS}topic"], facts[f"{_OURS}detail"]
    except (KeyError, ValueError):
        return None
    own = tuple(header for header in record.headers[:begin] if header[0] not in _ADDED)
    return DeadLetter(
        Place(record.topic, record.partition, record.offset),
        record.timestamp,
        facts[_REASON],
        detail,
        tuple(part for name, part in _CUT.items() if name in facts),
        RawRecord(topic, partition, offset, timestamp, record.key, record.value, own),
    )


def marker(topic: str, partition: int, offsets: Sequence[int]) -> RawRecord:
    """Says that the letters of one partition at these offsets (ascending, at least one) were sent back."""
    breaks = [place for place, (one, other) in enumerate(pairwise(offsets), 1) if other != one + 1]
    runs = [(offsets[begin], offsets[end - 1]) for begin, end in pairwise([0, *breaks, len(offsets)])]
    headers = [(SENT_BACK, b"%d" % len(offsets))]
    return RawRecord(topic, partition, _UNKNOWN, _UNKNOWN, None, msgspec.json.encode(runs), headers)


class SentBack:
    """Which letters were sent back, from the markers. Memory: two numbers for each run of them."""

    def __init__(self) -> None:
        self._runs: dict[int, list[tuple[int, int]]] = {}  # first and last offset, ascending, by partition
        self.count = 0

    def read(self, record: Record) -> bool:
        """Takes in a record of the dead-letter topic; False for one that is no marker."""
        names = [name for name, _ in record.headers]
        if SENT_BACK not in names or _REASON in names:  # a stranger's header in a dead letter makes it no marker
            return False
        try:
            runs = msgspec.json.decode(record.value or b"", type=list[tuple[int, int]])
        except (msgspec.MsgspecError, UnicodeError):
            return False
        for first, last in runs:
            self._add(record.partition, first, last)
        return True

    def add(self, place: Place) -> None:
        """Takes in a letter that is being sent back now."""
        self._add(place.partition, place.offset, place.offset)

    def __contains__(self, place: Place) -> bool:
        runs = self._runs.get(place.partition, [])
        index = bisect_right(runs, (place.offset, inf)) - 1
        return index >= 0 and place.offset <= runs[index][1]

    def _add(self, partition: int, first: int, last: int) -> None:
        insort(self._runs.setdefault(partition, []), (first, last))  # no letter is in two of them
        self.count += last - first + 1


class _Bytes(msgspec.Struct, forbid_unknown_fields=True):
    base64: str


_Content = str | _Bytes | None


class _Place(msgspec.Struct, forbid_unknown_fields=True):
    topic: str
    partition: int
    offset: int


class _Line(msgspec.Struct, forbid_unknown_fields=True, rename={"source": "from"}):
    letter: _Place
    rejected_at: int
    reason: str
    detail: str
    source: _Place
    timestamp: int
    key: _Content
    value: _Content
    headers: list[tuple[str, _Content]]
    cut: list[str] = []


_LINE: msgspec.json.Decoder[_Line] = msgspec.json.Decoder(_Line)


def to_line(letter: DeadLetter) -> bytes:
    """One line of NDJSON, its end included: bytes that are UTF-8 as text, others as {"base64": ...}."""
    record = letter.record
    line = _Line(
        letter=_Place(*letter.place),
        rejected_at=letter.rejected_at,
        reason=letter.reason,
        detail=letter.detail,
        source=_Place(record.topic, record.partition, record.offset),
        timestamp=record.timestamp,
        key=_text(record.key),
        value=_text(record.value),
        headers=[(name, _text(content)) for name, content in record.headers],
        cut=list(letter.cut),
    )
    return msgspec.json.encode(line) + b"\n"


def from_line(line: bytes, where: str) -> DeadLetter:
    """The letter of a line as it was edited. Raises UsageError that begins with `where`."""
    try:
        read = _LINE.decode(line)
        letter, source = (Place(p.topic, p.partition, p.offset) for p in (read.letter, read.source))
        headers = tuple((name, _bytes(content)) for name, content in read.headers)
        record = RawRecord(*source, read.timestamp, _bytes(read.key), _bytes(read.value), headers)
    except (msgspec.MsgspecError, UnicodeError, binascii.Error) as error:
        raise UsageError(
            f"{where}: not a line of `monitor replay --dead-letters --export`: {error}",
            'Edit key, value and headers only: text, {"base64": "..."} or null. A value is text even where that text '
            "is JSON.",
        ) from error
    return DeadLetter(letter, read.rejected_at, read.reason, read.detail, tuple(read.cut), record)


def _text(content: bytes | None) -> Any:
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return _Bytes(base64.b64encode(content).decode())


def _bytes(content: _Content) -> bytes | None:
    if isinstance(content, _Bytes):
        return base64.b64decode(content.base64, validate=True)
    return None if content is None else content.encode()
