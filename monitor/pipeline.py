"""Records -> Outcome: decode, window, score, judge. Pure: no I/O, no clock of its own, no log; faults are values."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from monitor.alerts import Alert
from monitor.batch import Counts, Float32, Float64, Outcome, Record
from monitor.detector import Detector
from monitor.events import Decoder
from monitor.incidents import Incidents
from monitor.windows import WindowStore


class Pipeline:
    """The way of a record through one member; its state is the streams' windows and what is known of the loud ones."""

    def __init__(
        self,
        decoder: Decoder,
        store: WindowStore,
        detector: Detector,
        incidents: Incidents,
        threshold: float,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`clock` gives seconds and only measures how long the stages take."""
        self._decoder = decoder
        self.store = store
        self._detector = detector
        self.incidents = incidents
        self.threshold = threshold
        self._clock = clock

    def process(self, records: Sequence[Record]) -> Outcome:
        """Any number of records of any partitions -> what they led to. The cut into calls changes no alert."""
        seconds: defaultdict[str, float] = defaultdict(float)
        totals: Counter[str] = Counter()
        begun = self._clock()

        def lap(stage: str) -> None:
            nonlocal begun
            now = self._clock()
            seconds[stage] += now - begun
            begun = now

        decoded = self._decoder.decode(records)
        batch = decoded.batch
        lap("decode")
        alerts: list[Alert] = []
        arrivals: list[float] = []
        errors: list[Float32] = [np.empty(0, np.float32)]
        ratios: list[Float64] = [np.empty(0, np.float64)]
        for step in self.store.push(batch):
            lap("window")
            scores = self._detector.score(step.windows.values)
            score = scores.error.astype(np.float64) / self.threshold
            lap("score")
            for told in self.incidents.update(batch, step.windows, scores, score, step.departures):
                alerts.append(told.alert)
                arrivals.append(float(batch.arrival[told.row]))
            self.store.streams.score[step.windows.slot] = score
            errors.append(scores.error)
            ratios.append(score)
            totals.update(
                windows=len(score),
                late=step.late,
                duplicate=step.duplicate,
                gaps=step.gaps,
                imputed=step.imputed,
                started=step.started,
                moved=step.moved,
                **Counter(departure.reason for departure in step.departures),
            )
            lap("incidents")
        return Outcome(
            alerts=alerts,
            alert_arrival=arrivals,
            rejects=decoded.rejects,
            counts=Counts(records=len(records), events=len(batch), **totals),
            error=np.concatenate(errors),
            score=np.concatenate(ratios),
            seconds=dict(seconds),
        )

    def drop(self, partition: int) -> None:
        """Forgets a partition that moved to another member."""
        self.store.drop(partition)
        self.incidents.drop(partition)
