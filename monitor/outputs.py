"""The contracts of the optional outputs: what the model says of every scored event, as score, denoised event and code.

A message of these is the event's, not a happening's: its bytes follow from the events, the artefact and the settings
alone, and a repeat is the same message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor import config
from monitor.alerts import cloud_event, identity
from monitor.batch import Batch, Float32, Float64, OutputName, OutputRecord, Scores, Windows
from monitor.telling import Origin

OUTPUTS: tuple[OutputName, ...] = get_args(OutputName)
SCHEMA_VERSION: Literal[1] = 1
EVENT_TYPES: Mapping[OutputName, str] = {
    "scores": "monitor.score.v1",
    "denoised": "monitor.denoised.v1",
    "latent": "monitor.latent.v1",
}
DIGITS = 6
"""Significant digits of a number, as in alerts: what a float32 carries, and what a person reads."""

_EXPONENTS = np.arange(-44, 309)
_POWERS: Float64 = np.array([float(f"1e{exponent}") for exponent in _EXPONENTS])
_EXACT = 22  # the largest power of ten that a float64 holds exactly


def _told(description: str) -> msgspec.Meta:
    return msgspec.Meta(description=description)


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a message comes from."""

    topic: str
    partition: int
    offset: Annotated[int, _told("Record of the event.")]
    model: Annotated[str, _told("Digest of the artefact.")]
    config: Annotated[str, _told("Digest of the settings that shape alerts.")]


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema_version: Literal[1]
    id: Annotated[str, _told("Identity of this message; a repeat has the same.")]
    stream: str
    time: Annotated[str, msgspec.Meta(description="Event time.", extra_json_schema={"format": "date-time"})]
    evidence: Evidence


class Score(_Message, frozen=True, forbid_unknown_fields=True):
    """How far one event's window is from normal, published keyed by stream."""

    score: Annotated[float, _told("error / threshold; above 1 is anomalous.")]
    counted: Annotated[float, _told("What of the score counts: gates, maintenance and faults of the data held back.")]
    error: Annotated[float, _told("In units of the model's own error on held-out normal rows.")]
    threshold: Annotated[float, _told("What the error is compared with.")]


class Denoised(_Message, frozen=True, forbid_unknown_fields=True):
    """One event as the model would have it, published keyed by stream."""

    features: Annotated[
        dict[str, float | str],
        _told("Every feature of the model as it reconstructed it: source units, or the name of a category."),
    ]
    repaired: Annotated[list[str], _told("Those that the event did not have: their values are the model's alone.")]


class Latent(_Message, frozen=True, forbid_unknown_fields=True):
    """The code of the window that one event closes, published keyed by stream."""

    code: Annotated[list[float], _told("Latent features, in the model's order; codes of different models differ.")]


MESSAGES: Mapping[OutputName, type[_Message]] = {"scores": Score, "denoised": Denoised, "latent": Latent}


