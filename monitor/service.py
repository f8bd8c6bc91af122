"""The loop: poll, process, publish, commit. And what surrounds it: waiting for brokers, taking over, leaving in order.

What is killed between two commits is done again by whoever reads on, from the same records to the same bytes. Errors of
a publish are sorted by what they ask for: the same again (the brokers are away), everything anew from the last commit
(this member was replaced), or an end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from monitor import config, logs
from monitor.batch import Outcome
from monitor.checkpoint import Checkpoint
from monitor.errors import FencedError, MonitorError, UnavailableError
from monitor.health import Health
from monitor.metrics import Metrics
from monitor.model.manifest import Manifest
from monitor.pipeline import Pipeline
from monitor.ports import Polled, Progress, Sink, Source
from monitor.reject_ratio import RejectRatio
from monitor.reporting import Reporter
from monitor.snapshots import Snapshots
from monitor.snapshotting import Snapshotting
from monitor.takeover import Takeovers

log = logs.get("service")

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 15.0  # s between two attempts to reach the brokers
_SLICE = 0.2  # s
_LONG = 10.0  # s until it is worth a line in the log that a partition is not read yet


class Ends(NamedTuple):
    """What a member is connected to."""

    source: Source
    sink: Sink
    snapshots: Callable[[], Snapshots] | None = None  # opened when the first partition is there


class Service:
    """One member of the group, from its start to its last commit."""

    def __init__(
        self,
        settings: config.Settings,
        manifest: Manifest,
        pipeline: Pipeline,
        connect: Callable[[], Ends],
        metrics: Metrics,
        health: Health,
    ) -> None:
        """`connect` makes both ends; while the brokers are away it raises UnavailableError and is called again."""
        self._settings = settings
        self._pipeline = pipeline
        self._connect = connect
        self._metrics = metrics
        self._health = health
        self._reporter = Reporter(settings, manifest, pipeline, metrics, health)
        self._rejects = RejectRatio(settings.dead_letters)
        self._snapshotting = Snapshotting(settings.recovery.snapshot_every, pipeline, metrics)
        self._exactly_once = settings.delivery == "exactly_once"
        self._stopping = False  # not an Event: its lock may be held by the very code that a signal handler interrupts
        self._uncommitted = False  # published, but a rebalance kept the offsets from being committed
        self._source: Source | None = None
        self._takeovers = Takeovers(pipeline, self._snapshotting, self._reporter, metrics)
        self._pending: dict[int, float] = {}  # owned, not known yet where to go on; since when
        self._pending_told = False
        self._released = -math.inf

    def stop(self) -> None:
        """Unready at once; the loop leaves at its own pace. May be called from a signal handler."""
        self._health.stop()
        self._stopping = True

    def run(self) -> None:
        """Until `stop`: then the batch in hand is published and committed, and the group left.

        Raises MonitorError at the end where too many records were rejected: until then it stays, unready, for people to
        see why it reads no more.
        """
        self._report(last=True)
        ends = self._wait_for_brokers()
        if ends is None:
            return
        self._source = ends.source
        try:
            self._reporter.state, self._reporter.waiting_for = "running", "joining the group"
            while not self._stopping and not self._rejects.exceeded:
                self._turn(ends)
            if not self._rejects.exceeded:
                self._settle(ends)
        finally:
            if not self._rejects.exceeded:
                self._reporter.state = "stopping"
            self._report(last=True)
            self._source = None
            ends.sink.close()
            self._snapshotting.close()
            self._leave(ends.source)
        totals = self._reporter.totals
        if self._rejects.exceeded:
            self._stand_still()
        log.info("stopped", events=totals["events"], alerts=totals["alerts"])

    def _turn(self, ends: Ends) -> None:
        begun = time.perf_counter()
        try:
            polled = ends.source.poll()
        except UnavailableError as error:
            self._metrics.broker_error("poll")
            self._lost_brokers(error.message)
            self._wait(_FIRST_WAIT)
            return
        waited = time.perf_counter() - begun
        self._move(ends, polled)
        reached = self._takeovers.reached(ends.source)
        if polled.records or reached:
            until = self._pipeline.recovering
            new = polled.records
            if until:
                new = [record for record in new if record.offset >= until.get(record.partition, 0)]
            if new:
                self._snapshotting.unsettle()
            outcome = self._pipeline.process(polled.records)
            if self._rejects.observe(new, outcome.rejects):
                return
            places = dict(ends.source.positions)
            # A takeover alone is worth no commit, unless it ends incidents or has skipped what is gone.
            ended = bool(outcome.alerts or outcome.states)
            places = {p: at for p, at in reached.items() if ended or self._takeovers.skipped(p)} | places
            checkpoints = self._pipeline.checkpoints(places)
            if checkpoints or outcome.alerts or outcome.states:
                self._publish(ends, outcome, checkpoints, waited)
            else:  # all of it was read before
                self._account(outcome, waited)
        else:
            self._settle(ends)
        self._watch_brokers(ends.source)
        self._release(ends.sink)
        self._report()

    def _settle(self, ends: Ends) -> None:
        """Commits what was published while the group was being rebalanced, as soon as that is over."""
        if self._uncommitted and ends.source.joined():
            checkpoints = self._pipeline.checkpoints(ends.source.positions)
            try:
                self._uncommitted = not ends.sink.publish(Outcome(), checkpoints)
            except UnavailableError as error:
                self._metrics.broker_error("publish")
                self._lost_brokers(error.message)
                return
            except FencedError as error:
                self._start_over(ends.source, error.message)
                return
            if not self._uncommitted:
                self._metrics.committed()
                self._snapshotting.committed(checkpoints)

    def _leave(self, source: Source) -> None:
        try:
            source.close()
        except UnavailableError as error:  # the group will notice by itself, after the session time-out
            log.warning("left without a word to the group", why=error.message)

    def _publish(self, ends: Ends, outcome: Outcome, checkpoints: Mapping[int, Checkpoint], waited: float) -> None:
        """Publishes and commits; while the brokers do not take it, waits as a member that reads nothing."""
        begun = time.perf_counter()
        wait = _FIRST_WAIT
        while True:
            try:
                committed = ends.sink.publish(outcome, checkpoints)
                break
            except FencedError as error:
                self._start_over(ends.source, error.message)
                return
            except UnavailableError as error:
                self._metrics.broker_error("publish")
                self._metrics.delivery_error("retry")
                if self._exactly_once:
                    self._metrics.transaction("failed")
                self._lost_brokers(str(error.message))
                if self._stopping:
                    raise MonitorError(
                        f"stopped before the last batch could be published: {error.message}",
                        "Nothing is lost: its records are not committed and will be read again.",
                    ) from error
            except MonitorError:
                self._metrics.delivery_error("stop")
                raise
            lost = self._idle(ends, wait)
            if lost & checkpoints.keys():
                # Whoever has them now does it all again, and may have begun.
                ends.sink.abandon()
                self._start_over(ends.source, f"partitions {sorted(lost)} went to another member meanwhile")
                return
            wait = min(2 * wait, _LONGEST_WAIT)
        self._uncommitted = not committed
        if committed and checkpoints:
            self._metrics.committed()
            if self._exactly_once:
                self._metrics.transaction("committed")
        self._account(outcome, waited, time.perf_counter() - begun)
        if committed:
            self._snapshotting.committed(checkpoints)

    def _account(self, outcome: Outcome, waited: float, published: float | None = None) -> None:
        for recovered in outcome.recovered:
            self._takeovers.end(recovered)
        seconds = {**outcome.seconds, "poll": waited}
        if published is not None:
            seconds["publish"] = published
        self._reporter.observe(replace(outcome, seconds=seconds))

    def _start_over(self, source: Source, why: str) -> None:
        """Everything since the last commit is void; the source gives all partitions anew, with what was committed."""
        log.warning("starting over from the last commit", why=why)
        self._metrics.delivery_error("fence")
        if self._exactly_once:
            self._metrics.transaction("fenced")
        source.rewind()

    def _stand_still(self) -> None:
        """Too many records are bad: reads no more, but stays for people to see why, until told to stop."""
        self._reporter.stopped = f"{self._rejects.message()}. {self._rejects.hint()}"
        log.error("stopped reading", reason=self._rejects.message(), hint=self._rejects.hint())
        while not self._stopping:
            self._report()
            time.sleep(_SLICE)
        raise MonitorError(self._rejects.message(), self._rejects.hint())

    def _wait(self, seconds: float) -> None:
        """Lets time pass, in slices: a signal is noticed soon and the loop is seen to turn."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stopping:
            time.sleep(min(left, _SLICE))
            self._report()

    def _idle(self, ends: Ends, seconds: float) -> frozenset[int]:
        """Stays a member that takes nothing; the partitions that were lost meanwhile."""
        lost: frozenset[int] = frozenset()
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stopping:
            try:
                polled = ends.source.idle(min(left, 1.0))
                self._move(ends, polled)
                lost |= polled.lost
            except UnavailableError as error:
                self._metrics.broker_error("poll")
                self._lost_brokers(error.message)
                self._wait(min(left, _FIRST_WAIT))
            self._report()
        return lost

    def _move(self, ends: Ends, polled: Polled) -> None:
        """Forgets the partitions that went, takes over those that came."""
        for partition in polled.lost:
            self._pipeline.drop(partition)
            ends.sink.forget(partition)
            self._snapshotting.dropped(partition)
            self._takeovers.drop(partition)
        if polled.lost:
            log.info("partitions revoked", partitions=sorted(polled.lost))
        if polled.gained and ends.snapshots is not None:
            self._snapshotting.open(ends.snapshots)
        for partition, restart in polled.gained.items():
            self._takeovers.begin(ends.source, partition, restart)
        if polled.gained:
            log.info("partitions assigned", partitions=sorted(polled.gained))
        if polled.lost or polled.gained:
            self._metrics.rebalanced()

    def _wait_for_brokers(self) -> Ends | None:
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
                    delivery=self._settings.delivery,
                )
                return ends
        return None

    def _watch_brokers(self, source: Source) -> None:
        if source.joined():
            self._watch_pending(source.pending)
        if source.connected():
            self._found_brokers()
        else:
            self._lost_brokers(f"{self._settings.kafka.bootstrap_servers} does not answer")

    def _watch_pending(self, pending: frozenset[int]) -> None:
        """Says which partitions nobody reads yet, and once in the log where that lasts."""
        now = time.monotonic()
        self._pending = {partition: self._pending.get(partition, now) for partition in pending}
        self._reporter.waiting_for = ""
        if pending:
            numbers = ", ".join(map(str, sorted(pending)))
            self._reporter.waiting_for = f"looking up what is committed of partitions {numbers}"
            lasting = [partition for partition, since in self._pending.items() if now - since >= _LONG]
            if lasting and not self._pending_told:
                log.warning(
                    "partitions are not read yet: no leader, or a transaction is open on what is committed of them",
                    partitions=sorted(lasting),
                )
            self._pending_told = bool(lasting)

    def _release(self, sink: Sink) -> None:
        """Where a partition is not read for longer than any transaction may last, one of this member may hang."""
        now, longest = time.monotonic(), self._settings.kafka.transaction_timeout
        if self._pending and now - max(self._released, min(self._pending.values())) >= longest:
            self._released = now
            sink.abandon()

    def _lost_brokers(self, why: str) -> None:
        if not self._reporter.away:
            log.warning("brokers are away; waiting", why=why)
        self._reporter.away = f"Kafka: {why}"
        self._metrics.broker(up=False)

    def _found_brokers(self) -> None:
        if self._reporter.away:
            log.info("brokers are back")
        self._reporter.away = ""
        self._metrics.broker(up=True)

    def _report(self, *, last: bool = False) -> None:
        if self._reporter.beat() or last:
            running = self._source is not None and self._reporter.state == "running"
            progress: Mapping[int, Progress] = self._source.progress() if running and self._source is not None else {}
            self._reporter.report(progress, last=last)
