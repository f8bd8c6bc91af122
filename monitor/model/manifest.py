"""The model card of an artefact: `manifest.json`, everything that must match between training and serving."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from itertools import chain
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from monitor.categories import Codes
from monitor.config import Feed
from monitor.model.architecture import Design
from monitor.model.part import Part

FORMAT_VERSION = 2

Method = Literal["quantile", "incidents", "tail", "largest", "saturated"]
PRIOR_WINDOWS = (1.0, 100.0)
"""Whatever a few streams of the training data say: a stream is never believed at once, and always in the end."""
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Feature(Part):
    """A feature of the events, and how it becomes channels: see `front`. In source units where nothing else is said."""

    name: str
    unit: str = ""
    meaning: str = ""  # in words, where `monitor feed` made it
    categories: tuple[str, ...] = ()  # the values of one that is no number; its code is the place here, -1 unknown
    clip: tuple[Finite, Finite] | None = None
    log1p: bool = False
    change: Literal["none", "difference", "rate"] = "none"
    mean: Finite  # of the fitting rows, or the commonest category: what stands in for a missing value
    shift: Finite = 0.0  # of the transformed value; the network sees (value - shift) / scale
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    minimum: float  # of the fitting rows
    maximum: float
    still: int | None = None  # longest run of events with one and the same value; of a number

    @model_serializer(mode="wrap")
    def _told(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A meaning that is not known is left out: an artefact of before there were any keeps its digest."""
        return {name: value for name, value in plain(self).items() if value or name != "meaning"}


def timed(features: Iterable[Feature]) -> bool:
    """Whether a window has one more column than features: the seconds since the event before, which rates need."""
    return any(feature.change == "rate" for feature in features)


class Scoring(Part):
    """How errors of channels and events become one number."""

    spans: Annotated[tuple[Literal["window", "last"], ...], Field(min_length=1)]  # of several, the mean
    last: Annotated[int, Field(ge=1)] = 1  # events of the span `last`
    units: tuple[tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...], ...]
    """For each span, each channel's own error on held-out normal windows."""
    over_features: Literal["mean", "max"] = "mean"
    """The error of a window is the mean over its features' errors, or the largest of them."""


class Typical(Part):
    """What the errors of features usually are, and by how much windows and streams differ; logarithms: see `level`."""

    log_error: tuple[Finite, ...]  # of each feature, mean over calibration windows
    within: Annotated[
        float, Field(ge=0, allow_inf_nan=False)
    ]  # variance between windows of a stream, mean over features
    between: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = (
        None  # between streams; None where there is one
    )

    @property
    def prior_windows(self) -> float | None:
        """Windows of a stream that weigh as much as what is known of all; None where it is not known."""
        if self.between is None:
            return None
        low, high = PRIOR_WINDOWS
        return high if self.within >= high * self.between else max(low, self.within / self.between)


class FittedTail(Part):
    """The generalised Pareto tail that the threshold was read off, as `calibration.tail.Tail` has it."""

    level: Finite  # u, unit of the error; the peaks are above it
    shape: Finite
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    peaks: Annotated[int, Field(ge=1)]
    rate: Annotated[float, Field(gt=0, allow_inf_nan=False)]  # peaks per stream-day


class Blocks(Part):
    """The calibration windows in blocks that hardly depend on each other: see `calibration.conformal`."""

    windows: Annotated[int, Field(ge=1)]  # in each
    largest: Annotated[tuple[Finite, ...], Field(min_length=1)]  # error of each block, ascending


class Calibration(Part):
    method: Method  # see `calibration.budget`
    threshold: Annotated[
        float, Field(gt=0, allow_inf_nan=False)
    ]  # same unit as the error; anomalous is error > threshold
    quantile: Annotated[float, Field(gt=0, le=1)]  # share of the calibration windows' errors at or below it
    alerts_per_stream_per_day: float | None  # the budget, in incidents; None where the quantile was given
    expected: tuple[float, float, float] | None  # incidents per stream per day: 95 % range and, in the middle, the rate
    windows: int  # calibration windows, none of them used for fitting
    windows_per_stream_per_day: float  # at the usual interval, every event scored
    typical: Typical | None = None  # None in artefacts of before it was recorded
    tail: FittedTail | None = None  # of method "tail"; None in artefacts of before it was recorded
    blocks: Blocks | None = None  # what a peak's p-value counts among; None where no stretch is that long

    @model_serializer(mode="wrap")
    def _recorded(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """An optional part that is not there is left out: an artefact of before it existed keeps its digest."""
        optional = {name for name, field in type(self).model_fields.items() if not field.is_required()}
        return {name: value for name, value in plain(self).items() if value is not None or name not in optional}


class TrainingRecord(Part):
    rows: int
    streams: int
    fit_windows: int
    validation_windows: int
    first_time: float  # s since the Unix epoch
    last_time: float
    interval: float  # usual seconds between two events of a stream (median)
    max_gap: Annotated[
        float, Field(gt=0, allow_inf_nan=False)
    ]  # s; a longer silence splits the training rows, and is the service's default
    optimiser: str
    learning_rate: float
    epochs: int
    best_epoch: int
    seed: int
    device: str
    source: str  # what the rows were read from, as the user named it


class Manifest(Part):
    format_version: int = FORMAT_VERSION
    architecture: Design
    features: tuple[Feature, ...]
    scoring: Scoring
    calibration: Calibration
    training: TrainingRecord
    feed: Feed | None = None  # how `monitor feed` made the rows, where it did: joined sensors, or vectors of a capture
    metrics: dict[str, float]  # train_loss, validation_loss, validation_error, calibration_error, ...
    libraries: dict[str, str]
    files: dict[str, str]  # name -> SHA-256

    @model_serializer(mode="wrap")
    def _known(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As of a meaning: what is not known is left out."""
        return {name: value for name, value in plain(self).items() if value is not None or name != "feed"}

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)

    @property
    def columns(self) -> int:
        """Of a window: the features, and the seconds since the event before where rates need them."""
        return len(self.features) + timed(self.features)

    @property
    def values(self) -> dict[str, tuple[str, ...]]:
        """Of each feature that is a category: what it can be, by code."""
        return {feature.name: feature.categories for feature in self.features if feature.categories}

    @property
    def codes(self) -> dict[str, Codes]:
        """Of each feature that is a category."""
        return {feature.name: Codes(feature.categories) for feature in self.features if feature.categories}

    @property
    def layout(self) -> tuple[str, ...]:
        """What windows of before must have been made of to fit: names, codes and columns, in their order.

        The separators are in no feature's name.
        """
        parts = [(feature.name, *(f"\x1e{value}" for value in feature.categories)) for feature in self.features]
        return (*chain.from_iterable(parts), *(["\x1dseconds"] if timed(self.features) else []))

    @property
    def digest(self) -> str:
        """SHA-256 over the whole manifest, which holds the digests of the other files: it names the artefact."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """The bytes of `manifest.json`, always the same for the same content."""
        return json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
