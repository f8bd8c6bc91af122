"""Records -> Outcome: decode, window, score, judge. Pure: no I/O, no clock of its own, no log; faults are values."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan

import numpy as np

from monitor.adaptation import Adaptation, Part
from monitor.alerts import Alert
from monitor.batch import (
    Batch,
    Counts,
    Float32,
    Float64,
    Outcome,
    OutputName,
    OutputRecord,
    Record,
    Recovered,
    Return,
    Scores,
)
from monitor.checkpoint import Checkpoint
from monitor.detector import Detector
from monitor.events import Decoder
from monitor.gates import Gates
from monitor.incidents import Incidents, Judged, Restored
from monitor.levels import Levels
from monitor.outputs import Outputs
from monitor.quality import Quality
from monitor.windows import Image, Step, WindowStore


@dataclass(slots=True)
class _Recovery:
    """A partition that is being read again."""

    checkpoint: Checkpoint  # as it was committed
    restored: Restored
    states: int
    windows: bool  # whether the windows of before fit this model
    replayed: int = 0
    reached: bool = False


class Pipeline:
    """The way of a record through one member; its state is the streams' windows and what is known of the loud ones."""

    def __init__(
        self,
        decoder: Decoder,
        store: WindowStore,
        detector: Detector,
        gates: Gates,
        quality: Quality,
        incidents: Incidents,
        threshold: float,
        features: str,
        max_replay: int,
        clock: Callable[[], float] = lambda: 0.0,
        outputs: Outputs | None = None,
        levels: Levels | None = None,
        adaptation: Adaptation | None = None,
    ) -> None:
        """`features` is a digest of their names in their order: windows of other features do not fit.

        `levels` are those of `incidents`, and of `adaptation`, where there is one.

        `max_replay` in records of a partition; `clock` gives seconds and only measures how long the stages take.
        `outputs` are told of every scored event.
        """
        self._decoder = decoder
        self.store = store
        self._detector = detector
        self._gates = gates
        self._quality = quality
        self.incidents = incidents
        self.threshold = threshold
        self.features = features
        self._max_replay = max_replay
        self._clock = clock
        self._outputs = outputs
        self._levels = levels or Levels()
        self._adaptation = adaptation
        self._recoveries: dict[int, _Recovery] = {}
        self._state_end: dict[int, int] = {}

    @property
    def recovering(self) -> Mapping[int, int]:
        """The partitions that are being read again, and up to which offset."""
        return {partition: recovery.checkpoint.offset for partition, recovery in self._recoveries.items()}

    def restore(
        self,
        partition: int,
        checkpoint: Checkpoint,
        states: Mapping[str, bytes],
        void: Collection[str] = (),
        image: Image | None = None,
    ) -> int:
        """Takes over a partition that this member had nothing of; returns the offset to read it from.

        Records before `checkpoint.offset` rebuild the windows and lead to nothing else. `image` spares those before it.
        `void` names streams whose state, wherever it is from, must be forgotten.
        """
        fits = checkpoint.features in ("", self.features)
        begin = checkpoint.replay_from if fits else checkpoint.offset
        self.store.restore(replace(checkpoint, replay_from=begin), partition)
        if image is not None and fits:
            self.store.load(image)
            begin = image.offset
        self._state_end[partition] = checkpoint.state_end
        restored = self.incidents.restore(partition, states, checkpoint.offset)
        self.incidents.discard(partition, void)
        self._recoveries[partition] = _Recovery(checkpoint, restored, len(states), fits)
        return begin

    def reach(self, partition: int) -> None:
        """Says that no record before the committed offset is left to be read again, though none after it came yet."""
        self._recoveries[partition].reached = True

    def drop(self, partition: int) -> None:
        """Forgets a partition that moved to another member."""
        self.store.drop(partition)
        self.incidents.drop(partition)
        self._recoveries.pop(partition, None)
        self._state_end.pop(partition, None)

    def checkpoints(self, positions: Mapping[int, int]) -> dict[int, Checkpoint]:
        """What to commit when everything before these offsets was processed. Not for partitions still recovering."""
        return {
            partition: replace(
                self.store.resume(partition, offset, self._max_replay),
                loud=self.incidents.kept(partition),
                features=self.features,
                state_end=self._state_end.get(partition, 0),
            )
            for partition, offset in positions.items()
            if partition not in self._recoveries
        }

    def process(self, records: Sequence[Record]) -> Outcome:
        """Any number of records of any partitions -> what they led to. The cut into calls changes no alert."""
        replayed = 0
        if self._recoveries:
            records, again = self._split(records)
            self._rebuild(again)
            replayed = len(again)
        seconds: defaultdict[str, float] = defaultdict(float)
        totals: Counter[str] = Counter()
        gated: Counter[str] = Counter()
        begun = self._clock()

        def lap(stage: str) -> None:
            nonlocal begun
            now = self._clock()
            seconds[stage] += now - begun
            begun = now

        recovered, alerts = self._finish(records) if self._recoveries else ([], [])
        arrivals = [nan] * len(alerts)
        decoded = self._decoder.decode(records)
        batch = decoded.batch
        lap("decode")
        errors: list[Float32] = [np.empty(0, np.float32)]
        ratios: list[Float64] = [np.empty(0, np.float64)]
        outputs: defaultdict[OutputName, list[OutputRecord]] = defaultdict(list)
        for step in self.store.push(batch):
            lap("window")
            scores = self._detector.score(step.windows.inputs)
            lap("score")
            totals.update(
                windows=len(scores.error),
                late=step.late,
                duplicate=step.duplicate,
                gaps=step.gaps,
                imputed=step.imputed,
                started=step.started,
                moved=step.moved,
                **Counter(departure.reason for departure in step.departures),
            )
            for part in self._parts(batch, step, scores):
                adapted, score, judged = self._judge(batch, part, gated)
                for told in judged.told:
                    alerts.append(told.alert)
                    arrivals.append(float(batch.arrival[told.row]))
                self.store.streams.score[part.step.windows.slot] = score
                errors.append(adapted.error)
                ratios.append(score)
                lap("incidents")
                if self._outputs is not None:
                    for name, messages in self._outputs.tell(batch, part.step.windows, adapted, score).items():
                        outputs[name] += messages
                    lap("outputs")
        return Outcome(
            alerts=alerts,
            alert_arrival=arrivals,
            rejects=decoded.rejects,
            states=self.incidents.changes(self._recoveries.keys()),
            outputs=dict(outputs),
            recovered=recovered,
            counts=Counts(
                records=len(records), events=len(batch), replayed=replayed, unknown=decoded.unknown, **totals
            ),
            gated=dict(gated),
            error=np.concatenate(errors),
            score=np.concatenate(ratios),
            seconds=dict(seconds),
        )

    def _parts(self, batch: Batch, step: Step, scores: Scores) -> Iterable[Part]:
        """What is judged at once: all of a step, unless something is learned meanwhile."""
        if self._adaptation is None:
            return (Part(step, scores, ()),)
        return self._adaptation.parts(batch, step, scores, self.store.streams.phase)

    def _judge(self, batch: Batch, part: Part, gated: Counter[str]) -> tuple[Scores, Float64, Judged]:
        """W scores -> the same in units of the streams' own levels, (W,) what of them counts, and the alerts this leads
        to; `gated` is added to.
        """
        step, windows = part.step, part.step.windows
        adapted = scores = self._levels.adapted(part.scores, windows.slot)
        score = scores.error.astype(np.float64) / self.threshold
        returns = list(step.returns) if self._quality.gaps else []
        time = batch.time[windows.row]
        findings = self._quality.check(windows, scores.expected, time)
        counted = self._gates.count(windows.values[:, -1], scores.expected, scores.feature_error, score)
        gated.update(counted.held)
        score = counted.score
        if counted.held:
            error = (score * self.threshold).astype(np.float32)
            scores = replace(scores, error=error, feature_error=counted.feature_error)
        paused = None
        if self._gates.maintained:
            paused = self._gates.paused([batch.stream[row] for row in windows.row.tolist()], time)
            gated["maintenance"] += int(np.count_nonzero(paused & (score > 1)))
            score = np.where(paused, np.minimum(score, 1), score)
            returns = [back for back in returns if not self._absent(batch, back)]
        judged = self.incidents.update(batch, windows, scores, score, step.departures, findings, returns, paused)
        if judged.held:
            places = list(judged.held)
            score = score.copy()
            score[places] = list(judged.held.values())
            gated["data_quality"] += int(np.count_nonzero(score[places] <= 1))
        if self._adaptation is not None and part.due:
            barred = set(findings) | set(() if paused is None else np.flatnonzero(paused).tolist())
            learned = self._adaptation.learn(batch, part, barred)
            told = sorted([*judged.told, *learned], key=lambda one: one.row)  # what is learned is told after the rest
            judged = replace(judged, told=told)
        return adapted, score, judged

    def _absent(self, batch: Batch, back: Return) -> bool:
        """Whether a gap began or ended in maintenance."""
        stream = batch.stream[back.row]
        ends = np.array([back.since, batch.time[back.row]])
        return bool(self._gates.paused([stream, stream], ends).any())

    def _split(self, records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
        """The new records, and those that are read again."""
        until = self.recovering
        new: list[Record] = []
        again: list[Record] = []
        for record in records:
            (again if record.offset < until.get(record.partition, 0) else new).append(record)
        return new, again

    def _rebuild(self, records: Sequence[Record]) -> None:
        batch: Batch = self._decoder.decode(records).batch
        self.store.rebuild(batch)
        for partition, count in Counter(record.partition for record in records).items():
            self._recoveries[partition].replayed += count

    def _finish(self, records: Sequence[Record]) -> tuple[list[Recovered], list[Alert]]:
        """Ends the recovery of partitions that have new records, and of those that have reached their place."""
        partitions = {record.partition for record in records}
        recovered: list[Recovered] = []
        alerts: list[Alert] = []
        for partition, recovery in sorted(self._recoveries.items()):
            if partition not in partitions and not recovery.reached:
                continue
            del self._recoveries[partition]
            streams = self.store.streams
            lost = max(0, recovery.checkpoint.live - streams.live(partition))
            known = self.incidents.known(partition)
            for stream, heard in known.items():
                before = heard.offset < recovery.checkpoint.offset  # at least once, state may be newer than the commit
                if before and streams.find(partition, [stream])[0] < 0:
                    self.store.adopt(partition, stream, heard.time, heard.offset)
            self.incidents.follow(partition, list(known), streams.find(partition, list(known)))
            alerts += [told.alert for told in recovery.restored.told]
            short = max(lost, recovery.checkpoint.short) if recovery.windows else recovery.checkpoint.live
            gone = max(0, recovery.checkpoint.loud - recovery.states) + recovery.restored.unreadable
            recovered.append(Recovered(partition, recovery.replayed, short, gone))
        return recovered, alerts
