"""One incident for each fault of a stream's data: from its first finding until the window is new without one.

A finding is of a whole window, so one is enough to open. While it is open, the features that have the fault make no
anomaly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import reduce

from monitor.alerts import CAUSES, Alert
from monitor.gates import shares
from monitor.incident_state import Finding, Loud, Peak, Point, Trouble
from monitor.telling import Key, Teller


class Troubles:
    """The rules; what is open is in the state of each stream."""

    def __init__(self, teller: Teller, features: Sequence[str], clean_after: int, update_every: float) -> None:
        """`clean_after` is the number of scores in which a window is all new; `update_every` is in s of event time."""
        self._teller = teller
        self._place = {name: f for f, name in enumerate(features)}
        self._clean_after = clean_after
        self._update_every = update_every

    def step(self, key: Key, loud: Loud, point: Point, findings: Sequence[Finding]) -> Iterator[Alert]:
        """One score of a stream, and the faults that its window shows: opens, goes on with and closes incidents."""
        for cause in CAUSES if findings or loud.troubles else ():
            trouble = loud.troubles.get(cause)
            beginning = [one for one in findings if one.cause == cause and not one.lasting]
            if trouble is not None:
                lasting = [one.within(trouble.peak) for one in findings if one.cause == cause and one.lasting]
                found = beginning + [one for one in lasting if one.readings]
                yield from self._go_on(key, loud, trouble, point, found)
            elif beginning:
                peak = reduce(Finding.joined, beginning)
                trouble = loud.troubles[cause] = Trouble(point, peak, point, point, point.time)
                yield self._teller.fault(key, trouble, "opened", point)

    def _go_on(self, key: Key, loud: Loud, trouble: Trouble, point: Point, found: Sequence[Finding]) -> Iterator[Alert]:
        trouble.last = point
        known = len(trouble.peak.readings)
        if found:
            trouble.clean = 0
            trouble.last_seen = point
            trouble.peak = reduce(Finding.joined, found, trouble.peak)
        else:
            trouble.clean += 1
            if trouble.clean >= self._clean_after:
                del loud.troubles[trouble.peak.cause]
                yield self._teller.fault(key, trouble, "closed", point, "recovered")
                return
        if len(trouble.peak.readings) > known or point.time - trouble.told_at >= self._update_every:
            trouble.told_at = point.time
            yield self._teller.fault(key, trouble, "updated", point)

    def without_faults(self, peak: Peak, loud: Loud) -> Peak:
        """What is left of an anomalous event when the features whose data are at fault do not count."""
        faulty = {reading.feature for trouble in loud.troubles.values() for reading in trouble.peak.readings}
        if not faulty:
            return peak
        left = peak.feature_error.copy()
        left[[self._place[feature] for feature in faulty]] = 0
        share = float(shares(left[None], peak.feature_error[None])[0])
        return replace(peak, score=peak.score * share, error=peak.error * share, feature_error=left)
