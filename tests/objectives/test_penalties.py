"""Laws of what keeps a code from being a copy: damage, sparsity, contraction."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from monitor.config.objectives import Denoising
from monitor.model import objectives
from monitor.model.objectives.bottleneck import Bottleneck, activation_divergence, corrupted, jacobian_norm
from tests.networks.made import NETWORKS, OBJECTIVES, card, windows

torch.set_num_threads(1)


def exact_norm(encoder: nn.Module, z: Tensor) -> Tensor:
    """Of every window alone, by torch's own Jacobian."""
    whole = [torch.autograd.functional.jacobian(encoder, one.unsqueeze(0)) for one in z]  # type: ignore[no-untyped-call]
    return torch.stack([one.square().sum() for one in whole])


@pytest.mark.parametrize("network", NETWORKS)
def test_the_exact_contraction_is_the_frobenius_norm_of_the_jacobian(network: str) -> None:
    torch.manual_seed(0)
    bottleneck = Bottleneck(card(network=network, hidden=(7, 5), code=3), 6, 3).double()
    z = windows().double().requires_grad_()
    found = jacobian_norm(bottleneck(z), z, 0)
    assert torch.allclose(found, exact_norm(bottleneck, z.detach()), rtol=1e-9)


def test_the_jacobian_norm_is_that_of_finite_differences() -> None:
    torch.manual_seed(0)
    bottleneck = Bottleneck(card(network="gru", window=3, channels=2), 3, 2).double()
    z = windows(1, 3, 2).double().requires_grad_()
    steps = torch.eye(6, dtype=torch.float64).reshape(6, 3, 2) * 1e-6
    columns = (bottleneck(z + steps) - bottleneck(z - steps)) / 2e-6  # (6, C)
    assert jacobian_norm(bottleneck(z), z, 0).item() == pytest.approx(columns.square().sum().item(), rel=1e-6)


def test_projections_have_the_norm_as_their_mean() -> None:
    """Over all signs it is the norm to the last digits; over random ones, near it, and nearer with more of them."""
    torch.manual_seed(0)
    bottleneck = Bottleneck(card(code=3), 6, 3).double()
    z = windows(2).double().requires_grad_()
    code = bottleneck(z)
    exact = jacobian_norm(code, z, 0)
    by_sign = []
    for signs in product((-1.0, 1.0), repeat=3):
        weight = torch.tensor(signs, dtype=torch.float64).expand_as(code)
        (gradient,) = torch.autograd.grad(code, z, weight, retain_graph=True)
        by_sign.append(gradient.square().sum((1, 2)))
    assert torch.allclose(torch.stack(by_sign).mean(0), exact, rtol=1e-9)
    single = torch.stack([jacobian_norm(code, z, 1) for _ in range(400)]).detach()  # (400, B)
    assert {round(float(one), 9) for one in single[:, 0]} <= {round(float(one[0]), 9) for one in by_sign}
    error = (single.mean(0) - exact).abs() / (single.std(0) / 20)
    assert (error < 4).all()
    many = torch.stack([jacobian_norm(code, z, 16) for _ in range(50)]).detach()
    assert (many.std(0) < 0.5 * single.std(0)).all()


def test_the_contraction_can_be_minimised() -> None:
    """It has a gradient, through the gradient: steps along it lower the norm."""
    torch.manual_seed(0)
    for network in NETWORKS:
        a = card(network=network, hidden=(8,), contraction={"weight": 1.0, "projections": 0}, dropout=0.2)
        bottleneck = Bottleneck(a, 6, 2)
        optimiser = torch.optim.Adam(bottleneck.parameters(), 1e-2)
        before = exact_norm(bottleneck.eval(), windows()).mean()
        bottleneck.train()
        for _ in range(20):
            optimiser.zero_grad()
            bottleneck.learn(windows())[1].backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        assert exact_norm(bottleneck.eval(), windows()).mean() < 0.8 * before


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_the_sparsity_divergence_is_least_where_the_mean_activation_is_the_target(target: float, mean: float) -> None:
    at_target = activation_divergence(torch.full((5, 3), target, dtype=torch.float64), target)
    elsewhere = activation_divergence(torch.full((5, 3), mean, dtype=torch.float64), target)
    assert float(at_target) == pytest.approx(0, abs=1e-12)
    assert float(elsewhere) >= -1e-12
    p, q = torch.distributions.Bernoulli(target), torch.distributions.Bernoulli(mean)
    by_torch = 3 * torch.distributions.kl_divergence(p, q)
    assert float(elsewhere) == pytest.approx(float(by_torch), abs=1e-4)


