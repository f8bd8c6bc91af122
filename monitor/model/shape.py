"""What the settings ask for, for the features of some rows: an architecture that can be built."""

from __future__ import annotations

from fnmatch import fnmatchcase

import numpy as np
import torch

from monitor.config import Training
from monitor.errors import MonitorError
from monitor.model.architecture import Architecture, Levels
from monitor.model.dataset import Split, names
from monitor.model.front import Front
from monitor.model.manifest import Feature


def architecture(split: Split, settings: Training) -> Architecture:
    """Raises `MonitorError` where the settings do not fit the features."""
    _check_code(split, settings)
    hamming = settings.distance == "hamming"
    first = _first_channels(split.features)
    return Architecture(
        network=settings.network,
        channels=split.channels,
        window=settings.window,
        hidden=settings.nodes,
        code=settings.code,
        kernel=settings.kernel,
        dropout=settings.dropout,
        objective=settings.objective,
        loss=settings.loss,
        distance=settings.distance,
        distributions=_distributions(split.features, first, settings),
        categories=tuple(
            (place, len(feature.categories))
            for place, feature in zip(first, split.features, strict=True)
            if hamming and feature.categories
        ),
        levels=_levels(split, first) if hamming else (),
        denoising=settings.denoising,
        sparsity=settings.sparsity,
        contraction=settings.contraction,
        variational=settings.variational,
        adversarial=settings.adversarial,
        composite=settings.composite,
    )


def _check_code(split: Split, settings: Training) -> None:
    """A code that could hold a copy of the window needs something else that keeps it from that."""
    read = settings.window - (settings.composite.horizon if settings.objective == "composite" else 0)
    regularised = (
        settings.denoising.active
        or settings.sparsity.penalty != "none"
        or settings.contraction.weight > 0
        or settings.objective == "variational"
    )
    if settings.code > read * split.channels and not regularised:
        raise MonitorError(
            f"training.code is {settings.code}, more than the {read * split.channels} values the network reads "
            f"({read} events of {split.channels} channels): nothing is compressed, so it could copy anything",
            "Lower training.code, or give denoising, sparsity or contraction.",
        )


def _first_channels(features: tuple[Feature, ...]) -> list[int]:
    """The first channel of every feature."""
    widths = [max(1, len(feature.categories)) for feature in features]
    return [sum(widths[:place]) for place in range(len(widths))]


def _distributions(features: tuple[Feature, ...], first: list[int], settings: Training) -> tuple[tuple[int, ...], ...]:
    """The channels of every distribution."""
    groups: list[tuple[int, ...]] = []
    taken: set[str] = set()
    for wanted in settings.distributions:
        members = [
            (feature, place)
            for feature, place in zip(features, first, strict=True)
            if fnmatchcase(feature.name, wanted.match)
        ]
        if len(members) < 2:
            raise MonitorError(
                f"{len(members) or 'no'} feature matches {wanted.match!r} of training.distributions",
                "A distribution has at least two: check the pattern.",
            )
        found = [feature.name for feature, _ in members]
        if again := sorted(taken.intersection(found)):
            raise MonitorError(
                f"in two of training.distributions: {names(again)}", "Let each feature match one pattern."
            )
        taken.update(found)
        changed = [feature.name for feature, _ in members if not _plain(feature)]
        if changed:
            raise MonitorError(
                f"features of the distribution {wanted.match!r} are scaled or transformed: {names(changed)}",
                f"Begin training.features with a rule {{match: {wanted.match!r}, scaling: none}}.",
            )
        groups.append(tuple(place for _, place in members))
    return tuple(groups)


def _plain(feature: Feature) -> bool:
    changed = feature.categories or feature.log1p or feature.change != "none"
    return not changed and (feature.shift, feature.scale) == (0.0, 1.0)


def _levels(split: Split, first: list[int]) -> tuple[Levels, ...]:
    """The channels of the numbers that have two values in the fitting rows."""
    steps = np.zeros(len(split.rows) + 1, np.int64)
    np.add.at(steps, split.fit, 1)
    np.add.at(steps, split.fit + split.window, -1)
    fitting = split.rows[np.cumsum(steps[:-1]) > 0]  # (n, F)
    front = Front(split.features)
    ends = torch.zeros(2, 1, front.columns)
    ends[:, 0, : front.inputs] = torch.tensor(
        [
            [feature.minimum for feature in split.features],
            [feature.maximum for feature in split.features],
        ]
    )
    low, high = front(ends)[:, 0].tolist()  # (G,) each
    found = []
    for column, feature in enumerate(split.features):
        seen = fitting[:, column]
        seen = seen[~np.isnan(seen)]
        two = np.isin(seen, np.array([feature.minimum, feature.maximum], np.float32)).all()
        place = first[column]
        if two and not feature.categories and feature.change == "none" and low[place] < high[place]:
            found.append(Levels(channel=place, low=low[place], high=high[place]))
    return tuple(found)
