"""Errors of normal windows and an alert budget -> the threshold, what it rests on, and what a person should know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from monitor.batch import Float64
from monitor.calibration.heldout import dispersion, inflation
from monitor.calibration.incident_count import LEVEL_STEP, Curve, Rows, Stretch, critical_levels, curve, incidents, lay
from monitor.calibration.tail import PEAKS, Doubt, Tail, first_trusted
from monitor.config import Incidents
from monitor.errors import MonitorError

Method = Literal["incidents", "tail", "largest", "saturated"]

DAY = 86_400.0
ENOUGH = 10
"""Incidents that the budget must allow within the normal data for them to be counted instead of extrapolated."""
FEW = 2
"""Where there is no tail to trust either: incidents that may still be counted."""
REACH = 0.8
"""Of the most incidents that any threshold makes: closer to it they grow into each other, and a slightly higher level
of normal errors makes one incident without an end."""
FOLDS = 10
FOLD_WINDOWS = 50
"""Fewer windows are no fold."""
_SIDED = 1.96
"""Standard deviations to each side of a 95 % range."""


@dataclass(frozen=True, slots=True)
class Range:
    """A rate, incidents per stream per day, and the 95 % range it is known within."""

    rate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold, and what may be expected of it on normal data like that it was calibrated on."""

    threshold: float  # unit of the error; an error above it is anomalous
    method: Method
    budget: float  # incidents per stream per day
    expected: Range
    stream_days: float  # normal data it rests on
    incidents: int  # that normal data would have had
    inflation: float  # how many times more incidents came in held-out times than were asked for; made up for
    tail: Tail | None  # method "tail"
    warnings: tuple[str, ...]  # sentences for people


