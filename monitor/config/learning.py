"""How a model is trained."""

from __future__ import annotations

from fnmatch import fnmatchcase
from math import inf
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from monitor.config.objectives import (
    Adversarial,
    Composite,
    Contraction,
    Denoising,
    Distribution,
    Sparsity,
    Variational,
)
from monitor.config.section import Count, Section

Network = Literal["lstm", "gru", "conv", "conv_lstm", "dense"]
Objective = Literal["undercomplete", "variational", "adversarial", "composite"]
Loss = Literal["mse", "mae", "huber", "bce", "kl"]
Distance = Literal["squared", "absolute", "huber", "hamming"]
Detector = Literal["auto", "autoencoder", "max_z", "pca", "mahalanobis", "linear", "ensemble"]
Scaling = Literal["standard", "robust", "minmax", "none"]


def _listed(value: object) -> object:
    return [value] if type(value) is int else value


class FeatureRule(Section):
    """How the features of some names are read by the network. Steps are taken in the order of the settings here."""

    match: Annotated[str, Field(min_length=1)]
    """Name of the feature, or a pattern such as `*_bytes`."""
    kind: Literal["number", "category"] = "number"
    """A category is text, and becomes one channel for each value seen in training; an unknown one is none of them."""
    clip: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    """Values below the first or above the second become these."""
    log1p: bool = False
    """Take sign(x) log(1 + |x|): for counts and sizes whose range spans powers of ten."""
    change: Literal["none", "difference", "rate"] = "none"
    """Take the change since the event before, or a counter's change per second; a counter that fell was reset."""
    scaling: Scaling | None = None
    """Instead of `training.scaling`."""

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.kind == "category" and (self.clip or self.log1p or self.change != "none" or self.scaling):
            raise ValueError("a category is neither clipped nor scaled nor subtracted: give it no other setting")
        if self.clip is not None and not -inf < self.clip[0] < self.clip[1] < inf:
            raise ValueError(f"clip must be two finite numbers in ascending order, not {self.clip}")
        if self.log1p and self.change == "rate":
            raise ValueError("the rate of a logarithm means nothing: give log1p or rate")
        return self


_NO_RULE = FeatureRule(match="*")


