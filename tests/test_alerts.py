"""The contract out: the bytes of an alert, its headers and its published schema."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor import alerts
from monitor.alerts import Alert, Evidence, Feature, moment, parse

SCHEMA = Path(__file__).parents[1] / "docs" / "alert.schema.json"

OLD = """\
{"schema_version":1,"id":"0123456789abcdef0123456789abcdef","incident":"fedcba9876543210fedcba9876543210",\
"kind":"anomaly","status":"closed","reason":"recovered","stream":"pump-7","time":"2024-04-05T19:34:38.900Z",\
"started_at":"2024-04-05T19:33:20.000Z","ended_at":"2024-04-05T19:34:28.001Z","severity":"major","score":2.34568,\
"error":2.05011,"threshold":0.874,"features":[{"name":"temperature","observed":93.4568,"expected":20.1,\
"contribution":0.75},{"name":"vibration","observed":-1e-7,"expected":123457.0,"contribution":0.25}],\
"evidence":{"topic":"events","partition":3,"first_offset":41,"last_offset":9007199254740993,"model":"m","config":"c"}}"""


GOLDEN = """\
{"schema_version":1,"id":"0123456789abcdef0123456789abcdef","incident":"fedcba9876543210fedcba9876543210",\
"kind":"anomaly","status":"closed","reason":"recovered","stream":"pump-7","time":"2024-04-05T19:34:38.900Z",\
"started_at":"2024-04-05T19:33:20.000Z","ended_at":"2024-04-05T19:34:28.001Z","severity":"major","score":2.34568,\
"error":2.05011,"threshold":0.874,"features":[{"name":"temperature","observed":93.4568,"expected":20.1,\
"contribution":0.75,"unit":"°C","observed_category":null,"expected_category":null,\
"meaning":"","usual":null},{"name":"vibration",\
"observed":-1e-7,"expected":123457.0,"contribution":0.25,"unit":"","observed_category":null,"expected_category":null,\
"meaning":"","usual":null}],\
"evidence":{"topic":"events","partition":3,"first_offset":41,"last_offset":9007199254740993,"model":"m","config":"c"},\
"cause":null,"peak_at":"2024-04-05T19:34:00.000Z","duration":68.0012,"summary":"pump-7: hot",\
"confidence":0.75}"""


def example(**changes: Any) -> Alert:
    facts: dict[str, Any] = {
        "id": "0123456789abcdef0123456789abcdef",
        "incident": "fedcba9876543210fedcba9876543210",
        "kind": "anomaly",
        "status": "closed",
        "reason": "recovered",
        "stream": "pump-7",
        "time": moment(1712345678.9),
        "started_at": moment(1712345600),
        "ended_at": moment(1712345668.0012),
        "severity": "major",
        "score": 2.345678,
        "error": 2.0501146,
        "threshold": 0.874,
        "features": (
            Feature(name="temperature", observed=93.45678, expected=20.1, contribution=0.75, unit="°C"),
            Feature(name="vibration", observed=-1e-7, expected=123456.78, contribution=0.25),
        ),
        "evidence": Evidence(
            topic="events", partition=3, first_offset=41, last_offset=2**53 + 1, model="m", config="c"
        ),
        "peak_at": moment(1712345640),
        "duration": 68.0012,
        "summary": "pump-7: hot",
        "confidence": 0.75,
    }
    return Alert(**facts | changes)


def test_the_bytes_are_these() -> None:
    assert example().to_bytes().decode() == GOLDEN


def test_what_was_published_is_read_back_and_published_the_same() -> None:
    read = parse(GOLDEN.encode())
    assert read.to_bytes().decode() == GOLDEN
    assert parse(read.to_bytes()) == read


def test_what_was_published_before_these_fields_were_added_is_still_read() -> None:
    read = parse(OLD.encode())
    assert (read.cause, read.peak_at, read.duration, read.summary, read.confidence) == (None, None, 0.0, "", None)
    assert [feature.unit for feature in read.features] == ["", ""]


def test_fields_are_added_at_the_end_and_none_changes() -> None:
    """Whoever reads version 1 by name reads on."""
    old, new = json.loads(OLD), json.loads(GOLDEN)
    assert list(new)[: len(old)] == list(old)
    for feature in new["features"]:
        for added in ("unit", "observed_category", "expected_category", "meaning", "usual"):
            del feature[added]
    assert {name: new[name] for name in old} == old


measured = st.floats(allow_nan=False, allow_infinity=False)
hostile = st.one_of(
    st.sampled_from(['a"b', "a\nb", "a\\b", "🌡️", "\x00", "\u2028", "</script>", "a\x1fb", " "]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255),
)
times = st.floats(0, 253_402_300_798.999)


@settings(max_examples=300, deadline=None)
@given(hostile, measured, measured, times, st.one_of(st.none(), times), st.sampled_from(["warning", "critical"]))
def test_any_alert_survives_its_bytes(
    name: str, score: float, observed: float, time: float, ended: float | None, severity: str
) -> None:
    alert = example(
        stream=name,
        score=score,
        features=(Feature(name=name, observed=observed, expected=-observed, contribution=score),),
        time=moment(time),
        ended_at=None if ended is None else moment(ended),
        severity=severity,
    )
    value = alert.to_bytes()
    read = parse(value)
    assert read.to_bytes() == value
    assert parse(read.to_bytes()) == read
    assert (read.stream, read.time, read.ended_at) == (alert.stream, alert.time, alert.ended_at)
    assert json.loads(value)["stream"] == name
    assert b"\n" not in value  # one line, so that files of alerts are JSON lines
    assert read.score == pytest.approx(score, rel=5e-6, abs=5e-324)
    assert dict(alert.headers())["ce_subject"].decode() == name


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1712345678.9, "2024-04-05T19:34:38.900Z"),
        (1712345678.9004999, "2024-04-05T19:34:38.900Z"),
        (1712345678.9996, "2024-04-05T19:34:39.000Z"),
        (253402300798.9999, "9999-12-31T23:59:59.000Z"),
    ],
)
def test_times_are_utc_with_milliseconds(seconds: float, text: str) -> None:
    assert json.loads(example(time=moment(seconds)).to_bytes())["time"] == text
    assert moment(seconds).tzinfo is UTC


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 253_402_300_798_999))
def test_a_millisecond_stays_that_millisecond(milliseconds: int) -> None:
    written = json.loads(example(time=moment(milliseconds / 1000)).to_bytes())["time"]
    read = datetime.fromisoformat(written)
    assert round(read.timestamp() * 1000) == milliseconds


def test_headers_are_cloudevents_in_binary_mode() -> None:
    assert example().headers() == [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"0123456789abcdef0123456789abcdef"),
        ("ce_type", b"monitor.alert.v1"),
        ("ce_source", b"/monitor/events"),
        ("ce_subject", b"pump-7"),
        ("ce_time", b"2024-04-05T19:34:38.900Z"),
        ("content-type", b"application/json"),
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"schema_version":1', '"schema_version":2'),
        ('"status":"closed"', '"status":"gone"'),
        ('"stream":"pump-7",', ""),
        ('"kind":', '"colour":"red","kind":'),
        ('"score":2.34568', '"score":null'),
    ],
)
def test_what_is_no_alert_of_this_version_is_refused(old: str, new: str) -> None:
    assert old in GOLDEN
    with pytest.raises(ValidationError):
        parse(GOLDEN.replace(old, new).encode())


@pytest.mark.parametrize("reason", [*get_args(alerts.Reason), None])
def test_every_reason_of_an_end_is_read_back_and_stands_in_the_published_schema(reason: alerts.Reason | None) -> None:
    assert parse(example(reason=reason).to_bytes()).reason == reason
    published = json.loads(SCHEMA.read_text(encoding="utf-8"))["properties"]["reason"]["anyOf"]
    assert published == [{"enum": list(get_args(alerts.Reason)), "type": "string"}, {"type": "null"}]


def test_the_identity_is_128_bits_of_its_parts_in_their_order() -> None:
    assert re.fullmatch("[0-9a-f]{32}", alerts.identity("a", 1))
    assert len({alerts.identity(*parts) for parts in [("a", "b"), ("b", "a"), ("ab",), ("a", "b", "")]}) == 4
    assert alerts.identity("a", 1) == "839e11a421d370be28db56fde67e9aad"


def test_severities_ascend_and_are_all_of_them() -> None:
    assert get_args(alerts.Severity) == alerts.SEVERITIES


def test_the_published_schema_is_the_one_in_the_code() -> None:
    """A change of the contract is a visible diff: `python -m tests.test_alerts` writes the file anew."""
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == alerts.json_schema()


def test_the_schema_names_every_member_of_an_alert_in_their_order() -> None:
    published = json.loads(SCHEMA.read_text(encoding="utf-8"))
    value = json.loads(GOLDEN)
    assert list(published["properties"]) == published["required"] == list(value)
    for part, member in (("Feature", value["features"][0]), ("Evidence", value["evidence"])):
        assert list(published["$defs"][part]["properties"]) == published["$defs"][part]["required"] == list(member)


if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(alerts.json_schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
