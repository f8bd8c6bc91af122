"""The other ways to write an event: each means what the JSON one means, and refuses with the same reasons."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from math import inf, nan
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monitor.batch import RawRecord, Reason, Reject
from monitor.categories import Codes
from monitor.codecs import Layout
from monitor.codecs.codec import MAX_DEPTH, NotAnEventError
from monitor.codecs.messagepack import MessagePackCodec
from monitor.config import Events
from monitor.errors import ConfigError
from monitor.events import Decoded, Decoder

FEATURES = ("a", "b")
LENIENT: dict[str, Any] = {"missing": "impute", "non_finite": "impute", "non_numeric": "impute", "unknown": "ignore"}
pack = msgspec.msgpack.encode


def decode(values: Sequence[bytes | None], codec: str, timestamp: int = 1_000_500, **rules: Any) -> Decoded:
    records = [RawRecord("events", 0, n, timestamp, b"s", value) for n, value in enumerate(values)]
    return Decoder(FEATURES, Events(codec=codec, **rules)).decode(records)  # type: ignore[arg-type]


def refused(value: bytes | None, codec: str, **rules: Any) -> Reject:
    decoded = decode([value], codec, **rules)
    assert not len(decoded.batch)
    (reject,) = decoded.rejects
    return reject


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def event(features: Any = None, **more: Any) -> bytes:
    return pack({"features": {"a": 1.0, "b": 2} if features is None else features, **more})


BAD_MSGPACK: dict[str, tuple[bytes | None, Reason, str]] = {
    "tombstone": (None, Reason.TOMBSTONE, "the record has no value"),
    "empty": (b"", Reason.EMPTY, "the value is empty"),
    "JSON": (
        b'{"features": {}}',
        Reason.NOT_AN_EVENT,
        "the value is not a map of texts: Expected `object`, got `int`",
    ),
    "cut off": (event()[:-1], Reason.NOT_MSGPACK, "the value is not MessagePack: Input data was truncated"),
    "a byte that means nothing": (
        b"\xc1",
        Reason.NOT_MSGPACK,
        r"the value is not MessagePack: MessagePack data is malformed: invalid opcode '\xc1' (byte 0)",
    ),
    "two values": (
        event() + event(),
        Reason.NOT_MSGPACK,
        f"the value is not MessagePack: MessagePack data is malformed: trailing characters (byte {len(event())})",
    ),
    "a list": (pack([1]), Reason.NOT_AN_EVENT, "the value is not a map of texts: Expected `object`, got `array`"),
    "no features": (pack({"time": 1}), Reason.NOT_AN_EVENT, "the map has no member 'features'"),
    "features as a list": (
        event([1, 2]),
        Reason.NOT_AN_EVENT,
        "'features' is not a map of numbers: Expected `object`, got `array`",
    ),
    "stream a number": (event(stream=7), Reason.BAD_STREAM, "'stream' is not text: 7"),
    "stream empty": (event(stream=""), Reason.BAD_STREAM, "a stream's name has 1 to 255 characters, this one 0"),
    "time a text": (event(time="now"), Reason.BAD_TIME, "'time' is not a number of seconds since 1970: 'now'"),
    "time NaN": (event(time=nan), Reason.BAD_TIME, "time nan is not in the years 1970 to 9999 (seconds are expected)"),
    "too far ahead": (
        event(time=9000.0),
        Reason.IN_FUTURE,
        "time 9000.000 is 8000 s ahead of the record (events.max_ahead is 300)",
    ),
    "a feature is missing": (event({"a": 1}), Reason.MISSING_FEATURE, "feature 'b' is missing"),
    "nil": (event({"a": 1, "b": None}), Reason.MISSING_FEATURE, "feature 'b' is missing"),
    "unknown": (event({"a": 1, "b": 2, "c": 3}), Reason.UNKNOWN_FEATURE, "feature 'c' is not one of the model's"),
    "text": (event({"a": "x", "b": 2}), Reason.NON_NUMERIC, "feature 'a' is not a number: 'x'"),
    "a boolean": (event({"a": True, "b": 2}), Reason.NON_NUMERIC, "feature 'a' is not a number: True"),
    "bytes": (event({"a": b"x", "b": 2}), Reason.NON_NUMERIC, "feature 'a' is not a number: b'x'"),
    "NaN": (event({"a": nan, "b": 2}), Reason.NON_FINITE, "feature 'a' is not finite in float32"),
    "infinite": (event({"a": 1, "b": -inf}), Reason.NON_FINITE, "feature 'b' is not finite in float32"),
    "beyond float32": (event({"a": 1e39, "b": 2}), Reason.NON_FINITE, "feature 'a' is not finite in float32"),
}
BAD_FLOATS: dict[str, tuple[bytes | None, Reason, str]] = {
    "tombstone": (None, Reason.TOMBSTONE, "the record has no value"),
    "empty": (b"", Reason.EMPTY, "the value is empty"),
    "too few": (floats(1), Reason.NOT_AN_EVENT, "4 bytes, 2 features as float32 have 8"),
    "JSON": (b'{"a": 1}!!', Reason.NOT_AN_EVENT, "10 bytes, 2 features as float32 have 8"),
    "NaN": (floats(1, nan), Reason.MISSING_FEATURE, "feature 'b' is missing"),
    "infinite": (floats(-inf, 1), Reason.NON_FINITE, "feature 'a' is not finite in float32"),
}


@pytest.mark.parametrize("case", BAD_MSGPACK)
def test_a_bad_map_is_refused_with_its_reason(case: str) -> None:
    value, reason, detail = BAD_MSGPACK[case]
    reject = refused(value, "msgpack")
    assert (reject.reason, reject.detail) == (reason, detail)


@pytest.mark.parametrize("case", BAD_FLOATS)
def test_bad_raw_numbers_are_refused_with_their_reason(case: str) -> None:
    value, reason, detail = BAD_FLOATS[case]
    reject = refused(value, "float32")
    assert (reject.reason, reject.detail) == (reason, detail)


def test_raw_numbers_need_the_records_key_and_timestamp() -> None:
    decoder = Decoder(FEATURES, Events(codec="float32"))
    nameless = RawRecord("events", 0, 0, 1000, None, floats(1, 2))
    timeless = RawRecord("events", 0, 1, -1, b"s", floats(1, 2))
    assert [reject.reason for reject in decoder.decode([nameless, timeless]).rejects] == [
        Reason.BAD_STREAM,
        Reason.BAD_TIME,
    ]


@pytest.mark.parametrize("codec", ["json", "msgpack", "float32"])
def test_a_record_that_is_too_large_is_refused_unread(codec: str) -> None:
    assert refused(b"x" * 65, codec, max_bytes=64).reason is Reason.OVERSIZED


@pytest.mark.parametrize(
    ("codec", "value", "expected"),
    [
        ("msgpack", event({"a": nan, "b": 2}), [nan, 2]),
        ("msgpack", event({"a": inf, "b": "x"}), [nan, nan]),
        ("msgpack", event({"b": None, "c": 1}), [nan, nan]),
        ("msgpack", event({"a": b"\xff", "b": 2}), [nan, 2]),
        ("float32", floats(nan, 2), [nan, 2]),
        ("float32", floats(inf, nan), [nan, nan]),
    ],
)
def test_what_the_policies_let_through_is_missing(codec: str, value: bytes, expected: list[float]) -> None:
    decoded = decode([value, value], codec, **LENIENT)
    np.testing.assert_array_equal(decoded.batch.values, [expected, expected])


def test_a_nan_of_any_pattern_is_missing_or_refused() -> None:
    signalling = b"\x82\xa1a\xcb" + struct.pack(">Q", 0x7FF0_0000_0000_0001) + b"\xa1b\x01"
    value = b"\x81\xa8features" + signalling
    assert refused(value, "msgpack").reason is Reason.NON_FINITE
    assert np.isnan(decode([value], "msgpack", **LENIENT).batch.values[0, 0])


def test_a_missing_value_is_no_excuse_for_one_that_is_not_finite() -> None:
    assert refused(event({"a": nan}), "msgpack", missing="impute").reason is Reason.NON_FINITE
    assert len(decode([event({"a": 1})], "msgpack", missing="impute").batch) == 1


@given(
    st.lists(
        st.tuples(
            st.floats(width=32, allow_nan=False, allow_infinity=False),
            st.floats(width=32, allow_nan=False, allow_infinity=False),
        ),
        max_size=5,
    )
)
def test_an_event_is_the_same_in_every_codec(rows: list[tuple[float, float]]) -> None:
    """To the bit; only the sign of a zero is JSON's own."""
    whole = [{"stream": "s", "time": 1000.5, "features": dict(zip(FEATURES, row, strict=True))} for row in rows]
    found = [
        decode([json.dumps(one).encode() for one in whole], "json"),
        decode([pack(one) for one in whole], "msgpack"),
        decode([floats(*row) for row in rows], "float32"),
    ]
    for decoded in found:
        assert not decoded.rejects
        assert (decoded.batch.stream, decoded.batch.time.tolist()) == (["s"] * len(rows), [1000.5] * len(rows))
        assert decoded.batch.values.tobytes() == np.array(rows, np.float32).reshape(-1, 2).tobytes()


