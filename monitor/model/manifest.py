"""The model card of an artefact: `manifest.json`, everything that must match between training and serving."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

FORMAT_VERSION = 1


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Feature(Part):
    name: str
    unit: str = ""
    mean: Annotated[
        float, Field(allow_inf_nan=False)
    ]  # of the fitting rows, source units; the network subtracts it, and it is what a missing value begins with
    scale: Annotated[
        float, Field(gt=0, allow_inf_nan=False)
    ]  # standard deviation of the fitting rows (1 where that is 0), source units; the network divides by it
    minimum: float  # of the fitting rows, source units
    maximum: float


class Architecture(Part):
    network: Literal["lstm"]
    features: int  # F
    window: int  # T, events
    hidden: int
    layers: int
    code: int
    dropout: float


class Calibration(Part):
    method: Literal["quantile"] = "quantile"
    threshold: Annotated[
        float, Field(gt=0, allow_inf_nan=False)
    ]  # same unit as the error; anomalous is error > threshold
    quantile: float  # of the calibration windows' errors
    alerts_per_stream_per_day: float | None  # the budget the quantile follows from
    windows: int  # calibration windows, none of them used for fitting
    windows_per_stream_per_day: float  # at the usual interval, every event scored


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
    loss: str
    optimiser: str
    learning_rate: float
    epochs: int
    best_epoch: int
    seed: int
    device: str
    source: str  # what the rows were read from, as the user named it


class Manifest(Part):
    format_version: int = FORMAT_VERSION
    architecture: Architecture
    features: tuple[Feature, ...]
    score_over: Literal["window", "last"]
    calibration: Calibration
    training: TrainingRecord
    metrics: dict[str, float]  # train_loss, validation_loss, validation_error, calibration_error, ...
    libraries: dict[str, str]
    files: dict[str, str]  # name -> SHA-256

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)

    @property
    def digest(self) -> str:
        """SHA-256 over the whole manifest, which holds the digests of the other files: it names the artefact."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """The bytes of `manifest.json`, always the same for the same content."""
        return json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
