"""The contract out: an alert, its bytes, its JSON Schema and its CloudEvents headers.

An incident is told in messages: `opened`, any number of `updated`, `closed`. They share `incident`; each has an `id`
of its own. Both come from the content alone: the same events give the same bytes, a repeat is the same message.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema

SCHEMA_VERSION: Literal[1] = 1
CONTENT_TYPE = "application/json"
EVENT_TYPE = "monitor.alert.v1"

Kind = Literal["anomaly", "data_quality", "drift"]
Status = Literal["opened", "updated", "closed"]
Severity = Literal["warning", "major", "critical"]
Cause = Literal["stuck", "unit_jump", "missing", "out_of_range", "gap", "clock_skew", "sampling_rate"]
CAUSES: tuple[Cause, ...] = get_args(Cause)
Reason = Literal["recovered", "idle", "evicted", "model_changed", "settings_changed", "absorbed"]
SEVERITIES: tuple[Severity, ...] = ("warning", "major", "critical")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _rounded(value: float) -> float:
    """Six significant digits: what a float32 carries, and what a person reads."""
    return float(f"{value:.6g}")


Measured = Annotated[float, PlainSerializer(_rounded, return_type=float)]
Moment = Annotated[
    datetime,
    PlainSerializer(lambda value: value.isoformat(timespec="milliseconds").replace("+00:00", "Z"), return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, json_schema_serialization_defaults_required=True
    )


class Feature(_Part):
    name: str
    observed: Measured
    """Where it was furthest from what was expected, source units. Of a drift: the feature's usual error now, in units
    of that in training."""
    expected: Measured
    """What the model reconstructed in its place, source units. Of a drift: 1, the usual error in training."""
    contribution: Measured
    """Share of the error at the peak, 0 to 1; over all features of the model the shares add up to 1. Of a fault of the
    data: equal shares of the features that have it. Of a drift: share of the distance, on a logarithmic scale."""
    unit: str = ""
    """As it was named in training; empty where it was not."""
    observed_category: str | None = None
    """Of a category, whose numbers are places among the values of training: the value, null where it was unknown."""
    expected_category: str | None = None
    """The value that was expected; null for a number."""
    meaning: str = ""
    """What it is, in words; empty where training was not told."""
    usual: Measured | None = None
    """Its mean in training, source units; null where its meaning is not known, and for a category."""


class Evidence(_Part):
    topic: str
    partition: int
    first_offset: int
    """Record of the first anomalous event."""
    last_offset: int
    """Record of the event that caused this message."""
    model: str
    """Digest of the artefact."""
    config: str
    """Digest of the settings that shape alerts."""


class Alert(_Part):
    """One step of one incident, published keyed by stream."""

    schema_version: Literal[1] = SCHEMA_VERSION
    id: str
    """Identity of this message; a repeat has the same."""
    incident: str
    """Identity of the incident, shared by all its messages."""
    kind: Kind
    """anomaly: the process is not as it was in training. data_quality: its data cannot be trusted. drift: what is
    usual for the stream has moved away from training; retraining is due."""
    status: Status
    reason: Reason | None
    """Why it closed: normal again, the stream fell silent, the stream was dropped to make room, another model or
    other settings took over, or it lasted and counts as normal from now on."""
    stream: str
    time: Moment
    """Event time of the event that caused this message."""
    started_at: Moment
    """Event time of the first anomalous event."""
    ended_at: Moment | None
    """Event time of the last anomalous event, once closed."""
    severity: Severity
    """Band of the peak score so far."""
    score: Measured
    """Peak of error / threshold so far; above 1 is anomalous."""
    error: Measured
    """Error at the peak, in units of the model's own on held-out normal rows. Of a fault of the data: its measure
    (seconds of a gap or of a skew, share that is missing, events without a change, times the usual interval, distance
    in training ranges). Of a drift: by what factor the usual error differs from training's, of the worst feature."""
    threshold: Measured
    """What the error is compared with. Of a fault of the data, or a drift: the limit of its measure."""
    features: tuple[Feature, ...]
    """The largest contributions to the error at the peak, largest first. Of a fault of the data: the features that have
    it; none where the stream as a whole has it. Of a drift: those beyond the limit."""
    evidence: Evidence
    cause: Cause | None = None
    """Which fault of the data; null for an anomaly and for a drift."""
    peak_at: Moment | None = None
    """Event time of the peak; null in messages of versions that did not tell it."""
    duration: Measured = 0.0
    """Seconds from the first to the last anomalous event so far; of a gap, its length."""
    summary: str = ""
    """All of it in one sentence for a person."""
    confidence: Measured | None = None
    """How far the stream's own usual error is known, 0 (new: the fleet's calibration alone) to 1; null where nothing is
    learned of streams (`adaptation.enabled`)."""

    def to_bytes(self) -> bytes:
        """The message's value: JSON in the order of the fields, UTF-8."""
        return self.model_dump_json().encode()

    def headers(self) -> list[tuple[str, bytes]]:
        """Those of a CloudEvent."""
        time = self.model_dump(mode="json", include={"time"})["time"]
        return cloud_event(EVENT_TYPE, self.id, self.evidence.topic, self.stream, time)


def parse(value: bytes) -> Alert:
    """Raises pydantic's ValidationError for anything that is not an alert of this schema version."""
    return Alert.model_validate_json(value)


def cloud_event(event_type: str, name: str, topic: str, stream: str, time: str) -> list[tuple[str, bytes]]:
    """The headers of a message called `name` about events of `topic`.

    CloudEvents 1.0, Kafka protocol binding, binary content mode.
    """
    facts = {
        "ce_specversion": "1.0",
        "ce_id": name,
        "ce_type": event_type,
        "ce_source": f"/monitor/{topic}",
        "ce_subject": stream,
        "ce_time": time,
        "content-type": CONTENT_TYPE,
    }
    return [(name, value.encode()) for name, value in facts.items()]


def moment(seconds: float) -> datetime:
    """Seconds since the Unix epoch -> UTC, to the millisecond."""
    return _EPOCH + timedelta(milliseconds=round(seconds * 1000))  # far off, a float of seconds has no exact ms


def identity(*parts: object) -> str:
    """128 bits of SHA-256 over the parts; at most one of them is free text, so that none can pass for another."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:32]


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the value on the alert topic."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Alert.model_json_schema(mode="serialization")}
