"""What the objectives of `monitor train` leave open: sections of `training`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from monitor.config.section import Count, Section

Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Denoising(Section):
    """Damage done to the windows while training; what is to be reconstructed stays whole."""

    noise: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Standard deviation of the Gaussian noise added to every value, in standardised units."""
    mask: Share = 0.0
    """Share of the values that are set to 0."""

    @property
    def active(self) -> bool:
        return self.noise > 0 or self.mask > 0


class Sparsity(Section):
    """A penalty on codes of which many units are active at once."""

    penalty: Literal["none", "l1", "kl"] = "none"
    """l1: the sum of their absolute values; kl: the divergence of their mean activation from `target`, where each is
    the sigmoid of a unit."""
    weight: Weight = 1e-3
    """What the penalty counts in the loss."""
    target: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Mean activation of a unit that has no penalty, for kl."""


class Contraction(Section):
    """A penalty on codes that change much with the window: the squared Frobenius norm of the encoder's Jacobian."""

    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """What the penalty counts in the loss; 0 for none."""
    projections: Annotated[int, Field(ge=0, le=1024)] = 1
    """Random directions the norm is estimated from; 0 computes it exactly, at the cost of one for each number of the
    code."""


class Variational(Section):
    """For `objective: variational`."""

    beta: Weight = 1.0
    """Weight of the divergence of the code from its prior; 1 is the evidence lower bound."""
    warm_up: Annotated[int, Field(ge=0)] = 5
    """Epochs over which that weight rises from 0."""
    samples: Annotated[int, Field(ge=1, le=256)] = 8
    """Codes drawn, once and for all, to score a window."""


class Adversarial(Section):
    """For `objective: adversarial`."""

    sensitivity: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the error that is of the reconstruction reconstructed again; the rest is of the first one. More of it
    finds more, and raises more false alarms."""


class Composite(Section):
    """For `objective: composite`."""

    horizon: Count = 4
    """Last events of a window, which are predicted from those before them."""
    weight: Weight = 1.0
    """What the prediction counts in the loss; the reconstruction counts 1."""


class Distribution(Section):
    """Features that form one distribution."""

    match: Annotated[str, Field(min_length=1)]
    """Pattern of their names, such as `share_*`. They are not scaled, and their sum is taken as 1."""
