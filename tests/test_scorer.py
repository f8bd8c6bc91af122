"""Laws of what is scored: the model's errors in their units, over spans and features."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.model import objectives
from monitor.model.manifest import Feature, Scoring
from monitor.model.scorer import Scorer, pairwise_mean
from tests.networks.made import card, windows

torch.set_num_threads(1)
END = float(np.finfo(np.float32).max)
Span = Literal["window", "last"]


def scorer(
    *spans: Span, last: int = 1, shift: float = 0.0, scale: float = 1.0, units: tuple[float, ...] = (1.0, 1.0, 1.0)
) -> Scorer:
    """Of windows of 6 events of 3 features."""
    torch.manual_seed(0)
    features = [
        Feature(name=name, mean=shift, shift=shift, scale=scale, minimum=shift, maximum=shift + scale) for name in "abc"
    ]
    scoring = Scoring(spans=spans, last=last, units=(units,) * len(spans))
    return Scorer(features, 6, objectives.build(card()), scoring).eval()


@pytest.mark.parametrize(
    ("spans", "last", "events"),
    [(("window",), 1, 6), (("last",), 1, 1), (("last",), 3, 3)],
)
def test_the_error_is_the_mean_of_the_features_errors_over_the_window_or_its_last_events(
    spans: tuple[Span, ...], last: int, events: int
) -> None:
    one = scorer(*spans, last=last, shift=-7.0, scale=4.0)
    scored = windows() * 4 - 7
    error, feature_error, expected, code = one(scored)
    squared = (one.model.reconstruct(windows()) - windows()) ** 2
    assert torch.allclose(feature_error, squared[:, -events:].mean(1), atol=1e-5)
    assert torch.allclose(error, feature_error.mean(1))
    assert torch.allclose(expected, one.model.reconstruct(windows())[:, -1] * 4 - 7, atol=1e-5)
    assert torch.allclose(code, one.model.encode(windows()), atol=1e-6)


def test_over_both_spans_it_is_the_mean_of_the_two() -> None:
    both, whole, last = (scorer(*spans)(windows())[1] for spans in (("window", "last"), ("window",), ("last",)))
    assert torch.allclose(both, (whole + last) / 2)


def test_a_channel_s_error_is_in_its_own_unit() -> None:
    plain, weighed = scorer("window")(windows()), scorer("window", units=(1.0, 2.0, 0.5))(windows())
    assert torch.allclose(weighed[1], plain[1] / torch.tensor([1.0, 2.0, 0.5]))
    assert torch.equal(weighed[2], plain[2])


@given(st.integers(1, 70))
def test_the_pairwise_mean_is_the_mean(length: int) -> None:
    values = torch.rand(3, length, 2, generator=torch.Generator().manual_seed(length))
    assert torch.allclose(pairwise_mean(values, 1, length), values.mean(1))


@settings(deadline=None)
@given(
    st.lists(st.floats(-END, END, width=32), min_size=18, max_size=18),
    st.floats(-END, END, width=32),
    st.floats(np.finfo(np.float32).tiny.item(), END, width=32),
)
def test_every_finite_window_has_a_finite_score_under_every_scaler(
    values: list[float], shift: float, scale: float
) -> None:
    with torch.inference_mode():
        outputs = scorer("window", shift=shift, scale=scale)(torch.tensor(values).reshape(1, 6, 3))
    assert all(torch.isfinite(output).all() for output in outputs)
    assert outputs[0] >= 0
