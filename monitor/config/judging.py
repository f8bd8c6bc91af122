"""What may count as an anomaly, which faults are the data's own, and what is learned of each stream while it flows."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from monitor.config.section import Seconds, Section

WEEK = 7 * 86400.0
"""Seconds."""
DIRECTIONS = ("above", "below", "both")


def instant(text: str) -> float:
    """A moment as the file has it -> seconds since the Unix epoch. Raises ValueError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"must be a time with its zone, such as 2026-01-04T02:00:00Z, not {text[:60]!r}")
    return moment.timestamp()


def _instant(text: str) -> str:
    instant(text)
    return text


def _direction(text: str) -> str:
    if text not in DIRECTIONS:
        raise ValueError(f"must be above, below or both, not {text[:60]!r}")
    return text


def _range(ends: list[float | None]) -> list[float | None]:
    given = [end for end in ends if end is not None]
    if len(ends) != 2 or not given or given != sorted(set(given)):
        raise ValueError("must be [lowest, highest], the lower one first; null leaves one of them open")
    return ends


class Maintenance(Section):
    """A time in which nothing opens."""

    begin: Annotated[str, AfterValidator(_instant), Field(alias="from")]
    """`from`: its beginning, with a time zone (2026-01-04T02:00:00Z)."""
    end: Annotated[str, AfterValidator(_instant), Field(alias="to")]
    """`to`: its end; the first moment that is no longer in it."""
    streams: Annotated[str, Field(min_length=1)] = "*"
    """Pattern of the streams' names (`pump-*`)."""
    weekly: bool = False
    """Again every seven days, at the same time in UTC."""

    @property
    def start(self) -> float:
        """Seconds since the Unix epoch."""
        return instant(self.begin)

    @property
    def length(self) -> float:
        """Seconds."""
        return instant(self.end) - instant(self.begin)

    def __str__(self) -> str:
        return f"{self.begin} to {self.end}, streams {self.streams}" + (", weekly" if self.weekly else "")

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        keys = given.keys() if isinstance(given, dict) else set()
        for name in keys - {"from", "to", "streams", "weekly"}:
            raise ValueError(f"unknown key {str(name)[:60]!r}; a maintenance window has from, to, streams and weekly")
        if not {"from", "to"} <= keys:
            raise ValueError("a maintenance window must have from and to; streams and weekly are optional")
        return given

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.length <= 0:
            raise ValueError("to must be later than from")
        if self.weekly and self.length >= WEEK:
            raise ValueError("a weekly maintenance window must be shorter than a week")
        return self


_Deviation = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Bound = Annotated[float, Field(allow_inf_nan=False)]


class Gates(Section):
    """Which anomalous scores may count. Features are named as the model has them, or by a pattern (`temp_*`); where
    several patterns fit, the last one counts.
    """

    ignore: list[str] = Field(default_factory=list)
    """Features (names or patterns) that never contribute: the score is taken over the others."""
    min_deviation: dict[str, _Deviation] = Field(default_factory=dict)
    """By feature: what it must differ from its expected value, in its own unit, to contribute."""
    min_relative: dict[str, _Deviation] = Field(default_factory=dict)
    """By feature: what it must differ from its expected value, as a share of the expected value, to contribute."""
    direction: dict[str, Annotated[str, AfterValidator(_direction)]] = Field(default_factory=dict)
    """By feature: `above` (contributes only where it is higher than expected), `below` or `both`."""
    valid_range: dict[str, Annotated[list[_Bound | None], AfterValidator(_range)]] = Field(default_factory=dict)
    """By feature: `[lowest, highest]`, `null` for an open end. A value outside is a fault of the data, no anomaly."""
    maintenance: list[Maintenance] = Field(default_factory=list)
    """Times in which nothing opens, closes or is updated: `{from: 2026-01-04T02:00:00Z, to: 2026-01-04T04:00:00Z,
    streams: "pump-*", weekly: true}`; streams (a pattern) and weekly (again every seven days, in UTC) may be left
    out."""


class Quality(Section):
    """Faults of the data themselves, told as incidents of kind data_quality; each check can be turned off."""

    stuck: bool = True
    """A feature that varied in training keeps one value, to the bit."""
    stuck_after: Annotated[int, Field(ge=2)] | None = None
    """For so many events, at most the model's window. Not given: a whole window, and only features of which the
    artefact says that they never did so half as long in training."""
    unit_jump: bool = False
    """A feature has changed by a factor between units (x 1000, °C to °F, lb to kg, ...) and left its training range.
    For measurements that have units: a share, or a load that jumps between levels, may change so of its own accord."""
    max_missing: Annotated[float, Field(gt=0, lt=1)] | None = 0.5
    """Share of a window in which a feature may be missing (and imputed); none means any."""
    gap: bool = True
    """A stream comes back after a silence longer than `windows.max_gap`."""
    clock_ahead: Seconds | None = 60
    """Event times of a whole window are further ahead of the records' timestamps than this; none means never."""
    clock_behind: Seconds | None = None
    """Event times of a whole window are further behind than this. Not by default: late delivery looks the same."""
    rate_factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] | None = 4
    """All intervals of a window are so many times shorter, or all so many times longer, than usual in training."""


class Adaptation(Section):
    """Slow change: what each stream's errors usually are is learned from its normal windows while it flows."""

    enabled: bool = False
    """Errors are taken in units of the stream's own, as far as it is known, instead of training's."""
    half_life: Seconds = 86400
    """Seconds of event time after which what was learned counts half."""
    prior_windows: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Windows of a stream that weigh as much as the fleet's calibration. Not given: how much the streams of the
    training data differ decides (the artefact says it), or 10 where there was one."""
    limit: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 30
    """The most by which a stream's usual error is learned to be above training's, and its inverse the least."""
    absorb_after: Seconds | None = 86400
    """An anomaly that is open for so many seconds of event time, with steady errors, closes as `absorbed`: they are the
    stream's usual ones from then on. None: never."""
    drift_factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] | None = 3
    """An incident of kind drift opens when a feature's usual error is so many times above, or below, training's. None:
    never."""
