"""Laws of losses and distances, against their closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monitor.model import objectives
from monitor.model.objectives.distances import FLOOR, divergence, huber, shares
from monitor.model.objectives.outputs import Outputs
from tests.networks.made import card, windows

torch.set_num_threads(1)
numbers = st.floats(0, 1e4, width=32)


@pytest.mark.parametrize(
    ("name", "of_half", "of_three"), [("mse", 0.25, 9.0), ("mae", 0.5, 3.0), ("huber", 0.125, 2.5)]
)
def test_losses_are_means_over_all_values(name: str, of_half: float, of_three: float) -> None:
    outputs, zeros = Outputs(card(loss=name)), torch.zeros(2, 4, 3)
    assert outputs.loss(zeros, zeros + 0.5).item() == pytest.approx(of_half)
    assert outputs.loss(zeros + 3, zeros).item() == pytest.approx(of_three)


@pytest.mark.parametrize("name", ["squared", "absolute", "huber"])
def test_distances_are_per_value_and_the_loss_does_not_change_them(name: str) -> None:
    left, right = windows(seed=1) * 3, windows(seed=2) * 3
    found = Outputs(card(distance=name, loss="mae")).distance(left, right)
    kinds = {"squared": torch.nn.MSELoss, "absolute": torch.nn.L1Loss, "huber": torch.nn.HuberLoss}
    assert torch.allclose(found, kinds[name](reduction="none")(left, right), atol=1e-6)


def test_huber_is_torch_s() -> None:
    left, right = torch.linspace(-4, 4, 81), torch.zeros(81)
    assert torch.allclose(huber(left, right), torch.nn.HuberLoss(reduction="none")(left, right))


@given(st.floats(-20, 20), st.floats(0, 1))
def test_binary_cross_entropy_is_of_the_sigmoid(raw: float, value: float) -> None:
    outputs = Outputs(card(loss="bce", channels=1))
    logit, z = torch.full((1, 1, 1), raw), torch.full((1, 1, 1), value)
    p = 1 / (1 + math.exp(-raw))
    assert outputs(logit).item() == pytest.approx(p, abs=1e-6)
    expected = -value * math.log(p) - (1 - value) * math.log1p(-p) if p < 1 else -(1 - value) * -raw
    assert outputs.loss(logit, z).item() == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_beyond_zero_and_one_the_entropy_is_that_of_the_end_but_the_error_grows() -> None:
    outputs = Outputs(card(loss="bce"))
    raw = windows()
    assert torch.equal(outputs.loss(raw, torch.full_like(raw, 7.0)), outputs.loss(raw, torch.ones_like(raw)))
    assert outputs.loss(raw, torch.full_like(raw, -7.0)) >= 0
    far = [outputs.distance(outputs(raw), torch.full_like(raw, value)).min() for value in (1.5, 3.0, 50.0)]
    assert far[0] < far[1] < far[2]
    assert far[2] > 49**2 - 1e-3


@given(st.lists(st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)), min_size=2, max_size=9))
def test_the_divergence_of_a_group_adds_up_to_kullback_and_leibler_s(pairs: list[tuple[float, float]]) -> None:
    p, q = (torch.tensor(one, dtype=torch.float64) for one in zip(*pairs, strict=True))
    p, q = p / p.sum(), q / q.sum()
    expected = torch.distributions.kl_divergence(torch.distributions.Categorical(p), torch.distributions.Categorical(q))
    found = divergence(q, p)
    assert (found >= 0).all()
    assert found.sum().item() == pytest.approx(expected.item(), abs=1e-5)


@given(st.lists(numbers, min_size=2, max_size=9), st.floats(0.01, 100))
def test_only_shares_count_and_not_their_sum(values: list[float], factor: float) -> None:
    z = torch.tensor(values, dtype=torch.float64) + 1e-3
    q = shares(z.flip(0))
    assert torch.allclose(divergence(q, z), divergence(q, z * factor), atol=1e-4)
    assert shares(z).sum().item() == pytest.approx(1)


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=9))
def test_any_values_have_a_finite_divergence_and_a_negative_one_counts(values: list[float]) -> None:
    z = torch.tensor(values)
    q = shares(torch.arange(len(values)).float())
    found = divergence(q, z)
    assert torch.isfinite(found).all()
    assert (found >= 0).all()
    assert (found >= z.clamp(max=0) ** 2).all()


def test_what_was_never_expected_is_an_error_of_the_logarithm_of_the_floor() -> None:
    found = divergence(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
    assert found[1].item() == pytest.approx(-math.log(FLOOR) - 1, rel=1e-4)


def test_a_distribution_is_a_softmax_and_its_loss_the_divergence_of_that() -> None:
    """Channels 0 and 2 form one, 1 and 3 do not; the loss is the mean over the values of both kinds."""
    outputs = Outputs(card(loss="kl", channels=4, distributions=((0, 2),)))
    raw, z = windows(5, 6, 4), windows(5, 6, 4, seed=2)
    z[..., [0, 2]] = z[..., [0, 2]].abs() * 40  # a histogram
    made = outputs(raw)
    assert torch.equal(made[..., [1, 3]], raw[..., [1, 3]])
    assert torch.allclose(made[..., [0, 2]], raw[..., [0, 2]].softmax(-1))
    p, q = (torch.distributions.Categorical(one) for one in (z[..., [0, 2]], made[..., [0, 2]]))
    inside = torch.distributions.kl_divergence(p, q)  # (B, T)
    outside = (raw - z)[..., [1, 3]].square()
    assert outputs.loss(raw, z).item() == pytest.approx(((inside.sum() + outside.sum()) / raw.numel()).item(), rel=1e-5)
    error = outputs.distance(made, z)
    assert torch.allclose(error[..., [0, 2]].sum(-1), inside, atol=1e-5)
    assert torch.allclose(error[..., [1, 3]], outside)


def test_a_distribution_of_all_channels_leaves_no_others() -> None:
    outputs = Outputs(card(loss="kl", distributions=((2, 0, 1),)))
    raw = windows()
    assert torch.allclose(outputs(raw), raw.softmax(-1))
    assert torch.isfinite(outputs.loss(raw, torch.zeros_like(raw)))


def test_the_hamming_distance_is_one_where_something_else_was_expected() -> None:
    """A number, a feature of two values (-1 and 3), and a category of three."""
    levels = ({"channel": 1, "low": -1.0, "high": 3.0},)
    outputs = Outputs(card(distance="hamming", channels=5, categories=((2, 3),), levels=levels))

    def distance(expected: list[float], z: list[float]) -> list[float]:
        found: list[float] = outputs.distance(torch.tensor([[expected]]), torch.tensor([[z]])).flatten().tolist()
        return found

    assert distance([0.5, 1.1, 0.2, 0.9, 0.3], [0, 3, 0, 1, 0]) == [0.25, 0, 0, 0, 0]
    assert distance([0.5, 0.9, 0.2, 0.9, 0.3], [0, 3, 0, 1, 0]) == [0.25, 1, 0, 0, 0]
    assert distance([0.0, -9.0, 0.2, 0.1, 0.3], [0, -1, 0, 1, 0]) == [0, 0, 0, 1, 1]
    assert distance([0.0, 3.0, 0.2, 0.1, 0.3], [0, 1, 0, 0, 0]) == [0, 1, 0, 0, 1]  # neither level, unknown value


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "bce", "kl"])
def test_every_loss_can_be_learned_by(loss: str) -> None:
    torch.manual_seed(0)
    groups = ((0, 1),) if loss == "kl" else ()
    model = objectives.build(card(loss=loss, network="dense", hidden=(16,), code=8, distributions=groups))
    z = windows(32).sigmoid()
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    reached = []
    for _ in range(60):
        loss_now = model.loss(z, 1)
        reached.append(loss_now.item())
        optimiser.zero_grad()
        torch.autograd.backward(loss_now)
        optimiser.step()
    least = torch.nn.functional.binary_cross_entropy(z, z).item() if loss == "bce" else 0.0
    assert reached[-1] - least < 0.5 * (reached[0] - least)
