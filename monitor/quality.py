"""Faults of the data themselves, found in single windows: what no process does, but sensors, units and clocks do.

Each finding is a function of one window: of its T events' values as they are stored, and of streaks that count no
further back than the window. So whoever rebuilds the window finds the same. A fault that one window cannot show (a
sensor that is stuck for longer than T events before it counts, a stream that had the wrong unit from its first event)
is not looked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from monitor import config
from monitor.batch import Float32, Float64, Windows
from monitor.incident_state import Finding, Reading
from monitor.timing import Limits

Bools = NDArray[np.bool_]

MARGIN = 0.1  # of a feature's training range: what is further outside has left it
_JUMPED = 3  # events in the new unit before a jump is told
_LIVELY = 0.1  # least ratio of the steps before and after, and its inverse the greatest; a spike has none after it
_SAME_LEVEL = 0.5  # of the range of the values before the jump: what their mean may differ from that after it
_ROUNDING = 1e-5  # of a value: float32, and factors that are written with six digits


@dataclass(frozen=True, slots=True)
class Unit:
    """A change of unit: new = factor x old + offset."""

    name: str
    factor: float
    offset: float = 0.0


UNITS = (
    Unit("x 1000", 1000),
    Unit("x 0.001", 0.001),
    Unit("x 100", 100),
    Unit("x 0.01", 0.01),
    Unit("x 60", 60),
    Unit("x 1/60", 1 / 60),
    Unit("°C to °F", 1.8, 32),
    Unit("°F to °C", 1 / 1.8, -32 / 1.8),
    Unit("°C to K", 1, 273.15),
    Unit("K to °C", 1, -273.15),
    Unit("lb to kg", 0.45359237),
    Unit("kg to lb", 1 / 0.45359237),
    Unit("bar to psi", 14.503774),
    Unit("psi to bar", 1 / 14.503774),
    Unit("m to ft", 1 / 0.3048),
    Unit("ft to m", 0.3048),
    Unit("in to mm", 25.4),
    Unit("mm to in", 1 / 25.4),
)


@dataclass(frozen=True, slots=True)
class Known:
    """What training says of a feature, source units."""

    name: str
    minimum: float
    maximum: float
    still: int | None = None  # longest run of events with one value; None where it was not recorded
    number: bool = True  # not the code of a category


def limits(rules: config.Quality, interval: float) -> Limits:
    """Beyond which the times of events are off; `interval` (s) is the usual one."""
    factor = rules.rate_factor or inf
    return Limits(
        fast=interval / factor,
        slow=interval * factor if interval > 0 else inf,
        ahead=rules.clock_ahead or inf,
        behind=rules.clock_behind or inf,
    )


class Quality:
    """The checks of one model's features; W windows in, the findings of those that have any out."""

    def __init__(
        self,
        rules: config.Quality,
        features: Sequence[Known],
        window: int,
        interval: float,
        lowest: Float64,
        highest: Float64,
    ) -> None:
        """`window` is T; `interval` (s) is the usual one.

        `lowest` and `highest` (F,) bound what is valid, infinite where nothing does.
        """
        self._rules = rules
        self._names = [known.name for known in features]
        self._window = window
        self._interval = interval
        self._still = rules.stuck_after or window
        varied = np.array([known.number and known.maximum > known.minimum for known in features], np.bool_)  # (F,)
        seldom = [
            rules.stuck_after is not None or (known.still is not None and 2 * known.still <= window)
            for known in features
        ]
        self._may_stick = varied & np.array(seldom, np.bool_) & rules.stuck & (self._still >= 2)
        self._minimum = np.array([known.minimum for known in features], np.float64)
        self._maximum = np.array([known.maximum for known in features], np.float64)
        width = self._maximum - self._minimum
        self._width = np.where(width > 0, width, 1.0)
        jumps = varied & rules.unit_jump
        self._low = np.where(jumps, self._minimum - MARGIN * width, -inf)
        self._high = np.where(jumps, self._maximum + MARGIN * width, inf)
        self._valid = lowest, highest
        self._bounded = bool(np.isfinite(lowest).any() or np.isfinite(highest).any())

    @property
    def gaps(self) -> bool:
        """Whether gaps are told."""
        return self._rules.gap

    def check(self, windows: Windows, expected: Float32, time: Float64) -> dict[int, tuple[Finding, ...]]:
        """Findings by window; `expected` (W, F) and `time` (W,) are of the closing events."""
        found: defaultdict[int, list[Finding]] = defaultdict(list)
        last = windows.values[:, -1]  # (W, F)

        def readings(w: int, features: Sequence[int]) -> tuple[Reading, ...]:
            return tuple(Reading(self._names[f], float(last[w, f]), float(expected[w, f])) for f in features)

        still = float(self._still)
        for w, features in self._stuck(windows).items():
            found[w].append(Finding("stuck", readings(w, features), still, still, float(time[w])))
        left = self._beyond(last, self._low, self._high)
        for w, features in _by_row(left > 0).items():
            for f in features:
                unit = self._jump(windows.values[w, :, f].astype(np.float64), f)
                lasting = unit is None
                if unit or self._units(last[w : w + 1, f].astype(np.float64), f):
                    fault = Finding(
                        "unit_jump", readings(w, [f]), 1 + float(left[w, f]), 1.0, float(time[w]), unit or "", lasting
                    )
                    found[w].append(fault)
        limit = self._rules.max_missing
        if windows.missing is not None and limit is not None:
            for w, features in _by_row(windows.missing > limit).items():
                most = float(windows.missing[w, features].max())
                found[w].append(Finding("missing", readings(w, features), most, limit, float(time[w])))
        if self._bounded:
            invalid = self._beyond(last, *self._valid)
            for w, features in _by_row(invalid > 0).items():
                most = float(invalid[w, features].max())
                found[w].append(Finding("out_of_range", readings(w, features), 1 + most, 1.0, float(time[w])))
        for w, finding in self._timing(windows, time):
            found[w].append(finding)
        return {w: tuple(findings) for w, findings in found.items()}

    def _beyond(self, values: Float32, lowest: Float64, highest: Float64) -> Float64:
        """(W, F) how far outside these bounds, in widths of the training range; 0 inside."""
        beyond = np.maximum(lowest - values, values - highest)
        return np.asarray(np.maximum(beyond, 0) / self._width, np.float64)

    def _stuck(self, windows: Windows) -> dict[int, list[int]]:
        """Features by window that kept one value; what was imputed does not count as kept."""
        values = windows.values[:, -self._still :]
        candidates = (values[:, 0] == values[:, -1]) & self._may_stick  # (W, F)
        if windows.missing is not None:
            candidates &= windows.missing == 0
        w, f = np.nonzero(candidates)
        if not len(w):
            return {}
        candidates[w, f] = (values[w, :, f] == values[w, :1, f]).all(axis=1)
        return _by_row(candidates)

    def _jump(self, values: Float64, f: int) -> str | None:
        """Which change of unit these (T,) values of a feature show, the last of which left its training range.

        Before the jump they were inside it. After the jump, once it is taken back, they are again, at the level that
        they had, and as lively: a spike, or a level shift by another amount, is not.
        """
        outside = (values < self._low[f]) | (values > self._high[f])
        inside = np.flatnonzero(~outside)
        jump = int(inside[-1]) + 1 if len(inside) else 0
        before = np.flatnonzero(outside[:jump])
        old, new = values[int(before[-1]) + 1 if len(before) else 0 : jump], values[jump:]
        if len(old) < _JUMPED or len(new) < _JUMPED:
            return None
        best: tuple[float, str] | None = None
        for unit in self._units(new, f):
            back = (new - unit.offset) / unit.factor
            rounding = _ROUNDING * (abs(unit.offset / unit.factor) + float(np.abs(old).max()))
            distance = abs(float(back.mean()) - float(old[-len(new) :].mean()))
            steps = [float(np.abs(np.diff(part)).max()) for part in (old, back)]
            level = distance <= _SAME_LEVEL * float(np.ptp(old)) + rounding
            lively = max(steps) <= min(steps) / _LIVELY + rounding
            if level and lively and (best is None or distance < best[0]):
                best = distance, unit.name
        return best[1] if best else None

    def _units(self, values: Float64, f: int) -> list[Unit]:
        """The changes of unit that, taken back, bring all these values of a feature into its training range."""
        return [
            unit
            for unit in UNITS
            if (values >= self._low[f] * unit.factor + unit.offset).all()
            and (values <= self._high[f] * unit.factor + unit.offset).all()
        ]

    def _timing(self, windows: Windows, time: Float64) -> Iterator[tuple[int, Finding]]:
        timing, rules = windows.timing, self._rules
        if timing is None:
            return
        for w in np.flatnonzero(np.abs(timing.skew) >= self._window).tolist():
            ahead, off = int(timing.skew[w]) > 0, abs(float(timing.ahead[w]))
            limit = rules.clock_ahead if ahead else rules.clock_behind
            if limit is not None:
                detail = "ahead of" if ahead else "behind"
                yield w, Finding("clock_skew", (), off, limit, float(time[w]), detail)
        steady = max(1, self._window - 1)
        for w in np.flatnonzero(np.abs(timing.pace) >= steady).tolist():
            ratio = float(timing.interval[w]) / self._interval
            if rules.rate_factor is not None:
                slower = int(timing.pace[w]) > 0
                detail = "more seldom" if slower else "more often"
                measure = ratio if slower else 1 / ratio
                yield w, Finding("sampling_rate", (), measure, rules.rate_factor, float(time[w]), detail)


def _by_row(found: Bools) -> dict[int, list[int]]:
    """(W, F) -> the columns that are true, of each row that has some."""
    by_row: defaultdict[int, list[int]] = defaultdict(list)
    for w, f in zip(*(places.tolist() for places in np.nonzero(found)), strict=True):
        by_row[w].append(f)
    return by_row
