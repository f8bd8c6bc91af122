"""One incident per event, not one alert per row: what is known of each stream that is not quiet.

Each has a state machine for its anomaly (`anomalies`) and one for each fault of its data (`troubles`).

Only event times and the order of a stream's own scores decide; the wall clock, other streams and the batch do not.
What is known of a stream that is not quiet can be taken out as bytes (`changes`) and put back elsewhere (`restore`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from monitor import config
from monitor.alerts import CAUSES, Alert, Reason, Severity
from monitor.anomalies import Anomalies, peak_of
from monitor.batch import Batch, Departure, Float64, Int64, Return, Scores, StateChange, Windows
from monitor.incident_state import (
    NEVER,
    Finding,
    Incident,
    Loud,
    Maker,
    Point,
    Trouble,
    UnreadableStateError,
    from_bytes,
    to_bytes,
)
from monitor.level_state import Drift, Level, unpack
from monitor.levels import Levels
from monitor.telling import Key, Meaning, Origin, Teller, Told
from monitor.troubles import Troubles

_NOTHING: Mapping[int, Sequence[Finding]] = MappingProxyType({})

__all__ = ["Incidents", "Judged", "Origin", "Restored", "Told"]


@dataclass(frozen=True, slots=True)
class Judged:
    """What W scores led to."""

    told: list[Told]
    held: dict[int, float]  # by place in W: the score without the features whose data are at fault


@dataclass(frozen=True, slots=True)
class Restored:
    """What putting a partition's state back led to."""

    told: list[Told]  # incidents that a change of model or settings closes
    unreadable: int  # states that are of another version, or damaged


