"""Every setting, its default and its meaning, in one place; where the values come from is `loading`.

The environment overrides the file: `MONITOR_` + the path with `__` between its parts (`MONITOR_KAFKA__GROUP=pumps`).
Durations are seconds, sizes are bytes, unless a name says otherwise.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

ENV_PREFIX = "MONITOR_"
ENV_DELIMITER = "__"

Topic = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )  # an input may be a secret


class Tls(Section):
    """Encryption of the connection to the brokers."""

    enabled: bool = False
    """Encrypt the connection to the brokers."""
    ca_file: Path | None = None
    """Certificates of the authorities to trust; the system's when not given."""
    certificate_file: Path | None = None
    """This client's certificate, for mutual TLS."""
    key_file: Path | None = None
    """This client's private key."""
    key_password: SecretStr | None = None
    """Password of the private key."""
    key_password_file: Path | None = None
    """File that holds the password of the private key."""
    check_hostname: bool = True
    """Require that the broker's certificate names its host."""


class Sasl(Section):
    """How this client proves to the brokers who it is."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """SASL mechanism; none means no authentication."""
    username: str | None = None
    """User name."""
    password: SecretStr | None = None
    """Password; better given as a file or by the environment."""
    password_file: Path | None = None
    """File that holds the password (a mounted Kubernetes secret)."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.mechanism and not self.username:
            raise ValueError(f"mechanism {self.mechanism} needs a username")
        if self.mechanism and not (self.password or self.password_file):
            raise ValueError(f"mechanism {self.mechanism} needs password_file or password")
        if self.password and self.password_file:
            raise ValueError("give password or password_file, not both")
        return self


class Kafka(Section):
    """The brokers, and this member of the consumer group."""

    bootstrap_servers: str = "localhost:9092"
    """Brokers to ask first, `host:port`, separated by commas."""
    group: Annotated[str, Field(min_length=1)] = "monitor"
    """Consumer group; members of one group share the partitions."""
    instance_id: str | None = None
    """Static member name (a pod name), different for each member. A restart within the session time-out moves no
    partitions, and ends the transaction its predecessor left open at once instead of after `transaction_timeout`."""
    client_id: str = "monitor"
    """Name in the brokers' logs and quotas."""
    start_at: Literal["earliest", "latest"] = "earliest"
    """Where a group without committed offsets begins."""
    poll_records: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    """Most records taken at once; what they lead to is one transaction."""
    poll_bytes: Annotated[int, Field(ge=1024)] = 33_554_432
    """Most bytes of records taken at once (a single larger record is taken alone)."""
    poll_seconds: Seconds = 0.2
    """Longest wait for records; also how soon a signal is noticed while idle."""
    max_poll_interval: Seconds = 300
    """A member whose loop takes longer than this loses its partitions."""
    session_timeout: Seconds = 45
    """A member that is not heard of for this long is taken for dead."""
    publish_timeout: Seconds = 15
    """Longest wait for the brokers to acknowledge what a batch published."""
    transaction_timeout: Seconds = 30
    """The brokers abort a transaction that is open for longer; until then readers of the alert topic wait behind what a
    killed member left open."""
    tls: Tls = Tls()
    sasl: Sasl = Sasl()
    options: dict[str, Any] = Field(default_factory=dict, repr=False)
    """Passed through to every kafka-python client as they are (`fetch_min_bytes: 65536`); they win over all else.
    Those that delivery rests on (`acks`, `enable_auto_commit`) or that have a setting of their own are refused."""

    @field_validator("bootstrap_servers")
    @classmethod
    def _servers(cls, value: str) -> str:
        for server in value.split(","):
            host, _, port = server.strip().rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError(f"{server.strip()!r} is not host:port")
        return value

    @model_validator(mode="after")
    def _timeouts(self) -> Self:
        if self.session_timeout > self.max_poll_interval:
            raise ValueError("session_timeout must not exceed max_poll_interval")
        if self.publish_timeout > self.transaction_timeout:
            raise ValueError("publish_timeout must not exceed transaction_timeout: a publish is one transaction")
        if self.transaction_timeout > self.max_poll_interval:
            raise ValueError("transaction_timeout must not exceed max_poll_interval")
        heartbeat = self.options.get("heartbeat_interval_ms")
        if isinstance(heartbeat, int | float) and heartbeat >= 1000 * self.session_timeout:
            raise ValueError("options.heartbeat_interval_ms must be less than session_timeout (in milliseconds)")
        return self


class TopicSpec(Section):
    """A topic and how `monitor topics --create` makes it; an existing topic is only checked."""

    name: Topic
    """Name of the topic."""
    partitions: Count = 6
    """Partitions when created."""
    replication: Annotated[int, Field(ge=-1)] = -1
    """Replicas when created; -1 takes the brokers' default."""
    retention: Seconds | None = None
    """Seconds to keep records when created; the brokers' default when not given."""
    config: dict[str, str] = Field(default_factory=dict)
    """Further topic settings when created (`max.message.bytes: "2097152"`)."""


class Topics(Section):
    """The topics."""

    input: TopicSpec = TopicSpec(name="events")
    """Feature vectors come in here, keyed by stream."""
    alerts: TopicSpec = TopicSpec(name="alerts")
    """Incidents go out here, keyed by stream."""
    dead_letters: TopicSpec = TopicSpec(name="events.dead", config={"max.message.bytes": "2097152"})
    """Records that could not be read go here, with the reason in their headers."""
    state: TopicSpec = TopicSpec(
        name="events.state",
        config={
            "min.cleanable.dirty.ratio": "0.1",
            "min.compaction.lag.ms": "60000",
            "segment.bytes": "16777216",
            "segment.ms": "3600000",
        },
    )
    """Open incidents are kept here, compacted, for whoever takes over a partition. Groups may share it. Made with as
    many partitions as the input; do not change their number."""

    @model_validator(mode="after")
    def _different(self) -> Self:
        names = [self.input.name, self.alerts.name, self.dead_letters.name, self.state.name]
        if len(set(names)) < len(names):
            raise ValueError(f"input, alerts, dead_letters and state must be four topics, not {', '.join(names)}")
        return self


class Model(Section):
    """The artefact that scores, and how."""

    path: Path = Path("model")
    """Artefact folder, as `monitor train` writes it."""
    runtime: Literal["onnx", "torch"] = "onnx"
    """onnx serves; torch is the reference and needs the extra `train`."""
    threads: Count = 1
    """Threads of one forward pass."""
    threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Replaces the artefact's calibrated threshold (same unit as the error)."""


class Events(Section):
    """What is accepted as an event, and what becomes of the rest."""

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
    model: Model = Model()
    events: Events = Events()
    dead_letters: DeadLetters = DeadLetters()
    windows: Windows = Windows()
    incidents: Incidents = Incidents()
    recovery: Recovery = Recovery()
    training: Training = Training()
    web: Web = Web()
    log: Log = Log()

    def digest(self) -> str:
        """SHA-256 over the settings that can change an alert; addresses, ports and logs are not among them."""
        shaping = self.model_dump(mode="json", include={"events", "windows", "incidents"})
        shaping["model"] = {"runtime": self.model.runtime, "threshold": self.model.threshold}
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()
