"""Metric families of `monitor forward`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from monitor import __version__
from monitor.collectors import Families, Family

PREFIX = "monitor_forward_"
RESULTS = ("delivered", "refused", "unreadable", "repeated", "superseded", "below_severity")
ANSWERS = ("taken", "not_taken", "failed")
REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
DELAY_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)

Answer = Literal["taken", "not_taken", "failed"]


class ForwardMetrics:
    """`made` makes families that begin with PREFIX."""

    def __init__(self, made: Families) -> None:
        self.families: list[Family] = made.declared
        self._alerts = made.counter("alerts", "Alerts read from the topic, by what became of them.", result=RESULTS)
        self._requests = made.counter("requests", "Requests to the receiver, by its answer.", answer=ANSWERS)
        self._seconds = made.histogram("request_seconds", "Seconds until the receiver answered.", REQUEST_BUCKETS)
        self._delay = made.histogram(
            "delay_seconds", "Seconds from an alert's record to the receiver's answer.", DELAY_BUCKETS
        )
        self._resent = made.counter("resent", "Open incidents told again to Alertmanager.")
        self._open = made.gauge("open_incidents", "Incidents that Alertmanager takes for open.")
        self._dropped = made.counter(
            "dropped_incidents",
            "Open incidents no longer told again: silent for forward.forget_after, or beyond forward.max_open.",
        )
        self._told_dropped = 0
        self._lag = made.snapshot("lag_records", "Alerts between position and end.", "topic", "partition")
        self._receiver_up = made.gauge("receiver_up", "Whether the receiver took what it was sent last: 1 or 0.")
        self._broker_up = made.gauge("broker_up", "Whether the brokers answer: 1 or 0.")
        self._ready = made.gauge("ready", "Whether it is ready: 1 or 0.")
        made.info("build", "Version of this program.", version=__version__)

    def alert(self, result: str) -> None:
        """One of RESULTS became of an alert."""
        self._alerts.labels(result).inc()

    def request(self, answer: Answer, seconds: float) -> None:
        self._requests.labels(answer).inc()
        self._seconds.observe(seconds)

    def delivered(self, delay: float) -> None:
        """An alert was taken, so many seconds after its record was written; the two clocks are not one."""
        self.alert("delivered")
        self._delay.observe(max(0.0, delay))

    def resent(self, incidents: int) -> None:
        self._resent.inc(incidents)

    def refresh(
        self,
        *,
        ready: bool,
        receiver_up: bool,
        broker_up: bool,
        open_incidents: int,
        dropped: int,
        lag: Mapping[tuple[str, ...], float],
    ) -> None:
        """`dropped` since the start."""
        self._ready.set(ready)
        self._receiver_up.set(receiver_up)
        self._broker_up.set(broker_up)
        self._open.set(open_incidents)
        self._dropped.inc(dropped - self._told_dropped)
        self._told_dropped = dropped
        self._lag.replace(lag)
