"""Gradient steps on normal windows with early stopping."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from monitor.batch import Int64
from monitor.config import Training
from monitor.errors import MonitorError
from monitor.model import objectives
from monitor.model.dataset import Split
from monitor.model.front import Front
from monitor.model.shape import architecture

CLIP_NORM = 1.0
"""Longest gradient of a step; recurrent networks have rare steep ones that would undo an epoch."""
SCORING_BATCH = 256


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training is, after every gradient step and once more when an epoch has been validated."""

    epoch: int  # from 1
    epochs: int
    step: int  # of this epoch, from 1
    steps: int
    train_loss: float  # mean of this epoch so far
    validation_loss: float | None  # of the last epoch that ended
    best_epoch: int | None
    eta_seconds: float  # if no epoch is saved by early stopping


@dataclass(frozen=True, slots=True)
class Fitted:
    """The best epoch of a model, on the CPU and in evaluation mode."""

    model: objectives.Model
    train_loss: float
    validation_loss: float
    epochs: int  # epochs that ended
    best_epoch: int  # from 1
    device: str


def fit(
    split: Split,
    settings: Training,
    *,
    progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Fitted:
    """Minimises the loss on the fitting windows; the validation windows say which epoch is best and when to stop."""
    device = choose_device(settings.device)
    stop = should_stop if should_stop is not None else _never
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):  # the caller's numbers stay its own
        torch.manual_seed(settings.seed)
        model = objectives.build(architecture(split, settings)).to(device)
        windows = Windows(split, device)
        shuffle = torch.Generator().manual_seed(settings.seed)
        descents = [Descent(step, settings) for step in model.steps()]

        best: Fitted | None = None
        state: dict[str, Tensor] = {}
        validation_loss: float | None = None
        ended, steps, started = 0, math.ceil(len(split.fit) / settings.batch), clock()
        limit = math.inf if settings.max_minutes is None else 60 * settings.max_minutes

        def report(epoch: int, step: int, train_loss: float) -> None:
            if progress is not None:
                done = (epoch - 1) * steps + step
                spent = clock() - started
                eta = max(0.0, min(spent / done * (settings.epochs * steps - done), limit - spent))
                best_epoch = best.best_epoch if best else None
                progress(Progress(epoch, settings.epochs, step, steps, train_loss, validation_loss, best_epoch, eta))

        for epoch in range(1, settings.epochs + 1):
            model.train()
            order = torch.randperm(len(split.fit), generator=shuffle).numpy()  # (n,)
            total, seen, late = 0.0, 0, False
            for step in range(1, steps + 1):
                if stop():
                    return _kept(best, model, state, ended)
                first = split.fit[order[seen : seen + settings.batch]]  # (B,)
                z = windows(first)
                losses = [descent(z, epoch) for descent in descents]
                total += losses[0] * len(first)
                seen += len(first)
                report(epoch, step, total / seen)
                late = clock() - started >= limit
                if late:
                    break
            validation_loss, ended = _validate(model, windows, split), epoch
            if best is None or validation_loss < best.validation_loss:
                best = Fitted(model, total / seen, validation_loss, ended, epoch, device.type)
                state = copy.deepcopy(model.state_dict())
            report(epoch, step, total / seen)
            if late or epoch - max(best.best_epoch, model.warm_up) >= settings.patience:
                break
        return _kept(best, model, state, ended)


class Descent:
    """What one optimiser does: it minimises one loss of the model."""

    def __init__(self, step: objectives.Step, settings: Training) -> None:
        self._step = step
        self._optimiser = _optimiser(step.weights, settings)
        self._learning_rate = settings.learning_rate

    def __call__(self, z: Tensor, epoch: int) -> float:
        """One gradient step on windows (B, T, G); returns their loss before it."""
        value = self._step.loss(z, epoch)  # ()
        reached = float(value.detach())
        if not math.isfinite(reached):
            raise MonitorError(
                f"training diverged: the loss became {reached} in epoch {epoch}",
                f"Lower training.learning_rate (now {self._learning_rate:g}).",
            )
        self._optimiser.zero_grad()
        torch.autograd.backward(value, inputs=self._step.weights)
        nn.utils.clip_grad_norm_(self._step.weights, CLIP_NORM)
        self._optimiser.step()
        return reached


class Windows:
    """The windows of a split as the network sees them; only a batch of them exists at a time."""

    def __init__(self, split: Split, device: torch.device) -> None:
        self._window = split.window
        self._rows = torch.from_numpy(split.rows).to(device)  # (R, F)
        self._mean = torch.from_numpy(split.mean).to(device)  # (F,)
        self._front = Front(split.features).to(device)

    def __call__(self, first: Int64) -> Tensor:
        """The windows (B, T, G) that begin at rows `first` (B,)."""
        channels: Tensor = self._front(gather(self._rows, first, self._window, self._mean))
        return channels


def gather(rows: Tensor, first: Int64, window: int, mean: Tensor) -> Tensor:
    """The windows (B, T, F) that begin at rows `first` (B,) of `rows` (R, F): only a batch of them exists at a time.

    A missing value is imputed as `monitor.imputation` does it; `mean` (F,) stands in where a window has none.
    """
    start = torch.from_numpy(first).to(rows.device)  # (B,)
    windows = rows[start[:, None] + torch.arange(window, device=rows.device)]  # (B, T, F)
    missing = windows.isnan()
    if not missing.any():
        return windows
    step = torch.arange(window, device=rows.device)[None, :, None]
    last = torch.where(missing, -1, step).cummax(dim=1).values
    return torch.where(last >= 0, windows.gather(1, last.clamp(min=0)), mean)


def choose_device(wanted: str) -> torch.device:
    """`auto` is the first there is of CUDA, MPS and CPU. Raises `MonitorError` for one that is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, usable in there.items() if usable))
    if not there[wanted]:
        raise MonitorError(
            f"training.device is {wanted}, but this machine has none that torch can use",
            "Set training.device to auto or cpu.",
        )
    return torch.device(wanted)


def _never() -> bool:
    return False


def batches(first: Int64) -> list[Int64]:
    return [first[start : start + SCORING_BATCH] for start in range(0, len(first), SCORING_BATCH)]


def _validate(model: objectives.Model, windows: Windows, split: Split) -> float:
    model.eval()
    total = 0.0
    with torch.inference_mode():
        for some in batches(split.validation):
            total += float(model.validation_loss(windows(some))) * len(some)
    return total / len(split.validation)


def _kept(best: Fitted | None, model: objectives.Model, state: dict[str, Tensor], ended: int) -> Fitted:
    if best is None:
        raise MonitorError(
            "training was stopped before its first epoch ended, so there is no model",
            "Let it run until the first validation loss is shown.",
        )
    if not math.isfinite(best.validation_loss):
        raise MonitorError(
            f"the validation loss is {best.validation_loss}", "Lower training.learning_rate, or check the rows."
        )
    model.load_state_dict(state)
    model.cpu().eval()
    return Fitted(model, best.train_loss, best.validation_loss, ended, best.best_epoch, best.device)


def _optimiser(weights: Sequence[nn.Parameter], settings: Training) -> torch.optim.Optimizer:
    match settings.optimiser:
        case "adam":
            return torch.optim.Adam(weights, settings.learning_rate)
        case "adamw":
            return torch.optim.AdamW(weights, settings.learning_rate)
        case "sgd":
            return torch.optim.SGD(weights, settings.learning_rate, momentum=0.9)
