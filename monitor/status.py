"""What the service says of itself at one moment: made by the loop once a second, read by probes, page and gauges."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from monitor.model.manifest import Manifest


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    partition: int
    position: int  # next offset to read
    end: int | None  # the log's end as last seen; None before the first answer
    live: int  # streams with state
    warming: int  # of them, streams whose window is not full yet
    stuck: bool = False  # stands still though there is more to read
    recovering_from: int | None = None  # where the replay began
    recovering_until: int | None = None  # offset from which records are new; None where nothing is being replayed

    @property
    def recovering(self) -> bool:
        return self.recovering_until is not None

    @property
    def state(self) -> Literal["reading", "recovering", "stuck"]:
        return "stuck" if self.stuck else "recovering" if self.recovering else "reading"

    @property
    def recovery_left(self) -> int:
        """Records still to be replayed."""
        return 0 if self.recovering_until is None else max(0, self.recovering_until - self.position)

    @property
    def recovered(self) -> float | None:
        """Share of the replay that is done, 0 to 1; None where it is not known or nothing is being replayed."""
        if self.recovering_until is None or self.recovering_from is None:
            return None
        whole = self.recovering_until - self.recovering_from
        return 1.0 if whole <= 0 else min(1.0, max(0.0, 1 - self.recovery_left / whole))

    @property
    def lag(self) -> int | None:
        return None if self.end is None else max(0, self.end - self.position)


@dataclass(frozen=True, slots=True)
class OpenIncident:
    stream: str
    partition: int
    what: str  # "anomaly", the cause of a fault of the data, or "drift"
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
    topics: tuple[str, ...]  # input, alerts, dead letters, state
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
    delivery: str = "exactly_once"
    recovery: str = ""  # one sentence of progress; empty when nothing is being recovered
    data_lost: int = 0  # records that were gone from the log before they were read
    incident_states: int = 0  # streams whose incident state this member keeps in the topic for it
    stopped: str = ""  # why it stopped reading, for people; empty when it reads

    @property
    def reasons(self) -> tuple[str, ...]:
        """Every reason why it is not ready, the gravest first; empty means ready."""
        stated = [self.stopped] if self.stopped else []
        stated += [*self.not_ready, *([self.recovery] if self.recovery else [])]
        return tuple(dict.fromkeys(stated)) or (() if self.state == "running" else (f"The service is {self.state}.",))

    @property
    def ready(self) -> bool:
        return not self.reasons
