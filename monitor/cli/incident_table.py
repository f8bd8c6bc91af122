"""Alerts for a person: one row an incident, changed in place as its messages come."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime

from rich.table import Table
from rich.text import Text

from monitor.alerts import Alert, Feature

_COLOURS = {"warning": "yellow", "major": "dark_orange", "critical": "red"}
_KEPT = 1000
_LONGEST_NAME = 24  # shown


class IncidentTable:
    """The newest message of each incident, in order of opening; the oldest are forgotten beyond a thousand."""

    def __init__(self) -> None:
        self._incidents: OrderedDict[str, Alert] = OrderedDict()

    def __len__(self) -> int:
        return len(self._incidents)

    def add(self, alert: Alert) -> None:
        """A repeat, or a message older than what is shown, changes nothing that was shown."""
        shown = self._incidents.get(alert.incident)
        if shown is None or alert.evidence.last_offset >= shown.evidence.last_offset:
            self._incidents[alert.incident] = alert
        while len(self._incidents) > _KEPT:
            self._incidents.popitem(last=False)

    def render(self, rows: int) -> Table:
        """The newest `rows` incidents, newest last."""
        table = Table(box=None, header_style="bold", pad_edge=False, expand=True)
        for column in ("since", "lasted", "stream", "state", "severity", "score", "features"):
            table.add_column(
                column,
                justify="right" if column in {"score", "lasted"} else "left",
                no_wrap=True,
                max_width=_LONGEST_NAME if column == "stream" else None,
                ratio=1 if column == "features" else None,  # the one that may be cut where the terminal is narrow
            )
        for alert in list(self._incidents.values())[-rows:]:
            until = alert.ended_at or alert.time
            table.add_row(
                moment(alert.started_at),
                lasted((until - alert.started_at).total_seconds()),
                Text(alert.stream),
                Text(
                    "closed" if alert.status == "closed" else "open",
                    style="dim" if alert.status == "closed" else "bold",
                ),
                Text(alert.severity, style=_COLOURS[alert.severity]),
                f"{alert.score:.1f}",
                Text(explain(alert, 3), overflow="ellipsis"),
            )
        return table


def moment(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def lasted(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def explain(alert: Alert, most: int) -> str:
    """The features that contribute most: share of the error, what was seen, what was expected; or the fault."""
    if alert.kind != "anomaly":
        return alert.summary.partition(": ")[2]
    return ", ".join(
        f"{feature.name} {feature.contribution:.0%} ({_seen(feature)})" for feature in alert.features[:most]
    )


def _seen(feature: Feature) -> str:
    if feature.expected_category is None:
        return f"{feature.observed:.4g}, expected {feature.expected:.4g}"
    return f"{feature.observed_category or 'unknown'}, expected {feature.expected_category}"
