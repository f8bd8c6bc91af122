"""Every target by name."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz import artefacts, checkpoints, configurations, events, states
from tests.fuzz.target import Target

NAMES = ("events", "checkpoint", "state", "config", "artefact")


def targets(model: Path) -> dict[str, Target]:
    """All of them. `model` is a folder with a good artefact."""
    good = artefacts.GoodArtefact.of(model)
    every = (
        Target("events", events.check, events.seeds, events.WORDS),
        Target("checkpoint", checkpoints.check, checkpoints.seeds, checkpoints.WORDS),
        Target("state", states.check, states.seeds, states.WORDS),
        Target("config", configurations.check, configurations.seeds, configurations.WORDS),
        Target("artefact", artefacts.checker(good), lambda: artefacts.seeds(good), artefacts.WORDS),
    )
    return {target.name: target for target in every}
