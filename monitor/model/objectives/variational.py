"""A probability model of windows: codes are normally distributed, and so are values given the code."""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

from monitor.model import networks
from monitor.model.architecture import Architecture
from monitor.model.objectives.bottleneck import Bottleneck
from monitor.model.objectives.model import Model

CODE_RANGE = (-12.0, 4.0)
"""Least and largest log-variance of a code given its window."""
VALUE_RANGE = (log(1e-3), log(1e2))
"""Of a value given the code, standardised units squared. The floor keeps a constant channel from being infinitely
sure of itself."""

READ = 100.0
"""Values are read no further than this, standardised units: their error is that of the whole value, but a variance
would hang on what is left where large numbers cancel, of which two runtimes have different digits."""


class Variational(Model):
    """Kingma & Welling, "Auto-Encoding Variational Bayes" (2014); scored by the reconstruction probability of An &
    Cho, "Variational Autoencoder based Anomaly Detection using Reconstruction Probability" (2015).

    S codes are drawn for a window by noise that is drawn once and belongs to the model, so that a score is always the
    same. The error of a value is the mean over them of its negative log-likelihood less what that is at least,

        ((log v - log v0) + (z - m)^2 / v) / 2,

    m and v the decoder's mean and variance, v0 the floor of v: it is not negative, and orders windows as the
    reconstruction probability does.
    """

    noise: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        a = architecture
        self.warm_up = a.variational.warm_up
        self._beta = a.variational.beta
        self._samples = a.variational.samples  # S
        self._shape = a.window, a.channels
        self.bottleneck = Bottleneck(a, a.window, 2 * a.code)
        self.decoder = networks.decoder(a, a.window, 2 * a.channels)
        self.register_buffer("noise", torch.randn(self._samples, a.code))  # (S, C)

    def loss(self, z: Tensor, epoch: int) -> Tensor:
        parameters, penalty = self.bottleneck.learn(z.clamp(-READ, READ))
        mean, log_variance = _split(parameters, CODE_RANGE)  # (B, C) each
        code = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        beta = self._beta * min(1.0, (epoch - 1) / self.warm_up) if self.warm_up else self._beta
        return self._bound(unlikeliness(z, *self._values(code)), mean, log_variance, beta) + penalty

    def validation_loss(self, z: Tensor) -> Tensor:
        """The bound with the full weight of the divergence, whatever the epoch."""
        return self._bound(self._score(z), *self._posterior(z), self._beta)

    def encode(self, z: Tensor) -> Tensor:
        mean, _ = self._posterior(z)
        return mean

    def decode(self, code: Tensor) -> Tensor:
        """The mean given this one code: a little off the reconstruction, which is over several drawn about it."""
        return self._values(code)[0]

    def reconstruct(self, z: Tensor) -> Tensor:
        """The mean of the drawn codes' means."""
        return self._mean_over_samples(self._drawn(z)[0])

    def error(self, z: Tensor, reconstruction: Tensor) -> Tensor:  # noqa: ARG002  it needs the variances too
        return self._score(z)

    @torch.inference_mode()
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Windows (count, T, G) in standardised units, drawn from the model: codes from N(0, 1), then values."""
        code = torch.randn(count, self.noise.shape[1], generator=generator)
        mean, log_variance = self._values(code)
        return mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=generator)

    def _posterior(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (B, C) of the code given the window."""
        return _split(self.bottleneck(z.clamp(-READ, READ)), CODE_RANGE)

    def _values(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (B, T, G) of the values given the code."""
        return _split(self.decoder(code), VALUE_RANGE)

    def _drawn(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log-variances (B, S, T, G) of the values, given each of the drawn codes."""
        mean, log_variance = self._posterior(z)
        code = mean.unsqueeze(1) + (0.5 * log_variance).exp().unsqueeze(1) * self.noise  # (B, S, C)
        means, log_variances = self._values(code.flatten(0, 1))  # (B * S, T, G) each
        shape = (-1, self._samples, *self._shape)
        return means.reshape(shape), log_variances.reshape(shape)

    def _score(self, z: Tensor) -> Tensor:
        """(B, T, G)"""
        return self._mean_over_samples(unlikeliness(z.unsqueeze(1), *self._drawn(z)))

    def _mean_over_samples(self, x: Tensor) -> Tensor:
        """(B, S, T, G) -> (B, T, G), added one by one: a runtime's own sum may round by the shape of the batch."""
        total = x[:, 0]
        for sample in range(1, self._samples):
            total = total + x[:, sample]
        return total / self._samples

    def _bound(self, errors: Tensor, mean: Tensor, log_variance: Tensor, beta: float) -> Tensor:
        """The negative evidence lower bound per value, but for a constant; `beta` as in Higgins et al. (2017)."""
        window, channels = self._shape
        return errors.mean() + beta * divergence(mean, log_variance).mean() / (window * channels)


def unlikeliness(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """-log N(z; mean, variance) + log N(mean; mean, least variance), >= 0, for values of any one shape."""
    difference = z - mean
    return 0.5 * ((log_variance - VALUE_RANGE[0]) + difference * difference * (-log_variance).exp())


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) of codes (B, C) -> (B,)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


def _split(parameters: Tensor, limits: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Halves of the last dimension as a mean and a log-variance within its limits."""
    mean, raw = parameters.chunk(2, -1)
    low, high = limits
    return mean, low + (high - low) * raw.sigmoid()