def test_categories_come_as_text_in_a_map_and_not_at_all_in_raw_numbers() -> None:
    codes = {"b": Codes(["tcp", "udp"])}
    decoder = Decoder(FEATURES, Events(codec="msgpack"), codes)
    values = [event({"a": 1, "b": name}) for name in ("udp", "tcp", "new", "")]
    decoded = decoder.decode([RawRecord("t", 0, n, 1000, b"s", value) for n, value in enumerate(values)])
    assert decoded.batch.values[:, 1].tolist() == [1, 0, -1]
    assert decoded.unknown == 1
    assert [reject.reason for reject in decoded.rejects] == [Reason.MISSING_FEATURE]
    with pytest.raises(ConfigError, match=r"events\.codec is float32, but b of the model's features are text"):
        Decoder(FEATURES, Events(codec="float32"), codes)


@pytest.mark.parametrize(
    "head", [b"\x91", b"\x81\xa1x", b"\xdc\x00\x01", b"\xde\x00\x01\xa1x", b"\xdd\x00\x00\x00\x01"]
)
def test_nesting_of_any_depth_is_refused_wherever_the_stack_stands(head: bytes) -> None:
    """A member that is not read is skipped by recursion: without a limit of our own, the stack's would decide."""
    rest = pack({"a": 1, "b": 2})

    def value(depth: int) -> bytes:
        return b"\x82\xa1x" + head * depth + b"\x01" + b"\xa8features" + rest

    assert refused(value(100_000), "msgpack").reason is Reason.NOT_MSGPACK
    assert refused(value(MAX_DEPTH), "msgpack").reason is Reason.NOT_MSGPACK  # the outer map is one more
    assert len(decode([value(MAX_DEPTH - 1)], "msgpack").batch) == 1


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats()
names = st.sampled_from(["a", "b", "c", "x"])
plain = st.recursive(
    scalars | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=6,
)
maps = st.fixed_dictionaries(
    {},
    optional={
        "features": st.dictionaries(names, plain, max_size=3) | plain,
        "stream": plain,
        "time": plain,
        "x": plain,
    },
)


