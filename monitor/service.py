"""The loop: poll, process, publish, commit. And what surrounds it: waiting for brokers, health, and leaving in order.

Order of one turn, at-least-once delivery: alerts and dead letters are acknowledged, then the offsets of the records
they came from are committed. What is killed in between is read again; a publish that is tried again sends equal ids.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from monitor import config, logs
from monitor.batch import Outcome
from monitor.errors import MonitorError, UnavailableError
from monitor.health import Health
from monitor.metrics import Metrics
from monitor.model.manifest import Manifest
from monitor.pipeline import Pipeline
from monitor.ports import Polled, Sink, Source
from monitor.status import OpenIncident, PartitionStatus, SeenReject, SharedName, Status, StreamScore, WarmingStream

log = logs.get("service")

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 15.0  # s between two attempts to reach the brokers
_REPORT_EVERY = 1.0  # s
_SLICE = 0.2  # s
_REJECTS_LOGGED_EVERY = 10.0  # s
_RATE_OVER = 10  # reports
_SHOWN_INCIDENTS, _SHOWN_REJECTS, _SHOWN_WARMING = 100, 20, 50


class Service:
    """One member of the group, from its start to its last commit."""

    def __init__(
        self,
        settings: config.Settings,
        manifest: Manifest,
        pipeline: Pipeline,
        connect: Callable[[], tuple[Source, Sink]],
        metrics: Metrics,
        health: Health,
    ) -> None:
        """`connect` makes both ends; while the brokers are away it raises UnavailableError and is called again."""
        self._settings = settings
        self._manifest = manifest
        self._pipeline = pipeline
        self._connect = connect
        self._metrics = metrics
        self._health = health
        self._stopping = False  # not an Event: its lock may be held by the very code that a signal handler interrupts
        self._uncommitted = False  # published, but a rebalance kept the offsets from being committed
        self._started_at = time.time()
        self._state = "starting"
        self._waiting_for = "not connected to Kafka yet"  # empty once the group has given this member its share
        self._away = ""  # why the brokers do not answer; empty while they do
        self._source: Source | None = None
        self._totals: Counter[str] = Counter()
        self._rate: deque[tuple[float, int]] = deque(maxlen=_RATE_OVER + 1)
        self._last_rejects: deque[SeenReject] = deque(maxlen=_SHOWN_REJECTS)
        self._new_rejects: Counter[str] = Counter()
        self._rejects_logged = -_REJECTS_LOGGED_EVERY
        self._reported = -_REPORT_EVERY

    def stop(self) -> None:
        """Unready at once; the loop leaves at its own pace. May be called from a signal handler."""
        self._health.stop()
        self._stopping = True

    def run(self) -> None:
        """Until `stop`: then the batch in hand is published and committed, and the group left."""
        self._report(force=True)
        ends = self._wait_for_brokers()
        if ends is None:
            return
        source, sink = ends
        self._source = source
        try:
            self._state, self._waiting_for = "running", "joining the group"
            while not self._stopping:
                self._turn(source, sink)
            self._settle(source, sink)
        finally:
            self._state = "stopping"
            self._report(force=True)
            sink.close()
            self._leave(source)
        log.info("stopped", events=self._totals["events"], alerts=self._totals["alerts"])

    def _turn(self, source: Source, sink: Sink) -> None:
        begun = time.perf_counter()
        try:
            polled = source.poll()
        except UnavailableError as error:
            self._metrics.broker_error("poll")
            self._lost_brokers(error.message)
            self._wait(_FIRST_WAIT)
            return
        waited = time.perf_counter() - begun
        self._move(polled)
        if polled.records:
            outcome = self._pipeline.process(polled.records)
            self._publish(source, sink, outcome, waited)
        else:
            self._settle(source, sink)
        self._watch_brokers(source)
        self._report()

    def _settle(self, source: Source, sink: Sink) -> None:
        """Commits what was published while the group was being rebalanced, as soon as that is over."""
        if self._uncommitted and source.joined():
            try:
                self._uncommitted = not sink.publish(Outcome(), source.positions)
            except UnavailableError as error:
                self._metrics.broker_error("publish")
                self._lost_brokers(error.message)

    def _leave(self, source: Source) -> None:
        try:
            source.close()
        except UnavailableError as error:  # the group will notice by itself, after the session time-out
            log.warning("left without a word to the group", why=error.message)

    def _publish(self, source: Source, sink: Sink, outcome: Outcome, waited: float) -> None:
        """Publishes and commits; while the brokers do not take it, waits as a member that reads nothing."""
        begun = time.perf_counter()
        wait = _FIRST_WAIT
        while True:
            try:
                committed = sink.publish(outcome, source.positions)
                break
            except UnavailableError as error:
                self._metrics.broker_error("publish")
                self._lost_brokers(str(error.message))
                if self._stopping:
                    raise MonitorError(
                        f"stopped before the last batch could be published: {error.message}",
                        "Nothing is lost: its records are not committed and will be read again.",
                    ) from error
            self._idle(source, wait)
            wait = min(2 * wait, _LONGEST_WAIT)
        self._uncommitted = not committed
        if committed:
            self._metrics.committed()
        seconds = {**outcome.seconds, "poll": waited, "publish": time.perf_counter() - begun}
        self._observe(replace(outcome, seconds=seconds))

    def _wait(self, seconds: float) -> None:
        """Lets time pass, in slices: a signal is noticed soon and the loop is seen to turn."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stopping:
            time.sleep(min(left, _SLICE))
            self._report()

    def _idle(self, source: Source, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stopping:
            try:
                self._move(source.idle(min(left, _REPORT_EVERY)))
            except UnavailableError as error:
                self._metrics.broker_error("poll")
                self._lost_brokers(error.message)
                self._wait(min(left, _FIRST_WAIT))
            self._report()

    def _observe(self, outcome: Outcome) -> None:
        self._metrics.observe(outcome, time.time())
        self._totals.update(events=outcome.counts.events, alerts=len(outcome.alerts), rejects=len(outcome.rejects))
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

    def _move(self, polled: Polled) -> None:
        for partition in polled.lost:
            self._pipeline.drop(partition)
        if polled.lost:
            log.info("partitions revoked", partitions=sorted(polled.lost))
        if polled.gained:
            log.info("partitions assigned", partitions=sorted(polled.gained))
        if polled.lost or polled.gained:
            self._metrics.rebalanced()

    def _wait_for_brokers(self) -> tuple[Source, Sink] | None:
        wait = _FIRST_WAIT
        while not self._stopping:
            try:
                ends = self._connect()
            except UnavailableError as error:
                self._metrics.broker_error("connect")
                self._lost_brokers(f"{error.message} {error.hint}".strip())
                self._wait(wait)
                wait = min(2 * wait, _LONGEST_WAIT)
            else:
                self._found_brokers()
                log.info(
                    "connected",
                    brokers=self._settings.kafka.bootstrap_servers,
                    group=self._settings.kafka.group,
                    input=self._settings.topics.input.name,
                )
                return ends
        return None

    def _watch_brokers(self, source: Source) -> None:
        if self._waiting_for and source.joined():
            self._waiting_for = ""
        if source.connected():
            self._found_brokers()
        else:
            self._lost_brokers(f"{self._settings.kafka.bootstrap_servers} does not answer")

    def _lost_brokers(self, why: str) -> None:
        if not self._away:
            log.warning("brokers are away; waiting", why=why)
        self._away = f"Kafka: {why}"
        self._metrics.broker(up=False)

    def _found_brokers(self) -> None:
        if self._away:
            log.info("brokers are back")
        self._away = ""
        self._metrics.broker(up=True)

    def _report(self, *, force: bool = False) -> None:
        """The heartbeat, and once a second the status for probes, page and gauges."""
        now = time.monotonic()
        self._health.beat(now)
        if not force and now - self._reported < _REPORT_EVERY:
            return
        self._reported = now
        self._rate.append((now, self._totals["events"]))
        status = self._status()
        self._health.report(status)
        self._metrics.refresh(status)
        if self._new_rejects and (force or now - self._rejects_logged >= _REJECTS_LOGGED_EVERY):
            self._rejects_logged = now
            log.warning("records rejected", counts=dict(self._new_rejects), last=self._last_rejects[0].detail)
            self._new_rejects.clear()

    def _status(self) -> Status:
        settings, pipeline = self._settings, self._pipeline
        table = pipeline.store.streams
        progress = self._source.progress() if self._source is not None and self._state == "running" else {}
        warming = (table.partition >= 0) & (table.count < pipeline.store.window)
        incidents = sorted(pipeline.incidents.open(), key=lambda entry: -entry[3].peak.score)
        worst, other = table.worst(settings.web.worst_streams)
        (first, before), (last, after) = self._rate[0], self._rate[-1]
        return Status(
            state=self._state,
            not_ready=tuple(filter(None, [self._away or self._waiting_for])),
            started_at=self._started_at,
            now=time.time(),
            model=self._manifest,
            settings_digest=settings.digest(),
            threshold=pipeline.threshold,
            group=settings.kafka.group,
            topics=(settings.topics.input.name, settings.topics.alerts.name, settings.topics.dead_letters.name),
            partitions=tuple(
                PartitionStatus(
                    partition,
                    place.position,
                    place.end,
                    table.live(partition),
                    int(np.count_nonzero(warming & (table.partition == partition))),
                )
                for partition, place in sorted(progress.items())
            ),
            events_per_second=(after - before) / (last - first) if last > first else 0.0,
            events=self._totals["events"],
            alerts=self._totals["alerts"],
            rejects=self._totals["rejects"],
            open_incidents=tuple(
                OpenIncident(stream, partition, severity, incident.started.time, incident.peak.score)
                for partition, stream, severity, incident in incidents[:_SHOWN_INCIDENTS]
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
        )
