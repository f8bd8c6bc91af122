"""The levels of all streams: by partition and stream, and as columns by slot, which are all that an event costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Batch, Float32, Float64, Int64, Scores, Windows
from monitor.gates import shares
from monitor.incident_state import Point
from monitor.level import Running
from monitor.level_state import Level, pack

Key = tuple[int, str]
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Prior:
    """What the levels are measured against, and how much it counts."""

    typical: Float64  # (F,) mean logarithm of the errors of normal windows in training
    windows: float  # of a stream that weigh as much
    limit: float  # of what is learned, and its inverse
    spread: float  # usual deviation of the logarithm of one window's error from its stream's mean
    counts: NDArray[np.bool_]  # (F,) whether a feature contributes to the score
    largest: bool = False  # whether a window's error is the largest of its features', not their mean


class Levels:
    """Memory grows with the live streams, where there is a prior; else nothing is ever known."""

    def __init__(self, prior: Prior | None = None) -> None:
        self._prior = prior
        self._levels: dict[Key, Level] = {}
        self._slots: dict[Key, int] = {}
        self.changed: set[Key] = set()  # since they were last taken out
        self._slotless: set[Key] = set()  # known of streams that are not live yet
        features = 0 if prior is None else len(prior.typical)
        self._own = np.zeros(0, np.bool_)  # by slot: whether its stream has a level of its own
        self._factor: Float32 = np.zeros((0, features), np.float32)  # by slot

    @property
    def prior(self) -> Prior | None:
        return self._prior

    def get(self, key: Key) -> Level | None:
        return self._levels.get(key)

    def open(self) -> Iterable[tuple[Key, Level]]:
        """The streams whose drift is an open incident."""
        return ((key, level) for key, level in self._levels.items() if level.drift is not None)

    def bytes_of(self, key: Key) -> bytes | None:
        level = self._levels.get(key)
        return None if level is None else pack(level)

    def confidence(self, key: Key) -> float | None:
        """How far a stream's level is known, 0 to 1; None where nothing is learned."""
        if self._prior is None:
            return None
        level = self._levels.get(key)
        return 0.0 if level is None else float(level.trust(self._prior.windows)[self._prior.counts].mean())

    def log(self, level: Level) -> Float64:
        """(F,) the logarithm of what is usual over what is usual in training."""
        if self._prior is None:
            return np.zeros(len(level.own.mean))
        return level.log(self._prior.windows, self._prior.limit)

    def made(self, key: Key) -> Level:
        """The level of a stream, begun where there is none."""
        level = self._levels.get(key)
        if level is None:
            level = self._levels[key] = Level(Running.empty(self._factor.shape[1]))
        return level

    def put(self, key: Key, slot: int) -> None:
        """The level of a stream in this slot has changed."""
        self.changed.add(key)
        self._attach(key, slot)

    def stir(self, key: Key, point: Point) -> None:
        """Notes when a stream was not quiet for the last time."""
        if self._prior is not None:
            level = self.made(key)
            level.stirred = point.time
            level.changed = max(level.changed, point, key=lambda one: one.offset)
            self.changed.add(key)

    def adapted(self, scores: Scores, slot: Int64) -> Scores:
        """W scores in units of their streams' own levels; `slot` (W,). Those of other streams to the bit as they were.

        The error stays what it is of the features' errors: their mean, or the largest.
        """
        if self._prior is None:
            return scores
        inside = slot < len(self._own)
        rows = np.flatnonzero(inside)[self._own[slot[inside]]]
        if not len(rows):
            return scores
        whole = scores.feature_error[rows]
        part = np.minimum(whole.astype(np.float64) / self._factor[slot[rows]], _LARGEST).astype(np.float32)
        error, feature_error = scores.error.copy(), scores.feature_error.copy()
        if self._prior.largest:
            error[rows] = part.max(axis=1)
        else:
            scaled = error[rows].astype(np.float64) * shares(part, whole)
            error[rows] = np.minimum(scaled, _LARGEST).astype(np.float32)
        feature_error[rows] = part
        return replace(scores, error=error, feature_error=feature_error)

    def error_at(self, feature_error: Float32, log: Float64) -> float:
        """The error of a window with errors (F,), at the level whose logarithm is `log` (F,)."""
        prior = self._prior
        counted = np.ones(len(log), np.bool_) if prior is None else prior.counts
        part = feature_error.astype(np.float64)[counted] / np.exp(log[counted])
        return float(part.max() if prior is not None and prior.largest else part.mean())

    def meet(self, batch: Batch, windows: Windows) -> None:
        """Finds the slots of streams that were known before they were live."""
        for row, slot in zip(windows.row.tolist(), windows.slot.tolist(), strict=True) if self._slotless else ():
            key = (int(batch.partition[row]), batch.stream[row])
            if key in self._slotless:
                self._slotless.discard(key)
                self._attach(key, slot)

    def leave(self, key: Key, offset: int) -> None:
        """A stream leaves its slot before the event at `offset`.

        What is newer than that is of a stream that came back since, and is read again: it waits for it. What is older
        stays until it is forgotten, because what is open has yet to be closed.
        """
        self._detach(key)
        level = self._levels.get(key)
        if level is not None and level.changed.offset >= offset:
            self._slotless.add(key)

    def forget(self, key: Key) -> None:
        """Drops what is known of a stream."""
        self._detach(key)
        self._slotless.discard(key)
        if self._levels.pop(key, None) is not None:
            self.changed.add(key)

    def drop(self, partition: int) -> None:
        """Forgets a partition that moved to another member."""
        mine = [key for key in self._levels if key[0] == partition]
        for key in mine:
            self._detach(key)
            del self._levels[key]
        self._slotless.difference_update(mine)
        self.changed = {key for key in self.changed if key[0] != partition}

    def known(self, partition: int) -> dict[str, Point]:
        """The partition's streams with a level, and the newest event that changed each."""
        return {stream: level.changed for (number, stream), level in self._levels.items() if number == partition}

    def restore(self, key: Key, level: Level) -> bool:
        """Puts a level back, unless it is of no use here."""
        if self._prior is None or len(level.own.mean) != len(self._prior.typical):
            return False
        self._levels[key] = level
        self._slotless.add(key)
        return True

    def follow(self, partition: int, streams: Sequence[str], slots: Int64) -> None:
        """The slots of streams that were restored, -1 where one is not live yet."""
        for stream, slot in zip(streams, slots.tolist(), strict=True):
            if slot >= 0 and (partition, stream) in self._levels:
                self._slotless.discard((partition, stream))
                self._attach((partition, stream), slot)

    def _detach(self, key: Key) -> None:
        slot = self._slots.pop(key, None)
        if slot is not None:
            self._own[slot] = False

    def _attach(self, key: Key, slot: int) -> None:
        if slot >= len(self._own):
            more = max(slot + 1, 2 * len(self._own)) - len(self._own)
            self._own = np.append(self._own, np.zeros(more, np.bool_))
            self._factor = np.append(self._factor, np.ones((more, self._factor.shape[1]), np.float32), axis=0)
        log = self.log(self._levels[key])
        self._slots[key] = slot
        self._factor[slot] = np.minimum(np.exp(log), _LARGEST)
        self._own[slot] = bool(log.any())
