"""KitNET: the grouping, one step against the formulas, padding that changes nothing, and that it learns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.detection.method import Series
from benchmarks.traffic.kitnet import HIDDEN, RATE, Autoencoders, KitNet, groups, learn
from monitor.batch import Float64
from monitor.evaluation.ranking import roc_auc


def related(n: int = 600, seed: int = 0) -> Float64:
    """Three families of columns (0, 3, 6 / 1, 4, 7 / 2, 5, 8), each of a factor of its own, and a constant one."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(n, 3))
    return np.column_stack([factors[:, k % 3] * (1 + k) + 0.2 * rng.normal(size=n) for k in range(9)] + [np.ones(n)])


def test_what_is_correlated_is_grouped() -> None:
    found = sorted(tuple(sorted(group.tolist())) for group in groups(related(), 3))
    assert found == [(0, 3, 6), (1, 4, 7), (2, 5, 8), (9,)]


@settings(deadline=None)
@given(st.integers(2, 40), st.integers(1, 12), st.integers(0, 100))
def test_every_column_is_in_one_group_that_is_small_enough(columns: int, most: int, seed: int) -> None:
    found = groups(np.random.default_rng(seed).normal(size=(30, columns)), most)
    assert sorted(place for group in found for place in group.tolist()) == list(range(columns))
    assert max(map(len, found)) <= most


def test_a_step_is_that_of_the_formulas() -> None:
    """One autoencoder, evaluated as it is written: the loss is half the squared residual before the outer sigmoid."""
    some = Autoencoders([4], np.random.default_rng(3))
    rows = np.random.default_rng(4).normal(size=(3, 4))
    weights = np.random.default_rng(3).uniform(-1 / 4, 1 / 4, (4, 3))
    hidden_bias, bias = np.zeros(3), np.zeros(4)
    assert np.ceil(HIDDEN * 4) == 3
    for step, row in enumerate(rows, 1):
        low, high = rows[:step].min(axis=0), rows[:step].max(axis=0)
        x = (row - low) / (high - low + 1e-16)
        y = 1 / (1 + np.exp(-(x @ weights + hidden_bias)))
        residual = x - 1 / (1 + np.exp(-(y @ weights.T + bias)))
        back = (residual @ weights) * y * (1 - y)
        weights = weights + RATE * (np.outer(x, back) + np.outer(residual, y))
        hidden_bias, bias = hidden_bias + RATE * back, bias + RATE * residual
        assert some.learn(row[None])[0] == pytest.approx(np.sqrt((residual**2).mean()), rel=1e-12)


def test_autoencoders_beside_each_other_learn_as_they_would_alone() -> None:
    rows = np.random.default_rng(1).normal(size=(50, 5))
    chance = np.random.default_rng(2)
    both = Autoencoders([5, 2], chance)
    alone = Autoencoders([5], np.random.default_rng(2))
    padded = np.array([[0, 1, 2, 3, 4], [1, 3, 1, 1, 1]])
    for row in rows:
        both.learn(row[padded])
        alone.learn(row[None])
    assert both.errors(rows[:, padded])[:, 0] == pytest.approx(alone.errors(rows[:, None, :])[:, 0], rel=1e-12)


def test_rows_at_once_have_the_scores_of_one_by_one() -> None:
    fitted = learn(related(), 0)
    rows = related(20, 5)
    time = np.arange(20.0)
    assert fitted.score(rows, time) == pytest.approx([fitted.score(row[None], time[:1])[0] for row in rows], rel=1e-12)


def test_a_broken_relation_scores_higher_and_a_seed_gives_the_same_bits() -> None:
    normal = Series("s", np.arange(3000.0), related(3000), tuple("abcdefghij"))
    test = related(400, 9)
    test[200:, 0] = np.random.default_rng(0).permutation(test[200:, 0])
    test[200:, 4] *= -1
    fitted, again = KitNet().fit([normal], 1), KitNet().fit([normal], 1)
    score = fitted.score(test, np.arange(400.0))
    assert score.tobytes() == again.score(test, np.arange(400.0)).tobytes()
    assert roc_auc(score, (np.arange(400) >= 200).astype(float)) > 0.7
    assert fitted.threshold >= np.median(score[:200])
