"""Partitions that this member takes over: from what was committed of them to the first record that is new."""

from __future__ import annotations

import time
from dataclasses import dataclass

from monitor import logs
from monitor.batch import Recovered
from monitor.metrics import Metrics
from monitor.pipeline import Pipeline
from monitor.ports import Restart, Source
from monitor.reporting import Reporter
from monitor.snapshotting import Snapshotting

log = logs.get("takeover")


@dataclass(frozen=True, slots=True)
class _Takeover:
    begun: float  # monotonic, s
    by: str  # "snapshot" or "topic"
    missing: int  # records that were gone from the log


class Takeovers:
    """Those under way, with how long they take and what they could not bring back."""

    def __init__(self, pipeline: Pipeline, snapshotting: Snapshotting, reporter: Reporter, metrics: Metrics) -> None:
        self._pipeline = pipeline
        self._snapshotting = snapshotting
        self._reporter = reporter
        self._metrics = metrics
        self._running: dict[int, _Takeover] = {}

    def begin(self, source: Source, partition: int, restart: Restart) -> None:
        """Restores what is known of a partition, and lets it bring the records that are to be read again."""
        checkpoint = restart.checkpoint
        if restart.missing:
            self._reporter.data_lost += restart.missing
            self._metrics.data_lost(restart.missing)
            log.warning(
                "records are gone from the log unread",
                partition=partition,
                records=restart.missing,
                goes_on_at=checkpoint.offset,
            )
        image = self._snapshotting.load(partition, checkpoint)
        begin = self._pipeline.restore(partition, checkpoint, restart.states, restart.void, image)
        by = "topic" if image is None else "snapshot"
        self._running[partition] = _Takeover(time.monotonic(), by, restart.missing)
        self._reporter.replay_from[partition] = begin
        source.start(partition, begin)

    def reached(self, source: Source) -> dict[int, int]:
        """Partitions that have read all that is to be read again, and where they go on."""
        recovering = self._pipeline.recovering
        if not recovering:
            return {}
        progress = source.progress()
        found = {
            partition: offset
            for partition, offset in recovering.items()
            if partition in progress and progress[partition].position >= offset
        }
        for partition in found:
            self._pipeline.reach(partition)
        return found

    def skipped(self, partition: int) -> bool:
        """Whether records were gone from its log: then its new place is worth a commit, or they count again."""
        return partition in self._running and self._running[partition].missing > 0

    def end(self, recovered: Recovered) -> None:
        """Tells how a partition was recovered."""
        takeover = self._running.pop(recovered.partition, None)
        self._reporter.replay_from.pop(recovered.partition, None)
        if takeover is None:
            return
        seconds = time.monotonic() - takeover.begun
        by = takeover.by if recovered.replayed or takeover.by == "snapshot" else "nothing"
        self._metrics.recovered(by, seconds, recovered.replayed, recovered.short)
        log.info(
            "partition recovered",
            partition=recovered.partition,
            by=by,
            replayed=recovered.replayed,
            seconds=round(seconds, 3),
            per_second=round(recovered.replayed / seconds) if seconds > 0 else 0,
            short=recovered.short,
            forgotten=recovered.forgotten,
        )

    def drop(self, partition: int) -> None:
        """The partition went to another member, or is read anew."""
        self._running.pop(partition, None)
        self._reporter.replay_from.pop(partition, None)
