"""The labelled part at an accelerated pace, with incidents beside the labels as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from monitor.alerts import Alert, parse
from monitor.batch import Record
from monitor.demo.data import Row
from monitor.demo.truth import Event
from monitor.kafka.feed import Feed

HEAD = f"{'event time':<17} {'labels':<15} incidents (score: 1 is the alert line)"
_HOLD = 1.0  # s for which a label waits for the alerts of its time, so that both stand in order


class Timeline:
    """Labels and incidents as lines in the order of their event times."""

    def __init__(self, events: Sequence[Event], say: Callable[[str], None]) -> None:
        edges = [(event.start, f"event {event.number} begins") for event in events]
        edges += [(event.end, f"event {event.number} ends") for event in events]
        self._labels = sorted(edges)
        self._say = say

    def reach(self, now: datetime) -> None:
        """Tells the labels up to an event time."""
        while self._labels and self._labels[0][0] <= now:
            self._line(*self._labels.pop(0), "")

    def tell(self, alert: Alert) -> None:
        """An incident that opens or closes."""
        self.reach(alert.time)
        peak = f"{alert.score:8,.1f}"
        if alert.status == "opened":
            self._line(alert.time, "", f"opened  {alert.severity:<8} {peak}  {_cause(alert)}")
        elif alert.status == "closed":
            self._line(alert.time, "", f"closed  {alert.severity:<8} {peak}  was its peak")

    def _line(self, when: datetime, label: str, incident: str) -> None:
        self._say(f"{when:%Y-%m-%d %H:%M}  {label:<15} {incident}".rstrip())


def play(
    rows: Sequence[Row],
    pace: float,
    feed: Feed,
    alerts: Iterator[Sequence[Record] | None],
    timeline: Timeline,
    moment: Callable[[float], datetime],
    progress: Callable[[int], None],
) -> float:
    """Produces `pace` rows a second and tells what happens; seconds it took. `progress` is told the rows sent."""
    begun = time.monotonic()
    sent = 0
    reached: list[tuple[float, float]] = []  # when it was sent, event time
    while sent < len(rows):
        now = time.monotonic()
        due = min(len(rows), int((now - begun) * pace) + 1)
        if due > sent:
            feed.send([row.record for row in rows[sent:due]])
            sent = due
            reached.append((now, rows[sent - 1].time))
            progress(sent)
        listen(alerts, timeline)
        while reached and now - reached[0][0] > _HOLD:
            timeline.reach(moment(reached.pop(0)[1]))
    return time.monotonic() - begun


def _cause(alert: Alert) -> str:
    if alert.cause is not None:
        return alert.cause.replace("_", " ")
    if not alert.features:
        return ""
    top = alert.features[0]
    return f"{top.name} is {top.observed:.3g}, expected {top.expected:.3g} ({top.contribution:.0%} of the error)"


def listen(alerts: Iterator[Sequence[Record] | None], timeline: Timeline) -> int:
    """Tells the alerts that have come; how many there were. Waits as long as one poll of the reader does."""
    batch = next(alerts) or ()
    told = [parse(record.value or b"") for record in batch]
    for alert in sorted(told, key=lambda alert: alert.time):
        timeline.tell(alert)
    return len(told)