def threshold_for(
    stretches: Sequence[Stretch], rules: Incidents, budget: float, interval: float, *, held_out: bool = True
) -> Threshold:
    """The lowest threshold that keeps `budget` incidents per stream per day, all streams taken together.

    `stretches` are the errors of windows that nothing was fitted to; `interval` is the seconds between two windows of
    a stream. Where the budget allows enough incidents within them they are counted ("incidents"). Where it does not,
    the tail of their peaks is continued ("tail"), if it is to be trusted; else the largest error is the threshold
    ("largest"). A budget that the rules cannot use up gets the threshold with the most incidents ("saturated").
    With `held_out`, the budget is first divided by what held-out times showed it to be exceeded by.
    Raises MonitorError where an error is not finite, or there is none, and where budget or interval is not positive.
    """
    if not (0 < budget < np.inf and 0 < interval < np.inf):
        raise MonitorError(
            f"a budget of {budget:g} incidents a day with {interval:g} s between windows gives no threshold",
            "Both must be positive numbers.",
        )
    total = sum(len(one.error) for one in stretches)
    rows = lay(stretches, folds=max(1, min(FOLDS, total // FOLD_WINDOWS)))
    windows = np.bincount(rows.fold, minlength=rows.folds).astype(np.float64)  # (folds,)
    days = windows * (interval / DAY)  # (folds,) stream-days
    allowed = budget * float(days.sum())
    counted = curve(rows, rules, most=max(3 * allowed, 2.0 * PEAKS[0]))
    times = inflation(counted, days, allowed) if held_out else 1.0
    basis = _Basis(rows, rules, counted, days, budget, times)
    reach = REACH * float(counted.total().max())
    if 0 < reach < allowed / times and allowed / times >= FEW:
        return basis.saturated(reach)
    if allowed / times >= ENOUGH:
        return basis.counted()
    tail = first_trusted(basis.candidates(), basis.stream_days)
    if isinstance(tail, Tail):
        return basis.continued(tail)
    return basis.counted(tail) if allowed / times >= FEW else basis.largest(tail)


def realised_rate(stretches: Sequence[Stretch], threshold: float, rules: Incidents, interval: float) -> Range:
    """Incidents per stream per day that these errors make at a threshold, and the Poisson 95 % range of their count."""
    rows = lay(stretches)
    opened, days = len(incidents(rows, threshold, rules)), len(rows) * interval / DAY
    return Range(opened / days, _gamma(opened, -_SIDED) / days, _gamma(opened + 1, _SIDED) / days)


@dataclass(frozen=True, slots=True)
class _Basis:
    rows: Rows
    rules: Incidents
    curve: Curve
    days: Float64  # (folds,)
    budget: float
    inflation: float

    @property
    def stream_days(self) -> float:
        return float(self.days.sum())

    @property
    def wanted(self) -> float:
        """Incidents within the calibration data."""
        return self.budget / self.inflation * self.stream_days

    def candidates(self) -> list[tuple[Float64, float]]:
        """Peaks, and the level they are above, from the lowest level; only where incidents have not begun to merge."""
        total = self.curve.total()
        found = []
        for peaks in PEAKS:
            index = self.curve.lowest(peaks)
            if index >= 0 and 2 * peaks <= total.max() * (1 + LEVEL_STEP):
                level = float(self.curve.level[index])
                found.append((critical_levels(self.rows, level, self.rules), level))
        return found

    def counted(self, doubt: Doubt | None = None) -> Threshold:
        # The c-th highest of the levels at which incidents come is exceeded c times in as much data to come, not
        # c - 1 times as here: hence one incident less than is wanted.
        index = max(0, self.curve.lowest(self.wanted - 1))
        lines = []
        if doubt is not None:
            lines.append(
                f"The budget allows only {self.wanted:.2g} incidents within {_days(self.stream_days)} of normal data, "
                f"and {doubt.reason}: the real number may be twice or half of it. {self._needed()}"
            )
        return self._at(index, "incidents", lines)

    def saturated(self, reach: float) -> Threshold:
        index = max(0, self.curve.lowest(reach))
        rate = reach / REACH / self.stream_days
        return self._at(
            index,
            "saturated",
            [
                f"A budget of {self.budget:g} incidents per stream per day cannot be used up: normal data makes at "
                f"most {rate:.3g} under these rules, beyond which they grow into one. The threshold stays above that."
            ],
        )

    def continued(self, tail: Tail) -> Threshold:
        wanted = self.budget / self.inflation
        threshold = tail.threshold_at(wanted)
        index = self.curve.lowest(tail.peaks)
        spread = tail.spread(threshold) * float(np.sqrt(dispersion(self.curve, self.days, index)))
        low, high = self.budget * np.exp(-_SIDED * spread), self.budget * np.exp(_SIDED * spread)
        lines = []
        if spread > np.log(2):
            lines.append(
                f"The threshold is extrapolated from {tail.peaks} incidents within {_days(self.stream_days)} of normal "
                f"data: expect between {low:.2g} and {high:.2g} incidents per stream per day. {self._needed()}"
            )
        return self._result(threshold, "tail", Range(self.budget, float(low), float(high)), lines, tail)

    def largest(self, doubt: Doubt) -> Threshold:
        line = (
            f"A budget of {self.budget:g} incidents per stream per day allows {self.wanted:.2g} within "
            f"{_days(self.stream_days)} of normal data, and {doubt.reason}: the threshold is their largest error, "
            f"so expect more alerts than asked. {self._needed()}"
        )
        return self._at(0, "largest", [line])

    def _needed(self) -> str:
        return f"About {_days(ENOUGH * self.inflation / self.budget)} of normal data would be needed."

    def _at(self, index: int, method: Method, lines: list[str]) -> Threshold:
        opened = int(self.curve.total()[index])
        degrees = (opened + 1) / dispersion(self.curve, self.days, index)
        unit = self.inflation * (opened + 1) / self.stream_days / degrees
        expected = Range(unit * degrees, unit * _gamma(degrees, -_SIDED), unit * _gamma(degrees, _SIDED))
        threshold = float(self.curve.level[index])
        if self.rows.error.max() <= 0:
            lines = ["The calibration windows are reconstructed without any error: every difference will alert."]
        return self._result(threshold, method, expected, lines, None)

    def _result(
        self, threshold: float, method: Method, expected: Range, lines: list[str], tail: Tail | None
    ) -> Threshold:
        opened = len(incidents(self.rows, threshold, self.rules))
        return Threshold(
            threshold,
            method,
            self.budget,
            expected,
            self.stream_days,
            opened,
            self.inflation,
            tail,
            tuple(lines),
        )


def _gamma(degrees: float, deviations: float) -> float:
    """A quantile of the gamma distribution of this shape (Wilson & Hilferty, PNAS 17, 1931); 0 for shape 0."""
    if degrees <= 0:
        return 0.0
    return float(degrees * max(0.0, 1 - 1 / (9 * degrees) + deviations / (3 * np.sqrt(degrees))) ** 3)


def _days(stream_days: float) -> str:
    return f"{stream_days:.3g} stream-days"
