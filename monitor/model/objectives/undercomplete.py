"""The plain autoencoder: what its code is kept from, nothing else."""

from __future__ import annotations

from torch import Tensor

from monitor.model import networks
from monitor.model.architecture import Architecture
from monitor.model.objectives.bottleneck import Bottleneck
from monitor.model.objectives.model import Model


class Undercomplete(Model):
    """Minimises the loss of the reconstruction."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.bottleneck = Bottleneck(architecture, architecture.window, architecture.code)
        self.decoder = networks.decoder(architecture, architecture.window, architecture.channels)

    def loss(self, z: Tensor, epoch: int) -> Tensor:  # noqa: ARG002  the same in every epoch
        code, penalty = self.bottleneck.learn(z)
        return self.outputs.loss(self.decoder(code), z) + penalty

    def validation_loss(self, z: Tensor) -> Tensor:
        return self.outputs.loss(self.decoder(self.bottleneck(z)), z)

    def encode(self, z: Tensor) -> Tensor:
        code: Tensor = self.bottleneck(z)
        return code

    def decode(self, code: Tensor) -> Tensor:
        window: Tensor = self.outputs(self.decoder(code))
        return window
