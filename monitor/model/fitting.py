"""Gradient steps on normal windows with early stopping."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from monitor.batch import Int64
from monitor.config import Training
from monitor.errors import MonitorError
from monitor.model import checkpoint, objectives
from monitor.model.checkpoint import Checkpoint
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
    windows_per_second: float = 0.0  # in gradient steps of this run, validation apart; 0 where none was measured
    cut_short: bool = False  # by `max_minutes`


def fit(  # noqa: PLR0915  one loop, and all that it carries from epoch to epoch
    split: Split,
    settings: Training,
    *,
    progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    clock: Callable[[], float] = time.monotonic,
    resumed: Checkpoint | None = None,
    keep: Callable[[Checkpoint], None] | None = None,
) -> Fitted:
    """Minimises the loss on the fitting windows; the validation windows say which epoch is best and when to stop.

    `keep` is given where training stands after every whole epoch. With one of these as `resumed`, training goes on
    from there and ends with the same weights as if it had not been interrupted; `max_minutes` begins anew. Raises
    `MonitorError` where it was of other rows or settings.
    """
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
        late = False
        ended, steps, started = 0, math.ceil(len(split.fit) / settings.batch), clock()
        limit = math.inf if settings.max_minutes is None else 60 * settings.max_minutes
        before, read, spent_on_steps = 0, 0, 0.0  # epochs of before, windows, s
        bound = checkpoint.identity(split, settings) if keep is not None or resumed is not None else {}
        if resumed is not None:
            checkpoint.check(resumed.identity, bound)
            state = _restored(resumed, model, descents, shuffle, device)
            best = Fitted(
                model, resumed.train_loss, resumed.validation_loss, resumed.epochs, resumed.best_epoch, device.type
            )
            validation_loss, ended = resumed.last_loss, resumed.epochs
            before = ended

        def report(epoch: int, step: int, train_loss: float) -> None:
            if progress is not None:
                done = (epoch - 1 - before) * steps + step
                spent = clock() - started
                left = (settings.epochs - before) * steps - done
                eta = max(0.0, min(spent / done * left, limit - spent))
                best_epoch = best.best_epoch if best else None
                progress(Progress(epoch, settings.epochs, step, steps, train_loss, validation_loss, best_epoch, eta))

        for epoch in range(before + 1, settings.epochs + 1):
            if best is not None and ended - max(best.best_epoch, model.warm_up) >= settings.patience:
                break
            model.train()
            begun = clock()
            order = torch.randperm(len(split.fit), generator=shuffle).numpy()  # (n,)
            total, seen, late = 0.0, 0, False
            for step in range(1, steps + 1):
                if stop():
                    return _kept(best, model, state, ended, _ratio(read, spent_on_steps))
                first = split.fit[order[seen : seen + settings.batch]]  # (B,)
                z = windows(first)
                losses = [descent(z, epoch) for descent in descents]
                total += losses[0] * len(first)
                seen += len(first)
                report(epoch, step, total / seen)
                late = clock() - started >= limit
                if late:
                    break
            read, spent_on_steps = read + seen, spent_on_steps + clock() - begun
            validation_loss, ended = _validate(model, windows, split), epoch
            if best is None or validation_loss < best.validation_loss:
                best = Fitted(model, total / seen, validation_loss, ended, epoch, device.type)
                state = copy.deepcopy(model.state_dict())
            report(epoch, step, total / seen)
            if late:
                break
            if keep is not None:
                tensors = _standing(model, state, descents, shuffle, device)
                figures = (ended, best.train_loss, best.validation_loss, best.best_epoch, validation_loss)
                keep(Checkpoint(bound, *figures, tensors))
        return replace(_kept(best, model, state, ended, _ratio(read, spent_on_steps)), cut_short=late)


def _ratio(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0


def _standing(
    model: objectives.Model,
    best: Mapping[str, Tensor],
    descents: Sequence[Descent],
    shuffle: torch.Generator,
    device: torch.device,
) -> dict[str, Tensor]:
    """What `_restored` puts back."""
    found = checkpoint.flat("weights", model.state_dict()) | checkpoint.flat("best", best) | _chance(shuffle, device)
    for place, descent in enumerate(descents):
        found |= checkpoint.flat(f"optimiser {place}", descent.state())
    return found


def _chance(shuffle: torch.Generator, device: torch.device) -> dict[str, Tensor]:
    """Where the random numbers stand: of the order of windows, of the noise, and of the noise on a GPU."""
    found = {"chance/shuffle": shuffle.get_state(), "chance/cpu": torch.get_rng_state()}
    return found | ({"chance/cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def _restored(
    resumed: Checkpoint,
    model: objectives.Model,
    descents: Sequence[Descent],
    shuffle: torch.Generator,
    device: torch.device,
) -> dict[str, Tensor]:
    """The best weights so far; the model and all else are put back to where they stood."""
    tensors = resumed.tensors
    model.load_state_dict(checkpoint.below("weights", tensors))
    for place, descent in enumerate(descents):
        descent.restore(checkpoint.below(f"optimiser {place}", tensors))
    shuffle.set_state(tensors["chance/shuffle"])
    torch.set_rng_state(tensors["chance/cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(tensors["chance/cuda"], device)
    return checkpoint.below("best", tensors)


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

    def state(self) -> dict[str, dict[str, Tensor]]:
        """The optimiser's memory, by the place of each weight; its settings are the training's."""
        return {str(place): dict(found) for place, found in self._optimiser.state_dict()["state"].items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """What `state` gave, as paths `place/name`."""
        found: dict[int, dict[str, Tensor]] = {}
        for path, tensor in tensors.items():
            place, name = path.split("/")
            found.setdefault(int(place), {})[name] = tensor
        self._optimiser.load_state_dict({**self._optimiser.state_dict(), "state": found})


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


def _kept(best: Fitted | None, model: objectives.Model, state: dict[str, Tensor], ended: int, speed: float) -> Fitted:
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
    return Fitted(model, best.train_loss, best.validation_loss, ended, best.best_epoch, best.device, speed)


def _optimiser(weights: Sequence[nn.Parameter], settings: Training) -> torch.optim.Optimizer:
    match settings.optimiser:
        case "adam":
            return torch.optim.Adam(weights, settings.learning_rate)
        case "adamw":
            return torch.optim.AdamW(weights, settings.learning_rate)
        case "sgd":
            return torch.optim.SGD(weights, settings.learning_rate, momentum=0.9)
