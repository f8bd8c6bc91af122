"""Laws of the plain, the adversarial and the composite objective, by hand where they are small enough."""

from __future__ import annotations

from math import tanh

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.model import objectives
from monitor.model.objectives.adversarial import BOUND, Adversarial
from monitor.model.objectives.composite import Composite
from tests.networks.made import NETWORKS, OBJECTIVES, card, windows

torch.set_num_threads(1)


def tiny(sensitivity: float = 0.25) -> Adversarial:
    """One event of one channel: code 0.5 z, first decoder 3 c, second -2 c, all without bias."""
    shape = {"network": "dense", "channels": 1, "window": 1, "hidden": (), "code": 1}
    model = objectives.build(card(objective="adversarial", adversarial={"sensitivity": sensitivity}, **shape))
    assert isinstance(model, Adversarial)
    with torch.no_grad():
        for part, weight in ((model.bottleneck.encoder, 0.5), (model.first, 3.0), (model.second, -2.0)):
            part.get_parameter("layers.0.weight").fill_(weight)
            part.get_parameter("layers.0.bias").zero_()
    return model


def bounded(value: float) -> float:
    return BOUND * tanh(value / BOUND)


@pytest.mark.parametrize("epoch", [1, 2, 5])
def test_the_two_losses_of_the_adversarial_model_are_those_of_the_paper(epoch: int) -> None:
    z = 4.0
    first, second = bounded(3 * 0.5 * z), bounded(-2 * 0.5 * z)
    again = bounded(-2 * 0.5 * first)
    model = tiny()
    found = [step.loss(torch.full((2, 1, 1), z), epoch).item() for step in model.steps()]
    share = 1 / epoch
    assert found[0] == pytest.approx(share * (first - z) ** 2 + (1 - share) * (again - z) ** 2, rel=1e-5)
    assert found[1] == pytest.approx(share * (second - z) ** 2 - (1 - share) * (again - z) ** 2, rel=1e-5)


@pytest.mark.parametrize("sensitivity", [0.0, 0.25, 1.0])
def test_the_error_mixes_the_first_reconstruction_and_the_one_of_that(sensitivity: float) -> None:
    z = 4.0
    first = bounded(6)
    again = bounded(-first)
    model, window = tiny(sensitivity), torch.full((1, 1, 1), z)
    expected = (1 - sensitivity) * (first - z) ** 2 + sensitivity * (again - z) ** 2
    assert model.reconstruct(window).item() == pytest.approx(first, rel=1e-6)
    assert model.error(window, model.reconstruct(window)).item() == pytest.approx(expected, rel=1e-5)
    assert model.validation_loss(window).item() == pytest.approx(expected, rel=1e-5)


def test_each_adversary_moves_the_encoder_and_its_own_decoder() -> None:
    model = tiny()
    encoder, first, second = (list(part.parameters()) for part in (model.bottleneck, model.first, model.second))
    moved = [{id(weight) for weight in step.weights} for step in model.steps()]
    assert moved == [{id(one) for one in (*encoder, *own)} for own in (first, second)]


def test_the_second_decoder_learns_to_tell_made_windows_from_data() -> None:
    """Its step raises the distance of what the first decoder made, in a late epoch."""
    torch.manual_seed(0)
    model = objectives.build(card(objective="adversarial", network="dense", hidden=(16,)))
    assert isinstance(model, Adversarial)
    z = windows(64)
    _, discern = model.steps()
    optimiser = torch.optim.Adam(model.second.parameters(), 1e-2)

    def apart() -> float:
        return (model._again(model.reconstruct(z)) - z).square().mean().item()

    before = apart()
    for _ in range(30):
        optimiser.zero_grad()
        torch.autograd.backward(discern.loss(z, 50), inputs=list(model.second.parameters()))
        optimiser.step()
    assert apart() > 2 * before


@given(st.floats(-1e4, 1e4))
def test_what_the_adversarial_model_makes_is_bounded(value: float) -> None:
    assert abs(tiny().reconstruct(torch.full((1, 1, 1), value)).item()) <= BOUND


@pytest.mark.parametrize("network", NETWORKS)
def test_a_forecast_sees_nothing_of_the_events_it_predicts(network: str) -> None:
    torch.manual_seed(0)
    model = objectives.build(card(objective="composite", network=network, hidden=(24,))).eval()
    z = windows()
    other = torch.cat([z[:, :4], windows(seed=2)[:, 4:]], 1)
    assert torch.equal(model.reconstruct(z), model.reconstruct(other))
    assert torch.equal(model.encode(z), model.encode(other))
    z.requires_grad_()
    torch.autograd.backward(model.reconstruct(z)[:, -2:].abs().sum())
    assert z.grad is not None
    assert not z.grad[:, -2:].any()
    assert z.grad[:, :-2].any(2).all()


def test_the_composite_loss_weighs_reconstruction_and_prediction() -> None:
    for weight in (1.0, 0.25):
        torch.manual_seed(0)
        model = objectives.build(card(objective="composite", composite={"horizon": 2, "weight": weight})).eval()
        z = windows()
        squared = (model.reconstruct(z) - z).square()
        expected = squared[:, :4].mean() + weight * squared[:, 4:].mean()
        assert torch.allclose(model.loss(z, 1), expected)
        assert torch.allclose(model.validation_loss(z), expected)
        assert torch.allclose(model.error(z, model.reconstruct(z)), squared)


def test_the_parts_of_a_composite_window_come_from_their_own_decoders() -> None:
    torch.manual_seed(0)
    model = objectives.build(card(objective="composite"))
    assert isinstance(model, Composite)
    z = windows()
    code = model.encode(z)
    assert torch.equal(model.reconstruct(z)[:, :4], model.decoder(code))
    assert torch.equal(model.reconstruct(z)[:, 4:], model.predictor(code))


@settings(deadline=None, max_examples=60)
@given(
    objective=st.sampled_from(OBJECTIVES),
    network=st.sampled_from(NETWORKS),
    window=st.integers(2, 12),
    channels=st.integers(1, 5),
    code=st.integers(1, 6),
    horizon=st.integers(1, 11),
)
def test_any_objective_on_any_network_learns_and_scores(
    objective: str, network: str, window: int, channels: int, code: int, horizon: int
) -> None:
    """Shapes of all that is served; errors are not negative; every weight has a step that moves it."""
    torch.manual_seed(0)
    shape = {"window": window, "channels": channels, "code": code, "composite": {"horizon": min(horizon, window - 1)}}
    model = objectives.build(card(objective=objective, network=network, hidden=(4,), **shape))
    z = windows(3, window, channels)
    moved: set[int] = set()
    for step in model.steps():
        loss = step.loss(z, 2)
        assert loss.shape == ()
        torch.autograd.backward(loss, inputs=step.weights)
        moved |= {id(weight) for weight in step.weights if weight.grad is not None}
    assert moved == {id(weight) for weight in model.parameters()}
    assert model.eval().validation_loss(z).shape == ()
    assert model.encode(z).shape == (3, code)
    reconstruction = model.reconstruct(z)
    error = model.error(z, reconstruction)
    assert reconstruction.shape == error.shape == z.shape
    assert (error >= 0).all()
