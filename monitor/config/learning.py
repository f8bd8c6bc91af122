"""How a model is trained."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from monitor.config.section import Count, Section


class Training(Section):
    """How `monitor train` learns; a running service does not read it."""

    network: Literal["lstm"] = "lstm"
    """Encoder and decoder of the autoencoder."""
    window: Annotated[int, Field(ge=1, le=4096)] = 32
    """Length T of a window, in events."""
    hidden: Count = 64
    """Nodes of a recurrent layer."""
    layers: Annotated[int, Field(ge=1, le=8)] = 1
    """Recurrent layers of the encoder, and of the decoder."""
    code: Count = 16
    """Size of the bottleneck."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the nodes left out while training, between recurrent layers and before the code."""
    loss: Literal["mse", "mae", "huber"] = "mse"
    """What training minimises; the score is a mean squared error whatever the loss."""
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    """Rule by which a gradient step changes the weights."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    """Step size of the optimiser."""
    batch: Annotated[int, Field(ge=2)] = 128
    """Windows of one gradient step."""
    epochs: Count = 30
    """Most passes over the fitting rows."""
    patience: Count = 5
    """Stop after this many epochs without a better validation loss; the best epoch is kept."""
    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """Share of the rows, after the fitting rows, that decides which epoch is best."""
    calibration: Annotated[float, Field(gt=0, lt=0.5)] = 0.25
    """Share of the rows, the last ones, that sets the threshold; never fitted."""
    score_over: Literal["window", "last"] = "window"
    """The error is the mean over the whole window, or over its last event."""
    alerts_per_stream_per_day: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Alert budget; the threshold is the quantile of the calibration errors that follows from it."""
    quantile: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The quantile itself, instead of a budget. Neither given: one alert per stream per day."""
    seed: int = 0
    """Same seed, same machine, same data: same weights."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto takes a GPU when there is one."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.alerts_per_stream_per_day is not None and self.quantile is not None:
            raise ValueError("give alerts_per_stream_per_day or quantile, not both")
        if self.validation + self.calibration >= 0.8:
            raise ValueError("validation and calibration together must leave at least a fifth of the rows for fitting")
        return self
