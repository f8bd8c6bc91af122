"""The values that flow, as columns: records -> Batch -> Windows -> Scores -> Outcome. All of them are frozen.

Letters used throughout: N events, W windows, T window length in events, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from monitor.alerts import Alert

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


class Record(Protocol):
    """What the program needs of a Kafka record; the client's own record type has these attributes already."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int:
        """Milliseconds since the Unix epoch, -1 where the broker has none."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


class RawRecord(NamedTuple):
    """A record that did not come from Kafka: from a file, or made by a test."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


class Reason(StrEnum):
    """Why a record was rejected: a bounded label in the metrics, `monitor-reason` on the dead letter."""

    TOMBSTONE = "tombstone"
    EMPTY = "empty"
    OVERSIZED = "oversized"
    NOT_JSON = "not_json"
    NOT_MSGPACK = "not_msgpack"
    NOT_AN_EVENT = "not_an_event"
    BAD_STREAM = "bad_stream"
    BAD_TIME = "bad_time"
    TOO_OLD = "too_old"
    IN_FUTURE = "in_future"
    MISSING_FEATURE = "missing_feature"
    UNKNOWN_FEATURE = "unknown_feature"
    NON_FINITE = "non_finite"
    NON_NUMERIC = "non_numeric"


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that could not become an event: a value, not an exception, so that nothing is lost."""

    reason: Reason
    detail: str  # one sentence for a person: which feature, which limit
    record: Record


@dataclass(frozen=True, slots=True)
class Batch:
    """N decoded events in arrival order; within one partition offsets ascend."""

    stream: Sequence[str]  # (N,)
    time: Float64  # (N,) event time, s since the Unix epoch
    arrival: Float64  # (N,) record timestamp, s since the Unix epoch (the event time where the record has none)
    values: Float32  # (N, F) source units; NaN = to be imputed
    partition: Int64  # (N,)
    offset: Int64  # (N,)

    def __len__(self) -> int:
        return len(self.stream)

    def __getitem__(self, rows: slice) -> Batch:
        return Batch(
            self.stream[rows],
            self.time[rows],
            self.arrival[rows],
            self.values[rows],
            self.partition[rows],
            self.offset[rows],
        )


@dataclass(frozen=True, slots=True)
class Departure:
    """A stream that left the window store; what is open about it must be closed."""

    row: int  # row of the batch before which it left
    partition: int
    stream: str
    reason: str  # "idle" or "evicted"
    heard: int = -1  # offset of its newest event


class Return(NamedTuple):
    """A stream that was heard of again after a gap."""

    row: int  # row of the batch
    since: float  # time of its event before, s since the Unix epoch


@dataclass(frozen=True, slots=True)
class Timing:
    """What the times of W windows' events say. A streak is a number of events in a row, at most a window's length."""

    interval: Float64  # (W,) s between the closing event and the one before it; infinite where it is the first
    ahead: Float64  # (W,) s that the closing event's time is ahead of its record's timestamp
    pace: Int64  # (W,) streak of intervals that are all too long (positive) or all too short (negative)
    skew: Int64  # (W,) streak of events that are all ahead of their records (positive) or all behind (negative)

    def __getitem__(self, rows: slice) -> Timing:
        return Timing(self.interval[rows], self.ahead[rows], self.pace[rows], self.skew[rows])


@dataclass(frozen=True, slots=True)
class Windows:
    """W whole windows, ordered by closing event. A stream still warming up has none: absence, never a zero."""

    values: Float32  # (W, T, F) source units, oldest event first
    row: Int64  # (W,) index of the closing event in the batch
    slot: Int64  # (W,) the stream's slot in the window store
    missing: Float32 | None = None  # (W, F) share of the T values that was imputed; None where none ever was
    timing: Timing | None = None  # None where nobody asks for it
    timed: Float32 | None = None  # (W, T, F + 1) the values with the seconds since the event before; None as above

    @property
    def inputs(self) -> Float32:
        """What the detector reads."""
        return self.values if self.timed is None else self.timed

    def __getitem__(self, rows: slice) -> Windows:
        return Windows(
            self.values[rows],
            self.row[rows],
            self.slot[rows],
            None if self.missing is None else self.missing[rows],
            None if self.timing is None else self.timing[rows],
            None if self.timed is None else self.timed[rows],
        )


@dataclass(frozen=True, slots=True)
class Scores:
    """What a detector says of W windows. `error` is compared with the threshold elsewhere; the two are stored apart."""

    error: Float32  # (W,) in units of the model's own error on held-out normal windows, >= 0
    feature_error: Float32  # (W, F) same unit; its mean over F is `error`
    expected: Float32  # (W, F) reconstruction of the closing event, source units
    code: Float32  # (W, C) latent features

    def __getitem__(self, rows: slice) -> Scores:
        return Scores(self.error[rows], self.feature_error[rows], self.expected[rows], self.code[rows])


@dataclass(frozen=True, slots=True)
class Counts:
    """What happened to the events of one batch, for metrics."""

    records: int = 0
    events: int = 0
    windows: int = 0
    late: int = 0
    duplicate: int = 0
    gaps: int = 0
    imputed: int = 0
    unknown: int = 0  # values of categories that training never saw
    started: int = 0
    idle: int = 0
    evicted: int = 0
    replayed: int = 0  # records read again to rebuild windows; none of the other counts has them
    moved: int = 0  # streams that started under a name that is live in another partition too


@dataclass(frozen=True, slots=True)
class StateChange:
    """What the changelog must hold of a stream from now on.

    Of a quiet stream it must hold nothing. Where the offsets are not committed together with it, `value` must stand
    there until they are: it says up to where the stream's events were told.
    """

    value: bytes
    quiet: bool


@dataclass(frozen=True, slots=True)
class Recovered:
    """A partition that goes on from where it was left."""

    partition: int
    replayed: int  # records
    short: int  # streams whose window could not be made whole and warms up again
    forgotten: int  # incident states that are gone, damaged, or of another version


OutputName = Literal["scores", "denoised", "latent"]
"""The optional outputs: what the model says of every scored event."""


class OutputRecord(NamedTuple):
    """A message for the topic of an output."""

    key: bytes  # the stream
    value: bytes
    headers: list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything one batch led to. Metrics and sinks are fed from this and from nothing else."""

    alerts: Sequence[Alert] = ()
    alert_arrival: Sequence[float] = ()
    """Record timestamp of the event that caused each alert, s since the Unix epoch; NaN where no event did."""
    rejects: Sequence[Reject] = ()
    states: Mapping[tuple[int, str], StateChange] = field(default_factory=dict)
    """Incident state that changed, by partition and stream."""
    outputs: Mapping[OutputName, Sequence[OutputRecord]] = field(default_factory=dict)
    """Messages of the outputs that have a topic, each in the order of the scored events."""
    recovered: Sequence[Recovered] = ()
    counts: Counts = Counts()
    gated: Mapping[str, int] = field(default_factory=dict)
    """Anomalous scores that count as normal, by the gate that held them back."""
    error: Float32 = field(default_factory=lambda: np.empty(0, np.float32))  # (W,)
    score: Float64 = field(default_factory=lambda: np.empty(0, np.float64))  # (W,) error / threshold; > 1 is anomalous
    seconds: Mapping[str, float] = field(default_factory=dict)  # by stage, where a clock was given
