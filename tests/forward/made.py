"""Alerts as the service publishes them, without a service."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.alerts import Alert, Evidence, Feature, Status, identity

BEGUN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
COURSE: tuple[Status, ...] = ("opened", "updated", "closed")


def alert(stream: str, number: int = 0, status: Status = "opened", **changes: Any) -> Alert:
    """Message of a stream's incident `number`."""
    step = COURSE.index(status)
    incident = identity("incident", number, stream)
    facts: dict[str, Any] = {
        "id": identity(incident, status),
        "incident": incident,
        "kind": "anomaly",
        "status": status,
        "reason": "recovered" if status == "closed" else None,
        "stream": stream,
        "time": BEGUN + timedelta(minutes=step),
        "started_at": BEGUN,
        "ended_at": BEGUN + timedelta(minutes=1) if status == "closed" else None,
        "severity": ("warning", "major", "major")[step],
        "score": 1.5 + step,
        "error": 3.0 + step,
        "threshold": 2.0,
        "features": (Feature(name="flow", observed=7, expected=2, contribution=0.9),),
        "evidence": Evidence(
            topic="events", partition=0, first_offset=10, last_offset=20 + step, model="m" * 64, config="c" * 64
        ),
        "peak_at": BEGUN + timedelta(seconds=30),
        "duration": 60.0 * step,
        "summary": f"{stream}: flow 7 above the expected 2",
    }
    return Alert(**{**facts, **changes})


def courses(streams: Sequence[str], incidents: int = 1) -> Iterator[Alert]:
    """Whole incidents of each stream; the streams take turns, each in its order."""
    for number in range(incidents):
        for status in COURSE:
            for stream in streams:
                yield alert(stream, number, status)
