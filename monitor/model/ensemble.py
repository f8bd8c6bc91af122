"""Several models as one graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from monitor.model.reconstructor import Reconstructor
from monitor.model.scorer import Scorer


class Ensemble(Reconstructor):
    """The mean of the models' errors, each in units of its own error on held-out normal windows, channel by channel.

    So that a model whose errors are large does not drown the others; what is expected is the mean of what they expect,
    the code is the first one's. Aggarwal, "Outlier ensembles: position paper" (2013): averaging after normalisation.
    It costs what its models cost together, in time and in memory; events are transformed and standardised once.

    Letters: M models, B windows of a batch, T events of a window, G channels, C size of the code.
    """

    units: Tensor  # (M, G) standardised units squared

    def __init__(self, models: Sequence[Reconstructor], channels: int) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)
        self.register_buffer("units", torch.ones(len(models), channels))

    @classmethod
    def of(cls, scorers: Sequence[Scorer]) -> Self:
        """Of models that have been weighed, each by the units of its first span. All average over features."""
        if any(scorer.scoring.over_features != "mean" for scorer in scorers):
            raise ValueError("a model whose largest feature counts cannot be averaged channel by channel")
        units = torch.stack([scorer.units[0] for scorer in scorers])  # (M, G)
        ensemble = cls([scorer.model for scorer in scorers], units.shape[1])
        ensemble.units.copy_(units)
        return ensemble.eval()

    def encode(self, z: Tensor) -> Tensor:
        return self._members()[0].encode(z)

    def reconstruct(self, z: Tensor) -> Tensor:
        return _mean([model.reconstruct(z) for model in self._members()])

    def error(self, z: Tensor, reconstruction: Tensor) -> Tensor:  # noqa: ARG002 # each has its own
        """In units of the models' own errors.

        The models run a second time here; in the graph the runtime joins the two (a test holds it to that).
        """
        members = self._members()
        return _mean(
            [
                model.error(z, model.reconstruct(z)) / unit
                for model, unit in zip(members, self.units.unbind(0), strict=True)
            ]
        )

    def _members(self) -> list[Reconstructor]:
        return [model for model in self.models if isinstance(model, Reconstructor)]


def _mean(several: Sequence[Tensor]) -> Tensor:
    total = several[0]
    for one in several[1:]:
        total = total + one
    return total / len(several)
