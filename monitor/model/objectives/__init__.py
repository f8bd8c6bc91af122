"""Objectives: how a network learns and what an error is, and which one an architecture names."""

from __future__ import annotations

from monitor.model.architecture import Architecture
from monitor.model.objectives.adversarial import Adversarial
from monitor.model.objectives.composite import Composite
from monitor.model.objectives.model import Model, Step
from monitor.model.objectives.undercomplete import Undercomplete
from monitor.model.objectives.variational import Variational

__all__ = ["Model", "Step", "Variational", "build"]


def build(architecture: Architecture) -> Model:
    """A model with fresh weights, from torch's global generator."""
    match architecture.objective:
        case "undercomplete":
            return Undercomplete(architecture)
        case "variational":
            return Variational(architecture)
        case "adversarial":
            return Adversarial(architecture)
        case "composite":
            return Composite(architecture)
