"""Logarithm and exponential of the graph against numpy's in float64; their bits in any batch are `test_front`'s."""

from __future__ import annotations

import numpy as np
import torch

from monitor.model.elementary import LARGEST, expm1, log1p

END = float(np.finfo(np.float32).max)


def test_the_logarithm_is_right_to_a_few_units_in_the_last_place() -> None:
    some = 10.0 ** np.random.default_rng(0).uniform(-40, 38.5, 100_000)
    x = np.concatenate([[0, 1e-45, END], some]).astype(np.float32)
    found = log1p(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, np.log1p(x.astype(np.float64)), rtol=5e-7, atol=3e-45)


def test_the_exponential_is_right_and_undoes_the_logarithm() -> None:
    some = 10.0 ** np.random.default_rng(0).uniform(-40, 1.9, 100_000)
    y = np.concatenate([[0, 1e-45, LARGEST], some]).astype(np.float32)
    found = expm1(torch.from_numpy(y)).numpy()
    np.testing.assert_allclose(found, np.expm1(y.astype(np.float64)), rtol=2e-6, atol=3e-45)
    np.testing.assert_allclose(log1p(torch.from_numpy(found)), y, rtol=1e-6, atol=3e-45)
    assert expm1(torch.tensor([1e30, END])).isfinite().all()
