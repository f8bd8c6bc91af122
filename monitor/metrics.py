"""Every metric family of the service, on a registry passed in: base units, `_total` counters, bounded labels.

Nothing here reads a clock: times come in with the outcome, the status or as arguments. Values that vanish (a partition
that was revoked, a stream that is no longer among the worst) are replaced as a whole: a scrape never sees half a
change, and no label set outlives what it names.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import get_args

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics

from monitor import alerts
from monitor.batch import Outcome, Reason
from monitor.collectors import Families, Family
from monitor.config import Settings
from monitor.delivery_metrics import DeliveryMetrics
from monitor.gates import GATES
from monitor.model.manifest import Calibration, Manifest
from monitor.model_metrics import OTHER, ModelMetrics
from monitor.status import Status

PREFIX = "monitor_"
STAGES = ("poll", "decode", "window", "score", "incidents", "outputs", "publish")
KINDS: tuple[str, ...] = get_args(alerts.Kind)
STATUSES: tuple[str, ...] = get_args(alerts.Status)
EVICTIONS = ("idle", "capacity")
BROKER_ERRORS = ("connect", "poll", "publish")  # a commit is the end of a publish

# Geometric, six steps a decade; 1 (the alert line) and the default severity bands 2 and 5 are bounds of their own.
SCORE_BUCKETS = (*(float(f"{step}e{k}") for k in range(-2, 2) for step in (1, 1.5, 2, 3, 5, 7)), 100.0)
# Geometric, three steps a decade: thresholds of different models lie decades apart.
ERROR_BUCKETS = (*(float(f"{step}e{k}") for k in range(-4, 4) for step in (1, 2, 5)), 1e4)
STAGE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ALERT_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)

BURN_SECONDS = 3600.0  # the burn ratio looks back this far
BURN_STEP = 60.0  # and remembers one point per step

REFERENCE_HEAD = """\
# Metrics

`GET /metrics` on `web.port` (9108), as Prometheus text or OpenMetrics, gzip where asked for. This page is made from
`monitor/metrics.py`: change it there, then run `python -m tests.test_metrics`.

- Units are base units (seconds, records, ratios); counters end in `_total` and start at 0 for every label value.
- Label sets are bounded: partitions while they are assigned, at most `web.worst_streams` streams plus `_other`, and the
  fixed lists in the code for everything else. What leaves is no longer scraped.
- `monitor_stream_score`, `monitor_score`: 1.0 is the alert line of every model; anomalous is above it.
- `monitor_alert_budget_burn_ratio` of 1 spends the alert budget as planned, 10 ten times as fast. A budget of one
  incident a day is 0.04 incidents an hour, so with few streams compare over days instead:
  `increase(monitor_alerts_total{kind="anomaly",status="opened"}[7d])` with `increase(monitor_alert_budget_total[7d])`.
- Beside these, `process_*` says what the process uses (memory, CPU seconds, open files, start time).

| name | type | labels | meaning |
|---|---|---|---|"""

REFERENCE_FORWARD = """
## Of `monitor forward`

On the `web.port` of its own process, beside `process_*`.

