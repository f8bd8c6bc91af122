"""Every setting, its default and its meaning, in one place; where the values come from is `loading`.

The environment overrides the file: `MONITOR_` + the path with `__` between its parts (`MONITOR_KAFKA__GROUP=pumps`).
Durations are seconds, sizes are bytes, unless a name says otherwise.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from monitor.config.brokers import Kafka, Outputs, Sasl, Tls, Topics, TopicSpec
from monitor.config.feeding import Feed, Flows, Join, Sensor
from monitor.config.forwarding import Forward
from monitor.config.judging import Adaptation, Gates, Maintenance, Quality
from monitor.config.learning import FeatureRule, Training
from monitor.config.section import Count, Seconds, Section

__all__ = [
    "Adaptation",
    "DeadLetters",
    "Events",
    "FeatureRule",
    "Feed",
    "Flows",
    "Forward",
    "Gates",
    "Incidents",
    "Join",
    "Kafka",
    "Log",
    "Maintenance",
    "Model",
    "Outputs",
    "Quality",
    "Recovery",
    "Sasl",
    "Section",
    "Sensor",
    "Settings",
    "Severity",
    "Tls",
    "TopicSpec",
    "Topics",
    "Training",
    "Web",
    "Windows",
]

ENV_PREFIX = "MONITOR_"
ENV_DELIMITER = "__"


class Model(Section):
    """The artefact that scores, and how."""

    path: Path = Path("model")
    """Artefact folder, as `monitor train` writes it."""
    runtime: Literal["onnx", "torch"] = "onnx"
    """onnx serves; torch is the reference and needs the extra `train`."""
    threads: Count | None = None
    """Threads of one forward pass. Not given: the whole cores of the container's CPU limit, 1 where it has none."""
    threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Replaces the artefact's calibrated threshold (same unit as the error)."""


class Events(Section):
    """What is accepted as an event, and what becomes of the rest."""

    codec: Literal["json", "msgpack", "float32"] = "json"
    """How the records' values are written. msgpack: the members of the JSON event as a MessagePack map. float32: only
    the features, 4 bytes each, little-endian, in the model's order; the key names the stream, the timestamp is the
    time."""
    features: list[str] | None = None
    """The features this deployment sends; must equal the artefact's (order included). Not given: the artefact's."""
    max_bytes: Annotated[int, Field(ge=64)] = 1_048_576
    """Larger records are rejected unread."""
    max_age: Seconds | None = 7 * 86400
    """An event this much older than its record's timestamp is rejected; none means any age."""
    max_ahead: Seconds = 300
    """An event this far ahead of its record's timestamp is rejected."""
    missing: Literal["reject", "impute"] = "reject"
    """A feature that is absent or null."""
    non_finite: Literal["reject", "impute"] = "reject"
    """A feature that is NaN, infinite or beyond float32."""
    non_numeric: Literal["reject", "impute"] = "reject"
    """A feature that is text, a boolean, a list or an object."""
    unknown: Literal["reject", "ignore"] = "reject"
    """A feature that the artefact does not know."""


class Windows(Section):
    """The sliding window of each stream; its length is the artefact's."""

    stride: Count = 1
    """Score every k-th event of a stream."""
    max_gap: Seconds | None = None
    """A longer silence of a stream empties its window. Not given: the artefact's (ten times its usual interval)."""
    max_streams: Count = 200_000
    """Live streams a partition may have; beyond it the least recently seen sixty-fourth is dropped."""
    idle_timeout: Seconds | None = None
    """Event time after which a silent stream is forgotten. Not given: an hour, or ten times `max_gap` if more."""


class DeadLetters(Section):
    """When bad records are too many to be set aside one by one."""

    max_ratio: Annotated[float, Field(gt=0, le=1)] | None = 0.5
    """The service stops, unready, when more than this share of the last `window` records was rejected; none means
    never."""
    window: Annotated[int, Field(ge=10)] = 10_000
    """Records over which the share is taken."""


