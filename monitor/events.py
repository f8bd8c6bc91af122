"""The contract in: record bytes -> Batch, and a reject with its reason for every record that is no event.

An event is `{"stream": "pump-7", "time": 1712345678.9, "features": {"temperature": 20.1}}`. The stream falls back to
the record's key, the time to the record's timestamp. Other members of the object are allowed and not read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from types import MappingProxyType
from typing import Any, NoReturn

import msgspec
import numpy as np

from monitor import config
from monitor.batch import Batch, Float32, Reason, Record, Reject
from monitor.categories import UNKNOWN, Codes
from monitor.event_members import UNREADABLE, Category, MemberReader, NotAnEventError, refuse

MAX_STREAM = 255
"""Longest stream name, in characters."""
LAST_TIME = 253_402_300_799.0
"""Event times are from 0 (1970) to below this (the last second of 9999), s since the Unix epoch."""
MAX_DEPTH = 500
"""Deepest nesting of a value. Left to itself the reader's limit moves with the depth of the stack it is called on."""

_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)  # a text's own are matched with the text
_UNTYPABLE = re.compile(r'["\\\x00-\x1f]')  # in a name that msgspec takes for no field's
_NO_CODES: Mapping[str, Codes] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Decoded:
    batch: Batch
    rejects: Sequence[Reject]
    unknown: int = 0  # values of categories that training never saw


class Decoder:
    """Decodes records of one artefact: its features, in its order.

    The usual record is decoded by one typed call. Only a record that this call refuses is looked at a second time,
    feature by feature, to apply the policies and to name the fault.
    """

    def __init__(self, features: Sequence[str], rules: config.Events, codes: Mapping[str, Codes] = _NO_CODES) -> None:
        """`codes` of those features that are categories; the others are numbers."""
        self.features = tuple(features)
        self._rules = rules
        self._width = len(self.features)
        self._codes = codes
        # A row is read with its numbers first, so that they can be taken apart without looking at each.
        self._numbers = [place for place, name in enumerate(self.features) if name not in codes]
        self._categories = [place for place, name in enumerate(self.features) if name in codes]
        self._typed = _untyped if _UNTYPABLE.search("".join(self.features)) else self._typed_decoder()
        self._members = MemberReader(self._names(self._numbers), self._names(self._categories), rules)

    def _names(self, places: Sequence[int]) -> tuple[str, ...]:
        return tuple(self.features[place] for place in places)

    def _typed_decoder(self) -> Callable[[bytes], Any]:
        rules = self._rules
        # Field names must be identifiers, feature names need not be: f0, f1, ... carry them through `rename`.
        absent: tuple[Any, ...] = (nan,) if rules.missing == "impute" else ()
        columns = msgspec.defstruct(
            "Columns",
            [
                *((f"f{i}", float, *absent) for i in self._numbers),
                *((f"f{i}", Category, *absent) for i in self._categories),
            ],
            rename={f"f{i}": name for i, name in enumerate(self.features)},
            forbid_unknown_fields=rules.unknown == "reject",
            gc=False,
        )
        event = msgspec.defstruct(
            "Event", [("features", columns), ("stream", str | None, None), ("time", float | None, None)], gc=False
        )
        decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(event)
        return decoder.decode

    def decode(self, records: Sequence[Record]) -> Decoded:
        """N records of one topic -> the events among them, in the same order, and a reject for each of the others."""
        rejects: dict[int, Reject] = {}
        accepted: list[int] = []
        streams: list[str] = []
        times: list[float] = []
        rows: list[tuple[Any, ...]] = []
        typed = self._typed
        columns = msgspec.structs.astuple
        unsuspicious = min(self._rules.max_bytes, 2 * MAX_DEPTH)
        for number, record in enumerate(records):
            value = record.value
            try:
                if not value or len(value) > unsuspicious or not value.isascii():
                    value = self._checked_unread(value)
                try:
                    event = typed(value)
                except UNREADABLE:
                    stream, time, row = self._members.read(value)
                else:
                    stream, time, row = event.stream, event.time, columns(event.features)
                stream = _name(stream, record.key)
                time = _time(time, record.timestamp)
            except NotAnEventError as fault:
                rejects[number] = Reject(fault.reason, fault.detail, record)
                continue
            accepted.append(number)
            streams.append(stream)
            times.append(time)
            rows.append(row)
        event_time = np.array(times, np.float64)
        stamp = np.array([records[number].timestamp for number in accepted], np.float64) / 1000
        batch = Batch(
            streams,
            event_time,
            np.where(stamp >= 0, stamp, event_time),
            self._values(rows),
            np.array([records[number].partition for number in accepted], np.int64),
            np.array([records[number].offset for number in accepted], np.int64),
        )
        faults = self._check_columns(batch)
        if faults:
            for row_number, (reason, detail) in faults.items():
                number = accepted[row_number]
                rejects[number] = Reject(reason, detail, records[number])
            batch = _without(batch, faults.keys())
        unknown = int(np.count_nonzero(batch.values[:, self._categories] == UNKNOWN)) if self._categories else 0
        return Decoded(batch, [rejects[number] for number in sorted(rejects)], unknown)

    def _values(self, rows: Sequence[tuple[Any, ...]]) -> Float32:
        """Rows as they were read, numbers first -> (N, F); a number beyond float32 becomes infinite."""
        with np.errstate(over="ignore"):
            if not self._categories:
                return np.array(rows, np.float64).reshape(len(rows), self._width).astype(np.float32)
            values = np.empty((len(rows), self._width), np.float64)
            count = len(self._numbers)
            values[:, self._numbers] = np.array([row[:count] for row in rows], np.float64).reshape(len(rows), count)
            for at, place in enumerate(self._categories, count):
                codes = self._codes[self.features[place]]
                values[:, place] = [codes[row[at]] for row in rows]
            return values.astype(np.float32)

    def _check_columns(self, batch: Batch) -> dict[int, tuple[Reason, str]]:
        """The checks that are cheaper on whole columns: fault by row. Imputes in place where the policy says so."""
        rules = self._rules
        faults: dict[int, tuple[Reason, str]] = {}
        age = batch.arrival - batch.time
        for row in np.flatnonzero(age < -rules.max_ahead).tolist():
            ahead = f"time {batch.time[row]:.3f} is {-age[row]:.0f} s ahead of the record"
            faults[row] = Reason.IN_FUTURE, f"{ahead} (events.max_ahead is {rules.max_ahead:g})"
        if rules.max_age is not None:
            for row in np.flatnonzero(age > rules.max_age).tolist():
                behind = f"time {batch.time[row]:.3f} is {age[row]:.0f} s before the record"
                faults[row] = Reason.TOO_OLD, f"{behind} (events.max_age is {rules.max_age:g})"
        infinite = np.isinf(batch.values)
        if rules.non_finite == "impute":
            batch.values[infinite] = nan
        else:
            for row in np.flatnonzero(infinite.any(axis=1)).tolist():
                name = self.features[int(infinite[row].argmax())]
                faults[row] = Reason.NON_FINITE, f"feature {name!r} is not finite in float32"
        return faults

    def _checked_unread(self, value: bytes | None) -> bytes:
        """What the typed call does not look at in members that it skips, so that nothing depends on the way taken."""
        if value is None:
            refuse(Reason.TOMBSTONE, "the record has no value")
        if not value:
            refuse(Reason.EMPTY, "the value is empty")
        if len(value) > self._rules.max_bytes:
            refuse(Reason.OVERSIZED, f"{len(value)} bytes, events.max_bytes is {self._rules.max_bytes}")
        try:
            _ = value.isascii() or value.decode()
        except UnicodeDecodeError as error:
            refuse(Reason.NOT_JSON, f"the value is not UTF-8 (byte {error.start})")
        openings = value.count(b"{") + (value.count(b"[") if b"[" in value else 0)  # most have none: a faster look
        if openings > MAX_DEPTH and _is_deep(value):
            refuse(Reason.NOT_JSON, f"the value is nested more than {MAX_DEPTH} deep")
        return value


