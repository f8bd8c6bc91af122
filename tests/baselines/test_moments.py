"""Mean and covariance in one pass: as if all rows had been there at once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monitor.model.baselines.estimation import tiles
from monitor.model.baselines.moments import moments, streamed


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_moments_do_not_depend_on_how_the_rows_are_cut(sizes: list[int], seed: int) -> None:
    rows = np.random.default_rng(seed).normal(3.0, 2.0, (sum(sizes), 4))
    parts = np.split(rows, np.cumsum(sizes)[:-1])
    found = streamed(parts)
    assert found.count == len(rows)
    assert np.allclose(found.mean, rows.mean(axis=0), rtol=1e-12, atol=1e-12)
    assert np.allclose(found.covariance, np.cov(rows.T, bias=True), rtol=1e-10, atol=1e-12)


def test_a_large_offset_costs_no_digits_of_the_covariance() -> None:
    """The naive difference of two sums of squares would be off by about 1e8 here."""
    rows = np.random.default_rng(0).normal(size=(5000, 3)) + 1e12
    centred = rows - 1e12  # exact
    found = streamed(np.array_split(rows, 50))
    assert np.allclose(found.covariance, np.cov(centred.T, bias=True), rtol=1e-3, atol=1e-3)


def test_one_row_has_no_covariance() -> None:
    assert not moments(np.array([[1.0, 2.0]])).covariance.any()


@given(runs=st.lists(st.integers(1, 30), min_size=1, max_size=5), window=st.integers(1, 7))
def test_tiles_are_windows_that_do_not_overlap_and_leave_less_than_one_out(runs: list[int], window: int) -> None:
    """Each run of first rows is followed by the rest of its last window."""
    first, start = [], 0
    for run in runs:
        first += list(range(start, start + run))
        start += run + window - 1
    rows = [row for one in tiles(np.array(first), window) for row in range(one, one + window)]
    assert len(set(rows)) == len(rows)
    assert set(tiles(np.array(first), window).tolist()) <= set(first)
    assert start - len(rows) < window * len(runs) + len(runs)
