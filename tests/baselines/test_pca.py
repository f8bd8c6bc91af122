"""PCA error against its closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monitor.batch import Float32
from monitor.model.baselines import Pca, estimate
from monitor.model.baselines.moments import moments
from monitor.model.baselines.pca import rank
from tests.baselines.made import in_torch, scorer, split


def mixed(rows: int, channels: int, sources: int, seed: int = 0) -> Float32:
    """Rows (n, G) on a plane of `sources` dimensions, with a little noise."""
    rng = np.random.default_rng(seed)
    plane = rng.normal(size=(rows, sources)) @ rng.normal(size=(sources, channels))
    return (plane + 0.05 * rng.normal(size=(rows, channels))).astype(np.float32)


def test_the_error_is_the_squared_residual_after_the_leading_eigenvectors_of_the_covariance() -> None:
    rows = mixed(500, 6, 2)
    fitted = Pca.of(moments(rows.astype(np.float64)), 0.9)
    values, vectors = np.linalg.eigh(np.cov(rows.T.astype(np.float64), bias=True))
    size = fitted.components.shape[1]
    assert values[-size:].sum() >= 0.9 * values.sum() > values[1 - size :].sum()
    leading = vectors[:, -size:]
    centred = rows - rows.mean(axis=0, dtype=np.float64)
    residual = centred - centred @ leading @ leading.T  # (n, G)
    z = torch.from_numpy(rows).unsqueeze(1)  # (n, 1, G)
    assert np.allclose(fitted.error(z, fitted.reconstruct(z))[:, 0].numpy(), residual**2, atol=1e-6)


def test_the_mean_error_of_the_fitted_rows_is_the_variance_that_was_left_out() -> None:
    rows = mixed(500, 6, 2)
    known = moments(rows.astype(np.float64))
    fitted = Pca.of(known, 0.9)
    z = torch.from_numpy(rows).unsqueeze(1)
    left_out = np.linalg.eigvalsh(known.covariance)[: -fitted.components.shape[1]].sum()
    assert float(fitted.error(z, fitted.reconstruct(z)).sum(dim=2).mean()) == pytest.approx(left_out, rel=1e-4)


def test_the_code_and_the_components_give_the_reconstruction_of_the_closing_event() -> None:
    rows = mixed(50, 5, 2)
    fitted = Pca.of(moments(rows.astype(np.float64)), 0.95)
    z = torch.from_numpy(rows.reshape(10, 5, 5))
    decoded = fitted.encode(z).double() @ fitted.components.T + fitted.mean
    assert torch.allclose(decoded.float(), fitted.reconstruct(z)[:, -1], atol=1e-5)


def test_some_component_is_always_left_out() -> None:
    """Otherwise everything would be reconstructed, whatever it is."""
    rows = np.random.default_rng(0).normal(size=(200, 3))
    assert Pca.of(moments(rows), 1.0).components.shape == (3, 2)


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_single_channel_is_expected_at_its_mean(value: float) -> None:
    rows = np.random.default_rng(0).normal(value, 1.0, (200, 1))
    fitted = Pca.of(moments(rows), 0.95)
    expected = fitted.reconstruct(torch.full((1, 4, 1), 50.0))
    assert torch.allclose(expected, torch.tensor(rows.mean()).float())


def test_constant_channels_are_expected_at_their_constant() -> None:
    fitted = Pca.of(moments(np.full((20, 3), 2.5)), 0.95)
    z = torch.tensor([[[2.5, 2.5, 3.5]]])
    error = fitted.error(z, fitted.reconstruct(z))
    assert error[0, 0].tolist()[:2] == [0.0, 0.0] or error.sum() > 0
    assert float(fitted.error(z * 0 + 2.5, fitted.reconstruct(z * 0 + 2.5)).sum()) == 0.0


@pytest.mark.parametrize(("share", "size"), [(0.5, 1), (0.6, 1), (0.61, 2), (0.9, 2), (1.0, 3)])
def test_the_rank_is_the_smallest_that_holds_the_share(share: float, size: int) -> None:
    assert rank(np.array([6.0, 3.0, 1.0]), share) == size


def test_an_eigenvector_has_one_sign_only() -> None:
    rows = mixed(300, 4, 2).astype(np.float64)
    fitted, mirrored = Pca.of(moments(rows), 0.9), Pca.of(moments(-rows), 0.9)
    assert torch.allclose(fitted.components, mirrored.components)
    largest = fitted.components.abs().argmax(dim=0)
    assert (fitted.components[largest, torch.arange(len(largest))] > 0).all()


def test_estimation_is_that_of_all_fitting_rows_at_once_as_the_network_sees_them() -> None:
    """Rows with gaps in them: a missing value is imputed as in serving, by the last one of its window."""
    rows = 100 * mixed(800, 4, 2) + 5
    rows[13, 2] = np.nan
    made = split(rows, 8)
    found = estimate("pca", made)
    seen = rows[: len(made.fit) + 7].copy()
    seen = seen[: len(seen) // 8 * 8]
    seen[13, 2] = seen[12, 2]
    z = (seen.astype(np.float64) - [one.shift for one in made.features]) / [one.scale for one in made.features]
    closed = Pca.of(moments(z), 0.95)
    assert torch.allclose(found.state_dict()["mean"], closed.mean, atol=1e-6)
    assert torch.allclose(found.state_dict()["components"], closed.components, atol=1e-5)


def test_what_breaks_the_correlation_stands_out_and_what_keeps_it_does_not() -> None:
    rows = mixed(1000, 6, 2)
    made = split(rows, 1)
    of = scorer(estimate("pca", made), made.features, 1)
    normal, broken = rows[-200:].copy(), rows[-200:].copy()
    broken[:, 3] = broken[::-1, 3]
    error = [in_torch(of, some[:, None])[0] for some in (normal, broken)]
    assert np.median(error[1]) > 10 * np.median(error[0])
    assert (in_torch(of, broken[:, None])[1].argmax(axis=1) == 3).mean() > 0.5
