"""Incidents -> alerts: one step of an incident, with its identity, its explanation and its evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from monitor import config
from monitor.alerts import Alert, Evidence, Feature, Kind, Reason, Severity, Status, identity, moment
from monitor.batch import Float64
from monitor.incident_state import Finding, Incident, Maker, Peak, Point, Trouble
from monitor.level_state import Drift
from monitor.summary import sentence

Key = tuple[int, str]
"""Partition and stream."""


class Meaning(NamedTuple):
    """What a feature is, in words, and its mean in training, source units."""

    words: str
    usual: float


@dataclass(frozen=True, slots=True)
class Origin:
    """What every alert's evidence says of where it comes from."""

    topic: str
    model: str
    config: str


@dataclass(frozen=True, slots=True)
class _Span:
    started: Point
    ended: float  # s since the Unix epoch, as far as it is known
    peak: float


@dataclass(frozen=True, slots=True)
class Told:
    """An alert, and the row of the batch whose event caused it; -1 where no event did."""

    alert: Alert
    row: int


class Teller:
    """Words for the incidents of one model under one configuration. It remembers nothing."""

    def __init__(
        self,
        rules: config.Incidents,
        features: Sequence[str],
        units: Sequence[str],
        threshold: float,
        origin: Origin,
        categories: Mapping[str, Sequence[str]],
        confidence: Callable[[Key], float | None] = lambda _: None,
        meanings: Mapping[str, Meaning] = MappingProxyType({}),
    ) -> None:
        """`confidence` says how far a stream's own level is known; `meanings` are of those numbers that have one."""
        self._meanings = meanings
        self._rules = rules
        self._features = tuple(features)
        self._units = dict(zip(features, units, strict=True))
        self._categories = categories
        self._threshold = threshold
        self._origin = origin
        self._confidence = confidence
        self.maker = Maker(origin.model, origin.config)

    def severity(self, score: float) -> Severity:
        bands = self._rules.severity
        if score >= bands.critical:
            return "critical"
        return "major" if score >= bands.major else "warning"

    def anomaly(
        self,
        key: Key,
        incident: Incident,
        status: Status,
        point: Point,
        reason: Reason | None = None,
        maker: Maker | None = None,
    ) -> Alert:
        """`maker` is given where the incident is of another model or of other settings."""
        peak = incident.peak
        span = _Span(incident.started, incident.last_anomalous.time, peak.time)
        return self._alert(
            "anomaly", "incident", key, status, point, reason, maker, span,
            severity=self.severity(peak.score) if maker is None else incident.told_severity,
            score=peak.score,
            error=peak.error,
            threshold=self._threshold if maker is None else peak.error / peak.score,
            features=self._contributions(peak) if len(peak.observed) == len(self._features) else (),
        )  # fmt: skip

    def gap(self, key: Key, point: Point, since: float, limit: float) -> tuple[Alert, Alert]:
        """A gap is known when it is over: it is opened and closed by the event that ended it."""
        peak = Finding("gap", (), point.time - since, limit, point.time)
        gap = Trouble(Point(point.row, since, point.offset), peak, point, point, point.time)
        return self.fault(key, gap, "opened", point), self.fault(key, gap, "closed", point, "recovered")

    def fault(
        self,
        key: Key,
        trouble: Trouble,
        status: Status,
        point: Point,
        reason: Reason | None = None,
        maker: Maker | None = None,
    ) -> Alert:
        """The same for a fault of the data."""
        peak = trouble.peak
        span = _Span(trouble.started, trouble.last_seen.time, peak.time)
        return self._alert(
            "data_quality", f"data_quality.{peak.cause}", key, status, point, reason, maker, span,
            detail=peak.detail,
            severity="warning",
            score=peak.score,
            error=peak.measure,
            threshold=peak.limit,
            features=tuple(
                self._feature(reading.feature, reading.observed, reading.expected, 1 / len(peak.readings))
                for reading in peak.readings[: self._rules.features]
            ),
            cause=peak.cause,
        )  # fmt: skip

    def drift(
        self,
        key: Key,
        drift: Drift,
        log: Float64,
        status: Status,
        point: Point,
        reason: Reason | None = None,
        maker: Maker | None = None,
    ) -> Alert:
        """What is usual has moved: `log` (F,) is the logarithm of what it is now over what it was in training.

        The features are those that are, or were, beyond the limit; none where another maker's level is told of.
        """
        share = np.abs(log)
        share /= share.sum() or 1.0
        told = sorted(drift.features, key=lambda f: -float(share[f])) if maker is None else []
        span = _Span(drift.started, drift.last.time, drift.peak.time)
        return self._alert(
            "drift", "drift", key, status, point, reason, maker, span,
            severity="warning",
            score=drift.peak.score,
            error=drift.peak.score * drift.limit,
            threshold=drift.limit,
            features=tuple(
                Feature(
                    name=self._features[f],
                    observed=float(np.exp(log[f])),
                    expected=1.0,
                    contribution=float(share[f]),
                )
                for f in told[: self._rules.features]
            ),
        )  # fmt: skip

    def _alert(
        self,
        kind: Kind,
        named: str,
        key: Key,
        status: Status,
        point: Point,
        reason: Reason | None,
        maker: Maker | None,
        span: _Span,
        detail: str = "",
        **own: Any,
    ) -> Alert:
        """What all kinds have in common; `named` is what their identities begin with, `own` what is the kind's own."""
        by = maker or self.maker
        name = identity(named, key[1], by.model, self._origin.topic, key[0], span.started.offset)
        alert = Alert(
            id=identity("message", name, status, point.offset, by.config),
            incident=name,
            kind=kind,
            status=status,
            reason=reason,
            stream=key[1],
            time=moment(point.time),
            started_at=moment(span.started.time),
            ended_at=moment(span.ended) if status == "closed" else None,
            evidence=self._evidence(key[0], span.started, point, by),
            peak_at=moment(span.peak),
            duration=span.ended - span.started.time,
            confidence=self._confidence(key) if maker is None else None,
            **own,
        )
        return alert.model_copy(update={"summary": sentence(alert, detail)})

    def _evidence(self, partition: int, started: Point, point: Point, by: Maker) -> Evidence:
        return Evidence(
            topic=self._origin.topic,
            partition=partition,
            first_offset=started.offset,
            last_offset=point.offset,
            model=by.model,
            config=by.config,
        )

    def _contributions(self, peak: Peak) -> tuple[Feature, ...]:
        share = peak.feature_error.astype(np.float64)
        share /= share.sum()
        return tuple(
            self._feature(self._features[f], float(peak.observed[f]), float(peak.expected[f]), float(share[f]))
            for f in np.argsort(-share, kind="stable")[: self._rules.features].tolist()
            if share[f] > 0
        )

    def _feature(self, name: str, observed: float, expected: float, contribution: float) -> Feature:
        known = self._categories.get(name, ())
        meaning = self._meanings.get(name)

        def category(code: float) -> str | None:
            return known[int(code)] if 0 <= code < len(known) else None

        return Feature(
            name=name,
            observed=observed,
            expected=expected,
            contribution=contribution,
            unit=self._units.get(name, ""),
            observed_category=category(observed),
            expected_category=category(expected),
            meaning=meaning.words if meaning else "",
            usual=meaning.usual if meaning else None,
        )
