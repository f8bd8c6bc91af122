"""Baselines that are calibrated on all rows and fitted to all rows: each stretch of time is held out in turn.

Stone, "Cross-validatory choice and assessment of statistical predictions" (1974), in blocks of time. A threshold that
rests on the last part of a history alone knows only the season that was then; what is fitted to the first part alone
has seen the least of a short one. It costs as many fits as there are folds, which a closed form can afford.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from monitor.batch import Float32, Int64
from monitor.config import Training
from monitor.model import baselines
from monitor.model.architecture import ClosedForm, Design, Joint
from monitor.model.dataset import Split
from monitor.model.ensemble import Ensemble
from monitor.model.manifest import Scoring
from monitor.model.reconstructor import Reconstructor
from monitor.model.scorer import Scorer
from monitor.model.weighing import errors, weigh

FOLDS = 5


def kinds(design: Design) -> tuple[baselines.Kind, ...]:
    """The baselines a design is made of; none if it has a network."""
    members = design.members if isinstance(design, Joint) else (design,)
    found = tuple(member.network for member in members if isinstance(member, ClosedForm))
    return found if len(found) == len(members) else ()


def crossfit(
    several: Sequence[baselines.Kind], split: Split, settings: Training
) -> tuple[Design, Scorer, float, Float32]:
    """Design and scorer of the mean of several baselines, or of the one, fitted to all windows of a split in folds.

    And the mean error, and the error (n,) of every calibration window, each by the same fitted without its fold: the
    units of the channels come from those too.
    """
    held = [[baselines.estimate(kind, split, first=first) for kind in several] for first in _others(split)]
    final = [baselines.estimate(kind, split) for kind in several]
    empty = torch.zeros(1, split.window, split.channels)
    designs = tuple(
        ClosedForm(network=kind, channels=split.channels, window=split.window, code=model.encode(empty).shape[1])
        for kind, model in zip(several, final, strict=True)
    )
    design: Design = designs[0]
    over = baselines.OVER_FEATURES[several[0]]
    if len(several) > 1:
        design, over = Joint(channels=split.channels, window=split.window, members=designs), "mean"
        members = [
            weigh(_pairs([models[place] for models in held], split), split, settings)[0]
            for place in range(len(several))
        ]
        held, final = [[_joined(models, members, split)] for models in held], [_joined(final, members, split)]
    scoring, own = weigh(_pairs([models[0] for models in held], split), split, settings, over)
    found = [
        errors(Scorer(split.features, split.window, model, scoring).eval(), split, first)
        for model, first in _pairs([models[0] for models in held], split)
    ]
    order = np.argsort(np.concatenate(split.folds), kind="stable")
    scorer = Scorer(split.features, split.window, final[0], scoring).eval()
    return design, scorer, own, np.concatenate(found)[order]


def _others(split: Split) -> list[Int64]:
    """For each fold, the first rows of the windows of all others."""
    return [
        np.sort(np.concatenate([*split.folds[:fold], *split.folds[fold + 1 :]])) for fold in range(len(split.folds))
    ]


def _pairs(models: Sequence[Reconstructor], split: Split) -> list[tuple[Reconstructor, Int64]]:
    """Each model, and the windows of the fold it was not fitted to."""
    return list(zip(models, split.folds, strict=True))


def _joined(models: Sequence[Reconstructor], scorings: Sequence[Scoring], split: Split) -> Reconstructor:
    members = zip(models, scorings, strict=True)
    return Ensemble.of([Scorer(split.features, split.window, model, scoring) for model, scoring in members])
