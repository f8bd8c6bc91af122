"""Laws of the variational model: its divergence, its likelihood, what it scores and what it draws."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal

from monitor.model import objectives
from monitor.model.objectives.variational import VALUE_RANGE, Variational, divergence, unlikeliness
from tests.networks.made import card, windows

torch.set_num_threads(1)


def made(**changes: object) -> Variational:
    torch.manual_seed(0)
    settings = {"beta": 1.0, "warm_up": 4, "samples": 3} | changes
    model = objectives.build(card(objective="variational", network="dense", variational=settings)).eval()
    assert isinstance(model, Variational)
    return model


def log_prob(distribution: Normal, value: Tensor) -> Tensor:
    found: Tensor = distribution.log_prob(value)  # type: ignore[no-untyped-call]
    return found


def parts(model: Variational, z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the code, by the encoder and the range of its variance."""
    mean, raw = model.bottleneck(z).chunk(2, 1)
    return mean, (0.5 * (-12 + 16 * raw.sigmoid())).exp()


def test_the_divergence_of_a_code_from_its_prior_is_that_of_monte_carlo_and_of_torch() -> None:
    mean, log_variance = torch.tensor([[0.7, -1.2], [0.0, 0.0]]), torch.tensor([[-1.0, 0.5], [0.0, 0.0]])
    found = divergence(mean, log_variance)
    posterior, prior = Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)
    by_torch = torch.distributions.kl_divergence(posterior, prior).sum(1)
    assert torch.allclose(found, by_torch, atol=1e-6)
    torch.manual_seed(0)
    drawn = mean + (0.5 * log_variance).exp() * torch.randn(200_000, 2, 2)
    by_chance = (log_prob(posterior, drawn) - log_prob(prior, drawn)).sum(2).mean(0)
    assert torch.allclose(found, by_chance, atol=0.02)
    assert found[1] == 0


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(*VALUE_RANGE))
def test_the_error_of_a_value_is_its_gaussian_negative_log_likelihood_above_the_least_there_is(
    value: float, mean: float, log_variance: float
) -> None:
    z, m, v = (torch.tensor(one, dtype=torch.float64) for one in (value, mean, log_variance))
    floor = torch.tensor(VALUE_RANGE[0] / 2, dtype=torch.float64).exp()
    least = -log_prob(Normal(m, floor), m)
    direct = -log_prob(Normal(m, (v / 2).exp()), z) - least
    found = unlikeliness(z, m, v)
    assert float(found) == pytest.approx(float(direct), rel=1e-9, abs=1e-9)
    assert found >= 0


def test_a_score_is_the_reconstruction_probability_over_the_model_s_own_draws() -> None:
    model, z = made(), windows()
    mean, deviation = parts(model, z)
    likelihood, expected = [], []
    for noise in model.noise:
        m, raw = model.decoder(mean + deviation * noise).chunk(2, 2)
        variance = (VALUE_RANGE[0] + (VALUE_RANGE[1] - VALUE_RANGE[0]) * raw.sigmoid()).exp()
        likelihood.append(-log_prob(Normal(m, variance.sqrt()), z))
        expected.append(m)
    least = -log_prob(Normal(0.0, torch.tensor(VALUE_RANGE[0]).exp().sqrt()), torch.zeros(()))
    error = model.error(z, model.reconstruct(z))
    assert error.shape == z.shape
    assert torch.allclose(error, torch.stack(likelihood).mean(0) - least, atol=1e-4)
    assert torch.allclose(model.reconstruct(z), torch.stack(expected).mean(0), atol=1e-6)
    assert torch.equal(model.encode(z), mean)


def test_more_draws_come_nearer_to_the_mean_over_all_of_them() -> None:
    """The scores of two models that differ in their draws alone."""
    spread = []
    for samples in (2, 128):
        one, other = made(samples=samples), made(samples=samples)
        torch.manual_seed(1)
        other.noise.copy_(torch.randn_like(other.noise))
        z = windows()
        spread.append((one.error(z, z) - other.error(z, z)).abs().mean())
    assert spread[1] < 0.5 * spread[0]


