"""An incident as Alertmanager's API v2 takes it: one alert from `opened` to `closed`. Pure.

Alertmanager tells alerts apart by their labels (their fingerprint). So a label holds only what never changes while an
incident lasts; severity, score and times are annotations, which it replaces with each message.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from monitor.alerts import Alert, Kind

NAMES: Mapping[Kind, str] = {
    "anomaly": "MonitorAnomaly",
    "data_quality": "MonitorDataQuality",
    "drift": "MonitorDrift",
}


def labels(alert: Alert, added: Mapping[str, str]) -> dict[str, str]:
    """The same for every message of an incident."""
    own = {
        "alertname": NAMES[alert.kind],
        "kind": alert.kind,
        "stream": alert.stream,
        "incident": alert.incident,
        "topic": alert.evidence.topic,
    }
    if alert.cause is not None:
        own["cause"] = alert.cause
    return {**added, **own}


def notes(alert: Alert) -> dict[str, str]:
    """What is known of the incident now, as text: its annotations."""
    plain = alert.model_dump(mode="json", include={"score", "error", "threshold", "duration", "confidence"})
    found = {
        "summary": alert.summary or f"{alert.stream}: {alert.kind}",
        "severity": alert.severity,
        "status": alert.status,
        **{name: f"{value:g}" for name, value in plain.items() if value is not None},
        "features": ", ".join(feature.name for feature in alert.features),
        "started_at": _text(alert.started_at),
        "updated_at": _text(alert.time),
        "peak_at": _text(alert.peak_at),
        "ended_at": _text(alert.ended_at),
        "reason": alert.reason or "",
        "id": alert.id,
        "evidence": f"{alert.evidence.topic} {alert.evidence.partition}:"
        f"{alert.evidence.first_offset}-{alert.evidence.last_offset}",
        "model": alert.evidence.model,
    }
    return {name: value for name, value in found.items() if value}


def alert_of(alert: Alert, added: Mapping[str, str], now: datetime, keep_open: float) -> dict[str, Any]:
    """The member of a POST to /api/v2/alerts that tells of this message at `now` (UTC).

    Open until `keep_open` seconds from now, unless it is told again; over at once where it is `closed`. Event times are
    other clocks: one that is ahead of `now` counts as now, because Alertmanager takes an end in the future for open.
    """
    begun = min(alert.started_at, now)
    ends = now + timedelta(seconds=keep_open)
    if alert.status == "closed":
        ends = max(begun, min(alert.ended_at or alert.time, now))
    return {
        "labels": labels(alert, added),
        "annotations": notes(alert),
        "startsAt": _text(begun),
        "endsAt": _text(ends),
    }


def _text(moment: datetime | None) -> str:
    """RFC 3339, as in the alerts; empty for none."""
    return "" if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