| name | type | labels | meaning |
|---|---|---|---|"""

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def label(text: str) -> str:
    """A stream name as a label value: control characters and lone surrogates would break the whole scrape."""
    return _UNPRINTABLE.sub("\ufffd", text)


def budget_per_window(calibration: Calibration, stride: int) -> float:
    """Incidents the alert budget allows for one scored window.

    From the budget per stream and day: a window scored with stride k stands for k events of the stream's day. Where the
    threshold was given as a plain quantile, the budget is the share of normal windows above it, 1 - quantile.
    """
    if calibration.alerts_per_stream_per_day is None or calibration.windows_per_stream_per_day <= 0:
        return 1.0 - calibration.quantile
    return calibration.alerts_per_stream_per_day * stride / calibration.windows_per_stream_per_day


class Metrics(DeliveryMetrics):
    """All families. `observe` takes the outcome of one batch, `refresh` the status once a second."""

    def __init__(self, registry: CollectorRegistry, manifest: Manifest, settings: Settings) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a `_created` series beside each counter doubles the page and nobody reads it
        made = Families(PREFIX, registry)
        self.families: list[Family] = made.declared
        self._worst_streams = settings.web.worst_streams
        self._budget_per_window = budget_per_window(manifest.calibration, settings.windows.stride)
        self._opened = 0
        self._allowed = 0.0
        self._burn_points = deque([(-math.inf, 0, 0.0)])  # (s, opened, allowed), oldest first; nothing before the start

        # What came in.
        self._records = made.counter("records", "Records read from the input topic.")
        self._events = made.counter("events", "Records decoded into events.")
        self._rejected = made.counter(
            "rejected", "Records that could not become an event and went to the dead letters.", reason=tuple(Reason)
        )
        self._late = made.counter("late_events", "Events older than their stream's newest, left out of its window.")
        self._duplicate = made.counter("duplicate_events", "Events with the time of their stream's newest, left out.")
        self._gaps = made.counter("gaps", "Silences longer than the greatest gap; each emptied its stream's window.")
        self._imputed = made.counter("imputed_values", "Feature values that were missing or unusable and were imputed.")
        self._unknown = made.counter("unknown_categories", "Values of categories that training never saw.")

        # What was made of it.
        self._windows = made.counter("windows_scored", "Windows scored by the model.")
        self._error = made.bulk(
            "reconstruction_error",
            "Error of a window, in units of the model's own on held-out normal rows.",
            ERROR_BUCKETS,
        )
        self._score = made.bulk("score", "Error of a window over the threshold; above 1 is anomalous.", SCORE_BUCKETS)
        self._alerts = made.counter(
            "alerts", "Alerts published.", kind=KINDS, status=STATUSES, severity=alerts.SEVERITIES
        )
        self._gated = made.counter("gated", "Anomalous scores that count as normal because of a gate.", gate=GATES)
        self._open = made.gauge("open_incidents", "Incidents open now: anomalies, faults of the data and drifts.")
        self._threshold = made.gauge("threshold", "Reconstruction error above which a window is anomalous.")
        self._budget = made.counter(
            "alert_budget", "Incidents the alert budget allows for the windows scored so far; a fraction at first."
        )
        self._burn = made.snapshot(
            "alert_budget_burn_ratio",
            "Anomaly incidents opened over those the budget allows, in the last hour; absent while nothing was scored.",
        )

        # How long it took.
        stage = made.histogram("stage_seconds", "Seconds one batch spent in a stage.", STAGE_BUCKETS, "stage")
        self._stage = {name: stage.labels(name) for name in STAGES}
        self._event_to_alert = made.histogram(
            "event_to_alert_seconds",
            "Seconds from the arrival of the event that caused an alert to the alert's acknowledgement.",
            ALERT_BUCKETS,
        )

        # Streams.
        self._active = made.gauge("streams_active", "Streams with state.")
        self._warming = made.gauge("streams_warming", "Active streams whose window is not full yet.")
        self._started = made.counter("streams_started", "Streams seen for the first time or again.")
        self._evicted = made.counter(
            "streams_evicted", "Streams forgotten: silent for too long, or over the cap on streams.", reason=EVICTIONS
        )
        self._moved = made.counter(
            "streams_moved", "Streams that started under a name that is live in another partition too; key by stream."
        )
        self._stream_score = made.snapshot(
            "stream_score",
            f'Latest score of the worst streams (web.worst_streams); stream="{OTHER}" is the highest of all others.',
            "stream",
        )

        # Kafka.
        self._lag = made.snapshot("consumer_lag_records", "Records between position and end.", "topic", "partition")
        self._position = made.snapshot("consumer_position_offset", "Next offset to read.", "topic", "partition")
        self._end = made.snapshot("consumer_end_offset", "End of the log as last seen.", "topic", "partition")
        self._partitions = made.gauge("consumer_partitions", "Partitions assigned to this member.")
        self._rebalances = made.counter("rebalances", "Changes of this member's assignment.")
        self._commits = made.counter("commits", "Offset commits acknowledged by the brokers.")
        self._broker_up = made.gauge("broker_up", "Whether the brokers answer: 1 or 0.")
        self._broker_errors = made.counter(
            "broker_errors", "Failed talks with the brokers, each followed by another try.", kind=BROKER_ERRORS
        )

        # Delivery and recovery.
        super().__init__(made)

        # The process and its model.
        self._ready = made.gauge("ready", "Whether the service is ready: 1 or 0.")
        self._model = ModelMetrics(made, manifest, settings.model.runtime, label)

        override = settings.model.threshold
        self._threshold.set(manifest.calibration.threshold if override is None else override)
        ProcessCollector(registry=registry)  # process_*: memory, CPU seconds, open files, start time

    def observe(self, outcome: Outcome, published_at: float) -> None:
        """Count one batch. `published_at`: when its alerts were acknowledged, s since the Unix epoch.

        `outcome.seconds` may hold any of STAGES; another name is an error of the program (KeyError).
        """
        counts = outcome.counts
        self._records.inc(counts.records)
        self._events.inc(counts.events)
        self._late.inc(counts.late)
        self._duplicate.inc(counts.duplicate)
        self._gaps.inc(counts.gaps)
        self._imputed.inc(counts.imputed)
        self._unknown.inc(counts.unknown)
        self._moved.inc(counts.moved)
        self._started.inc(counts.started)
        self._evicted.labels("idle").inc(counts.idle)
        self._evicted.labels("capacity").inc(counts.evicted)
        for reject in outcome.rejects:
            self._rejected.labels(reject.reason.value).inc()

        self._windows.inc(counts.windows)
        self._error.observe(outcome.error)
        self._score.observe(outcome.score)
        for gate, count in outcome.gated.items():
            self._gated.labels(gate).inc(count)
        self._allowed += counts.windows * self._budget_per_window
        self._budget.inc(counts.windows * self._budget_per_window)

        for alert, arrival in zip(outcome.alerts, outcome.alert_arrival, strict=True):
            self._alerts.labels(alert.kind, alert.status, alert.severity).inc()
            self._opened += alert.kind == "anomaly" and alert.status == "opened"
            self._model.explained(alert)
            if not math.isnan(arrival):
                self._event_to_alert.observe(max(0.0, published_at - arrival))  # the two clocks are not one
        for stage, seconds in outcome.seconds.items():
            self._stage[stage].observe(seconds)
        self.observe_delivery(outcome)

    def refresh(self, status: Status) -> None:
        """Set every gauge from what the service says of itself; called about once a second."""
        self._ready.set(status.ready)
        self._open.set(status.open_total)
        self._threshold.set(status.threshold)
        self._active.set(sum(partition.live for partition in status.partitions))
        self._warming.set(sum(partition.warming for partition in status.partitions))
        self._partitions.set(len(status.partitions))
        partitions = {(status.topics[0], str(partition.partition)): partition for partition in status.partitions}
        self._position.replace({key: partition.position for key, partition in partitions.items()})
        self._end.replace({key: p.end for key, p in partitions.items() if p.end is not None})
        self._lag.replace({key: p.lag for key, p in partitions.items() if p.lag is not None})
        self._stream_score.replace(self._worst(status))
        burn = self._burn_ratio(status.now)
        self._burn.replace({} if burn is None else {(): burn})
        self.refresh_delivery(status)

    def model_loaded(self, at: float) -> None:
        """A model was loaded and is served from now on; `at` in s since the Unix epoch."""
        self._model.loaded(at)

    def memory_limited(self, limit: int | None) -> None:
        """The process may use so many bytes; None for no limit."""
        self._model.memory_limited(limit)

    def broker(self, up: bool) -> None:
        """Whether the brokers answered when last talked to."""
        self._broker_up.set(up)

    def broker_error(self, kind: str) -> None:
        """A talk with the brokers failed and is tried again; `kind` is one of BROKER_ERRORS."""
        self._broker_errors.labels(kind).inc()

    def rebalanced(self) -> None:
        """The assignment of this member changed."""
        self._rebalances.inc()

    def committed(self) -> None:
        """The brokers acknowledged an offset commit."""
        self._commits.inc()

    def _worst(self, status: Status) -> dict[tuple[str, ...], float]:
        named, folded = status.worst[: self._worst_streams], status.worst[self._worst_streams :]
        scores: dict[tuple[str, ...], float] = {}
        rest = [] if status.other_worst is None else [(OTHER, status.other_worst)]
        for name, score in (
            *((label(worst.stream), worst.score) for worst in named),
            *((OTHER, worst.score) for worst in folded),
            *rest,
        ):
            scores[(name,)] = max(score, scores.get((name,), score))  # two names may clean to one label
        return scores

    def _burn_ratio(self, now: float) -> float | None:
        points, point = self._burn_points, (now, self._opened, self._allowed)
        if now < points[-1][0]:  # the wall clock was set back: what was remembered lies in its future
            points.clear()
        if not points or now - points[-1][0] >= BURN_STEP:
            points.append(point)
        while len(points) > 1 and points[1][0] <= now - BURN_SECONDS:
            points.popleft()
        _, opened, allowed = points[0]
        spent = self._allowed - allowed
        return (self._opened - opened) / spent if spent > 0 else None


def reference(families: Iterable[Family], forwarding: Iterable[Family]) -> str:
    """The text of docs/metrics.md; a test holds the file to it."""
    return "\n".join((REFERENCE_HEAD, *_rows(families), REFERENCE_FORWARD, *_rows(forwarding), ""))


def _rows(families: Iterable[Family]) -> Iterator[str]:
    for name, kind, labels, documentation in families:
        yield f"| `{name}` | {kind} | {', '.join(f'`{label_}`' for label_ in labels)} | {documentation} |"
