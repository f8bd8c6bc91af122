"""Reconstruct the past and predict what follows, from one code."""

from __future__ import annotations

import torch
from torch import Tensor

from monitor.model import networks
from monitor.model.architecture import Architecture
from monitor.model.objectives.bottleneck import Bottleneck
from monitor.model.objectives.model import Model


class Composite(Model):
    """Srivastava et al., "Unsupervised Learning of Video Representations using LSTMs" (2015).

    The encoder reads the events of a window but the last `horizon`, P = T - horizon of them; one decoder writes these
    again, another writes those that follow, which nothing here has seen. So what is expected of the closing event is
    a forecast, and the error is over both.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        a = architecture
        self._weight = a.composite.weight
        self._past = a.window - a.composite.horizon  # P
        self.bottleneck = Bottleneck(a, self._past, a.code)
        self.decoder = networks.decoder(a, self._past, a.channels)
        self.predictor = networks.decoder(a, a.composite.horizon, a.channels, forwards=True)

    def loss(self, z: Tensor, epoch: int) -> Tensor:  # noqa: ARG002  the same in every epoch
        code, penalty = self.bottleneck.learn(z[:, : self._past])
        return self._loss(code, z) + penalty

    def validation_loss(self, z: Tensor) -> Tensor:
        return self._loss(self.encode(z), z)

    def encode(self, z: Tensor) -> Tensor:
        code: Tensor = self.bottleneck(z[:, : self._past])
        return code

    def decode(self, code: Tensor) -> Tensor:
        window: Tensor = self.outputs(torch.cat([self.decoder(code), self.predictor(code)], 1))
        return window

    def _loss(self, code: Tensor, z: Tensor) -> Tensor:
        reconstruction = self.outputs.loss(self.decoder(code), z[:, : self._past])
        return reconstruction + self._weight * self.outputs.loss(self.predictor(code), z[:, self._past :])
