"""Rows held once: whatever comes in whatever pieces, they are those that plain numpy puts together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.batch import Float32
from monitor.feeds import store
from monitor.feeds.store import Store, by_stream

NAMES = "abcde"
counts = st.integers(0, 12)
some = st.lists(st.sampled_from(NAMES), unique=True)
pieces = st.lists(st.tuples(counts, some), max_size=8)


def filled(given_pieces: list[tuple[int, list[str]]], seed: int) -> tuple[Store, Float32]:
    """The store, and all rows of all columns that there can be (n, 5), NaN where a piece has no such column."""
    rng = np.random.default_rng(seed)
    held, expected = Store(), [np.empty((0, len(NAMES)), np.float32)]
    for count, columns in given_pieces:
        values = rng.normal(size=(count, len(columns))).astype(np.float32)
        held.append(count, {name: values[:, place] for place, name in enumerate(columns)})
        part = np.full((count, len(NAMES)), np.nan, np.float32)
        part[:, [NAMES.index(name) for name in columns]] = values
        expected.append(part)
    return held, np.concatenate(expected)


@given(pieces, some, pieces, st.integers(1, 5), st.integers(0, 9))
def test_pieces_are_put_together_as_numpy_does_it(
    first: list[tuple[int, list[str]]], wanted: list[str], second: list[tuple[int, list[str]]], slice_: int, seed: int
) -> None:
    """Columns that come late, are missing, are left out or are asked for in another order; and the store again."""
    with pytest.MonkeyPatch.context() as small:
        small.setattr(store, "FIRST_ROWS", 3)
        small.setattr(store, "SLICE", slice_)
        held, expected = filled(first, seed)
        assert len(held) == len(expected)
        taken = held.take(wanted)
        np.testing.assert_array_equal(taken, expected[:, [NAMES.index(name) for name in wanted]])
        assert (taken.dtype, taken.flags.c_contiguous) == (np.dtype(np.float32), True)
        assert len(held) == 0
        kept = taken.copy()
        for count, columns in second:
            held.append(count, {name: np.zeros(count, np.float32) for name in columns})
        assert len(held) == sum(count for count, _ in second)
        np.testing.assert_array_equal(taken, kept)  # what was taken is nobody else's
        np.testing.assert_array_equal(np.isnan(held.take(NAMES)), np.isnan(filled(second, seed)[1]))


@given(st.lists(st.integers(0, 4), max_size=40), st.integers(1, 3), st.integers(0, 9))
def test_mixed_rows_become_those_of_each_stream_in_their_order_and_in_place(
    codes: list[int], width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    code, time = np.array(codes, np.int32), rng.random(len(codes))
    values = rng.normal(size=(len(codes), width)).astype(np.float32)
    expected = {
        name: (time[code == place], values[code == place]) for place, name in enumerate(NAMES) if place in codes
    }
    found = list(by_stream(NAMES, code, time, values))
    assert [one.stream for one in found] == list(expected)
    for one in found:
        np.testing.assert_array_equal(one.time, expected[one.stream][0])
        np.testing.assert_array_equal(one.values, expected[one.stream][1])
        assert np.shares_memory(one.values, values)
        assert np.shares_memory(one.time, time)
