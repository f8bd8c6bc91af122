"""The brokers, how to reach them, and the topics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from monitor.config.section import Count, Seconds, Section

Topic = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]


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


class Outputs(Section):
    """What the model says of every scored event, each on a topic of its own, keyed by stream; off until it is named."""

    scores: Topic | None = None
    """Topic for the score of each event, whether anomalous or not."""
    denoised: Topic | None = None
    """Topic for each event as the model would have it; what was missing in it is repaired, and marked."""
    latent: Topic | None = None
    """Topic for the code of each event's window."""
    partitions: Count = 6
    """Partitions of each when created by `monitor topics --create`."""
    replication: Annotated[int, Field(ge=-1)] = -1
    """Replicas when created; -1 takes the brokers' default."""
    retention: Seconds | None = None
    """Seconds to keep records when created; the brokers' default when not given."""
    config: dict[str, str] = Field(default_factory=dict)
    """Further topic settings when created."""

    @property
    def topics(self) -> dict[Literal["scores", "denoised", "latent"], TopicSpec]:
        """Those that are on."""
        names: dict[Literal["scores", "denoised", "latent"], str | None] = {
            "scores": self.scores,
            "denoised": self.denoised,
            "latent": self.latent,
        }
        return {
            output: TopicSpec(
                name=name, **self.model_dump(include={"partitions", "replication", "retention", "config"})
            )
            for output, name in names.items()
            if name is not None
        }

    @model_validator(mode="after")
    def _different(self) -> Self:
        names = [spec.name for spec in self.topics.values()]
        if len(set(names)) < len(names):
            raise ValueError(f"scores, denoised and latent must be topics of their own, not {', '.join(names)}")
        return self


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
