"""Numbers and contributions of a report in words, beyond those that the status page has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import floor, inf, isnan, log10

from monitor.alerts import Feature
from monitor.evaluation.backtest import Fired
from monitor.web.markup import THIN, UNKNOWN, duration, plural


def share(value: float) -> str:
    """0.874 with three decimals; a dash for what is not defined."""
    return UNKNOWN if isnan(value) else f"{value:.3f}"


def lasting(seconds: float) -> str:
    """A span of time, without a unit that is zero: 2 d 4 h, 6 min, 0.5 s."""
    if seconds < 10:
        return f"{seconds:.3g}{THIN}s"
    text = duration(seconds)
    for unit in ("s", "min", "h"):
        text = text.removesuffix(f" 0{THIN}{unit}")
    return text


def lasted(one: Fired) -> str:
    return "open" if one.ended_at is None else lasting(one.ended_at - one.started_at)


def pair(observed: float, expected: float) -> tuple[str, str]:
    """Two values, as exact as the larger one with four digits: 1 and -4.7e-07 are 1 and 0."""
    largest = max(abs(observed), abs(expected))
    if not 0 < largest < inf:
        return f"{observed:.4g}", f"{expected:.4g}"
    digits = 3 - floor(log10(largest))
    first, second = (f"{round(value, digits) + 0.0:.6g}" for value in (observed, expected))
    return first, second


def worth(one: Fired, most: int) -> list[Feature]:
    """The largest contributions; none below 1 % but the first."""
    return [feature for place, feature in enumerate(one.features[:most]) if not place or feature.contribution >= 0.01]


def leading(one: Fired, most: int) -> str:
    """The largest contributions, each with what was seen and what was expected."""
    told = []
    for feature in worth(one, most):
        observed, expected = pair(feature.observed, feature.expected)
        told.append(f"{feature.name} {feature.contribution:.0%} ({observed}, expected {expected})")
    return ", ".join(told)


def other_kinds(fired: Iterable[Fired]) -> tuple[str, ...]:
    """How many drifts and faults of the data are among incidents, in words; those that there are none of left out."""
    kinds = Counter(one.kind for one in fired)
    faults, drifts = kinds["data_quality"], kinds["drift"]
    said = [f"{plural(faults, 'fault')} of the data"] if faults else []
    return (*said, plural(drifts, "drift")) if drifts else tuple(said)
