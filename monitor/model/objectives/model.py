"""What is trained and what is scored with: a network under an objective, in standardised units.

Letters as in `networks.coder`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from monitor.model.architecture import Architecture
from monitor.model.objectives.outputs import Outputs
from monitor.model.reconstructor import Reconstructor


@dataclass(frozen=True, slots=True)
class Step:
    """One gradient step on a batch: what is minimised, and the weights that move."""

    loss: Callable[[Tensor, int], Tensor]  # windows (B, T, G) and the epoch, from 1 -> ()
    weights: tuple[nn.Parameter, ...]


class Model(Reconstructor):
    """What a new objective adds is how it learns (`loss`) and what an error is (`reconstruct`, `error`)."""

    warm_up: int = 0
    """Epochs in which the objective itself still changes: they do not count towards early stopping."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.outputs = Outputs(architecture)

    def steps(self) -> tuple[Step, ...]:
        """What is done with every batch, in this order."""
        return (Step(self.loss, tuple(self.parameters())),)

    @abstractmethod
    def loss(self, z: Tensor, epoch: int) -> Tensor:
        """What training minimises over windows (B, T, G) -> (); with its noise and its penalties."""

    @abstractmethod
    def validation_loss(self, z: Tensor) -> Tensor:
        """What tells epochs apart: the loss over windows (B, T, G) -> (), without noise or penalties on the code."""

    @abstractmethod
    def decode(self, code: Tensor) -> Tensor:
        """Codes (B, C) -> the windows they stand for (B, T, G), from the code alone."""

    def reconstruct(self, z: Tensor) -> Tensor:
        return self.decode(self.encode(z))

    def error(self, z: Tensor, reconstruction: Tensor) -> Tensor:
        """How far each value is from what was expected (B, T, G), >= 0."""
        return self.outputs.distance(reconstruction, z)
