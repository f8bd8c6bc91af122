"""An alert in one sentence for a person. Made from the alert alone: the same alert, the same sentence."""

from __future__ import annotations

from datetime import datetime

from monitor.alerts import Alert, Cause, Feature, Reason

_SHOWN = 3  # features of an anomaly
_MANY = 9.5  # times the usual, from which on a whole number tells it

_ENDS: dict[Reason, str] = {
    "recovered": "over",
    "idle": "the stream fell silent",
    "evicted": "the stream was dropped to make room",
    "model_changed": "another model took over",
    "settings_changed": "other settings took over",
    "absorbed": "it lasts, and counts as normal from now on",
}


def sentence(alert: Alert, detail: str = "") -> str:
    """`detail` is the finding's, where the alert tells of a fault of the data."""
    if alert.kind == "drift":
        what = _drift(alert)
    else:
        what = _anomaly(alert) if alert.cause is None else _fault(alert, alert.cause, detail)
    stream = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in alert.stream)
    when = "" if alert.cause == "gap" else f"; {_when(alert)}"
    peak = f", peak {alert.score:.3g} x threshold" if alert.kind == "anomaly" else ""
    end = f", {_ENDS[alert.reason]}" if alert.reason is not None and alert.cause != "gap" else ""
    return f"{stream}: {what}{when}{peak}{end}"


def _anomaly(alert: Alert) -> str:
    shown = [
        f"{_changed(feature)} ({_percent(feature.contribution)} of the error)"
        if number == 0
        else f"{_changed(feature)} ({_percent(feature.contribution)})"
        for number, feature in enumerate(alert.features[:_SHOWN])
    ]
    return ", ".join(shown) or "anomalous"


def _changed(feature: Feature) -> str:
    """In words and beside what is usual, where these are known; else by name, beside what the model expected."""
    if feature.usual is None:
        return f"{_value(feature)} {_compared(feature)}"
    words = feature.meaning.partition(";")[0]  # what comes behind is about how it is reckoned
    if feature.usual > 0 and feature.observed > 0:
        times = feature.observed / feature.usual
        return f"{words} {times:,.0f} x the usual" if times >= _MANY else f"{words} {times:.2g} x the usual"
    value = " ".join(filter(None, [f"{feature.observed:.4g}", feature.unit]))
    return f"{words} {value}, usually {feature.usual:.4g}"


def _compared(feature: Feature) -> str:
    if feature.observed == feature.expected:
        return "as expected"
    if feature.expected_category is not None:
        return f"instead of the expected {feature.expected_category}"
    return f"{'above' if feature.observed > feature.expected else 'below'} the expected {feature.expected:.4g}"


def _value(feature: Feature) -> str:
    value = f"{feature.observed:.4g}"
    if feature.expected_category is not None:
        value = feature.observed_category or "of an unknown value"
    return " ".join(filter(None, [feature.name, value, feature.unit]))


def _fault(alert: Alert, cause: Cause, detail: str) -> str:
    names = ", ".join(feature.name for feature in alert.features)
    values = ", ".join(_value(feature) for feature in alert.features)
    told: dict[Cause, str] = {
        "stuck": f"stuck for {alert.error:.0f} events: {values}",
        "unit_jump": f"looks like another unit ({detail}): {values}",
        "missing": f"missing in {_percent(alert.error)} of the window: {names}",
        "out_of_range": f"outside the valid range: {values}",
        "gap": f"no events for {alert.duration:.6g} s, {_span(alert.started_at, alert.time)}",
        "clock_skew": f"event times are {alert.error:.6g} s {detail} the records' timestamps",
        "sampling_rate": f"events come {alert.error:.3g} times {detail} than usual",
    }
    return told[cause]


def _drift(alert: Alert) -> str:
    names = ", ".join(f"{feature.name} {feature.observed:.3g} times" for feature in alert.features)
    due = "" if alert.status == "closed" else "; retraining is due"
    return f"the usual error is not training's any more{': ' if names else ''}{names}{due}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _when(alert: Alert) -> str:
    if alert.ended_at is None:
        return f"since {_span(alert.started_at)}"
    return f"{_span(alert.started_at, alert.ended_at)}"


def _span(start: datetime, end: datetime | None = None) -> str:
    """The second moment without its day where that is the same."""
    begins = f"{start:%Y-%m-%d %H:%M:%S}"
    if end is None:
        return f"{begins} UTC"
    ends = f"{end:%H:%M:%S}" if end.date() == start.date() else f"{end:%Y-%m-%d %H:%M:%S}"
    return f"{begins} to {ends} UTC"
