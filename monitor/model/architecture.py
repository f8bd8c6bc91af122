"""What a model must be built as: all that its weights leave open."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from monitor.config.learning import Distance, Loss, Network, Objective
from monitor.config.objectives import Adversarial, Composite, Contraction, Denoising, Sparsity, Variational
from monitor.model.part import Part

Positive = Annotated[int, Field(ge=1)]
Place = Annotated[int, Field(ge=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Levels(Part):
    """A channel of two values, in standardised units."""

    channel: Place
    low: Finite
    high: Finite


class Architecture(Part):
    network: Network
    channels: Positive  # G, what the network sees of an event
    window: Positive  # T, events
    hidden: tuple[Positive, ...]  # nodes of each hidden layer of the encoder, the decoder's in reverse
    code: Positive  # C
    kernel: Positive = 5  # events a convolution sees
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    objective: Objective = "undercomplete"
    loss: Loss = "mse"
    distance: Distance = "squared"
    distributions: tuple[Annotated[tuple[Place, ...], Field(min_length=2)], ...] = ()  # channels of each, for loss kl
    categories: tuple[tuple[Place, Positive], ...] = ()  # first channel and how many, of each, for distance hamming
    levels: tuple[Levels, ...] = ()  # as above
    denoising: Denoising = Denoising()
    sparsity: Sparsity = Sparsity()
    contraction: Contraction = Contraction()
    variational: Variational = Variational()
    adversarial: Adversarial = Adversarial()
    composite: Composite = Composite()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        named = [channel for group in self.distributions for channel in group]
        named_twice = len(set(named)) < len(named)
        ends = [*named, *(one.channel for one in self.levels), *(first + many - 1 for first, many in self.categories)]
        if named_twice or any(end >= self.channels for end in ends):
            raise ValueError(f"distributions, categories and levels must name channels below {self.channels}, once")
        if self.objective == "composite" and self.composite.horizon >= self.window:
            raise ValueError(f"a horizon of {self.composite.horizon} leaves nothing of a window of {self.window}")
        if not self.hidden and self.network != "dense":
            raise ValueError(f"a network {self.network} needs hidden layers")
        return self


class ClosedForm(Part):
    """A baseline: see `baselines`."""

    network: Literal["max_z", "pca", "mahalanobis"]
    channels: Positive  # G
    window: Positive  # T, events
    code: Positive  # C


class Joint(Part):
    """Several, whose errors are averaged: see `ensemble`."""

    network: Literal["ensemble"] = "ensemble"
    channels: Positive  # G
    window: Positive  # T, events
    members: Annotated[tuple[Architecture | ClosedForm, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        if {(one.channels, one.window) for one in self.members} != {(self.channels, self.window)}:
            raise ValueError("its members must have its channels and its window")
        return self


Design = Annotated[Architecture | ClosedForm | Joint, Field(discriminator="network")]
"""Of any detector."""
