"""What the service says of itself at one moment: made by the loop once a second, read by probes, page and gauges."""

from __future__ import annotations

from dataclasses import dataclass, field

from monitor.model.manifest import Manifest


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    partition: int
    position: int  # next offset to read
    end: int | None  # the log's end as last seen; None before the first answer
    live: int  # streams with state
    warming: int  # of them, streams whose window is not full yet

    @property
    def lag(self) -> int | None:
        return None if self.end is None else max(0, self.end - self.position)


@dataclass(frozen=True, slots=True)
class OpenIncident:
    stream: str
    partition: int
    severity: str
    started_at: float  # event time, s since the Unix epoch
    score: float  # peak so far


@dataclass(frozen=True, slots=True)
class SeenReject:
    reason: str
    detail: str
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class StreamScore:
    stream: str
    score: float  # of its latest window


@dataclass(frozen=True, slots=True)
class WarmingStream:
    stream: str
    events: int  # in its window so far
    needed: int  # T


@dataclass(frozen=True, slots=True)
class SharedName:
    stream: str
    partitions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Status:
    state: str  # starting, running, stopping
    not_ready: tuple[str, ...]  # why not, for people; empty means ready
    started_at: float  # s since the Unix epoch
    now: float  # when this was made
    model: Manifest
    settings_digest: str
    threshold: float
    group: str
    topics: tuple[str, str, str]  # input, alerts, dead letters
    partitions: tuple[PartitionStatus, ...] = ()
    events_per_second: float = 0.0  # over the last ten seconds
    events: int = 0
    alerts: int = 0
    rejects: int = 0
    open_incidents: tuple[OpenIncident, ...] = ()  # highest peak first, at most 100
    open_total: int = 0
    last_rejects: tuple[SeenReject, ...] = ()  # newest first, at most 20
    worst: tuple[StreamScore, ...] = ()  # highest latest score first
    other_worst: float | None = None  # highest latest score of all streams not in `worst`
    warming: tuple[WarmingStream, ...] = field(default=())  # at most 50
    shared: tuple[SharedName, ...] = ()  # names live in several partitions: the input is not keyed by stream

    @property
    def ready(self) -> bool:
        return self.state == "running" and not self.not_ready
