"""PCA against the code: the linear autoencoder's optimum, measured on the windows that the network is measured on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.evaluation.compression import compare
from monitor.model.manifest import Feature

N, T = 120, 4
FEATURES = (
    Feature(name="a", mean=0.0, minimum=-1.0, maximum=1.0),
    Feature(name="b", mean=0.0, minimum=-1.0, maximum=1.0),
    Feature(name="c", categories=("x", "y"), mean=0.0, minimum=0.0, maximum=1.0),
)
G = 4


def plane(rank: int, noise: float, seed: int = 0) -> np.ndarray:
    """Windows (N, T, G) about a plane of that rank."""
    rng = np.random.default_rng(seed)
    wide = rng.normal(size=(N, rank)) @ rng.normal(size=(rank, T * G)) + noise * rng.normal(size=(N, T * G))
    return wide.reshape(N, T, G).astype(np.float32)


def test_components_keep_all_of_a_plane_of_their_number_and_not_with_one_less() -> None:
    z = plane(3, 0.0)
    found = compare(z, z, 3, FEATURES)
    assert found is not None
    assert (found.fitted, found.tested) == (60, 60)
    assert found.explained[2] == pytest.approx(1.0, abs=1e-6)
    assert found.explained[1] < 0.99
    assert found.pca_error == pytest.approx(0.0, abs=1e-6)
    assert (found.network, found.network_error) == (1.0, 0.0)


@settings(deadline=None, max_examples=30)
@given(rank=st.integers(1, 5), code=st.integers(1, 6), seed=st.integers(0, 99))
def test_errors_are_those_of_the_projection_onto_the_fitted_half(rank: int, code: int, seed: int) -> None:
    z = plane(rank, 0.3, seed)
    found = compare(z, np.zeros_like(z), code, FEATURES)
    assert found is not None
    wide = z.reshape(N, -1).astype(np.float64)
    mean = wide[:60].mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov((wide[:60] - mean).T))
    basis = vectors[:, ::-1][:, :code]
    tested = wide[60:] - mean
    residual = tested - tested @ basis @ basis.T
    assert found.pca_error == pytest.approx(np.mean(residual**2), rel=1e-6)
    assert found.explained[code - 1] == pytest.approx(1 - np.sum(residual**2) / np.sum(tested**2), rel=1e-6)
    assert (np.diff(found.explained) >= -1e-12).all()
    assert found.network_error == pytest.approx(np.mean(wide[60:] ** 2), rel=1e-6)
    channels = np.mean(residual.reshape(-1, T, G) ** 2, axis=(0, 1))
    kept = [one.pca for one in found.features]
    assert kept == pytest.approx([channels[0], channels[1], channels[2:].mean()], rel=1e-6)


def test_too_few_windows_for_so_large_a_code_are_not_compared() -> None:
    z = plane(2, 0.1)
    assert compare(z[:6], z[:6], 3, FEATURES) is None
    assert compare(z[:0], z[:0], 1, FEATURES) is None
    assert compare(z[:8], z[:8], 3, FEATURES) is not None
