"""When windows are written to the disk and read back: after a commit, one partition at a time, each now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from monitor import logs
from monitor.checkpoint import Checkpoint
from monitor.metrics import Metrics
from monitor.pipeline import Pipeline
from monitor.snapshots import Snapshots, Unfit
from monitor.windows import Image

log = logs.get("snapshots")

_LAST_WAIT = 3.0  # s for the snapshots of a service that stops


class Snapshotting:
    """The snapshots of the partitions of one member; does nothing until it is opened."""

    def __init__(self, every: float, pipeline: Pipeline, metrics: Metrics) -> None:
        """`every` in seconds, of one partition."""
        self._every = every
        self._pipeline = pipeline
        self._metrics = metrics
        self._snapshots: Snapshots | None = None
        self._committed: dict[int, int] = {}  # next offset of each partition as of its newest commit
        self._taken: dict[int, tuple[float, int]] = {}  # when (monotonic, s) and of which offset
        self._settled = True  # whether the windows are those of the committed offsets

    def open(self, make: Callable[[], Snapshots]) -> None:
        """Takes the folder, if that is not done yet. Raises ConfigError where it cannot be used."""
        if self._snapshots is None:
            self._snapshots = make()

    def load(self, partition: int, checkpoint: Checkpoint) -> Image | None:
        """The windows to go on from, if there are any that fit."""
        self._taken[partition] = time.monotonic(), checkpoint.offset
        if self._snapshots is None:
            return None
        found = self._snapshots.load(partition, checkpoint, checkpoint.replay_from)
        if isinstance(found, Unfit):
            self._metrics.snapshot_ignored(found.reason)
            log.info("no snapshot is used", partition=partition, reason=found.reason.value, detail=found.detail)
            return None
        return found

    def unsettle(self) -> None:
        """A batch is about to change the windows; until it is committed they are not worth keeping."""
        self._settled = False

    def committed(self, checkpoints: Mapping[int, Checkpoint]) -> None:
        """Notes a commit of all that changed the windows, and takes a snapshot of the partition due for longest."""
        self._settled = True
        if self._snapshots is None:
            return
        self._committed |= {partition: checkpoint.offset for partition, checkpoint in checkpoints.items()}
        self._tell(self._snapshots)
        due = min(self._stale(), key=lambda partition: self._taken[partition][0], default=None)
        if due is not None and time.monotonic() - self._taken[due][0] >= self._every and not self._snapshots.busy:
            self._save(self._snapshots, due)

    def dropped(self, partition: int) -> None:
        """The partition went to another member, or is read anew."""
        self._committed.pop(partition, None)
        self._taken.pop(partition, None)

    def close(self) -> None:
        """Takes the last snapshots, as far as time allows, and gives the folder back."""
        if self._snapshots is None:
            return
        until = time.monotonic() + _LAST_WAIT
        for partition in self._stale() if self._settled else ():
            while self._snapshots.busy and time.monotonic() < until:
                time.sleep(0.01)
            if time.monotonic() < until:
                self._save(self._snapshots, partition)
        self._snapshots.close(max(0.0, until - time.monotonic()))
        self._tell(self._snapshots)

    def _stale(self) -> list[int]:
        """Partitions with commits since their last snapshot. Not those that are still being recovered."""
        recovering = self._pipeline.recovering
        return [
            partition
            for partition, offset in self._committed.items()
            if self._taken.get(partition, (0.0, -1))[1] != offset and partition not in recovering
        ]

    def _save(self, snapshots: Snapshots, partition: int) -> None:
        offset = self._committed[partition]
        snapshots.save(self._pipeline.store.image(partition, offset))
        self._taken[partition] = time.monotonic(), offset

    def _tell(self, snapshots: Snapshots) -> None:
        self._metrics.snapshots_saved(snapshots.written())
        for problem in snapshots.problems():
            self._metrics.snapshot_failed()
            log.warning("no snapshot was written; the one before stays", why=problem)
