"""What stands in for a missing value: the same in training and in serving, and a matter of one window alone."""

from __future__ import annotations

from math import nan

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from monitor.batch import Float32
from monitor.imputation import impute
from monitor.model.fitting import gather

MEAN = np.array([-1, -2], np.float32)


def test_a_missing_value_is_the_one_before_it_in_the_window_else_the_mean() -> None:
    window = np.array([[[nan, 1], [2, nan], [nan, nan], [nan, 5], [7, nan]]], np.float32)
    filled = impute(window, MEAN)
    assert filled.tolist() == [[[-1, 1], [2, 1], [2, 1], [2, 5], [7, 5]]]
    assert filled.dtype == np.float32


@given(arrays.arrays(np.float32, (12, 2), elements=st.sampled_from([nan, 0.0, 1.0, 2.0])), st.integers(1, 12))
def test_training_and_serving_see_the_same_windows(rows: Float32, window: int) -> None:
    first = np.arange(len(rows) - window + 1)
    served = impute(rows[first[:, None] + np.arange(window)], MEAN)
    trained = gather(torch.from_numpy(rows), first, window, torch.from_numpy(MEAN))
    assert np.array_equal(served, trained.numpy())
    for at, filled in zip(first.tolist(), served, strict=True):
        held = MEAN.tolist()
        for step, values in enumerate(rows[at : at + window].tolist()):
            held = [was if value != value else value for was, value in zip(held, values, strict=True)]
            assert filled[step].tolist() == held