class Recovery(Section):
    """How a member goes on where another one, or it itself, stopped."""

    max_replay: Annotated[int, Field(ge=0)] = 2_000_000
    """Most records of a partition that are read again to rebuild its windows. Streams whose window lies further back
    warm up again, and are counted."""
    data_loss: Literal["earliest", "latest", "fail"] = "earliest"
    """Where the committed place is no longer in the log: go on with the first record that was not read and is still
    there, skip to the end, or stop."""
    state_dir: Path | None = None
    """Folder on a persistent volume for snapshots of the windows, one set for each member: a restart then replays only
    what came after the snapshot. None: windows are rebuilt from the topic alone."""
    snapshot_every: Seconds = 300
    """Seconds between two snapshots of a partition; one more is taken when the service stops."""


class Severity(Section):
    """Lowest peak score of each severity; the score is error / threshold."""

    warning: Annotated[float, Field(ge=1)] = 1.0
    """Lowest peak score of a warning."""
    major: Annotated[float, Field(ge=1)] = 2.0
    """Lowest peak score of a major incident."""
    critical: Annotated[float, Field(ge=1)] = 5.0
    """Lowest peak score of a critical incident."""

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if not self.warning < self.major < self.critical:
            raise ValueError("bands must ascend: warning < major < critical")
        return self


class Incidents(Section):
    """When scores become an incident, and when it is over."""

    open_after: Count = 3
    """Open an incident when this many of the last `open_window` scores are anomalous (k of n)."""
    open_window: Annotated[int, Field(ge=1, le=64)] = 5
    """The n of k of n."""
    close_after: Count = 10
    """Close it after this many normal scores in a row."""
    min_duration: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0
    """Seconds between the first anomalous event and the opening."""
    cooldown: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0
    """Seconds after a closing in which the stream opens no new incident."""
    update_every: Seconds = 1800
    """Seconds of event time between updates of an open incident; a higher severity is reported at once."""
    features: Annotated[int, Field(ge=1, le=100)] = 5
    """Contributing features an alert names."""
    severity: Severity = Severity()
    """Lowest peak score of each severity."""

    @model_validator(mode="after")
    def _k_of_n(self) -> Self:
        if self.open_after > self.open_window:
            raise ValueError(f"open_after ({self.open_after}) must not exceed open_window ({self.open_window})")
        return self


class Web(Section):
    """The HTTP server for probes, metrics and the status page."""

    host: str = "0.0.0.0"  # noqa: S104  a pod's probes come from outside it
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 9108
    """Port of /metrics, /livez, /readyz and the status page; 0 takes a free one."""
    worst_streams: Annotated[int, Field(ge=0, le=1000)] = 20
    """Streams with a gauge of their own (the highest scores now); the others are folded into `_other`."""
    stuck_after: Seconds = 120
    """/livez fails when the loop has not turned for this long."""


class Log(Section):
    """The log on standard error."""

    format: Literal["auto", "json", "text"] = "auto"
    """json in a container, text on a terminal; auto decides by whether standard error is a terminal."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is written; libraries speak from warning upwards."""


class Settings(Section):
    """The whole configuration. Files and the environment come in through `loading.load`."""

    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    """exactly_once: alerts, dead letters, incident state and offsets in one transaction. at_least_once: alerts first,
    then offsets; a repeat has the same id."""
    kafka: Kafka = Kafka()
    topics: Topics = Topics()
    outputs: Outputs = Outputs()
    model: Model = Model()
    events: Events = Events()
    dead_letters: DeadLetters = DeadLetters()
    windows: Windows = Windows()
    incidents: Incidents = Incidents()
    gates: Gates = Gates()
    quality: Quality = Quality()
    adaptation: Adaptation = Adaptation()
    recovery: Recovery = Recovery()
    training: Training = Training()
    feed: Feed = Feed()
    forward: Forward = Forward()
    web: Web = Web()
    log: Log = Log()

    def digest(self) -> str:
        """SHA-256 over the settings that can change an alert; addresses, ports and logs are not among them."""
        shaping = self.model_dump(mode="json", include={"events", "windows", "incidents", "gates", "quality"})
        if self.adaptation.enabled:  # else none of them can, and incidents that were open before there were any go on
            shaping["adaptation"] = self.adaptation.model_dump(mode="json")
        shaping["model"] = {"runtime": self.model.runtime, "threshold": self.model.threshold}
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()