def test_the_sparsity_divergence_sees_the_mean_of_the_batch_unit_by_unit() -> None:
    on_and_off = torch.tensor([[0.0, 0.5], [1.0, 0.5]])
    assert float(activation_divergence(on_and_off, 0.5)) == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(activation_divergence(torch.zeros(2, 2), 0.05))


def test_sparsity_is_weighed_and_added() -> None:
    torch.manual_seed(0)
    none = Bottleneck(card(), 6, 2)
    code, nothing = none.learn(windows())
    assert float(nothing) == 0
    for penalty, of in (("l1", lambda c: c.abs().sum(1).mean()), ("kl", lambda c: activation_divergence(c, 0.1))):
        torch.manual_seed(0)
        sparse = Bottleneck(card(sparsity={"penalty": penalty, "weight": 0.5, "target": 0.1}), 6, 2)
        found, value = sparse.learn(windows())
        assert torch.allclose(found, code.sigmoid() if penalty == "kl" else code)
        assert torch.equal(found, sparse(windows()))
        assert torch.allclose(value, 0.5 * of(found))


@settings(max_examples=20)
@given(st.floats(0.01, 0.99), st.integers(0, 99))
def test_a_mask_sets_its_share_of_the_values_to_zero_and_leaves_the_rest(share: float, seed: int) -> None:
    torch.manual_seed(seed)
    z = windows(200, 10, 10) + 10
    found = corrupted(z, Denoising(mask=share))
    zeros = found == 0
    assert torch.equal(found[~zeros], z[~zeros])
    assert abs(zeros.float().mean() - share) < 5 * (share * (1 - share) / z.numel()) ** 0.5


def test_noise_has_the_deviation_asked_for_and_leaves_the_mean() -> None:
    torch.manual_seed(0)
    added = corrupted(torch.zeros(400, 10, 10), Denoising(noise=0.3))
    assert added.std().item() == pytest.approx(0.3, rel=0.02)
    assert abs(added.mean()) < 0.01


def test_without_damage_the_windows_are_as_they_were() -> None:
    z = windows()
    assert corrupted(z, Denoising()) is z


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_what_is_damaged_is_the_input_and_not_the_target(objective: str) -> None:
    """With every value masked, the encoder reads zeros, and the loss is of the window as it was."""
    torch.manual_seed(0)
    model = objectives.build(card(objective=objective, denoising={"mask": 0.999999, "noise": 0.0})).train()
    seen: list[Tensor] = []
    target: list[Tensor] = []
    model.get_submodule("bottleneck.encoder").register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))

    plain = model.outputs.loss

    def watch(raw: Tensor, z: Tensor) -> Tensor:
        target.append(z)
        return plain(raw, z)

    model.outputs.loss = watch  # type: ignore[method-assign]
    z = windows()
    model.loss(z, 2)
    assert not seen[0].any()
    assert target or objective == "variational"  # which has its own likelihood: see there
    assert all((one == z[:, : one.shape[1]]).all() or (one == z[:, -one.shape[1] :]).all() for one in target)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_there_is_no_noise_in_validation_and_in_scoring(objective: str) -> None:
    torch.manual_seed(0)
    damage = {"mask": 0.5, "noise": 1.0}
    model = objectives.build(card(objective=objective, hidden=(5, 5), denoising=damage, dropout=0.5))
    z = windows()
    assert not torch.equal(model.train().loss(z, 2), model.loss(z, 2))
    model.eval()
    with torch.inference_mode():
        assert torch.equal(model.validation_loss(z), model.validation_loss(z))
        assert torch.equal(model.reconstruct(z), model.reconstruct(z))
        assert torch.equal(model.error(z, model.reconstruct(z)), model.error(z, model.reconstruct(z)))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_adds_the_penalty_to_its_loss(objective: str) -> None:
    losses = []
    for weight in (1e-9, 3.0):
        torch.manual_seed(0)
        sparsity = {"penalty": "l1" if objective != "variational" else "none", "weight": weight}
        contraction = {"weight": weight, "projections": 0}
        model = objectives.build(card(objective=objective, sparsity=sparsity, contraction=contraction))
        torch.manual_seed(1)
        losses.append([step.loss(windows(), 3).item() for step in model.steps()])
    assert all(heavy > light for light, heavy in zip(*losses, strict=True))
