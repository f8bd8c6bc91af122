"""Records -> events and rejects: one bad input per rule with its exact message, and any bytes at all."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitor import config, events
from monitor.alerts import moment
from monitor.batch import RawRecord, Reason, Reject
from monitor.categories import Codes
from monitor.events import Decoded, Decoder
from monitor.feeds.vocabulary import LearnedCodes

STRICT = config.Events()
LENIENT = config.Events(missing="impute", non_finite="impute", non_numeric="impute", unknown="ignore")
EVENT = b'{"stream": "s", "time": 1000.5, "features": {"a": 1, "b": 2}}'
SCHEMA = Path(__file__).parents[1] / "docs" / "event.schema.json"


def record(value: bytes | None, key: bytes | None = b"key", timestamp: int = 1_000_000, offset: int = 0) -> RawRecord:
    return RawRecord("events", 0, offset, timestamp, key, value)


def decode(values: Sequence[bytes | None], rules: config.Events = STRICT, features: Sequence[str] = "ab") -> Decoded:
    return Decoder(tuple(features), rules).decode([record(value, offset=i) for i, value in enumerate(values)])


def only_reject(one: RawRecord, rules: config.Events = STRICT) -> Reject:
    decoded = Decoder(("a", "b"), rules).decode([one])
    assert not len(decoded.batch)
    (reject,) = decoded.rejects
    assert reject.record is one
    return reject


def row(features: bytes, rules: config.Events) -> list[float]:
    decoded = decode([b'{"features": ' + features + b"}"], rules)
    assert not decoded.rejects
    values: list[float] = decoded.batch.values[0].tolist()
    return values


def event(features: bytes = b'{"a": 1, "b": 2}', more: bytes = b"") -> bytes:
    return b'{"features": ' + features + more + b"}"


BAD: dict[str, tuple[bytes | None, Reason, str]] = {
    "tombstone": (None, Reason.TOMBSTONE, "the record has no value"),
    "empty": (b"", Reason.EMPTY, "the value is empty"),
    "blank": (b"  ", Reason.NOT_JSON, "the value is not JSON: Input data was truncated"),
    "not JSON": (
        b"temperature=20",
        Reason.NOT_JSON,
        "the value is not JSON: JSON is malformed: invalid character (byte 4)",
    ),
    "cut off": (EVENT[:-1], Reason.NOT_JSON, "the value is not JSON: Input data was truncated"),
    "two values": (
        EVENT + EVENT,
        Reason.NOT_JSON,
        f"the value is not JSON: JSON is malformed: trailing characters (byte {len(EVENT) + 1})",
    ),
    "byte order mark": (
        b"\xef\xbb\xbf" + EVENT,
        Reason.NOT_JSON,
        "the value is not JSON: JSON is malformed: invalid character (byte 0)",
    ),
    "not UTF-8": (
        b'{"\xff": 1}',
        Reason.NOT_JSON,
        "the value is not UTF-8 (byte 2)",
    ),
    "a NaN that Python does not write": (
        event(b'{"a": -NaN, "b": 2}'),
        Reason.NOT_JSON,
        "the value is not JSON: JSON is malformed: invalid character (byte 20)",
    ),
    "NaN at the end of a number": (
        event(b'{"a": 1NaN, "b": 2}'),
        Reason.NOT_JSON,
        "the value is not JSON: JSON is malformed: expected ',' or '}' (byte 20)",
    ),
    "NaN, then cut off": (
        event(b'{"a": NaN, "b": 2}')[:-1],
        Reason.NOT_JSON,
        "the value is not JSON: JSON is malformed: invalid character (byte 19)",
    ),
    "half a surrogate pair": (
        event(more=rb', "stream": "\ud800"'),
        Reason.NOT_JSON,
        "the value is not JSON: Input data was truncated",
    ),
    "a list": (b"[1, 2]", Reason.NOT_AN_EVENT, "the value is not a JSON object: Expected `object`, got `array`"),
    "a number": (b"3", Reason.NOT_AN_EVENT, "the value is not a JSON object: Expected `object`, got `int`"),
    "a text": (b'"x"', Reason.NOT_AN_EVENT, "the value is not a JSON object: Expected `object`, got `str`"),
    "null": (b"null", Reason.NOT_AN_EVENT, "the value is not a JSON object: Expected `object`, got `null`"),
    "no features": (b'{"stream": "s"}', Reason.NOT_AN_EVENT, "the object has no member 'features'"),
    "features as a list": (
        event(b"[1, 2]"),
        Reason.NOT_AN_EVENT,
        "'features' is not an object of numbers: Expected `object`, got `array`",
    ),
    "features null": (
        event(b"null"),
        Reason.NOT_AN_EVENT,
        "'features' is not an object of numbers: Expected `object`, got `null`",
    ),
    "stream a number": (event(more=b', "stream": 7'), Reason.BAD_STREAM, "'stream' is not text: 7"),
    "a text that is not UTF-8": (
        event(more=b', "stream": "\xff"'),
        Reason.NOT_JSON,
        "the value is not UTF-8 (byte 42)",
    ),
    "a name that is not read and not UTF-8": (
        event(more=b', "\xff": 1'),
        Reason.NOT_JSON,
        "the value is not UTF-8 (byte 32)",
    ),
    "nested too deep where nobody reads": (
        event(more=b', "x": ' + b"[" * 500 + b"]" * 500),
        Reason.NOT_JSON,
        "the value is nested more than 500 deep",
    ),
    "stream empty": (
        event(more=b', "stream": ""'),
        Reason.BAD_STREAM,
        "a stream's name has 1 to 255 characters, this one 0",
    ),
    "stream too long": (
        event(more=b', "stream": "' + b"x" * 256 + b'"'),
        Reason.BAD_STREAM,
        "a stream's name has 1 to 255 characters, this one 256",
    ),
    "time as text": (
        event(more=b', "time": "2024-01-01"'),
        Reason.BAD_TIME,
        "'time' is not a number of seconds since 1970: \"2024-01-01\"",
    ),
    "time a boolean": (
        event(more=b', "time": true'),
        Reason.BAD_TIME,
        "'time' is not a number of seconds since 1970: true",
    ),
    "time infinite": (
        event(more=b', "time": 1e999'),
        Reason.BAD_TIME,
        "'time' is not a number of seconds since 1970: 1e999",
    ),
    "time NaN": (
        event(more=b', "time": NaN'),
        Reason.BAD_TIME,
        "'time' is not a number of seconds since 1970: 1e999",
    ),
    "time negative": (
        event(more=b', "time": -1'),
        Reason.BAD_TIME,
        "time -1 is not in the years 1970 to 9999 (seconds are expected)",
    ),
    "time in milliseconds": (
        event(more=b', "time": 1712345678900'),
        Reason.BAD_TIME,
        "time 1.71235e+12 is not in the years 1970 to 9999 (seconds are expected)",
    ),
    "time after 9999": (
        event(more=b', "time": 253402300800'),
        Reason.BAD_TIME,
        "time 2.53402e+11 is not in the years 1970 to 9999 (seconds are expected)",
    ),
    "far future": (
        event(more=b', "time": 1300.5'),
        Reason.IN_FUTURE,
        "time 1300.500 is 300 s ahead of the record (events.max_ahead is 300)",
    ),
    "feature missing": (event(b'{"a": 1}'), Reason.MISSING_FEATURE, "feature 'b' is missing"),
    "feature null": (event(b'{"a": null, "b": 2}'), Reason.MISSING_FEATURE, "feature 'a' is missing"),
    "feature unknown": (
        event(b'{"a": 1, "b": 2, "c": 3}'),
        Reason.UNKNOWN_FEATURE,
        "feature 'c' is not one of the model's",
    ),
    "feature beyond float32": (
        event(b'{"a": 1, "b": 1e39}'),
        Reason.NON_FINITE,
        "feature 'b' is not finite in float32",
    ),
    "feature beyond float64": (
        event(b'{"a": -1e999, "b": 2}'),
        Reason.NON_FINITE,
        "feature 'a' is not finite in float32",
    ),
    "feature NaN": (event(b'{"a": 1, "b": NaN}'), Reason.NON_FINITE, "feature 'b' is not finite in float32"),
    "feature infinite": (event(b'{"a":Infinity,"b":2}'), Reason.NON_FINITE, "feature 'a' is not finite in float32"),
    "feature -infinite": (event(b'{"b":-Infinity,"a":2}'), Reason.NON_FINITE, "feature 'b' is not finite in float32"),
    "feature a list of NaN": (
        event(b'{"a": [NaN], "b": 2}'),
        Reason.NON_NUMERIC,
        "feature 'a' is not a number: [1e999]",
    ),
    "feature a text NaN": (event(b'{"a": "NaN", "b": 2}'), Reason.NON_NUMERIC, "feature 'a' is not a number: \"NaN\""),
    "feature rounds to infinity": (
        event(b'{"a": 1, "b": 3.4028235677973366e38}'),
        Reason.NON_FINITE,
        "feature 'b' is not finite in float32",
    ),
    "feature a text": (event(b'{"a": 1, "b": "2"}'), Reason.NON_NUMERIC, "feature 'b' is not a number: \"2\""),
    "feature a boolean": (event(b'{"a": 1, "b": true}'), Reason.NON_NUMERIC, "feature 'b' is not a number: true"),
    "feature a list": (event(b'{"a": 1, "b": [2]}'), Reason.NON_NUMERIC, "feature 'b' is not a number: [2]"),
    "feature an object": (event(b'{"a": 1, "b": {}}'), Reason.NON_NUMERIC, "feature 'b' is not a number: {}"),
    "a long text is shown cut": (
        event(b'{"a": 1, "b": "' + b"x" * 99 + b'"}'),
        Reason.NON_NUMERIC,
        "feature 'b' is not a number: \"" + "x" * 39,
    ),
}


@pytest.mark.parametrize(("value", "reason", "detail"), BAD.values(), ids=BAD.keys())
def test_a_bad_value_is_rejected_with_its_reason(value: bytes | None, reason: Reason, detail: str) -> None:
    reject = only_reject(record(value))
    assert (reject.reason, reject.detail) == (reason, detail)


def test_every_reason_has_a_bad_input_here() -> None:
    # The first two depend on a setting or on the record: tested below; the last one on the codec: test_codecs.
    apart = {Reason.OVERSIZED, Reason.TOO_OLD, Reason.NOT_MSGPACK}
    assert {reason for _, reason, _ in BAD.values()} | apart == set(Reason)


@pytest.mark.parametrize("hole", [b"%s", b'{"features": %s}', b'{"features": {"a": %s, "b": 1}}', b'{"x": %s}'])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("rules", [STRICT, LENIENT])
def test_nesting_of_any_depth_is_rejected(hole: bytes, opening: bytes, closing: bytes, rules: config.Events) -> None:
    deep = opening * 100_000 + b"1" + closing * 100_000
    assert only_reject(record(hole % deep), rules).reason in {Reason.NOT_JSON, Reason.NOT_AN_EVENT}


def test_nesting_is_counted_alike_from_whatever_depth_the_decoder_is_called() -> None:
    """Five hundred are taken, and brackets in a text, or beside each other, are no nesting."""
    taken = [b"[" * 499 + b"]" * 499, b"[" + b"[],{}," * 500 + b"0]", b'"' + b"[" * 900 + b'\\"{"']

    def called(deeper: int) -> int:
        return (
            called(deeper - 1) if deeper else len(decode([event(more=b', "x": ' + value) for value in taken]).rejects)
        )

    assert [called(0), called(300)] == [0, 0]


def test_a_record_over_the_limit_is_rejected_unread() -> None:
    reject = only_reject(record(b"\xff" * 65), config.Events(max_bytes=64))
    assert (reject.reason, reject.detail) == (Reason.OVERSIZED, "65 bytes, events.max_bytes is 64")
    assert not decode([EVENT.ljust(64)], config.Events(max_bytes=64)).rejects


@pytest.mark.parametrize(
    ("key", "detail"),
    [
        (None, "neither the event nor the record's key names a stream"),
        (b"", "neither the event nor the record's key names a stream"),
        (b"\xff", "the record's key names the stream and is not UTF-8"),
        (b"\xed\xa0\x80", "the record's key names the stream and is not UTF-8"),
        (b"x" * 256, "a stream's name has 1 to 255 characters, this one 256"),
    ],
)
def test_a_key_that_cannot_name_the_stream_is_rejected(key: bytes | None, detail: str) -> None:
    reject = only_reject(record(event(), key))
    assert (reject.reason, reject.detail) == (Reason.BAD_STREAM, detail)


def test_an_event_without_any_time_is_rejected() -> None:
    reject = only_reject(record(event(), timestamp=-1))
    assert (reject.reason, reject.detail) == (Reason.BAD_TIME, "neither the event nor the record has a time")


def test_an_event_much_older_than_its_record_is_rejected_unless_any_age_is_allowed() -> None:
    old = record(event(more=b', "time": 399.5'))
    reject = only_reject(old, config.Events(max_age=600))
    assert reject.reason == Reason.TOO_OLD
    assert reject.detail == "time 399.500 is 600 s before the record (events.max_age is 600)"
    assert len(Decoder(("a", "b"), config.Events(max_age=None)).decode([old]).batch) == 1


def test_an_age_at_the_limit_is_allowed_on_both_sides() -> None:
    rules = config.Events(max_age=600, max_ahead=300)
    assert not decode([event(more=b', "time": 400'), event(more=b', "time": 1300')], rules).rejects


def test_a_record_without_a_timestamp_has_no_age() -> None:
    decoded = Decoder(("a", "b"), STRICT).decode([record(event(more=b', "time": 5'), timestamp=-1)])
    assert decoded.batch.arrival.tolist() == decoded.batch.time.tolist() == [5.0]


@pytest.mark.parametrize("null", [b"", b', "stream": null, "time": null'])
def test_stream_and_time_fall_back_to_the_record(null: bytes) -> None:
    decoded = Decoder(("a", "b"), STRICT).decode([record(event(more=null), "Pumpe-ä".encode(), 1234)])
    assert list(decoded.batch.stream) == ["Pumpe-ä"]
    assert decoded.batch.time.tolist() == decoded.batch.arrival.tolist() == [1.234]


def test_the_event_s_own_stream_and_time_win_over_the_record_s() -> None:
    decoded = Decoder(("a", "b"), STRICT).decode([record(EVENT, b"\xff", 1_100_000)])
    assert (list(decoded.batch.stream), decoded.batch.time.tolist()) == (["s"], [1000.5])
    assert decoded.batch.arrival.tolist() == [1100.0]


@pytest.mark.parametrize(
    ("rules", "features", "expected"),
    [
        (config.Events(missing="impute"), b'{"b": 2}', [nan, 2]),
        (config.Events(missing="impute"), b'{"a": null, "b": 2}', [nan, 2]),
        (config.Events(non_numeric="impute"), b'{"a": "off", "b": 2}', [nan, 2]),
        (config.Events(non_numeric="impute"), b'{"a": [1], "b": false}', [nan, nan]),
        (config.Events(non_finite="impute"), b'{"a": 1e39, "b": -1e999}', [nan, nan]),
        (config.Events(non_finite="impute"), b'{"a": NaN, "b": 2}', [nan, 2]),
        (config.Events(non_finite="impute"), b'{"a": -Infinity, "b": Infinity}', [nan, nan]),
        (config.Events(unknown="ignore"), b'{"c": "x", "b": 2, "a": 1}', [1, 2]),
        (LENIENT, b'{"a": {}, "c": 1}', [nan, nan]),
    ],
)
def test_a_policy_lets_its_own_case_through(rules: config.Events, features: bytes, expected: list[float]) -> None:
    assert row(features, rules) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("policy", "features", "reason"),
    [
        ("missing", b'{"a": 1}', Reason.MISSING_FEATURE),
        ("non_finite", b'{"a": 1, "b": 1e39}', Reason.NON_FINITE),
        ("non_finite", b'{"a": 1, "b": NaN}', Reason.NON_FINITE),
        ("non_numeric", b'{"a": 1, "b": "2"}', Reason.NON_NUMERIC),
        ("unknown", b'{"a": 1, "b": 2, "c": 3}', Reason.UNKNOWN_FEATURE),
    ],
)
def test_a_policy_covers_no_other_case(policy: str, features: bytes, reason: Reason) -> None:
    others: dict[str, Any] = {name: value for name, value in LENIENT.model_dump().items() if name != policy}
    assert only_reject(record(event(features)), config.Events(**others)).reason == reason


PROTOCOLS = {"p": Codes(["icmp", "tcp", "5", "true"])}
BETWEEN = ("a", "p", "b")  # a category between two numbers


def category_of(p: bytes, rules: config.Events = STRICT) -> float:
    """Its code on the fast way, and that the slow way has the same and both have the numbers in their places."""
    fast = b'{"features": {"b": 2, "p": ' + p + b', "a": 1}}'
    slow = fast.replace(b'"b": 2', b'"b": "x", "b": 2')
    decoder = Decoder(BETWEEN, rules, PROTOCOLS)
    rows = [decoder.decode([record(value)]).batch.values.tolist() for value in (fast, slow)]
    np.testing.assert_array_equal(rows[0], rows[1])
    ((a, code, b),) = rows[0]
    assert (a, b) == (1, 2)
    return float(code)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b'"tcp"', 1),
        (rb'"\u0074cp"', 1),
        (b'"TCP"', -1),
        (b'" tcp"', -1),
        (b'"udp"', -1),
        ('"é"'.encode(), -1),
        (b"5", 2),
        (b"5.0", 2),
        (b'"5"', 2),
        (b"6", -1),
        (b"9" * 4000, -1),
        (b"true", 3),
        (b"false", -1),
        (b'"NaN"', -1),
    ],
)
def test_a_category_is_its_code_and_an_unknown_one_is_no_reject(value: bytes, code: float) -> None:
    assert category_of(value) == code


@pytest.mark.parametrize(
    ("value", "rules", "reason"),
    [
        (b"null", config.Events(missing="impute"), Reason.MISSING_FEATURE),
        (b'""', config.Events(missing="impute"), Reason.MISSING_FEATURE),
        (b'["tcp"]', config.Events(non_numeric="impute"), Reason.NON_NUMERIC),
        (b'{"p": "tcp"}', config.Events(non_numeric="impute"), Reason.NON_NUMERIC),
        (b"NaN", config.Events(non_finite="impute"), Reason.NON_FINITE),
        (b"1e999", config.Events(non_finite="impute"), Reason.NON_FINITE),
        (b"9" * 5000, config.Events(non_finite="impute"), Reason.NON_FINITE),
    ],
)
def test_the_policies_hold_for_categories(value: bytes, rules: config.Events, reason: Reason) -> None:
    assert np.isnan(category_of(value, rules))
    one = record(b'{"features": {"a": 1, "p": ' + value + b', "b": 2}}')
    (reject,) = Decoder(BETWEEN, STRICT, PROTOCOLS).decode([one]).rejects
    assert reject.reason == reason
    assert "feature 'p' is " in reject.detail


def test_a_category_that_is_absent_is_missing() -> None:
    one = record(b'{"features": {"a": 1, "b": 2}}')
    (reject,) = Decoder(BETWEEN, STRICT, PROTOCOLS).decode([one]).rejects
    assert (reject.reason, reject.detail) == (Reason.MISSING_FEATURE, "feature 'p' is missing")
    ((a, p, b),) = Decoder(BETWEEN, config.Events(missing="impute"), PROTOCOLS).decode([one]).batch.values.tolist()
    assert (a, b, np.isnan(p)) == (1, 2, True)


def test_text_where_a_number_is_expected_stays_a_fault_beside_a_category() -> None:
    one = record(b'{"features": {"a": "tcp", "p": "tcp", "b": 2}}')
    (reject,) = Decoder(BETWEEN, STRICT, PROTOCOLS).decode([one]).rejects
    assert (reject.reason, reject.detail) == (Reason.NON_NUMERIC, "feature 'a' is not a number: \"tcp\"")


def test_features_may_be_categories_alone_of_any_name() -> None:
    names = ('a"b', "é", "p")
    decoder = Decoder(names, STRICT, {name: Codes(["x", "y"]) for name in names})
    values = [json.dumps({"features": dict(zip(names, given, strict=True))}).encode() for given in ("xyx", "yyz")]
    decoded = decoder.decode([record(value) for value in values])
    assert decoded.batch.values.tolist() == [[0, 1, 0], [1, 1, -1]]
    assert decoded.unknown == 1
    assert decoder.decode([]).batch.values.shape == (0, 3)


def test_categories_are_learned_where_none_are_known() -> None:
    codes = LearnedCodes()
    values = [b'{"features": {"a": 1, "p": ' + p + b', "b": 2}}' for p in (b'"y"', b'"x"', b"7", b'"y"', b"[]")]
    decoded = Decoder(BETWEEN, STRICT, {"p": codes}).decode([record(value) for value in values])
    assert decoded.batch.values[:, 1].tolist() == [0, 1, 2, 0]
    assert decoded.unknown == 0
    assert tuple(codes) == ("y", "x", "7")


def test_the_last_of_duplicate_members_wins_on_either_path() -> None:
    assert row(b'{"a": 9, "b": 2, "a": 1}', STRICT) == [1, 2]
    assert row(b'{"a": "x", "b": 2, "a": 1}', STRICT) == [1, 2]
    assert only_reject(record(event(b'{"a": 1, "b": 2, "a": "x"}'))).reason == Reason.NON_NUMERIC


def test_a_whole_number_has_one_zero_on_either_path() -> None:
    for features in (b'{"a": -0, "b": -0.0}', b'{"a": "x", "a": -0, "b": -0.0}'):
        (values,) = decode([event(features)]).batch.values
        assert np.signbit(values).tolist() == [False, True]


def test_other_members_are_allowed_and_not_read() -> None:
    assert not decode([event(more=b', "unit": {"a": ["bar"]}, "f0": 7')]).rejects
    assert not decode([event(more=b', "limits": {"a": [-Infinity, NaN]}, "f0": Infinity')]).rejects


@pytest.mark.parametrize("name", ["NaN", "a NaN, b", '"NaN"', "\\", '\\"NaN', "-Infinity\n", ": NaN}"])
@pytest.mark.parametrize("rules", [STRICT, LENIENT])
def test_nan_in_a_text_stays_text(name: str, rules: config.Events) -> None:
    """Also beside a NaN that is none, which has the value read a second time."""
    values = [
        json.dumps({"stream": name, "x": x, "features": {"NaN": 1, "a": 2}}).encode() for x in (0, nan, -inf, [nan])
    ]
    batch = decode(values, rules, ("NaN", "a")).batch
    assert list(batch.stream) == [name] * 4
    assert batch.values.tolist() == [[1, 2]] * 4


@pytest.mark.parametrize("part", [b'"', b'\\"', b'"\\', b"NaN", b"-", b"-Infinity "])
def test_a_long_value_that_is_not_json_is_refused(part: bytes) -> None:
    """A pattern that looks again inside what it has passed over would take hours for these."""
    value = b'{"' + part * (1_000_000 // len(part))
    assert only_reject(record(value), config.Events(max_bytes=len(value))).reason == Reason.NOT_JSON


NAMES = [
    ("f1", "f0"),
    ("features", "stream", "time"),
    ("__class__", "self", "class"),
    ("", " ", "  "),
    ("a.b", "a b", "a-b", "a/b", "1"),
    ("Größe", "温度", "🌡", "e\u0301", "é"),
    ('a"b', "c"),
    ("a\\b", "a\\\\b"),
    ("a\nb", "a\tb", "\x00"),
    tuple(f"sensor {i}" for i in range(300)),
]


@pytest.mark.parametrize("names", NAMES, ids=ascii)
@pytest.mark.parametrize("escaped", [True, False])
def test_a_feature_may_have_any_name(names: tuple[str, ...], escaped: bool) -> None:
    features = {name: float(i) for i, name in enumerate(names)}
    value = json.dumps({"features": features}, ensure_ascii=escaped).encode()
    unknown = json.dumps({"features": features | {"not known": 1}}).encode()
    lacking = json.dumps({"features": dict(list(features.items())[1:])}).encode()
    decoded = Decoder(names, STRICT).decode([record(value), record(unknown), record(lacking)])
    assert decoded.batch.values.tolist() == [[float(i) for i in range(len(names))]]
    assert [reject.detail for reject in decoded.rejects] == [
        "feature 'not known' is not one of the model's",
        f"feature {names[0]!r} is missing",
    ]


def test_a_name_that_is_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="unique"):
        Decoder(("a", "a"), STRICT)


def test_the_time_before_the_last_second_of_9999_can_be_written_down() -> None:
    last = float(np.nextafter(events.LAST_TIME, 0))
    value = event(more=b', "time": ' + repr(last).encode())
    assert Decoder(("a", "b"), STRICT).decode([record(value, timestamp=-1)]).batch.time.tolist() == [last]
    assert moment(last).year == 9999


float32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
finite = st.one_of(float32, st.floats(-3e38, 3e38), st.integers(-(10**30), 10**30))
text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(text, st.floats(0, 1200, allow_subnormal=True), finite, finite, st.booleans(), st.integers(0, 2)),
        max_size=20,
    )
)
def test_a_valid_event_is_what_a_plain_json_reader_says(rows: list[tuple[str, float, float, float, bool, int]]) -> None:
    values = []
    for stream, time, a, b, escaped, indent in rows:
        members = {"x": {"b": [1]}, "stream": stream, "time": time, "features": {"b": b, "a": a}}
        values.append(json.dumps(members, ensure_ascii=escaped, indent=indent or None).encode())
    decoded = decode(values)
    plain = [json.loads(value) for value in values]
    assert not decoded.rejects
    assert list(decoded.batch.stream) == [p["stream"] for p in plain]
    assert decoded.batch.time.tolist() == [p["time"] for p in plain]
    expected = np.array([[p["features"][name] for name in "ab"] for p in plain], np.float64).astype(np.float32)
    assert decoded.batch.values.tobytes() == expected.tobytes()
    assert decoded.batch.offset.tolist() == list(range(len(rows)))


@settings(max_examples=300, deadline=None)
@given(st.lists(float32, min_size=2, max_size=2))
def test_a_float32_comes_through_bit_for_bit(values: list[float]) -> None:
    sent = np.array(values, np.float32)
    fast = event(json.dumps(dict(zip("ab", sent.tolist(), strict=True))).encode())
    slow = fast.replace(b'{"a"', b'{"a": "once more", "a"')
    for decoded in (decode([fast]), decode([slow])):
        assert decoded.batch.values.tobytes() == sent.tobytes()


def hold_the_laws(records: list[RawRecord], rules: config.Events) -> None:
    """Each record is one row or one reject, both in arrival order, and no row has a value that policy forbids."""
    decoded = Decoder(("a", "b"), rules).decode(records)
    batch = decoded.batch
    rejected = [reject.record.offset for reject in decoded.rejects]
    assert len(batch) + len(rejected) == len(records)
    assert batch.offset.tolist() == sorted(batch.offset.tolist())
    assert rejected == sorted(rejected)
    assert set(rejected).isdisjoint(batch.offset.tolist())
    assert batch.values.shape == (len(batch), 2)
    assert batch.values.dtype == np.float32
    assert not np.isinf(batch.values).any()
    assert rules is LENIENT or not np.isnan(batch.values).any()
    assert all(0 < len(stream) <= events.MAX_STREAM and stream.encode() for stream in batch.stream)
    assert ((batch.time >= 0) & (batch.time < events.LAST_TIME)).all()
    assert np.isfinite(batch.arrival).all()
    assert all(reject.detail.encode() for reject in decoded.rejects)  # headers are UTF-8


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.binary(max_size=60), st.just(EVENT)),
            st.one_of(st.none(), st.binary(max_size=6)),
            st.one_of(st.just(-1), st.integers(-(2**62), 2**62)),
        ),
        max_size=30,
    ),
    st.sampled_from([STRICT, LENIENT]),
)
@example([(EVENT, None, 2**63 - 1), (EVENT, None, -(2**63))], STRICT)
def test_any_bytes_give_a_row_or_a_reject(
    given_records: list[tuple[bytes | None, bytes | None, int]], rules: config.Events
) -> None:
    records = [record(value, key, stamp, i) for i, (value, key, stamp) in enumerate(given_records)]
    hold_the_laws(records, rules)


SNIPPETS = [
    *(b'{ } [ ] " , : \\ \x00 \xff \xc3 \xed\xa0\x80 \xf0\x9f\x98\x80 \\ud83d \\ude00 \\u0000 e E + - . 0').split(b" "),
    *(
        b'null true NaN Infinity -Infinity -0 -0.0 1e39 -1e999 1e-400 1712345678900 0x1 01 "a" "b" "c" "time" "stream"'
    ).split(b" "),
    b'"features"',
    b'"features": {"a": 1, "b": 2}',
    b"9" * 400,
    b"[" * 50,
    b" ",
    b"",
]


@pytest.mark.parametrize("rules", [STRICT, LENIENT], ids=["strict", "lenient"])
def test_twenty_thousand_damaged_events_give_a_row_or_a_reject_each(rules: config.Events) -> None:
    luck = random.Random(7)
    records = []
    for number in range(10_000):
        value = bytearray(EVENT)
        for _ in range(luck.randint(1, 4)):
            place, width = luck.randrange(len(value) + 1), luck.choice([0, 0, 1, 1, 2, 5, 12])
            value[place : place + width] = luck.choice(SNIPPETS)
        records.append(record(bytes(value), luck.choice([None, b"key", b"\xff"]), luck.choice([-1, 10**6]), number))
    hold_the_laws(records, rules)
    found = {reject.reason for reject in Decoder(("a", "b"), rules).decode(records).rejects}
    assert {Reason.NOT_JSON, Reason.NOT_AN_EVENT, Reason.BAD_STREAM, Reason.BAD_TIME} < found  # the damage reaches deep


def test_no_records_are_an_empty_batch() -> None:
    decoded = decode([])
    assert (len(decoded.batch), decoded.batch.values.shape, decoded.rejects) == (0, (0, 2), [])


def test_the_batch_of_other_records_is_not_touched_by_a_bad_one() -> None:
    good = decode([EVENT, EVENT]).batch
    between = decode([EVENT, b"bad", EVENT, event(b'{"a": 1, "b": 1e39}')])
    assert between.batch.values.tobytes() == good.values.tobytes()
    assert between.batch.offset.tolist() == [0, 2]
    assert [reject.record.offset for reject in between.rejects] == [1, 3]


def test_the_published_schema_is_the_one_in_the_code() -> None:
    """A change of the contract is a visible diff: `python -m tests.test_events` writes the file anew."""
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == events.json_schema()


def test_the_schema_of_one_artefact_names_its_features() -> None:
    features = events.json_schema(["b", "a"])["properties"]["features"]
    assert (features["required"], features["additionalProperties"]) == (["b", "a"], False)


def test_the_schema_of_one_artefact_lists_a_category_s_values_and_allows_others() -> None:
    features = events.json_schema(BETWEEN, PROTOCOLS)["properties"]["features"]["properties"]
    assert (features["a"], features["p"]["examples"]) == ({"type": "number"}, ["icmp", "tcp", "5", "true"])
    assert "enum" not in features["p"]


if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(events.json_schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def test_a_detail_is_short_whatever_it_quotes() -> None:
    value = b'{"features": {"a": 1, "b": 2, "' + b"x" * 100_000 + b'": 3}}'
    (reject,) = Decoder(("a", "b"), config.Events()).decode([RawRecord("t", 0, 0, 0, b"s", value)]).rejects
    assert reject.reason == Reason.UNKNOWN_FEATURE
    assert len(reject.detail) == 300
