"""When too many records are rejected: the same answer however they are cut into batches, in little memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.batch import RawRecord, Reason, Reject
from monitor.config import DeadLetters
from monitor.reject_ratio import RejectRatio

WINDOW = 20


def rules(max_ratio: float | None, window: int = WINDOW) -> DeadLetters:
    return DeadLetters(max_ratio=max_ratio, window=window)


def feed(ratio: RejectRatio, bad: list[bool], reason: Reason = Reason.NOT_JSON, detail: str = "it is no JSON") -> bool:
    """One batch, in which these records are rejected."""
    records = [RawRecord("events", 0, number, -1, None, b"") for number in range(len(bad))]
    rejects = [Reject(reason, detail, record) for record, is_bad in zip(records, bad, strict=True) if is_bad]
    return ratio.observe(records, rejects)


def expected(bad: list[bool], max_ratio: float, window: int = WINDOW) -> bool:
    """The definition: some `window` records in a row, those before the first one good, had more than that rejected."""
    padded = [False] * window + bad
    return any(sum(padded[end - window : end]) / window > max_ratio for end in range(window, len(padded) + 1))


@given(
    st.lists(st.booleans(), max_size=120),
    st.sampled_from([0.05, 0.29, 0.3, 0.5, 0.95, 1.0]),
    st.lists(st.integers(0, 40), max_size=12),
)
def test_the_answer_is_the_definitions_however_the_records_are_cut_into_batches(
    bad: list[bool], max_ratio: float, cuts: list[int]
) -> None:
    ratio, place = RejectRatio(rules(max_ratio)), 0
    for size in [*cuts, len(bad)]:
        feed(ratio, bad[place : place + size])
        place += size
        assert ratio.exceeded == expected(bad[:place], max_ratio)


@pytest.mark.parametrize(("max_ratio", "allowed"), [(0.5, 10), (0.29, 5), (0.3, 6), (0.15, 3)])
def test_exactly_that_share_is_allowed_and_one_more_is_not(max_ratio: float, allowed: int) -> None:
    ratio = RejectRatio(rules(max_ratio))
    assert not feed(ratio, [True] * allowed + [False] * (WINDOW - allowed))
    ratio = RejectRatio(rules(max_ratio))
    assert feed(ratio, [True] * (allowed + 1))


def test_29_of_100_is_not_more_than_a_share_of_0_29() -> None:
    assert not feed(RejectRatio(rules(0.29, 100)), [True] * 29 + [False] * 71)


def test_it_does_not_wait_for_a_window_that_cannot_change_the_answer() -> None:
    assert feed(RejectRatio(rules(0.5, 10_000)), [True] * 5_001)


def test_a_few_bad_records_at_the_start_are_not_half_of_a_window() -> None:
    assert not feed(RejectRatio(rules(0.5, 10_000)), [True] * 5)


@pytest.mark.parametrize("max_ratio", [None, 1.0])
def test_nothing_is_too_much_where_all_may_be_rejected(max_ratio: float | None) -> None:
    assert not feed(RejectRatio(rules(max_ratio)), [True] * 10 * WINDOW)


def test_it_stays_said_whatever_comes_later() -> None:
    ratio = RejectRatio(rules(0.5))
    assert feed(ratio, [True] * WINDOW + [False] * 5 * WINDOW)
    told = ratio.message()
    assert feed(ratio, [False] * WINDOW)
    assert feed(ratio, [True] * WINDOW, Reason.EMPTY)
    assert ratio.message() == told


def test_bad_records_that_are_far_apart_are_never_too_many() -> None:
    ratio = RejectRatio(rules(0.1))
    assert not any(feed(ratio, [True] * 2 + [False] * (WINDOW - 2)) for _ in range(50))


def test_what_is_kept_does_not_grow_with_the_records() -> None:
    ratio = RejectRatio(rules(0.5))
    for _ in range(500):
        feed(ratio, [True, False])
    assert not ratio.exceeded
    assert len(ratio._recent) <= WINDOW // 2


def test_the_message_names_the_most_frequent_reason_its_share_and_an_example() -> None:
    ratio = RejectRatio(rules(0.5))
    feed(ratio, [False] * 6 + [True] * 2, Reason.EMPTY, "the value is empty")
    feed(ratio, [True] * 8)
    assert feed(ratio, [True], detail="byte 7 is odd")
    assert ratio.message() == (
        "11 of the last 17 records were rejected, more than dead_letters.max_ratio (0.5 of 20) allows; "
        "82 % of them not_json, the latest because byte 7 is odd"
    )
    assert "dead_letters.max_ratio" in ratio.hint()
    assert "monitor replay --dead-letters" in ratio.hint()


def test_the_message_counts_the_window_once_more_records_than_that_were_seen() -> None:
    ratio = RejectRatio(rules(0.5))
    feed(ratio, [False] * 100)
    feed(ratio, [True] * 11)
    assert ratio.message().startswith("11 of the last 20 records were rejected")


def test_before_any_reject_there_is_nothing_to_tell() -> None:
    assert RejectRatio(rules(0.5)).message() == "no record was rejected"


def test_a_reject_of_another_batch_is_refused() -> None:
    record = RawRecord("events", 0, 0, -1, None, b"")
    with pytest.raises(ValueError, match="not of these records"):
        RejectRatio(rules(0.5)).observe([record], [Reject(Reason.EMPTY, "", RawRecord(*record))])