def test_the_draws_belong_to_the_weights() -> None:
    model = made()
    assert torch.equal(model.state_dict()["noise"], model.noise)
    assert model.noise.shape == (3, 2)


def test_beta_rises_from_nothing_over_the_warm_up_and_validation_has_all_of_it() -> None:
    model, z = made(beta=2.0), windows()
    mean, log_variance = parts(model, z)[0], 2 * parts(model, z)[1].log()
    full = 2.0 * divergence(mean, log_variance).mean() / z[0].numel()
    losses = []
    for epoch in range(1, 8):
        torch.manual_seed(0)
        losses.append(model.loss(z, epoch))
    rise = torch.stack(losses) - losses[0]
    assert torch.allclose(rise, full * torch.tensor([0, 0.25, 0.5, 0.75, 1, 1, 1]), atol=1e-5)
    assert torch.allclose(model.validation_loss(z), model.error(z, z).mean() + full, atol=1e-5)


def test_without_a_warm_up_beta_is_full_from_the_start() -> None:
    model = made(warm_up=0)
    losses = []
    for epoch in (1, 9):
        torch.manual_seed(0)
        losses.append(model.loss(windows(), epoch))
    assert torch.equal(losses[0], losses[1])


def test_the_likelihood_is_of_the_window_and_not_of_what_was_damaged() -> None:
    """With every value masked: a decoder that answers zeros of one variance to every code."""
    torch.manual_seed(0)
    damage = {"mask": 0.999999}
    model = objectives.build(card(objective="variational", network="dense", denoising=damage))
    assert isinstance(model, Variational)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    z, middle = windows(), torch.tensor(sum(VALUE_RANGE) / 2)
    expected = 0.5 * (middle - VALUE_RANGE[0] + z.square() * (-middle).exp()).mean()
    assert torch.allclose(model.loss(z, 1), expected)  # epoch 1: no divergence yet


def test_the_loss_is_the_evidence_bound_of_the_decoder_s_own_gaussian() -> None:
    """With a code that has no noise, it is what validation finds."""
    model, z = made(), windows()
    with torch.no_grad():
        model.bottleneck.get_parameter("encoder.layers.3.bias")[2:] = -1e4  # the least variance
        model.bottleneck.get_parameter("encoder.layers.3.weight")[2:] = 0
    assert torch.allclose(model.loss(z, 99), model.validation_loss(z), rtol=2e-2)


def test_samples_are_drawn_from_the_prior_through_the_decoder() -> None:
    """A decoder that answers the same to every code: then a window's values have its mean and its variance."""
    model = made()
    with torch.no_grad():
        for weight in model.decoder.parameters():
            weight.zero_()
        model.decoder.get_parameter("layers.2.bias").copy_(torch.tensor([1.0, 2.0, 3.0, 0.0, 0.0, 9.0] * 6))
    drawn = model.sample(2000, torch.Generator().manual_seed(0))
    assert drawn.shape == (2000, 6, 3)
    assert torch.allclose(drawn.mean((0, 1)), torch.tensor([1.0, 2.0, 3.0]), atol=0.2)
    middle = torch.tensor(sum(VALUE_RANGE) / 4).exp()
    assert torch.allclose(drawn.std((0, 1))[:2], middle, rtol=0.05)
    assert torch.allclose(drawn.std((0, 1))[2], torch.tensor(10.0), rtol=0.05)


def test_samples_follow_their_generator_and_the_code() -> None:
    model = made()
    first, same, other = (model.sample(5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    with torch.no_grad():
        for weight in model.decoder.parameters():
            weight.mul_(30)
    means = model.sample(400, torch.Generator().manual_seed(0))
    covariance = torch.cov(means.flatten(1).T)
    assert torch.linalg.eigvalsh(covariance)[-2:].sum() > 0.5 * covariance.trace()  # two codes, two directions
