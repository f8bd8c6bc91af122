"""Learning from normal rows: split, fit with early stopping, calibrate; the result is written by `export.save`."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

import monitor
from monitor.batch import Float32, Int64
from monitor.config import Training
from monitor.errors import MonitorError
from monitor.model import networks, objectives
from monitor.model.calibration import calibrate
from monitor.model.dataset import Series, Split, prepare
from monitor.model.manifest import Architecture, Feature, Manifest, TrainingRecord

__all__ = ["Fitted", "Progress", "Series", "Trained", "fit", "prepare", "train"]

CLIP_NORM = 1.0
"""Longest gradient of a step; recurrent networks have rare steep ones that would undo an epoch."""
SCORING_BATCH = 256
EXAMPLES = 64
"""Calibration windows on which the exported graph is checked when it is written."""
SECONDS_PER_DAY = 86_400.0


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
    """The best epoch of a network, on the CPU and in evaluation mode."""

    network: networks.Autoencoder
    train_loss: float
    validation_loss: float
    epochs: int  # epochs that ended
    best_epoch: int  # from 1
    device: str


@dataclass(frozen=True, slots=True)
class Trained:
    """All that an artefact is made of. `manifest_draft` lacks only the digests of the files."""

    scorer: objectives.Scorer
    manifest_draft: Manifest
    examples: Float32  # (n, T, F) calibration windows, source units
    warnings: tuple[str, ...]  # for people


def train(
    series: Sequence[Series],
    feature_names: Sequence[str],
    units: Mapping[str, str],
    settings: Training,
    *,
    source: str,
    progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Trained:
    """Fits, keeps the best epoch, sets the threshold.

    `units` of features, by name, where they are known; `source` is what the rows were read from, as the user named
    it. When `should_stop` says so (Ctrl+C), the best epoch so far is what is returned. Raises `MonitorError` for rows
    that cannot be learned from.
    """
    split = prepare(series, feature_names, settings)
    fitted = fit(split, settings, progress=progress, should_stop=should_stop, clock=clock)
    scorer = objectives.Scorer(fitted.network, settings.score_over).eval()
    validation_error = errors(scorer, split, split.validation)  # (n,)
    calibration_error = errors(scorer, split, split.calibration)  # (n,)
    calibration, warnings = calibrate(calibration_error, settings, SECONDS_PER_DAY / split.interval)
    chosen = np.unique(np.linspace(0, len(split.calibration) - 1, EXAMPLES).astype(np.int64))
    draft = Manifest(
        architecture=_architecture(split, settings),
        features=_features(split, feature_names, units),
        score_over=settings.score_over,
        calibration=calibration,
        training=_record(split, fitted, settings, source),
        metrics={
            "train_loss": fitted.train_loss,
            "validation_loss": fitted.validation_loss,
            "validation_error": float(validation_error.mean(dtype=np.float64)),
            "calibration_error": float(calibration_error.mean(dtype=np.float64)),
        },
        libraries={"monitor": monitor.__version__, "torch": torch.__version__, "numpy": np.__version__},
        files={},
    )
    return Trained(scorer, draft, split.take(split.calibration[chosen]), split.warnings + warnings)


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
        network = networks.build(_architecture(split, settings))
        network.mean.copy_(torch.from_numpy(split.mean))
        network.scale.copy_(torch.from_numpy(split.scale))
        network.to(device)
        rows = torch.from_numpy(split.rows).to(device)  # (R, F)
        shuffle = torch.Generator().manual_seed(settings.seed)
        optimiser = _optimiser(network, settings)
        loss = objectives.LOSSES[settings.loss]

        best: Fitted | None = None
        state: dict[str, Tensor] = {}
        validation_loss: float | None = None
        ended, steps, started = 0, math.ceil(len(split.fit) / settings.batch), clock()

        def report(epoch: int, step: int, train_loss: float) -> None:
            if progress is not None:
                done = (epoch - 1) * steps + step
                eta = (clock() - started) / done * (settings.epochs * steps - done)
                best_epoch = best.best_epoch if best else None
                progress(Progress(epoch, settings.epochs, step, steps, train_loss, validation_loss, best_epoch, eta))

        for epoch in range(1, settings.epochs + 1):
            network.train()
            order = torch.randperm(len(split.fit), generator=shuffle).numpy()  # (n,)
            total, seen = 0.0, 0
            for step in range(1, steps + 1):
                if stop():
                    return _kept(best, network, state, ended)
                first = split.fit[order[seen : seen + settings.batch]]  # (B,)
                windows = gather(rows, first, split.window, network.mean)  # (B, T, F)
                total += _step(network, optimiser, loss, windows, epoch, settings) * len(first)
                seen += len(first)
                report(epoch, step, total / seen)
            validation_loss, ended = _validate(network, rows, split, loss), epoch
            if best is None or validation_loss < best.validation_loss:
                best = Fitted(network, total / seen, validation_loss, ended, epoch, device.type)
                state = copy.deepcopy(network.state_dict())
            report(epoch, steps, total / seen)
            if epoch - best.best_epoch >= settings.patience:
                break
        return _kept(best, network, state, ended)


def errors(scorer: objectives.Scorer, split: Split, first: Int64) -> Float32:
    """The error (n,) of the windows that begin at rows `first` (n,)."""
    rows, mean = torch.from_numpy(split.rows), torch.from_numpy(split.mean)
    with torch.inference_mode():
        parts = [scorer(gather(rows, some, split.window, mean))[0] for some in _batches(first)]
    return torch.cat(parts).numpy()


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


def _batches(first: Int64) -> list[Int64]:
    return [first[start : start + SCORING_BATCH] for start in range(0, len(first), SCORING_BATCH)]


def _step(
    network: networks.Autoencoder,
    optimiser: torch.optim.Optimizer,
    loss: objectives.Loss,
    windows: Tensor,
    epoch: int,
    settings: Training,
) -> float:
    """One gradient step on windows (B, T, F) in source units; returns their loss before it."""
    z = network.standardise(windows)  # (B, T, F)
    value = loss(network(z), z)  # ()
    reached = float(value.detach())
    if not math.isfinite(reached):
        raise MonitorError(
            f"training diverged: the loss became {reached} in epoch {epoch}",
            f"Lower training.learning_rate (now {settings.learning_rate:g}).",
        )
    optimiser.zero_grad()
    torch.autograd.backward(value)
    nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
    optimiser.step()
    return reached


def _validate(network: networks.Autoencoder, rows: Tensor, split: Split, loss: objectives.Loss) -> float:
    network.eval()
    total = 0.0
    with torch.inference_mode():
        for some in _batches(split.validation):
            z = network.standardise(gather(rows, some, split.window, network.mean))  # (B, T, F)
            total += float(loss(network(z), z)) * len(some)
    return total / len(split.validation)


def _kept(best: Fitted | None, network: networks.Autoencoder, state: dict[str, Tensor], ended: int) -> Fitted:
    if best is None:
        raise MonitorError(
            "training was stopped before its first epoch ended, so there is no model",
            "Let it run until the first validation loss is shown.",
        )
    if not math.isfinite(best.validation_loss):
        raise MonitorError(
            f"the validation loss is {best.validation_loss}", "Lower training.learning_rate, or check the rows."
        )
    network.load_state_dict(state)
    network.cpu().eval()
    return Fitted(network, best.train_loss, best.validation_loss, ended, best.best_epoch, best.device)


def _optimiser(network: nn.Module, settings: Training) -> torch.optim.Optimizer:
    match settings.optimiser:
        case "adam":
            return torch.optim.Adam(network.parameters(), settings.learning_rate)
        case "adamw":
            return torch.optim.AdamW(network.parameters(), settings.learning_rate)
        case "sgd":
            return torch.optim.SGD(network.parameters(), settings.learning_rate, momentum=0.9)


def _architecture(split: Split, settings: Training) -> Architecture:
    return Architecture(
        network=settings.network,
        features=split.rows.shape[1],
        window=settings.window,
        hidden=settings.hidden,
        layers=settings.layers,
        code=settings.code,
        dropout=settings.dropout,
    )


def _features(split: Split, feature_names: Sequence[str], units: Mapping[str, str]) -> tuple[Feature, ...]:
    columns = zip(
        feature_names,
        split.mean.tolist(),
        split.scale.tolist(),
        split.minimum.tolist(),
        split.maximum.tolist(),
        strict=True,
    )
    return tuple(
        Feature(name=name, unit=units.get(name, ""), mean=mean, scale=scale, minimum=low, maximum=high)
        for name, mean, scale, low, high in columns
    )


def _record(split: Split, fitted: Fitted, settings: Training, source: str) -> TrainingRecord:
    return TrainingRecord(
        rows=len(split.rows),
        streams=split.streams,
        fit_windows=len(split.fit),
        validation_windows=len(split.validation),
        first_time=split.first_time,
        last_time=split.last_time,
        interval=split.interval,
        max_gap=split.max_gap,
        loss=settings.loss,
        optimiser=settings.optimiser,
        learning_rate=settings.learning_rate,
        epochs=fitted.epochs,
        best_epoch=fitted.best_epoch,
        seed=settings.seed,
        device=fitted.device,
        source=source,
    )
