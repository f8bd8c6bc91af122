"""Two decoders against each other."""

from __future__ import annotations

from torch import Tensor

from monitor.model import networks
from monitor.model.architecture import Architecture
from monitor.model.objectives.bottleneck import Bottleneck
from monitor.model.objectives.model import Model, Step

BOUND = 10.0
"""Reconstructions stay within this many standardised units. The paper's end in a sigmoid, for data from 0 to 1: the
distance that the second decoder raises must have an upper end."""


class Adversarial(Model):
    """USAD: Audibert et al., "UnSupervised Anomaly Detection on Multivariate Time Series" (2020).

    AE1 and AE2 are two decoders of one encoder. AE1 learns to make what AE2 takes for data, AE2 to tell it from data:

        loss 1 = 1/n d(AE1(z), z) + (1 - 1/n) d(AE2(AE1(z)), z)
        loss 2 = 1/n d(AE2(z), z) - (1 - 1/n) d(AE2(AE1(z)), z)

    in epoch n, each of one optimiser. An error is (1 - s) of AE1(z) and s of AE2(AE1(z)), s the sensitivity. Late
    epochs drive AE2 to the bound; the epoch that is kept is the one whose errors on normal windows are least.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        a = architecture
        self._share = a.adversarial.sensitivity
        self.bottleneck = Bottleneck(a, a.window, a.code)
        self.first = networks.decoder(a, a.window, a.channels)
        self.second = networks.decoder(a, a.window, a.channels)

    def steps(self) -> tuple[Step, ...]:
        encoder = tuple(self.bottleneck.parameters())
        return (
            Step(self.loss, (*encoder, *self.first.parameters())),
            Step(self.second_loss, (*encoder, *self.second.parameters())),
        )

    def loss(self, z: Tensor, epoch: int) -> Tensor:
        code, penalty = self.bottleneck.learn(z)
        made = self.decode(code)
        share = 1 / epoch
        return share * self._distance(made, z) + (1 - share) * self._distance(self._again(made), z) + penalty

    def second_loss(self, z: Tensor, epoch: int) -> Tensor:
        code, penalty = self.bottleneck.learn(z)
        again = self._again(self.decode(code))
        share = 1 / epoch
        own = self._distance(_bounded(self.second(code)), z)
        return share * own - (1 - share) * self._distance(again, z) + penalty

    def validation_loss(self, z: Tensor) -> Tensor:
        """What is served: the distances in the shares of the error; the losses themselves change with the epoch."""
        made = self.reconstruct(z)
        return (1 - self._share) * self._distance(made, z) + self._share * self._distance(self._again(made), z)

    def encode(self, z: Tensor) -> Tensor:
        code: Tensor = self.bottleneck(z)
        return code

    def decode(self, code: Tensor) -> Tensor:
        return _bounded(self.first(code))

    def error(self, z: Tensor, reconstruction: Tensor) -> Tensor:
        once = self.outputs.distance(reconstruction, z)
        twice = self.outputs.distance(self._again(reconstruction), z)
        return (1 - self._share) * once + self._share * twice

    def _again(self, made: Tensor) -> Tensor:
        """AE2 of what AE1 made, (B, T, G)."""
        return _bounded(self.second(self.bottleneck(made)))

    def _distance(self, made: Tensor, z: Tensor) -> Tensor:
        return self.outputs.loss(made, z)


def _bounded(raw: Tensor) -> Tensor:
    return BOUND * (raw / BOUND).tanh()