class Incidents:
    """The state machines of all partitions. Memory grows with the streams that are not quiet, and with nothing else."""

    def __init__(
        self,
        rules: config.Incidents,
        features: Sequence[str],
        threshold: float,
        origin: Origin,
        units: Sequence[str] | None = None,
        clean_after: int = 1,
        max_gap: float = inf,
        categories: Mapping[str, Sequence[str]] = MappingProxyType({}),
        levels: Levels | None = None,
        meanings: Mapping[str, Meaning] = MappingProxyType({}),
    ) -> None:
        """`clean_after` is the number of scores in which a window is all new; `max_gap` is in seconds.

        `categories` are the values of the features that are no numbers, `meanings` those of the others that are known.
        `levels` are what is learned of the streams: it stands in the same record of the changelog.
        """
        self._max_gap = max_gap
        self._levels = levels or Levels()
        self.teller = Teller(
            rules, features, units or [""] * len(features), threshold, origin, categories, self._levels.confidence,
            meanings,
        )  # fmt: skip
        self._anomalies = Anomalies(self.teller, rules)
        self._troubles = Troubles(self.teller, features, clean_after, rules.update_every)
        self._maker = self.teller.maker
        self._loud: dict[Key, Loud] = {}
        self._changed: set[Key] = set()  # since they were last taken out
        self._gone: dict[Key, Point] = {}  # of those that became quiet since then, the newest scored event
        self._slotless: set[Key] = set()  # restored, but not live: at least once, state may be newer than the offsets
        self._kept: dict[int, set[str]] = {}  # streams of which the changelog holds a state, by partition
        self._followed = np.zeros(0, np.bool_)  # by slot; all that most events cost

    def open(self) -> Iterator[tuple[int, str, str, Severity, Incident | Trouble | Drift]]:
        """Partition, stream, "anomaly", the cause or "drift", severity and facts of each open incident."""
        for (partition, stream), loud in self._loud.items():
            if loud.incident is not None:
                yield partition, stream, "anomaly", self.teller.severity(loud.incident.peak.score), loud.incident
            for cause, trouble in loud.troubles.items():
                yield partition, stream, cause, "warning", trouble
        for (partition, stream), level in self._levels.open():
            if level.drift is not None:
                yield partition, stream, "drift", "warning", level.drift

    def quiet(self, key: Key) -> bool:
        """Whether nothing is open, suspected or cooling down of a stream."""
        return key not in self._loud

    def heard(self, key: Key) -> Point:
        """The newest scored event of a stream that is not quiet."""
        loud = self._loud.get(key)
        return NEVER if loud is None else loud.heard

    def anomaly(self, key: Key) -> Incident | None:
        """The open anomaly of a stream whose data are not at fault."""
        loud = self._loud.get(key)
        return None if loud is None or loud.troubles else loud.incident

    def absorb(self, key: Key, point: Point) -> Alert:
        """Ends the open anomaly of a stream: it is what is usual from now on."""
        loud = self._loud[key]
        incident, loud.incident = loud.incident, None
        if incident is None:
            raise ValueError(f"{key} has no open anomaly")
        self._changed.add(key)
        if loud.quiet:
            self._forget(key, point)
        return self.teller.anomaly(key, incident, "closed", point, "absorbed")

    def update(
        self,
        batch: Batch,
        windows: Windows,
        scores: Scores,
        score: Float64,
        departures: Sequence[Departure],
        findings: Mapping[int, Sequence[Finding]] = _NOTHING,
        returns: Sequence[Return] = (),
        paused: NDArray[np.bool_] | None = None,
    ) -> Judged:
        """W scores in arrival order (`score` = error / threshold), after the departures; what they lead to.

        `findings` are the faults of the data by place in W, `returns` the ends of gaps. What is `paused` (W,) is as if
        it had not been scored.
        """
        told: list[Told] = []
        held: dict[int, float] = {}
        for departure in departures:
            told.extend(self._depart(departure, int(batch.offset[departure.row])))
        anomalous = score > 1
        looked_at = anomalous | self._newly_live(batch, windows)
        looked_at[[i for i, found in findings.items() if not all(finding.lasting for finding in found)]] = True
        self._follow_slots(windows.slot, looked_at)
        waiting = deque(returns)
        for i in np.flatnonzero(self._followed[windows.slot]).tolist():
            row = int(windows.row[i])
            while waiting and waiting[0].row <= row:
                told.extend(self._come_back(batch, waiting.popleft()))
            if paused is not None and paused[i]:
                continue
            key = (int(batch.partition[row]), batch.stream[row])
            loud = self._loud.get(key)
            if loud is None:
                if not looked_at[i]:
                    self._followed[windows.slot[i]] = False
                    continue
                loud = self._loud[key] = Loud()
            point = Point(row, float(batch.time[row]), int(batch.offset[row]))
            if point.offset <= loud.heard.offset:
                continue  # read again, and told before: with at-least-once delivery state may be newer than the offsets
            was_quiet = loud.quiet  # one that was restored, because it is known to have been heard
            told.extend(Told(alert, row) for alert in self._troubles.step(key, loud, point, findings.get(i, ())))
            peak = None
            if anomalous[i]:
                peak = peak_of(windows, scores, score, i, point.time)
                if loud.troubles:
                    peak = self._troubles.without_faults(peak, loud)
                    if peak.score != score[i]:
                        held[i] = peak.score
            worst = peak if peak is not None and peak.score > 1 else None
            told.extend(Told(alert, row) for alert in self._anomalies.step(key, loud, point, worst))
            self._changed.add(key)
            if loud.quiet:
                self._forget(key, None if was_quiet else point)
            self._followed[windows.slot[i]] = key in self._loud
        for back in waiting:
            told.extend(self._come_back(batch, back))
        return Judged(told, held)

    def _come_back(self, batch: Batch, back: Return) -> Iterator[Told]:
        key = (int(batch.partition[back.row]), batch.stream[back.row])
        point = Point(back.row, float(batch.time[back.row]), int(batch.offset[back.row]))
        loud = self._loud.get(key)
        if loud is None or point.offset > loud.heard.offset:
            for alert in self.teller.gap(key, point, back.since, self._max_gap):
                yield Told(alert, point.row)

    def _newly_live(self, batch: Batch, windows: Windows) -> NDArray[np.bool_]:
        """(W,) whose stream was restored before it was live."""
        found = np.zeros(len(windows.row), np.bool_)
        if self._slotless:
            for i, row in enumerate(windows.row.tolist()):
                key = (int(batch.partition[row]), batch.stream[row])
                if key in self._slotless:
                    self._slotless.discard(key)
                    found[i] = True
        return found

    def _follow_slots(self, slot: Int64, anomalous: NDArray[np.bool_]) -> None:
        """Whose scores need a look: the streams that are not quiet, and those with an anomalous score now.

        A slot that passed to another stream may still be marked; its first score unmarks it.
        """
        if len(slot) and len(self._followed) <= (highest := int(slot.max())):
            self._followed = np.append(self._followed, np.zeros(highest + 1, np.bool_))
        self._followed[slot[anomalous]] = True

    def drop(self, partition: int) -> None:
        """Forgets a partition that moved to another member, without a word: the other member tells."""
        self._loud = {key: loud for key, loud in self._loud.items() if key[0] != partition}
        self._changed = {key for key in self._changed if key[0] != partition}
        self._kept.pop(partition, None)
        self._slotless = {key for key in self._slotless if key[0] != partition}
        self._levels.drop(partition)

    def known(self, partition: int) -> dict[str, Point]:
        """The partition's streams of which there is state, and the newest event that it is of."""
        loud = {stream: loud.heard for (number, stream), loud in self._loud.items() if number == partition}
        return self._levels.known(partition) | loud

    def kept(self, partition: int) -> int:
        """How many states the changelog holds of a partition, once what `changes` gave is written."""
        return len(self._kept.get(partition, ()))

    def changes(self, held: Collection[int] = ()) -> dict[Key, StateChange]:
        """State that changed since it was last given out, by partition and stream; not of the partitions `held`."""
        found: dict[Key, StateChange] = {}
        given = sorted(key for key in self._changed | self._levels.changed if key[0] not in held)
        for key in given:
            loud, level = self._loud.get(key), self._levels.get(key)
            if loud is None:
                heard = [self._gone.get(key, NEVER), NEVER if level is None else level.changed]
                loud = Loud(heard=max(heard, key=lambda point: point.offset))
            # Also where it was never kept: whoever was killed here before may have left something.
            quiet = level is None and key not in self._loud
            found[key] = StateChange(to_bytes(loud, self._maker, self._levels.bytes_of(key)), quiet=quiet)
            self._keep(key, kept=not quiet)
        self._changed.difference_update(given)
        self._levels.changed.difference_update(given)
        self._gone.clear()
        return found

    def _keep(self, key: Key, *, kept: bool = True) -> None:
        streams = self._kept.setdefault(key[0], set())
        if kept:
            streams.add(key[1])
        else:
            streams.discard(key[1])

    def _forget(self, key: Key, stirred: Point | None = None) -> None:
        """It is quiet; `stirred` is the newest event at which it was not."""
        if stirred is not None:
            self._levels.stir(key, stirred)
        self._changed.add(key)
        self._gone[key] = self._loud.pop(key).heard

    def restore(self, partition: int, states: Mapping[str, bytes], offset: int) -> Restored:
        """Puts back what `changes` gave, by stream, before the record at `offset` is judged.

        Incidents of another model or of other settings end here.
        """
        told: list[Told] = []
        unreadable = 0
        for stream, value in sorted(states.items()):
            key = (partition, stream)
            self._keep(key)
            try:
                loud, maker, packed = from_bytes(value)
                level = None if packed is None else unpack(packed)
            except UnreadableStateError:
                unreadable += 1
                self._changed.add(key)
                continue
            same = level is not None and maker.model == self._maker.model and self._levels.restore(key, level)
            if maker == self._maker:
                if not (loud.quiet and loud.heard.offset < offset):
                    self._loud[key] = loud
                elif not same:
                    self._changed.add(key)
                continue
            self._changed.add(key)
            reason: Reason = "model_changed" if maker.model != self._maker.model else "settings_changed"
            told.extend(self._close_all(key, loud, level, -1, reason, maker))
            if level is not None:
                level.drift = level.course = None
        return Restored(told, unreadable)

    def discard(self, partition: int, streams: Iterable[str]) -> None:
        """Has the state of these streams forgotten, which the changelog holds and nobody here knows."""
        for stream in streams:
            self._keep((partition, stream))
            self._changed.add((partition, stream))

    def follow(self, partition: int, streams: Sequence[str], slots: Int64) -> None:
        """The slots of streams that were restored, -1 where one is not live yet."""
        self._levels.follow(partition, streams, slots)
        loud = np.array([(partition, stream) in self._loud for stream in streams], np.bool_)  # (S,)
        live = slots[loud & (slots >= 0)]
        self._follow_slots(live, np.ones(len(live), np.bool_))
        self._slotless |= {(partition, streams[i]) for i in np.flatnonzero(loud & (slots < 0)).tolist()}

    def _depart(self, departure: Departure, offset: int) -> Iterator[Told]:
        key = (departure.partition, departure.stream)
        loud, level = self._loud.get(key), self._levels.get(key)
        known = [NEVER if loud is None else loud.heard, NEVER if level is None else level.changed]
        if offset <= max(point.offset for point in known):  # it left and came back since, and is read again
            if loud is not None:
                self._slotless.add(key)
            return
        if loud is not None:
            self._forget(key)
        elif level is not None:
            self._gone[key] = Point(-1, -inf, departure.heard)
        yield from self._close_all(key, loud, level, departure.row, "idle" if departure.reason == "idle" else "evicted")
        self._levels.forget(key)

    def _close_all(
        self,
        key: Key,
        loud: Loud | None,
        level: Level | None,
        row: int,
        reason: Reason,
        maker: Maker | None = None,
    ) -> Iterator[Told]:
        """Closes what is open of a stream at its newest scored event; `row` is of the event that was the cause, or -1.

        `maker` is given where it is of another model or of other settings.
        """
        if loud is not None and loud.incident is not None:
            last = replace(loud.incident.last, row=row)
            yield Told(self.teller.anomaly(key, loud.incident, "closed", last, reason, maker), row)
        for cause in CAUSES if loud is not None else ():
            if loud is not None and cause in loud.troubles:
                trouble = loud.troubles[cause]
                last = replace(trouble.last, row=row)
                yield Told(self.teller.fault(key, trouble, "closed", last, reason, maker), row)
        if level is not None and level.drift is not None:
            last, log = replace(level.drift.last, row=row), self._levels.log(level)
            yield Told(self.teller.drift(key, level.drift, log, "closed", last, reason, maker), row)
