"""The contract in: record bytes -> Batch, and a reject with its reason for every record that is no event.

An event is one feature vector of one stream, as `events.codec` writes it (see `codecs`). The stream falls back to the
record's key, the time to the record's timestamp.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from types import MappingProxyType
from typing import Any

import numpy as np

from monitor import config
from monitor.batch import Batch, Float32, Reason, Record, Reject
from monitor.categories import UNKNOWN, Codes
from monitor.codecs import Layout, codec
from monitor.codecs.codec import NotAnEventError, not_finite, refuse

MAX_STREAM = 255
"""Longest stream name, in characters."""
LAST_TIME = 253_402_300_799.0
"""Event times are from 0 (1970) to below this (the last second of 9999), s since the Unix epoch."""

_NO_CODES: Mapping[str, Codes] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Decoded:
    batch: Batch
    rejects: Sequence[Reject]
    unknown: int = 0  # values of categories that training never saw


class Decoder:
    """Decodes records of one artefact: its features, in its order."""

    def __init__(self, features: Sequence[str], rules: config.Events, codes: Mapping[str, Codes] = _NO_CODES) -> None:
        """`codes` of those features that are categories; the others are numbers.

        Raises `ConfigError` where `events.codec` cannot carry them.
        """
        self.features = tuple(features)
        self._rules = rules
        self._codes = codes
        self._layout = Layout.of(features, codes)
        self._codec = codec(features, tuple(codes), rules)

    def decode(self, records: Sequence[Record]) -> Decoded:
        """N records of one topic -> the events among them, in the same order, and a reject for each of the others."""
        rejects: dict[int, Reject] = {}
        accepted: list[int] = []
        streams: list[str] = []
        times: list[float] = []
        rows: list[Any] = []
        read = self._codec.read
        for number, record in enumerate(records):
            try:
                stream, time, row = read(record.value)
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
        faults = self._check_columns(batch, [records[number] for number in accepted])
        if faults:
            for row_number, (reason, detail) in faults.items():
                number = accepted[row_number]
                rejects[number] = Reject(reason, detail, records[number])
            batch = _without(batch, faults.keys())
        categories = self._layout.categories
        unknown = int(np.count_nonzero(batch.values[:, categories] == UNKNOWN)) if categories else 0
        return Decoded(batch, [rejects[number] for number in sorted(rejects)], unknown)

    def _values(self, rows: Sequence[Any]) -> Float32:
        """Rows as they were read -> (N, F); a number beyond float32 becomes infinite."""
        with np.errstate(over="ignore", invalid="ignore"):  # too large for float32; a NaN of an odd pattern
            numbers: Float32 = self._codec.numbers(rows).astype(np.float32, copy=False)
        if not self._layout.categories:
            return numbers
        values = np.empty((len(rows), len(self.features)), np.float32)
        values[:, self._layout.numbers] = numbers
        for place, found in zip(self._layout.categories, self._codec.categories(rows), strict=True):
            codes = self._codes[self.features[place]]
            values[:, place] = [codes[one] for one in found]
        return values

    def _check_columns(self, batch: Batch, records: Sequence[Record]) -> dict[int, tuple[Reason, str]]:
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
        for row in np.flatnonzero(np.isnan(batch.values).any(axis=1)).tolist():
            try:
                self._codec.look_again(records[row].value or b"")
            except NotAnEventError as fault:
                faults[row] = fault.reason, fault.detail
        infinite = np.isinf(batch.values)
        if rules.non_finite == "impute":
            batch.values[infinite] = nan
        else:
            for row in np.flatnonzero(infinite.any(axis=1)).tolist():
                name = self.features[int(infinite[row].argmax())]
                faults[row] = Reason.NON_FINITE, not_finite(name)
        return faults


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
