"""The state machine of a stream's anomaly.

    quiet --anomalous--> suspicious --k of n, for min_duration--> open --m normal in a row--> closed, cooldown --> quiet

Only event times and the order of the stream's own scores decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

from monitor import config
from monitor.alerts import SEVERITIES, Alert
from monitor.batch import Float64, Scores, Windows
from monitor.incident_state import Incident, Loud, Peak, Point
from monitor.telling import Key, Teller


class Anomalies:
    """Changes what is known of a stream, and tells what it leads to."""

    def __init__(self, teller: Teller, rules: config.Incidents) -> None:
        self._teller = teller
        self._rules = rules

    def step(self, key: Key, loud: Loud, point: Point, peak: Peak | None) -> Iterator[Alert]:
        """One score of a stream that is not quiet; `peak` is given where it is anomalous."""
        rules = self._rules
        loud.heard = point
        incident = loud.incident
        if incident is not None:
            yield from self._follow(key, loud, incident, point, peak)
            return
        loud.seen += 1
        while loud.recent and loud.recent[0][0] <= loud.seen - rules.open_window:
            loud.recent.popleft()
        if peak is not None:
            loud.recent.append((loud.seen, point, peak))
        if len(loud.recent) < rules.open_after:
            loud.held = None
            return
        if loud.held is None:
            loud.held = loud.recent[0][1], reduce(Peak.joined, (entry[2] for entry in loud.recent))
        elif peak is not None:
            loud.held = loud.held[0], loud.held[1].joined(peak)
        since, worst = loud.held
        ready = point.time - since.time >= rules.min_duration and point.time >= loud.cooling_until
        if ready and peak is not None and worst.score >= rules.severity.warning:
            loud.incident = Incident(since, worst, point, point, point.time, self._teller.severity(worst.score))
            loud.held = None
            loud.recent.clear()
            yield self._teller.anomaly(key, loud.incident, "opened", point)

    def _follow(self, key: Key, loud: Loud, incident: Incident, point: Point, peak: Peak | None) -> Iterator[Alert]:
        rules = self._rules
        incident.last = point
        if peak is None:
            incident.normal += 1
            if incident.normal >= rules.close_after:
                loud.incident = None
                loud.cooling_until = point.time + rules.cooldown
                yield self._teller.anomaly(key, incident, "closed", point, "recovered")
                return
        else:
            incident.normal = 0
            incident.last_anomalous = point
            incident.peak = incident.peak.joined(peak)
        severity = self._teller.severity(incident.peak.score)
        worse = SEVERITIES.index(severity) > SEVERITIES.index(incident.told_severity)
        if worse or point.time - incident.told_at >= rules.update_every:
            incident.told_at = point.time
            incident.told_severity = severity
            yield self._teller.anomaly(key, incident, "updated", point)


def peak_of(windows: Windows, scores: Scores, score: Float64, i: int, time: float) -> Peak:
    """The i-th of W scores. Copies: a view would keep the whole batch alive for as long as the incident is open."""
    return Peak(
        float(score[i]),
        float(scores.error[i]),
        scores.feature_error[i].copy(),
        windows.values[i, -1].copy(),
        scores.expected[i].copy(),
        time,
    )
