"""Dead letters read back: what the service wrote, as a line for an editor, and which were sent back."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.batch import RawRecord
from monitor.dead_letters import REPLAYED, SENT_BACK, DeadLetter, Place, SentBack, from_line, marker, parse, to_line
from monitor.errors import UsageError

Headers = Sequence[tuple[str, bytes | None]]

contents = st.none() | st.binary(max_size=20) | st.text(max_size=20).map(str.encode)
headers = st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), contents), max_size=4)


def facts(reason: str = "not_json") -> Headers:
    """The headers the service adds, as it writes them."""
    found = {"reason": reason, "detail": "it is", "topic": "events", "partition": 3, "offset": 41, "timestamp": 1234}
    return [(f"monitor-{name}", str(fact).encode()) for name, fact in found.items()]


def stored(own: Headers = (), ours: Headers | None = None, value: bytes | None = b"{") -> RawRecord:
    return RawRecord("dead", 1, 7, 999, b"key", value, [*own, *(facts() if ours is None else ours)])


def letter(record: RawRecord) -> DeadLetter:
    found = parse(record)
    assert found is not None
    return found


@given(headers, contents)
def test_a_letter_gives_back_the_record_as_it_was(own: Headers, value: bytes | None) -> None:
    found = letter(stored(own, value=value))
    assert found.record == RawRecord("events", 3, 41, 1234, b"key", value, tuple(own))
    assert (found.place, found.reason, found.detail) == (Place("dead", 1, 7), "not_json", "it is")
    assert found.rejected_at == 999
    assert found.cut == ()


def test_a_record_sent_back_names_its_letter_and_keeps_everything_else() -> None:
    again = letter(stored([("trace", b"1")])).again()
    assert again == RawRecord("events", 3, 41, 1234, b"key", b"{", (("trace", b"1"), (REPLAYED, b"dead/1/7")))


def test_a_record_that_is_rejected_again_names_its_newest_letter_only() -> None:
    own = [("trace", b"1"), (REPLAYED, b"dead/0/2"), *facts("empty")]
    found = letter(stored(own))
    assert found.reason == "not_json"
    assert found.again().headers == (("trace", b"1"), (REPLAYED, b"dead/1/7"))


def test_what_was_too_large_for_a_dead_letter_is_told() -> None:
    assert letter(stored(ours=[*facts(), ("monitor-value-bytes", b"9000000")])).cut == ("value",)


@pytest.mark.parametrize(
    "found",
    [
        RawRecord("dead", 0, 0, 0, None, b"hello"),
        RawRecord("dead", 0, 0, 0, None, b"hello", [("monitor-reason", b"not_json")]),
        stored(ours=[(name, b"x" if name == "monitor-offset" else fact) for name, fact in facts()]),
        marker("dead", 0, [1]),
    ],
)
def test_what_the_service_did_not_write_as_one_is_no_letter(found: RawRecord) -> None:
    assert parse(found) is None


@given(headers, contents, contents)
def test_a_line_gives_back_the_letter_to_the_byte(own: Headers, key: bytes | None, value: bytes | None) -> None:
    before = letter(stored(own, value=value)._replace(key=key))
    line = to_line(before)
    assert line.count(b"\n") == 1
    assert from_line(line, "file:1") == before


def test_a_line_shows_text_as_text_and_other_bytes_as_base64() -> None:
    line = json.loads(to_line(letter(stored([("h", b"\xff")], value='{"a": "é"}'.encode()))))
    assert line["value"] == '{"a": "é"}'
    assert line["key"] == "key"
    assert line["headers"] == [["h", {"base64": "/w=="}]]
    assert line["from"] == {"topic": "events", "partition": 3, "offset": 41}
    assert line["letter"] == {"topic": "dead", "partition": 1, "offset": 7}


@pytest.mark.parametrize(
    "changes",
    [
        {"value": {"features": {"a": 1}}},
        {"value": {"base64": "?"}},
        {"valeu": "x"},
        {"timestamp": "now"},
        {"headers": [["a"]]},
        {"letter": None},
    ],
)
def test_a_line_that_was_edited_wrongly_is_named(changes: dict[str, object]) -> None:
    line = json.loads(to_line(letter(stored()))) | changes
    with pytest.raises(UsageError, match=r"^out\.ndjson:3: not a line of"):
        from_line(json.dumps(line).encode(), "out.ndjson:3")


@given(st.lists(st.frozensets(st.integers(0, 60), min_size=1), max_size=5))
def test_markers_say_exactly_which_letters_were_sent_back(groups: list[frozenset[int]]) -> None:
    sent, told = SentBack(), set[int]()
    for group in groups:
        fresh = sorted(group - told)  # no letter is sent twice
        if fresh:
            assert sent.read(marker("dead", 2, fresh))
        told |= group
    assert {offset for offset in range(62) if Place("dead", 2, offset) in sent} == told
    assert not any(Place("dead", 0, offset) in sent for offset in range(62))
    assert sent.count == len(told)


def test_a_run_of_letters_is_two_numbers_of_a_marker() -> None:
    assert marker("dead", 0, [*range(1000), 2000]).value == b"[[0,999],[2000,2000]]"


@pytest.mark.parametrize(
    "found",
    [
        stored([(SENT_BACK, b"1")], value=b"[[0,1000]]"),
        RawRecord("dead", 0, 9, 0, None, b"[[0,1000]]"),
        RawRecord("dead", 0, 9, 0, None, b"all", [(SENT_BACK, b"1")]),
        RawRecord("dead", 0, 9, 0, None, b"\xff", [(SENT_BACK, b"1")]),
    ],
)
def test_a_strangers_record_marks_nothing(found: RawRecord) -> None:
    sent = SentBack()
    assert not sent.read(found)
    assert sent.count == 0
