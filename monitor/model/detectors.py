"""The detectors that the settings ask for, learned from the fitting windows; of several, the one that finds most."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from monitor.config import Training
from monitor.model import baselines
from monitor.model.architecture import Architecture, ClosedForm, Design, Joint
from monitor.model.checkpoint import Checkpoint
from monitor.model.dataset import Split
from monitor.model.ensemble import Ensemble
from monitor.model.fitting import Fitted, Progress, fit
from monitor.model.reconstructor import Reconstructor
from monitor.model.scorer import Scorer
from monitor.model.selection import held_out, select, too_short
from monitor.model.shape import architecture
from monitor.model.weighing import error_of_mean, weighed

LINEAR = ("pca", "mahalanobis")
"""What `linear` averages; `ensemble` the network too."""


@dataclass(frozen=True, slots=True)
class Learned:
    design: Design
    scorer: Scorer
    fitted: Fitted | None  # of the network, if it is in the design
    metrics: Mapping[str, float]  # for the manifest
    notes: tuple[str, ...]  # for people


def learn(
    split: Split,
    settings: Training,
    *,
    progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    clock: Callable[[], float] = time.monotonic,
    resumed: Checkpoint | None = None,
    keep: Callable[[Checkpoint], None] | None = None,
) -> Learned:
    """What `training.detector` names; `auto` learns all and takes what finds most synthetic faults (`selection`).

    Where there are too few rows for a network, `auto` and `ensemble` go without one and say so. Raises `MonitorError`.
    """
    notes = []
    alone = too_short(split) and settings.detector in {"auto", "ensemble"}
    if alone:
        notes.append(
            f"{len(split.fit)} fitting windows of {split.window} events are too few for a network: only baselines "
            "were learned."
        )
    asked = "linear" if alone and settings.detector == "ensemble" else settings.detector
    wanted = {
        "auto": ("autoencoder", *baselines.KINDS),
        "ensemble": ("autoencoder", *LINEAR),
        "linear": LINEAR,
    }.get(asked, (asked,))
    fitted: Fitted | None = None
    found: dict[str, tuple[Design, Scorer, float]] = {}
    for name in wanted:
        if name != "autoencoder":
            found[name] = _closed(name, split, settings)
        elif not alone:
            fitted = fit(
                split,
                settings,
                progress=progress,
                should_stop=should_stop,
                clock=clock,
                resumed=resumed,
                keep=keep,
            )
            found[name] = _weighed(architecture(split, settings), fitted.model, split, settings)
            notes += _no_better(*found[name][1:], split, settings)
    if asked in {"auto", "linear"}:
        found["linear"] = _joined([found[name] for name in LINEAR], split, settings)
    if asked in {"auto", "ensemble"} and fitted is not None:
        found["ensemble"] = _joined([found[name] for name in ("autoencoder", *LINEAR)], split, settings)
    metrics: dict[str, float] = {}
    chosen: str = asked
    if chosen == "auto":
        scorers = {name: scorer for name, (_, scorer, _) in found.items()}
        selection = select(scorers, split.take(held_out(split)), settings.seed, clock)
        chosen, metrics = selection.chosen, selection.metrics
        notes.append(
            "Faults found by each detector on held-out normal rows, and its cost:\n" + "\n".join(selection.table)
        )
    design, scorer, own = found[chosen]
    if chosen not in {"autoencoder", "ensemble"}:
        fitted = None
    metrics["validation_error"] = own
    if fitted is not None:
        metrics |= {"train_loss": fitted.train_loss, "validation_loss": fitted.validation_loss}
    return Learned(design, scorer, fitted, metrics, tuple(notes))


def _no_better(scorer: Scorer, own: float, split: Split, settings: Training) -> list[str]:
    """A note where the network's error `own` on held-out rows is not below that of answering with the mean."""
    if settings.objective == "variational":
        return []  # its error is a likelihood, not a distance
    mean = error_of_mean(scorer, split, settings)
    if own < mean or not mean:
        return []  # the mean of a constant cannot be beaten
    return [
        f"The network is no better than the mean: its error on held-out normal rows is {own:.3g}, {own / mean:.3g} "
        f"times that of answering each value with its mean ({mean:.3g}). Train longer (training.epochs) or on more "
        "rows, or with another training.learning_rate; or take training.detector: linear, which needs fewer."
    ]


def _weighed(design: Design, model: Reconstructor, split: Split, settings: Training) -> tuple[Design, Scorer, float]:
    scorer, own = weighed(model, split, settings)
    return design, scorer, own


def _closed(name: str, split: Split, settings: Training) -> tuple[ClosedForm, Scorer, float]:
    kind = next(one for one in baselines.KINDS if one == name)
    model = baselines.estimate(kind, split)
    scorer, own = weighed(model, split, settings, baselines.OVER_FEATURES[kind])
    code = model.encode(torch.zeros(1, split.window, split.channels)).shape[1]
    return ClosedForm(network=kind, channels=split.channels, window=split.window, code=code), scorer, own


def _joined(
    members: list[tuple[Design, Scorer, float]], split: Split, settings: Training
) -> tuple[Design, Scorer, float]:
    designs = tuple(design for design, _, _ in members if isinstance(design, Architecture | ClosedForm))
    joint = Joint(channels=split.channels, window=split.window, members=designs)
    return _weighed(joint, Ensemble.of([scorer for _, scorer, _ in members]), split, settings)
