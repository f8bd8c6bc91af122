"""One line per fact: JSON that is always valid, text that is always readable, libraries that cannot flood it."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Logging is the process's: what a test configures is put back."""
    root, ours = logging.getLogger(), logging.getLogger("monitor")
    handlers, level, our_level = root.handlers[:], root.level, ours.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    ours.setLevel(our_level)


def configured(format: Any = "json", level: Any = "info") -> io.StringIO:
    stream = io.StringIO()
    logs.configure(format, level, stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def record(message: str, created: float, name: str = "kafka.conn") -> logging.LogRecord:
    made = logging.LogRecord(name, logging.WARNING, __file__, 1, message, (), None)
    made.created = created
    return made


def test_a_fact_is_one_json_object_with_time_level_logger_and_event_first() -> None:
    stream = configured()
    logs.get("service").info("started", group="pumps", topics=["events", "alerts"])
    (line,) = lines(stream)
    assert list(line) == ["time", "level", "logger", "event", "group", "topics"]
    assert line["time"].endswith("Z")
    assert line["time"][10] == "T"
    del line["time"]
    assert line == {
        "level": "info",
        "logger": "service",
        "event": "started",
        "group": "pumps",
        "topics": ["events", "alerts"],
    }


def test_time_is_rfc_3339_in_utc_to_the_millisecond() -> None:
    line = json.loads(logs.JsonFormatter().format(record("x", 0.0015)))
    assert line["time"] == "1970-01-01T00:00:00.001Z"


def test_a_field_never_replaces_the_lines_own() -> None:
    stream = configured()
    logs.get("service").info("started", event="other", level=3, time=None)
    (line,) = lines(stream)
    assert (line["event"], line["level"]) == ("started", "info")
    assert (line["event_"], line["level_"], line["time_"]) == ("other", 3, None)


def test_the_level_is_this_programs_and_libraries_speak_from_warning_upwards() -> None:
    stream = configured(level="debug")
    logs.get("service").debug("turned")
    logging.getLogger("kafka").info("chatter")
    logging.getLogger("kafka").warning("%s is away", "broker")
    assert [line["event"] for line in lines(stream)] == ["turned", "broker is away"]
    stream = configured(level="error")
    logs.get("service").warning("slow")
    assert stream.getvalue() == ""


class Silent:
    def __str__(self) -> str:
        raise RuntimeError("no text")


ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.just(Silent())
    | st.just(Path("x"))
    | st.sampled_from([np.float32("nan"), np.int64(3), np.bool_(True), np.arange(2)])
    | st.just("\ud800"),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner) | st.dictionaries(st.integers(), inner)
    ),
    max_leaves=10,
)


@given(ODD, st.text())
@settings(deadline=None)
def test_a_line_is_valid_json_and_utf8_and_one_line_whatever_it_holds(value: Any, event: str) -> None:
    made = record("x", 1.0)
    made.msg, made.args = "%s", (event,)
    made.monitor_fields = {"value": value}
    text = logs.JsonFormatter().format(made)
    assert text.encode().count(b"\n") == 0
    assert "value" in json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    shown = logs.TextFormatter().format(made)
    assert shown.isprintable()


def test_numbers_that_json_lacks_become_text_and_numpy_becomes_plain() -> None:
    assert logs.plain([float("nan"), float("-inf"), np.float32(0.5), np.int64(3)]) == ["nan", "-inf", 0.5, 3]
    assert logs.plain({1: b"a\xff", "p": Path("x"), "s": Silent()}) == {
        "1": "a\\xff",
        "p": "x",
        "s": "<Silent: str() raised RuntimeError>",
    }


def test_nesting_without_end_is_cut_off() -> None:
    endless: list[Any] = []
    endless.append(endless)
    json.dumps(logs.plain(endless))


def test_an_exception_is_two_fields_in_json_and_indented_lines_in_text() -> None:
    try:
        raise ValueError("no\nluck")  # noqa: TRY301  a traceback is what is tested
    except ValueError as error:
        stream = configured()
        logs.get("service").error("failed", exc_info=error, stage="score")
        (line,) = lines(stream)
        assert line["error"] == "ValueError: no\nluck"
        assert line["traceback"].startswith("Traceback (most recent call last):")
        stream = configured("text")
        logs.get("service").error("failed", exc_info=error, stage="score")
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith('error   service  failed  stage=score error="ValueError: no\\nluck"')
    assert all(line.startswith("    ") for line in rest)


def test_text_is_short_and_readable() -> None:
    stream = configured("text")
    logs.get("kafka").info("assigned", partitions=[0, 1], group="pumps", note="two words", odd="\x1b[31m")
    assert stream.getvalue()[13:] == (
        'info    kafka    assigned  partitions=[0, 1] group=pumps note="two words" odd="\\u001b[31m"\n'
    )


def test_auto_is_json_where_the_stream_is_no_terminal() -> None:
    stream = configured("auto")
    logs.get("service").info("started")
    assert lines(stream)


def test_a_message_that_differs_in_numbers_only_passes_once_in_ten_seconds_with_a_count() -> None:
    once = logs.Deduplicate(every=10)
    passed = []
    for tick in range(25):
        made = record(f"connect to node-{tick} failed after {tick}.5 ms", 100.0 + tick)
        if once.filter(made):
            passed.append((tick, getattr(made, "monitor_fields", {})))
    assert passed == [(0, {}), (10, {"repeated": 9}), (20, {"repeated": 9})]


def test_different_messages_and_our_own_always_pass() -> None:
    once = logs.Deduplicate()
    assert once.filter(record("a", 0.0))
    assert once.filter(record("b", 0.0))
    assert once.filter(record("a", 0.0, name="kafka.other"))
    assert all(once.filter(record("same", 0.0, name="monitor.service")) for _ in range(3))


def test_only_the_latest_messages_are_remembered() -> None:
    once = logs.Deduplicate(size=2)
    for message in ("a", "b", "c"):
        assert once.filter(record(message, 0.0))
    assert once.filter(record("a", 1.0))
    assert not once.filter(record("c", 1.0))


def test_configuring_twice_writes_each_line_once() -> None:
    configured()
    stream = configured()
    logs.get("service").info("started")
    assert len(lines(stream)) == 1


def test_a_python_warning_is_a_line_too() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        stream = configured()
        warnings.warn("old", stacklevel=1)
        logging.captureWarnings(capture=False)
    (line,) = lines(stream)
    assert line["logger"] == "py.warnings"
    assert "old" in line["event"]
