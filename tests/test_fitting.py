"""Laws of the training loop: what it keeps, when it ends, and that it can be repeated."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
import torch
from torch import Tensor

from monitor.config import Training
from monitor.errors import MonitorError
from monitor.model import fitting, objectives
from monitor.model.dataset import Split, prepare
from monitor.model.fitting import Fitted, Progress, fit
from monitor.model.objectives.adversarial import Adversarial
from monitor.model.shape import architecture
from tests.models import series, tiny_settings
from tests.networks.made import NETWORKS, OBJECTIVES

torch.set_num_threads(1)


def split(settings: Training) -> Split:
    return prepare([series()], ("a", "b", "c"), settings)


def fitted(**changes: object) -> Fitted:
    settings = tiny_settings(**{"epochs": 3, **changes})
    return fit(split(settings), settings)


def same(left: Fitted, right: Fitted) -> bool:
    states = left.model.state_dict(), right.model.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0] | states[1])


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_same_seed_same_weights_whatever_is_drawn(objective: str) -> None:
    chance = {"denoising": {"noise": 0.1, "mask": 0.1}, "contraction": {"weight": 0.01}, "dropout": 0.2}
    runs = [fitted(objective=objective, network="conv", seed=seed, epochs=1, **chance) for seed in (1, 1, 2)]
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


@pytest.mark.parametrize(
    ("network", "objective"),
    [*((network, "undercomplete") for network in NETWORKS), *(("dense", objective) for objective in OBJECTIVES)],
)
def test_every_network_and_every_objective_lowers_its_validation_loss(network: str, objective: str) -> None:
    losses = []

    def note(progress: Progress) -> None:
        losses.append(progress.validation_loss)

    changes = {"objective": objective, "epochs": 8, "learning_rate": 3e-3, "variational": {"warm_up": 2}}
    settings = tiny_settings(network=network, **changes)
    found = fit(split(settings), settings, progress=note)
    first = next(loss for loss in losses if loss is not None)
    assert found.validation_loss < 0.95 * first
    assert not found.model.training


def test_epochs_of_the_warm_up_do_not_use_up_the_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The validation loss rises from the first epoch on."""
    rising = count()
    monkeypatch.setattr(fitting, "_validate", lambda *_: float(next(rising)))
    settings = {"objective": "variational", "network": "dense", "epochs": 20, "patience": 2}
    assert fitted(**settings, variational={"warm_up": 0}).epochs == 3
    assert fitted(**settings, variational={"warm_up": 5}).epochs == 7


def ticking(seconds: float) -> Iterator[float]:
    return (seconds * tick for tick in count())


def test_time_that_is_up_ends_an_epoch_early_and_what_was_reached_is_kept() -> None:
    """A second for every look at the clock; half a minute allows some steps of the first epoch, or a few epochs."""
    for batch, epochs in ((2, 1), (64, 5)):
        settings = tiny_settings(network="dense", epochs=50, patience=50, batch=batch, max_minutes=0.5)
        one = split(settings)
        clock = ticking(1.0)
        steps: list[Progress] = []
        found = fit(one, settings, clock=lambda clock=clock: next(clock), progress=steps.append)  # type: ignore[misc]
        assert found.epochs <= epochs + 5
        assert (found.epochs == 1) == (batch == 2)
        assert steps[-1].step < steps[-1].steps or batch == 64
        assert 0 <= steps[0].eta_seconds <= 30
        assert steps[-1].eta_seconds == 0


def test_without_a_limit_all_epochs_are_run() -> None:
    assert fitted(network="dense", epochs=4, patience=4).epochs == 4


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_loss_that_is_no_number_says_what_to_lower(objective: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_self: object, z: Tensor, _epoch: int) -> Tensor:
        return z.sum() * torch.nan

    for name in ("undercomplete.Undercomplete", "variational.Variational", "adversarial.Adversarial"):
        monkeypatch.setattr(f"monitor.model.objectives.{name}.loss", nothing)
    monkeypatch.setattr("monitor.model.objectives.composite.Composite.loss", nothing)
    with pytest.raises(MonitorError) as caught:
        fitted(objective=objective, network="dense")
    assert str(caught.value) == (
        "training diverged: the loss became nan in epoch 1\n  Lower training.learning_rate (now 0.01)."
    )


def test_the_second_adversary_may_diverge_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "monitor.model.objectives.adversarial.Adversarial.second_loss", lambda _self, z, _epoch: z.sum() * torch.inf
    )
    with pytest.raises(MonitorError, match=r"training diverged: the loss became -?inf in epoch 1"):
        fitted(objective="adversarial", network="dense")


def test_adversaries_leave_each_other_s_decoder_alone() -> None:
    """One step of each optimiser moves only its own weights."""
    settings = tiny_settings(objective="adversarial", network="dense")
    torch.manual_seed(0)
    model = objectives.build(architecture(split(settings), settings))
    assert isinstance(model, Adversarial)
    z = torch.randn(16, 8, 3)
    for step, other in zip(model.steps(), (model.second, model.first), strict=True):
        before = [weight.clone() for weight in other.parameters()]
        own = step.weights[0].clone()
        fitting.Descent(step, settings)(z, 3)
        assert all(map(torch.equal, before, other.parameters()))
        assert not torch.equal(own, step.weights[0])
