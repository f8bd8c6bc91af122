"""What the loop says of itself: counts since the start, and once a second the status for probes, page and gauges."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping

import numpy as np

from monitor import config, logs
from monitor.batch import Outcome
from monitor.health import Health
from monitor.metrics import Metrics
from monitor.model.manifest import Manifest
from monitor.pipeline import Pipeline
from monitor.ports import Progress
from monitor.standstill import Standstill
from monitor.status import OpenIncident, PartitionStatus, SeenReject, SharedName, Status, StreamScore, WarmingStream

log = logs.get("service")

_EVERY = 1.0  # s
_REJECTS_LOGGED_EVERY = 10.0  # s
_RATE_OVER = 10  # reports
_SHOWN_INCIDENTS, _SHOWN_REJECTS, _SHOWN_WARMING = 100, 20, 50


class Reporter:
    """One member's account of itself. The loop sets the plain attributes; the rest follows from what it observes."""

    def __init__(
        self, settings: config.Settings, manifest: Manifest, pipeline: Pipeline, metrics: Metrics, health: Health
    ) -> None:
        self.state = "starting"
        self.waiting_for = "not connected to Kafka yet"  # empty once the group has given this member its share
        self.away = ""  # why the brokers do not answer; empty while they do
        self.stopped = ""  # why it reads no more, though it was not told to stop
        self.data_lost = 0  # records
        self.replay_from: dict[int, int] = {}  # of the partitions that are being recovered
        self._settings = settings
        self._manifest = manifest
        self._pipeline = pipeline
        self._metrics = metrics
        self._health = health
        self._started_at = time.time()
        self._standstill = Standstill(settings.web.stuck_after)
        self._stuck: frozenset[int] = frozenset()
        self._totals: Counter[str] = Counter()
        self._rate: deque[tuple[float, int]] = deque(maxlen=_RATE_OVER + 1)
        self._replay_rate: deque[tuple[float, int]] = deque(maxlen=_RATE_OVER + 1)
        self._last_rejects: deque[SeenReject] = deque(maxlen=_SHOWN_REJECTS)
        self._new_rejects: Counter[str] = Counter()
        self._rejects_logged = -_REJECTS_LOGGED_EVERY
        self._reported = -_EVERY

    @property
    def totals(self) -> Mapping[str, int]:
        return self._totals

    def observe(self, outcome: Outcome) -> None:
        """Counts what was published."""
        self._metrics.observe(outcome, time.time())
        self._totals.update(
            events=outcome.counts.events,
            alerts=len(outcome.alerts),
            rejects=len(outcome.rejects),
            replayed=outcome.counts.replayed,
        )
        for alert in outcome.alerts:
            if alert.status != "updated":
                log.info(
                    f"incident {alert.status}",
                    stream=alert.stream,
                    severity=alert.severity,
                    score=round(alert.score, 2),
                    started_at=alert.started_at,
                    incident=alert.incident,
                )
        for reject in outcome.rejects:
            record = reject.record
            self._new_rejects[reject.reason.value] += 1
            self._last_rejects.appendleft(
                SeenReject(reject.reason, reject.detail, record.topic, record.partition, record.offset)
            )

    def beat(self) -> bool:
        """The heartbeat; whether a report is due."""
        now = time.monotonic()
        self._health.beat(now)
        return now - self._reported >= _EVERY

    def report(self, progress: Mapping[int, Progress], *, last: bool = False) -> None:
        """Makes the status of now; `last` where no further one will follow soon."""
        now = self._reported = time.monotonic()
        self._rate.append((now, self._totals["events"]))
        self._replay_rate.append((now, self._totals["replayed"]))
        self._stuck = self._standstill.observe(now, progress, waiting=bool(self.away or self.waiting_for))
        status = self._status(progress)
        self._health.report(status)
        self._metrics.refresh(status)
        if self._new_rejects and (last or now - self._rejects_logged >= _REJECTS_LOGGED_EVERY):
            self._rejects_logged = now
            log.warning("records rejected", counts=dict(self._new_rejects), last=self._last_rejects[0].detail)
            self._new_rejects.clear()

    def _status(self, progress: Mapping[int, Progress]) -> Status:
        settings, pipeline = self._settings, self._pipeline
        table = pipeline.store.streams
        warming = (table.partition >= 0) & (table.count < pipeline.store.window)
        incidents = sorted(pipeline.incidents.open(), key=lambda entry: -entry[-1].peak.score)
        worst, other = table.worst(settings.web.worst_streams)
        topics = settings.topics
        return Status(
            state=self.state,
            not_ready=tuple(filter(None, [self.away or self.waiting_for])),
            started_at=self._started_at,
            now=time.time(),
            model=self._manifest,
            settings_digest=settings.digest(),
            threshold=pipeline.threshold,
            group=settings.kafka.group,
            topics=(topics.input.name, topics.alerts.name, topics.dead_letters.name, topics.state.name),
            partitions=tuple(
                PartitionStatus(
                    partition,
                    place.position,
                    place.end,
                    table.live(partition),
                    int(np.count_nonzero(warming & (table.partition == partition))),
                    partition in self._stuck,
                    self.replay_from.get(partition),
                    pipeline.recovering.get(partition),
                )
                for partition, place in sorted(progress.items())
            ),
            events_per_second=_per_second(self._rate),
            events=self._totals["events"],
            alerts=self._totals["alerts"],
            rejects=self._totals["rejects"],
            open_incidents=tuple(
                OpenIncident(stream, partition, what, severity, incident.started.time, incident.peak.score)
                for partition, stream, what, severity, incident in incidents[:_SHOWN_INCIDENTS]
            ),
            open_total=len(incidents),
            last_rejects=tuple(self._last_rejects),
            worst=tuple(StreamScore(stream, score) for stream, score in worst),
            other_worst=other,
            warming=tuple(
                WarmingStream(table.names[slot], int(table.count[slot]), pipeline.store.window)
                for slot in np.flatnonzero(warming)[:_SHOWN_WARMING].tolist()
            ),
            shared=tuple(SharedName(name, partitions) for name, partitions in table.shared()),
            delivery=settings.delivery,
            recovery=self._recovery(progress),
            data_lost=self.data_lost,
            incident_states=sum(pipeline.incidents.kept(partition) for partition in progress),
            stopped=self.stopped,
        )

    def _recovery(self, progress: Mapping[int, Progress]) -> str:
        until = self._pipeline.recovering
        if not until:
            return ""
        left = sum(
            max(0, end - progress[partition].position) for partition, end in until.items() if partition in progress
        )
        speed = _per_second(self._replay_rate)
        return f"recovering {len(until)} of {len(progress)} partitions: {left:,} records to go, {speed:,.0f}/s"


def _per_second(counts: deque[tuple[float, int]]) -> float:
    (first, before), (last, after) = counts[0], counts[-1]
    return (after - before) / (last - first) if last > first else 0.0
