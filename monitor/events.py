"""The contract in: record bytes -> Batch, and a reject with its reason for every record that is no event.

An event is `{"stream": "pump-7", "time": 1712345678.9, "features": {"temperature": 20.1}}`. The stream falls back to
the record's key, the time to the record's timestamp. Other members of the object are allowed and not read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, NoReturn

import msgspec
import numpy as np

from monitor import config
from monitor.batch import Batch, Reason, Record, Reject

MAX_STREAM = 255
"""Longest stream name, in characters."""
LAST_TIME = 253_402_300_799.0
"""Event times are from 0 (1970) to below this (the last second of 9999), s since the Unix epoch."""
MAX_DEPTH = 500
"""Deepest nesting of a value. Left to itself the reader's limit moves with the depth of the stack it is called on."""

_LONGEST_DETAIL = 300  # characters: it goes into headers, logs and the status page, and quotes what a stranger sent
_NUMBER = re.compile(rb"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)  # a text's own are matched with the text
_UNTYPABLE = re.compile(r'["\\\x00-\x1f]')  # in a name that msgspec takes for no field's
# What Python's json.dumps writes for a float that JSON has no number for. A string is matched first, so that what it
# says is left alone, and to the end if nothing closes it: looking for the next one inside would take quadratic time.
_NON_FINITE = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|(?<![\w.+-])(?:NaN|-?Infinity)(?![\w.+-])', re.DOTALL)
_UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Decoded:
    batch: Batch
    rejects: Sequence[Reject]


class _NotAnEventError(Exception):
    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail if len(detail) <= _LONGEST_DETAIL else detail[: _LONGEST_DETAIL - 3] + "..."


def _refuse(reason: Reason, detail: str) -> NoReturn:
    raise _NotAnEventError(reason, detail)


class Decoder:
    """Decodes records of one artefact: its features, in its order.

    The usual record is decoded by one typed call. Only a record that this call refuses is looked at a second time,
    feature by feature, to apply the policies and to name the fault.
    """

    def __init__(self, features: Sequence[str], rules: config.Events) -> None:
        self.features = tuple(features)
        self._rules = rules
        self._width = len(self.features)
        self._typed = _untyped if _UNTYPABLE.search("".join(self.features)) else self._typed_decoder()
        self._loose = msgspec.json.Decoder(dict[str, msgspec.Raw])

    def _typed_decoder(self) -> Callable[[bytes], Any]:
        rules = self._rules
        # Field names must be identifiers, feature names need not be: f0, f1, ... carry them through `rename`.
        absent: tuple[Any, ...] = (nan,) if rules.missing == "impute" else ()
        columns = msgspec.defstruct(
            "Columns",
            [(f"f{i}", float, *absent) for i in range(self._width)],
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
        rows: list[tuple[float, ...]] = []
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
                except _UNREADABLE:
                    stream, time, row = self._read_slowly(value)
                else:
                    stream, time, row = event.stream, event.time, columns(event.features)
                stream = _name(stream, record.key)
                time = _time(time, record.timestamp)
            except _NotAnEventError as fault:
                rejects[number] = Reject(fault.reason, fault.detail, record)
                continue
            accepted.append(number)
            streams.append(stream)
            times.append(time)
            rows.append(row)
        with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, which is looked for below
            values = np.array(rows, np.float64).reshape(len(rows), self._width).astype(np.float32)
        event_time = np.array(times, np.float64)
        stamp = np.array([records[number].timestamp for number in accepted], np.float64) / 1000
        batch = Batch(
            streams,
            event_time,
            np.where(stamp >= 0, stamp, event_time),
            values,
            np.array([records[number].partition for number in accepted], np.int64),
            np.array([records[number].offset for number in accepted], np.int64),
        )
        faults = self._check_columns(batch)
        if faults:
            for row_number, (reason, detail) in faults.items():
                number = accepted[row_number]
                rejects[number] = Reject(reason, detail, records[number])
            batch = _without(batch, faults.keys())
        return Decoded(batch, [rejects[number] for number in sorted(rejects)])

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
            _refuse(Reason.TOMBSTONE, "the record has no value")
        if not value:
            _refuse(Reason.EMPTY, "the value is empty")
        if len(value) > self._rules.max_bytes:
            _refuse(Reason.OVERSIZED, f"{len(value)} bytes, events.max_bytes is {self._rules.max_bytes}")
        try:
            _ = value.isascii() or value.decode()
        except UnicodeDecodeError as error:
            _refuse(Reason.NOT_JSON, f"the value is not UTF-8 (byte {error.start})")
        openings = value.count(b"{") + (value.count(b"[") if b"[" in value else 0)  # most have none: a faster look
        if openings > MAX_DEPTH and _is_deep(value):
            _refuse(Reason.NOT_JSON, f"the value is nested more than {MAX_DEPTH} deep")
        return value

    def _read_slowly(self, value: bytes) -> tuple[str | None, float | None, tuple[float, ...]]:
        """What the typed call refused: the same members one by one, with the policies applied, or the fault by name."""
        try:
            members = self._loose.decode(value)
        except msgspec.ValidationError as error:
            _refuse(Reason.NOT_AN_EVENT, f"the value is not a JSON object: {error}")
        except _UNREADABLE as error:
            try:  # NaN and Infinity are left to the policy, as a number too large is
                members = self._loose.decode(_NON_FINITE.sub(_too_large, value))
            except _UNREADABLE:
                _refuse(Reason.NOT_JSON, f"the value is not JSON: {error}")
        if "features" not in members:
            _refuse(Reason.NOT_AN_EVENT, "the object has no member 'features'")
        try:
            given = self._loose.decode(members["features"])
        except _UNREADABLE as error:
            _refuse(Reason.NOT_AN_EVENT, f"'features' is not an object of numbers: {error}")
        stream = _member(members, "stream", str, Reason.BAD_STREAM, "text")
        time = _member(members, "time", float, Reason.BAD_TIME, "a number of seconds since 1970")
        row = tuple(self._feature(name, given.pop(name, None)) for name in self.features)
        if given and self._rules.unknown == "reject":
            _refuse(Reason.UNKNOWN_FEATURE, f"feature {next(iter(given))!r} is not one of the model's")
        return stream, time, row

    def _feature(self, name: str, raw: msgspec.Raw | None) -> float:
        text = b"null" if raw is None else bytes(raw).strip()
        if _NUMBER.fullmatch(text):
            # 1e999 is infinite: the column check decides about it. A whole number has one zero, as the typed call says.
            return 0.0 if text == b"-0" else float(text)
        if text == b"null":
            policy, reason, fault = self._rules.missing, Reason.MISSING_FEATURE, "missing"
        else:
            shown = text[:40].decode(errors="replace")
            policy, reason, fault = self._rules.non_numeric, Reason.NON_NUMERIC, f"not a number: {shown}"
        if policy == "reject":
            _refuse(reason, f"feature {name!r} is {fault}")
        return nan


def _is_deep(value: bytes) -> bool:
    depth = 0
    for found in _BRACKETS.finditer(value):
        depth += (found[0] in b"[{") - (found[0] in b"]}")
        if depth > MAX_DEPTH:
            return True
    return False


def _untyped(_value: bytes) -> NoReturn:
    raise msgspec.ValidationError("a feature's name cannot be a field's")


def _too_large(found: re.Match[bytes]) -> bytes:
    return found[0] if found[0].startswith(b'"') else b"1e999"


def _member(members: dict[str, msgspec.Raw], name: str, kind: type[Any], reason: Reason, wanted: str) -> Any:
    raw = members.get(name)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=kind | None)
    except _UNREADABLE:
        shown = bytes(raw)[:40].decode(errors="replace")
        _refuse(reason, f"{name!r} is not {wanted}: {shown}")


def _name(stream: str | None, key: bytes | None) -> str:
    if stream is None:
        if not key:
            _refuse(Reason.BAD_STREAM, "neither the event nor the record's key names a stream")
        try:
            stream = key.decode()
        except UnicodeDecodeError:
            _refuse(Reason.BAD_STREAM, "the record's key names the stream and is not UTF-8")
    if not 0 < len(stream) <= MAX_STREAM:
        _refuse(Reason.BAD_STREAM, f"a stream's name has 1 to {MAX_STREAM} characters, this one {len(stream)}")
    return stream


def _time(time: float | None, timestamp: int) -> float:
    if time is None:
        if timestamp < 0:
            _refuse(Reason.BAD_TIME, "neither the event nor the record has a time")
        time = timestamp / 1000
    if not 0 <= time < LAST_TIME:
        _refuse(Reason.BAD_TIME, f"time {time:g} is not in the years 1970 to 9999 (seconds are expected)")
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


def json_schema(features: Sequence[str] | None = None) -> dict[str, Any]:
    """JSON Schema (2020-12) of an event; with the features of one artefact where they are given."""
    members: dict[str, Any] = {"type": "object", "additionalProperties": {"type": ["number", "null"]}}
    if features is not None:
        members = {
            "type": "object",
            "properties": {name: {"type": "number"} for name in features},
            "required": list(features),
            "additionalProperties": False,
        }
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
            "features": {**members, "description": "Value of each feature, in the unit the model was trained with."},
        },
    }
