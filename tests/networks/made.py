"""Small architectures and windows for tests, in standardised units."""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import Tensor

from monitor.config.learning import Network, Objective
from monitor.model.architecture import Architecture

NETWORKS: tuple[Network, ...] = get_args(Network)
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
RECURRENT = ("lstm", "gru")


def card(**changes: Any) -> Architecture:
    """Windows of 6 events of 3 channels, a code of 2; `changes` by name, checked."""
    small = {"network": "lstm", "channels": 3, "window": 6, "hidden": (5,), "code": 2, "kernel": 3}
    return Architecture.model_validate(small | {"composite": {"horizon": 2}, "variational": {"samples": 3}} | changes)


def windows(count: int = 4, window: int = 6, channels: int = 3, seed: int = 1) -> Tensor:
    return torch.randn(count, window, channels, generator=torch.Generator().manual_seed(seed))