@given(maps, st.sampled_from([{}, LENIENT]), st.sampled_from([(), ("b",)]))
@example({"features": {"a": 2**64 - 1, "b": -(2**63)}}, {}, ())
def test_the_quick_way_reads_what_the_slow_way_reads(
    value: Any, rules: dict[str, Any], categories: tuple[str, ...]
) -> None:
    codec = MessagePackCodec(Layout.of(FEATURES, categories), Events(codec="msgpack", **rules))

    def outcome(read: Any) -> Any:
        try:
            stream, time, row = read(pack(value))
        except NotAnEventError as fault:
            return fault.reason, fault.detail
        return stream, time, [inf if isinstance(one, float) and abs(one) == inf else one for one in row]

    quick, slow = outcome(codec.read), outcome(codec._by_member)
    if slow[0] is not Reason.NON_FINITE:  # which the quick way leaves to `look_again` and to the columns
        assert repr(quick) == repr(slow)


@given(st.lists(st.binary(max_size=40) | maps.map(pack), max_size=6), st.sampled_from(["msgpack", "float32"]))
@example([b"\xc7\xff\x05", b"\xd6\xff\x00\x00\x00\x00", b"\x81\xa8features\xd6\xff\x00\x00\x00\x00"], "msgpack")
def test_any_bytes_are_one_row_or_one_reject(values: list[bytes], codec: str) -> None:
    decoded = decode(values, codec)
    assert len(decoded.batch) + len(decoded.rejects) == len(values)
    assert np.isfinite(decoded.batch.values).all()
    alone = [decode([value], codec) for value in values]
    assert [reject.detail for one in alone for reject in one.rejects] == [one.detail for one in decoded.rejects]
    assert b"".join(one.batch.values.tobytes() for one in alone) == decoded.batch.values.tobytes()