class Outputs:
    """Says of each scored event what the settings name a topic for; it remembers nothing."""

    def __init__(
        self,
        wanted: config.Outputs,
        features: Sequence[str],
        categories: Mapping[str, Sequence[str]],
        threshold: float,
        origin: Origin,
    ) -> None:
        self._wanted = [name for name in OUTPUTS if getattr(wanted, name) is not None]
        self._features = tuple(features)
        self._categories = [(place, categories[name]) for place, name in enumerate(features) if name in categories]
        self._threshold = threshold
        self._origin = origin
        self._encode = msgspec.json.Encoder().encode

    def tell(
        self, batch: Batch, windows: Windows, scores: Scores, counted: Float64
    ) -> dict[OutputName, list[OutputRecord]]:
        """The messages of W windows by output, in the order of the windows; `counted` (W,) is what counts as score."""
        rows, origin = windows.row, self._origin
        events = zip(
            [batch.stream[row] for row in rows.tolist()],
            moments(batch.time[rows]),
            batch.partition[rows].tolist(),
            batch.offset[rows].tolist(),
            strict=True,
        )
        common = [
            (stream, time, Evidence(origin.topic, partition, offset, origin.model, origin.config))
            for stream, time, partition, offset in events
        ]
        made: dict[OutputName, list[OutputRecord]] = {}
        for name in self._wanted:
            match name:
                case "scores":
                    own = self._scores(scores, counted)
                case "denoised":
                    own = self._denoised(scores.expected, np.isnan(batch.values[rows]))
                case "latent":
                    own = [{"code": code} for code in rounded(scores.code).tolist()]
            made[name] = [self._record(name, *fact, facts) for fact, facts in zip(common, own, strict=True)]
        return made

    def _record(
        self, name: OutputName, stream: str, time: str, evidence: Evidence, own: Mapping[str, Any]
    ) -> OutputRecord:
        by = evidence
        message = MESSAGES[name](
            schema_version=SCHEMA_VERSION,
            id=identity(name, by.topic, by.partition, by.offset, by.model, by.config),
            stream=stream,
            time=time,
            evidence=evidence,
            **own,
        )
        headers = cloud_event(EVENT_TYPES[name], message.id, by.topic, stream, time)
        return OutputRecord(stream.encode(), self._encode(message), headers)

    def _scores(self, scores: Scores, counted: Float64) -> list[dict[str, float]]:
        threshold = float(rounded(np.array([self._threshold]))[0])
        columns = (scores.error.astype(np.float64) / self._threshold, counted, scores.error)
        return [
            {"score": score, "counted": counts, "error": error, "threshold": threshold}
            for score, counts, error in zip(*(rounded(column).tolist() for column in columns), strict=True)
        ]

    def _denoised(self, expected: Float32, missing: NDArray[np.bool_]) -> list[dict[str, Any]]:
        """`expected` and `missing` (W, F)."""
        found: list[dict[str, Any]] = []
        absent = set(np.flatnonzero(missing.any(axis=1)).tolist())
        for row, values in enumerate(rounded(expected).tolist()):
            for place, names in self._categories:
                values[place] = names[int(values[place])]
            repaired = (
                [self._features[place] for place in np.flatnonzero(missing[row]).tolist()] if row in absent else []
            )
            found.append({"features": dict(zip(self._features, values, strict=True)), "repaired": repaired})
        return found


def moments(seconds: Float64) -> list[str]:
    """Times (n,), s since the Unix epoch, as alerts write them: ISO 8601 in UTC, to the millisecond."""
    stamps = np.rint(seconds * 1000).astype(np.int64).astype("datetime64[ms]")
    return [f"{text}Z" for text in np.datetime_as_string(stamps, unit="ms").tolist()]


def rounded(values: Float32 | Float64) -> Float64:
    """Finite values (...) to `DIGITS` significant digits: each the float64 that is nearest to such a decimal number.

    Element by element, by comparisons, products and quotients that IEEE 754 fixes: the same bits in any batch.
    """
    wide = values.astype(np.float64)
    exponent = _EXPONENTS[np.maximum(np.searchsorted(_POWERS, np.abs(wide), side="right") - 1, 0)]
    shift = DIGITS - 1 - exponent
    # By the one of the two powers that is a whole number: dividing by it, or multiplying, rounds once.
    up, down = _power(np.clip(shift, 0, _EXACT)), _power(np.maximum(-shift, 0))
    return np.rint(wide * up / down) / up * down + 0.0  # no negative zero


def _power(exponent: NDArray[np.int64]) -> Float64:
    found: Float64 = _POWERS[exponent - _EXPONENTS[0]]
    return found


def json_schema(name: OutputName) -> dict[str, Any]:
    """JSON Schema (2020-12) of the value on an output's topic."""
    schema = msgspec.json.schema(MESSAGES[name])
    definitions = dict(schema["$defs"])
    root = definitions.pop(schema["$ref"].rpartition("/")[2])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root, "$defs": definitions}
