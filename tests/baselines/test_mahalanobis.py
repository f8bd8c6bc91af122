"""T2 against its direct evaluation, the shrinkage against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.batch import Float64
from monitor.model.baselines import Mahalanobis, estimate
from monitor.model.baselines.mahalanobis import DRIFT, deviation, later, shrunk
from monitor.model.baselines.moments import moments
from tests.baselines.made import in_torch, scorer, split


def correlated(rows: int, channels: int, seed: int = 0) -> Float64:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, channels)) @ rng.normal(size=(channels, channels)) + rng.normal(size=channels)


def fourth(rows: Float64) -> float:
    known = moments(rows)
    return float((((((rows - known.mean) / deviation(known)) ** 2).sum(axis=1)) ** 2).mean())


def fitted(rows: Float64) -> Mahalanobis:
    return Mahalanobis.of(moments(rows), fourth(rows))


def shrunk_directly(rows: Float64) -> Float64:
    """Ledoit and Wolf (2004), section 3.2, as it is written there; norms are divided by the dimension."""
    size = rows.shape[1]
    centred = rows - rows.mean(axis=0)
    sample = centred.T @ centred / len(rows)
    m = np.trace(sample) / size
    d2 = ((sample - m * np.eye(size)) ** 2).sum() / size
    b2 = sum(((np.outer(one, one) - sample) ** 2).sum() / size for one in centred) / len(rows) ** 2
    b2 = min(b2, d2)
    whole: Float64 = b2 / d2 * m * np.eye(size) + (d2 - b2) / d2 * sample
    return whole


@settings(deadline=None, max_examples=30)
@given(rows=st.integers(2, 80), channels=st.integers(1, 6), seed=st.integers(0, 99))
def test_the_shrinkage_is_that_of_ledoit_and_wolf(rows: int, channels: int, seed: int) -> None:
    x = correlated(rows, channels, seed)
    centred = x - x.mean(axis=0)
    if channels == 1:
        return  # nothing to shrink: the target is the covariance itself
    found = shrunk(moments(x).covariance, float(((centred**2).sum(axis=1) ** 2).mean()), rows)
    assert np.allclose(found, shrunk_directly(x), rtol=1e-8, atol=1e-10)


def test_the_contributions_add_up_to_the_squared_distance_and_are_not_negative() -> None:
    rows = correlated(400, 5)
    model = fitted(rows)
    known = moments(rows)
    scale = deviation(known)
    correlation = later(shrunk(known.covariance / np.outer(scale, scale), fourth(rows), 400))
    precision = np.linalg.inv(correlation) / np.outer(scale, scale)
    far = np.random.default_rng(1).normal(size=(30, 5)) * 4
    direct = np.einsum("ni,ij,nj->n", far - known.mean, precision, far - known.mean)
    z = torch.from_numpy(far).float().unsqueeze(1)
    error = model.error(z, model.reconstruct(z))[:, 0]
    assert (error >= 0).all()
    assert np.allclose(error.sum(dim=1).numpy(), direct, rtol=1e-4)


def test_rows_that_drifted_as_foreseen_are_as_far_as_their_dimension() -> None:
    rng = np.random.default_rng(1)
    rows = correlated(20_000, 4)
    model = fitted(rows)
    drift = DRIFT * rows.std(axis=0) * rng.normal(size=rows.shape)
    z = torch.from_numpy(rows + drift).float().unsqueeze(1)
    assert np.allclose(model.error(z, z).mean(dim=(0, 1)).numpy(), 1 + DRIFT**2, atol=0.03)


def test_without_correlation_a_channel_contributes_its_own_squared_deviation() -> None:
    rows = np.random.default_rng(0).normal(5.0, [1.0, 3.0], (50_000, 2))
    model = fitted(rows)
    error = model.error(torch.tensor([[[7.0, 5.0]]]), torch.zeros(1, 1, 2))[0, 0]
    assert error[0] == pytest.approx(4.0, rel=0.05)
    assert error[1] == pytest.approx(0.0, abs=0.01)


def test_a_channel_is_expected_where_the_regression_on_the_others_has_it() -> None:
    rows = correlated(5000, 4)
    model = fitted(rows)
    z = torch.from_numpy(rows[:50]).float().unsqueeze(1)
    expected = model.reconstruct(z)[:, 0].numpy()
    for channel in range(4):
        others = np.delete(np.arange(4), channel)
        centred = rows - rows.mean(axis=0)
        ridge = np.diag(DRIFT**2 * centred[:, others].var(axis=0)) * len(rows)  # the others may have drifted
        gram = centred[:, others].T @ centred[:, others] + ridge
        weights = np.linalg.solve(gram, centred[:, others].T @ centred[:, channel])
        direct = centred[:50, others] @ weights + rows[:, channel].mean()
        assert np.allclose(expected[:, channel], direct, atol=0.01 * rows[:, channel].std())


def test_a_constant_and_a_doubled_channel_give_finite_errors() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=500)
    rows = np.column_stack([one, one, np.full(500, 3.0)])
    model = fitted(rows)
    normal, odd = torch.from_numpy(rows[:50]).float().unsqueeze(1), torch.tensor([[[1.0, -1.0, 3.0]]])
    assert torch.isfinite(model.error(normal, normal)).all()
    assert float(model.error(normal, normal).sum(dim=2).max()) < 30
    assert float(model.error(odd, odd).sum()) > 20  # the two have never differed
    assert float(model.error(torch.tensor([[[0.0, 0.0, 13.0]]]), odd)[0, 0, 2]) == pytest.approx(100.0, rel=1e-4)


def test_few_rows_of_many_channels_give_a_distance_that_means_something() -> None:
    """Without shrinkage the covariance of 10 rows of 20 channels has no inverse."""
    rng = np.random.default_rng(0)
    model = fitted(rng.normal(size=(10, 20)))
    z = torch.from_numpy(rng.normal(size=(1000, 1, 20))).float()
    assert 0.3 < float(model.error(z, z).mean()) < 10


def test_estimation_is_that_of_all_fitting_rows_at_once() -> None:
    rows = correlated(700, 3).astype(np.float32)
    made = split(rows, 1)
    fitting = rows[: len(made.fit)].astype(np.float64)
    z = (fitting - [one.shift for one in made.features]) / [one.scale for one in made.features]
    found, closed = estimate("mahalanobis", made).state_dict(), fitted(z).state_dict()
    for name, value in closed.items():
        assert torch.allclose(found[name], value, rtol=1e-4, atol=1e-5), name


def test_a_row_off_the_correlation_is_farther_than_one_along_it() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=2000)
    rows = np.column_stack([one, one + 0.1 * rng.normal(size=2000)]).astype(np.float32)
    made = split(rows, 1)
    of = scorer(estimate("mahalanobis", made), made.features, 1)
    along, off = in_torch(of, np.array([[[2.0, 2.0]], [[1.0, -1.0]]], np.float32))[0]
    assert off > 5 * along