class Training(Section):
    """How `monitor train` learns; a running service does not read it."""

    detector: Detector = "autoencoder"
    """What is trained: the autoencoder of the settings below; a baseline in closed form (the largest |z|, the error of
    a principal component analysis, Mahalanobis' distance); linear: the mean of pca and mahalanobis; ensemble: of the
    network too; or auto: all of them, of which the one is kept that finds most faults injected into held-out normal
    rows. Without a network, each fifth of the rows is held out in turn to calibrate, and then all are fitted."""
    network: Network = "lstm"
    """Encoder and decoder of the autoencoder: recurrent (lstm, gru), 1-D convolutions, both (conv_lstm), or dense."""
    window: Annotated[int, Field(ge=1, le=4096)] = 32
    """Length T of a window, in events."""
    hidden: Annotated[
        list[Count],
        Field(max_length=8),
        BeforeValidator(_listed, json_schema_input_type=Count | list[Count]),
    ] = Field(default_factory=lambda: [64])
    """Nodes of each hidden layer of the encoder, the decoder's in reverse: one number for all `layers`, or a list.
    An empty list makes a dense network linear."""
    layers: Annotated[int, Field(ge=1, le=8)] = 1
    """Hidden layers of the encoder, and of the decoder; a list of `hidden` says it itself."""
    code: Count = 16
    """Size of the bottleneck."""
    kernel: Annotated[int, Field(ge=1, le=4096)] = 5
    """Events that a convolution sees at once."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the nodes left out while training, after each hidden layer but the decoder's last."""
    objective: Objective = "undercomplete"
    """How the network learns: reconstruct (undercomplete), a probability model (variational), two decoders against
    each other (adversarial), or reconstruct and forecast (composite)."""
    denoising: Denoising = Denoising()
    sparsity: Sparsity = Sparsity()
    contraction: Contraction = Contraction()
    variational: Variational = Variational()
    adversarial: Adversarial = Adversarial()
    composite: Composite = Composite()
    loss: Loss = "mse"
    """What training minimises. bce: sigmoid outputs, for minmax scaling. kl: Kullback-Leibler in `distributions`,
    mse elsewhere."""
    distributions: list[Distribution] = Field(default_factory=list)
    """Groups of features that are each one distribution, such as shares or a histogram; for loss kl."""
    distance: Distance = "squared"
    """What an error is, whatever the loss. hamming: whether a category, or a feature of two values, is another than
    expected; squared elsewhere. A variational model scores by its reconstruction probability."""
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    """Rule by which a gradient step changes the weights."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    """Step size of the optimiser."""
    batch: Annotated[int, Field(ge=2)] = 128
    """Windows of one gradient step."""
    epochs: Count = 30
    """Most passes over the fitting rows."""
    max_minutes: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Stop after this time, within an epoch if need be; the best epoch is kept."""
    patience: Count = 5
    """Stop after this many epochs without a better validation loss; the best epoch is kept."""
    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """Share of the rows, after the fitting rows, that decides which epoch is best."""
    calibration: Annotated[float, Field(gt=0, lt=0.5)] = 0.25
    """Share of the rows, the last ones, that sets the threshold; never fitted."""
    features: list[FeatureRule] = Field(default_factory=list)
    """How features are transformed; of several rules that match a name the first one counts."""
    wandering: Literal["level", "difference"] = "level"
    """How a feature is read whose level wanders in the fitting rows, so that most of its variance is between the means
    of tenths of them: as it is (level), or as its change since the event before (difference)."""
    scaling: Scaling = "standard"
    """standard: mean and standard deviation; robust: median and quartiles; minmax: smallest and largest."""
    scale_floor: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Least scale of a feature, as a share of the distance between its smallest and its largest value in the fitting
    rows: so that what hardly ever moves does not make a large error of every small step. 0.05 suits most data."""
    score_over: Literal["window", "last", "both"] = "window"
    """The error is the mean over the whole window, over its last events, or the mean of the two."""
    score_units: Literal["own", "one"] = "own"
    """own: a channel's error counts in units of the model's own error on held-out normal windows; one: as it is."""
    score_last: Count = 1
    """How many last events, where they are scored: more than one smooths, and looks back only."""
    alerts_per_stream_per_day: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Alert budget, in incidents on normal data; the threshold follows from it. Not given, nor another of the three:
    one."""
    alerts_per_day: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Alert budget of the whole fleet, shared by its streams in equal parts."""
    fleet: Count | None = None
    """How many streams share `alerts_per_day`; not given: those in the training rows."""
    quantile: Annotated[float, Field(gt=0, lt=1)] | None = None
    """A quantile of the calibration errors as the threshold, instead of a budget."""
    seed: int = 0
    """Same seed, same machine, same data: same weights."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto takes a GPU when there is one."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ways = ("alerts_per_stream_per_day", "alerts_per_day", "quantile")
        given = [name for name in ways if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give {' or '.join(given)}, not {'both' if len(given) == 2 else 'all'}")
        if self.fleet is not None and self.alerts_per_day is None:
            raise ValueError("fleet is the number of streams that share alerts_per_day: give that too")
        if self.score_last > self.window:
            raise ValueError(f"score_last ({self.score_last}) must not exceed window ({self.window})")
        if self.validation + self.calibration >= 0.8:
            raise ValueError("validation and calibration together must leave at least a fifth of the rows for fitting")
        if self.window == 1 and any(rule.change != "none" for rule in self.features):
            raise ValueError("a change needs the event before: window must be at least 2")
        return self

    def rule(self, name: str) -> FeatureRule:
        """The first rule whose pattern has the name of a feature; else one that changes nothing."""
        return next((rule for rule in self.features if fnmatchcase(name, rule.match)), _NO_RULE)

    def is_category(self, name: str) -> bool:
        """Whether a feature of this name is text."""
        return self.rule(name).kind == "category"

    @property
    def nodes(self) -> tuple[int, ...]:
        """Of each hidden layer of the encoder."""
        return tuple(self.hidden * self.layers if len(self.hidden) == 1 else self.hidden)

    @model_validator(mode="after")
    def _network(self) -> Self:
        if not self.hidden and self.network != "dense":
            raise ValueError(f"hidden is empty: only a dense network can do without hidden layers, not {self.network}")
        if len(self.hidden) != 1 and self.layers not in {1, len(self.hidden)}:
            raise ValueError(f"hidden lists {len(self.hidden)} layers, but layers is {self.layers}: leave layers out")
        return self

    @model_validator(mode="after")
    def _loss(self) -> Self:
        if self.loss == "bce":
            others = [rule.match for rule in self.features if rule.scaling not in {None, "minmax"}]
            if self.scaling != "minmax" or others:
                found = (
                    f"scaling is {self.scaling}" if self.scaling != "minmax" else f"the rule {others[0]} has another"
                )
                raise ValueError(f"loss bce needs values from 0 to 1, so scaling minmax, but {found}")
        if self.loss == "kl" and not self.distributions:
            raise ValueError("loss kl needs distributions: name the features that form one, as in [{match: share_*}]")
        if self.loss != "kl" and self.distributions:
            raise ValueError(f"distributions are for loss kl, but loss is {self.loss}")
        return self

    @model_validator(mode="after")
    def _objective(self) -> Self:
        if self.objective in {"variational", "adversarial"} and "none" in {
            self.scaling,
            *(rule.scaling for rule in self.features),
        }:
            raise ValueError(f"objective {self.objective} has limits in standardised units: scaling must not be none")
        match self.objective:
            case "variational":
                if self.loss != "mse":
                    raise ValueError(
                        f"a variational model learns by its own Gaussian likelihood: loss must be mse, not {self.loss}"
                    )
                if self.distance != "squared":
                    raise ValueError(
                        "a variational model scores by its reconstruction probability: leave distance squared, "
                        f"not {self.distance}"
                    )
                if self.sparsity.penalty != "none":
                    raise ValueError(
                        "a variational code already has a prior: sparsity.penalty must be none, "
                        f"not {self.sparsity.penalty}"
                    )
            case "adversarial":
                # The second decoder raises the distance of what the first one made; these two have no upper end.
                if self.loss in {"bce", "kl"}:
                    raise ValueError(f"an adversarial model cannot learn by loss {self.loss}: take mse, mae or huber")
            case "composite":
                if self.composite.horizon >= self.window:
                    raise ValueError(
                        f"composite.horizon ({self.composite.horizon}) must be less than window ({self.window}): "
                        "at least one event must be left to predict from"
                    )
            case "undercomplete":
                pass
        return self
