"""One rule for what a category's value is, wherever it comes from."""

from __future__ import annotations

import json
from math import inf, isnan, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.categories import UNKNOWN, Codes
from monitor.errors import MonitorError
from monitor.feeds import vocabulary
from monitor.feeds.vocabulary import LearnedCodes


@given(st.lists(st.text(min_size=1), unique=True), st.text(min_size=1))
def test_a_text_has_the_code_of_its_place_and_any_other_is_unknown(names: list[str], other: str) -> None:
    codes = Codes(names)
    assert [codes[name] for name in names] == list(range(len(names)))
    assert codes[other] == (names.index(other) if other in names else UNKNOWN)
    assert list(codes) == names  # nothing was learned


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        (5.0, "5"),
        (-0.0, "0"),
        (0.25, "0.25"),
        (1e300, "1e300"),
        (2**64, "18446744073709551616"),
        (True, "true"),
        (False, "false"),
        (" tcp", " tcp"),
        ("None", "None"),
    ],
)
def test_a_number_or_a_boolean_is_its_json_text(value: Any, text: str) -> None:
    assert Codes(["?", text])[value] == 1
    learned = LearnedCodes()
    assert learned[value] == learned[text] == 0
    assert list(learned) == [text]
    if not isinstance(value, str):
        assert json.loads(text) == value


@pytest.mark.parametrize("codes", [Codes(["a"]), LearnedCodes(["a"])])
def test_what_is_missing_or_not_finite_stays_so(codes: Any) -> None:
    assert all(isnan(codes[missing]) for missing in (None, "", nan))
    assert (codes[inf], codes[-inf]) == (inf, -inf)
    assert list(codes) == ["a"]


def test_codes_are_learned_in_order_of_first_appearance() -> None:
    codes: Any = LearnedCodes()
    assert [codes[value] for value in ("b", "a", "b", 7)] == [0, 1, 0, 2]
    assert tuple(codes) == ("b", "a", "7")


@pytest.mark.parametrize("value", [[1], {"a": 1}, b"x", object()])
def test_nothing_else_is_a_category(value: Any) -> None:
    with pytest.raises(TypeError):
        Codes()[value]


def test_more_values_than_a_float32_tells_apart_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "MOST", 2)
    codes = LearnedCodes(["a", "b"])
    assert codes["b"] == 1
    with pytest.raises(MonitorError, match="more than 2 values, the last of them 'c'"):
        codes["c"]
