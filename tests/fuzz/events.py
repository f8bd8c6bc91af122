"""Hostile records. The first two bytes of an input choose the rules, the features, the record's key and timestamp."""

from __future__ import annotations

import json
from functools import cache

import numpy as np

from monitor import config
from monitor.batch import RawRecord
from monitor.events import Decoder
from tests.fuzz import oracle
from tests.fuzz.target import demand

RULES = (
    config.Events(),
    config.Events(missing="impute", non_finite="impute", non_numeric="impute", unknown="ignore"),
    config.Events(missing="impute"),
    config.Events(non_finite="impute"),
    config.Events(non_numeric="impute"),
    config.Events(unknown="ignore", max_age=None),
    config.Events(max_bytes=64),
    config.Events(max_age=0.5, max_ahead=1e-3),
)
FEATURES = (("a", "b"), ("", 'a"b', "é"), ("features", "stream", "time"), ("NaN",))
KEYS_OF_RECORDS = (b"key", None, b"", b"\xff", "Pumpe-ä".encode(), b"x" * 256, b"\xed\xa0\x80", b"NaN")
TIMESTAMPS = (1_000_000, -1, 0, 1_700_000_000_123, 2**63 - 1, -(2**63), 253_402_300_799_000, 999)
_BESIDE = [RawRecord("t", 0, offset, 1000, b"k", b'{"stream":"s","features":{%s}}') for offset in (1, 3)]


@cache
def _decoder(rules: int, features: int) -> Decoder:
    return Decoder(FEATURES[features], RULES[rules])


def event_record(data: bytes) -> tuple[RawRecord, int, int]:
    """The record that an input stands for, and the numbers of its rules and of its features."""
    first, second = (*data[:2], 0, 0)[:2]
    key, stamp = KEYS_OF_RECORDS[second & 7], TIMESTAMPS[(second >> 3) & 7]
    value = data[2:] if first < 0x80 or len(data) > 2 else None
    return RawRecord("t", 0, 2, stamp, key, value), first & 7, (first >> 3) & 3


def check(data: bytes) -> bool:
    """Decoder and oracle agree on one record, and the records beside it do not feel it."""
    record, rules, features = event_record(data)
    names = FEATURES[features]
    members = b",".join(json.dumps(name).encode() + b":1.5" for name in names)
    beside = [one._replace(value=(one.value or b"") % members) for one in _BESIDE]
    if rules == 6:
        beside = []  # they are over its limit
    decoded = _decoder(rules, features).decode([*beside[:1], record, *beside[1:]])
    verdict = oracle.event(record, names, RULES[rules])
    batch = decoded.batch
    accepted = 2 in batch.offset.tolist()
    demand(len(batch) + len(decoded.rejects) == 1 + len(beside), "a record is one row or one reject")
    if not accepted:
        (reject,) = decoded.rejects
        demand(reject.record is record, "the reject holds another record")
        demand(0 < len(reject.detail) <= 300 and reject.detail.encode(), "the detail is not for a header")
        demand(verdict.row is None, f"refused as {reject.reason.value}: {reject.detail}")
        demand(
            reject.reason in verdict.reasons,
            f"refused as {reject.reason.value} ({reject.detail}), which is none of {sorted(verdict.reasons)}",
        )
    if verdict.row is None:
        demand(not accepted, f"accepted, but it is to be refused: {sorted(verdict.reasons)}")
    elif accepted:
        place = batch.offset.tolist().index(2)
        row = verdict.row
        values = batch.values[place].copy()
        values[np.isnan(values)] = np.nan
        found = oracle.Row(batch.stream[place], float(batch.time[place]), float(batch.arrival[place]), values.tobytes())
        demand(found == row, f"decoded to {found}, it is {row}")
    for place, offset in enumerate(batch.offset.tolist()):
        demand(offset == 2 or (batch.values[place] == 1.5).all(), "a neighbour's values changed")
    return accepted


def seeds() -> list[bytes]:
    values = [
        b'{"stream": "s", "time": 1000.5, "features": {"a": 1, "b": 2}}',
        b'{"features":{"a":NaN,"b":-Infinity}}',
        b'{"features":{"a":1e39,"b":null},"time":null,"stream":null}',
        b'{"features":{"a":"x","b":true,"c":[]}}',
        b'{"features":{"a":-0,"b":-0.0,"a":16777217}}',
        b'{"x":{"y":[1,{"z":"\\u00e9\\ud83d\\ude00"}]},"features":{"a":1e-46,"b":3.4028235677973366e38}}',
        b'{"features":{"":1,"a\\"b":2,"\xc3\xa9":3}}',
        b'{"features":{"features":1,"stream":2,"time":3}}',
        b'{"features":{"NaN":1}}',
        b"",
    ]
    heads = [
        bytes([rules | features << 3, pick])
        for rules, features, pick in zip(range(8), [0, 0, 0, 0, 1, 2, 3, 0], range(0, 64, 8), strict=True)
    ]
    return [head + value for head in heads for value in values]


WORDS = [
    *(b'{ } [ ] " , : \\ \x00 \xff \xc3 \xed\xa0\x80 \xf0\x9f\x98\x80 \\ud83d \\ude00 \\u0000 e E + - . 0').split(b" "),
    *b'null true false NaN Infinity -Infinity -0 -0.0 1e39 -1e999 1e-400 0x1 01 "a" "b" "c" "time" "stream"'.split(),
    *b'"features" "features":{ "a":1 "a\\"b" "" "\xc3\xa9" "stream":"s" "time":1000 253402300799 1700000000'.split(),
    *b"9007199254740993 18446744073709551616 16777217 3.4028235677973366e38 1.401298464324817e-45".split(),
    b"9" * 400,
    b"[" * 50,
    b"]" * 50,
    b" ",
]