def _is_deep(value: bytes) -> bool:
    depth = 0
    for found in _BRACKETS.finditer(value):
        depth += (found[0] in b"[{") - (found[0] in b"]}")
        if depth > MAX_DEPTH:
            return True
    return False


def _untyped(_value: bytes) -> NoReturn:
    raise msgspec.ValidationError("a feature's name cannot be a field's")


def _name(stream: str | None, key: bytes | None) -> str:
    if stream is None:
        if not key:
            refuse(Reason.BAD_STREAM, "neither the event nor the record's key names a stream")
        try:
            stream = key.decode()
        except UnicodeDecodeError:
            refuse(Reason.BAD_STREAM, "the record's key names the stream and is not UTF-8")
    if not 0 < len(stream) <= MAX_STREAM:
        refuse(Reason.BAD_STREAM, f"a stream's name has 1 to {MAX_STREAM} characters, this one {len(stream)}")
    return stream


def _time(time: float | None, timestamp: int) -> float:
    if time is None:
        if timestamp < 0:
            refuse(Reason.BAD_TIME, "neither the event nor the record has a time")
        time = timestamp / 1000
    if not 0 <= time < LAST_TIME:
        refuse(Reason.BAD_TIME, f"time {time:g} is not in the years 1970 to 9999 (seconds are expected)")
    return time


def _without(batch: Batch, rows: Collection[int]) -> Batch:
    keep = np.ones(len(batch), np.bool_)
    keep[list(rows)] = False
    return Batch(
        [stream for row, stream in enumerate(batch.stream) if row not in rows],
        batch.time[keep],
        batch.arrival[keep],
        batch.values[keep],
        batch.partition[keep],
        batch.offset[keep],
    )


def json_schema(features: Sequence[str] | None = None, codes: Mapping[str, Codes] = _NO_CODES) -> dict[str, Any]:
    """JSON Schema (2020-12) of an event; with the features of one artefact where they are given."""
    category = ["string", "number", "boolean"]
    members: dict[str, Any] = {"type": "object", "additionalProperties": {"type": [*category, "null"]}}
    if features is not None:
        members = {
            "type": "object",
            "properties": {
                name: {"type": category, "description": "Any other is unknown.", "examples": list(codes[name])}
                if name in codes
                else {"type": "number"}
                for name in features
            },
            "required": list(features),
            "additionalProperties": False,
        }
    told = "Value of each feature: a number in the unit the model was trained with, or the text of a category."
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Event",
        "description": "One feature vector of one stream.",
        "type": "object",
        "required": ["features"],
        "properties": {
            "stream": {
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_STREAM,
                "description": "Name of the stream; the record's key when absent.",
            },
            "time": {
                "type": "number",
                "minimum": 0,
                "exclusiveMaximum": LAST_TIME,
                "description": "Event time, seconds since the Unix epoch; the record's timestamp when absent.",
            },
            "features": {**members, "description": told},
        },
    }
