"""Laws of the networks and of what is scored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.model.manifest import Architecture
from monitor.model.networks import LIMIT, Autoencoder, build
from monitor.model.objectives import LOSSES, Scorer, pairwise_mean

torch.set_num_threads(1)


def network(window: int = 6, features: int = 3, code: int = 2, layers: int = 1, dropout: float = 0.0) -> Autoencoder:
    torch.manual_seed(0)
    card = Architecture(
        network="lstm", features=features, window=window, hidden=5, layers=layers, code=code, dropout=dropout
    )
    return build(card).eval()


def windows(count: int = 4, window: int = 6, features: int = 3) -> torch.Tensor:
    return torch.randn(count, window, features, generator=torch.Generator().manual_seed(1))


def test_the_code_is_smaller_than_the_window_and_the_reconstruction_has_its_shape() -> None:
    net = network(code=2)
    assert net.encode(windows()).shape == (4, 2)
    assert net(windows()).shape == (4, 6, 3)


def test_the_decoder_sees_nothing_but_the_code() -> None:
    """Two different windows with the same code have the same reconstruction, also while training."""
    net = network().train()
    with torch.no_grad():
        net.get_submodule("code").weight.zero_()  # type: ignore[operator]  # every code is the bias
    first, second = net(windows())[:2]
    assert torch.equal(first, second)


def test_no_more_independent_directions_leave_the_decoder_than_the_code_has() -> None:
    """The bottleneck: around any window, the reconstruction moves in at most C directions."""
    net = network(code=2).double()
    window = windows(1).double()
    jacobian = torch.autograd.functional.jacobian(net, window).reshape(18, 18)  # type: ignore[no-untyped-call]
    assert torch.linalg.matrix_rank(jacobian, rtol=1e-9) == 2


def test_the_decoder_writes_the_newest_event_first() -> None:
    """A longer window has the same reconstruction of its newest events from the same code."""
    code = torch.randn(3, 2, generator=torch.Generator().manual_seed(2))
    short, long = network(window=4).decode(code), network(window=9).decode(code)
    assert torch.allclose(long[:, -4:], short, atol=1e-6)
    assert not torch.allclose(long[:, :4], short, atol=1e-3)


def test_every_weight_gets_a_gradient() -> None:
    net = network(layers=2, dropout=0.1).train()
    LOSSES["mse"](net(windows()), windows()).backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in net.parameters())


def test_dropout_only_while_training() -> None:
    net = network(layers=2, dropout=0.5)
    assert torch.equal(net(windows()), net(windows()))
    net.train()
    assert not torch.equal(net(windows()), net(windows()))


def test_the_scaler_is_part_of_the_weights_and_its_own_inverse() -> None:
    net = network()
    assert {"mean", "scale"} <= set(net.state_dict())
    net.mean.copy_(torch.tensor([1.0, -50.0, 1e6]))
    net.scale.copy_(torch.tensor([2.0, 0.1, 1e3]))
    values = torch.tensor([[3.0, -49.0, 1e6]])
    assert torch.allclose(net.standardise(values), torch.tensor([[1.0, 10.0, 0.0]]), atol=1e-4)
    assert torch.allclose(net.restore(net.standardise(values)), values)
    assert net.standardise(values * 1e30).abs().max() == LIMIT


@pytest.mark.parametrize("score_over", ["window", "last"])
def test_the_error_is_the_mean_of_the_features_errors_over_the_window_or_its_last_event(score_over: str) -> None:
    net = network()
    net.scale.fill_(4.0)
    scored = windows() * 4
    error, feature_error, expected = Scorer(net, score_over)(scored)  # type: ignore[arg-type]
    squared = (net(net.standardise(scored)) - net.standardise(scored)) ** 2
    by_hand = squared.mean(1) if score_over == "window" else squared[:, -1]
    assert torch.allclose(feature_error, by_hand)
    assert torch.allclose(error, feature_error.mean(1))
    assert torch.allclose(expected, net(net.standardise(scored))[:, -1] * 4)


@given(st.integers(1, 70))
def test_the_pairwise_mean_is_the_mean(length: int) -> None:
    values = torch.rand(3, length, 2, generator=torch.Generator().manual_seed(length))
    assert torch.allclose(pairwise_mean(values, 1, length), values.mean(1))


END = float(np.finfo(np.float32).max)


@settings(deadline=None)
@given(
    st.lists(st.floats(-END, END, width=32), min_size=9, max_size=9),
    st.lists(st.floats(-END, END, width=32), min_size=3, max_size=3),
    st.lists(st.floats(np.finfo(np.float32).tiny.item(), END, width=32), min_size=3, max_size=3),
)
def test_every_finite_window_has_a_finite_score_under_every_scaler(
    values: list[float], mean: list[float], scale: list[float]
) -> None:
    net = network(window=3)
    net.mean.copy_(torch.tensor(mean))
    net.scale.copy_(torch.tensor(scale))
    with torch.inference_mode():
        outputs = Scorer(net, "window")(torch.tensor(values).reshape(1, 3, 3))
    assert all(torch.isfinite(output).all() for output in outputs)
    assert outputs[0] >= 0


@pytest.mark.parametrize(
    ("name", "of_half", "of_three"), [("mse", 0.25, 9.0), ("mae", 0.5, 3.0), ("huber", 0.125, 2.5)]
)
def test_losses_are_means_over_all_values(name: str, of_half: float, of_three: float) -> None:
    zeros = torch.zeros(2, 4, 3)
    assert float(LOSSES[name](zeros, zeros + 0.5)) == pytest.approx(of_half)
    assert float(LOSSES[name](zeros, zeros + 3)) == pytest.approx(of_three)
