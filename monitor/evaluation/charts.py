"""Charts as SVG text: bounded in size whatever the data, the same bytes for the same data, no script. Pure.

A plot has the width of the page and a height in pixels. Only its lines are stretched; texts, dots and strokes keep
their size on any screen: x is given in percent, y in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from monitor.batch import Float64, Int64
from monitor.web.markup import Html, join, number, tag

COLUMNS = 900
"""Most columns of a line; each keeps its lowest and its highest value."""
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200)
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Axis:
    """From a low to a high value, evenly or by their logarithm."""

    low: float
    high: float
    log: bool = False

    def at(self, value: Float64 | float) -> Float64:
        """Share of the way from low to high, cut off at both ends."""
        given = np.asarray(value, np.float64)
        low, high = self.low, self.high
        if self.log:
            given = np.log10(np.maximum(given, np.finfo(np.float64).tiny))
            low, high = math.log10(low), math.log10(high)
        share: Float64 = np.clip((given - low) / ((high - low) or 1.0), 0.0, 1.0)
        return share

    def ticks(self, most: int = 5) -> list[float]:
        """At most about `most` round values within."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            every = max(1, math.ceil((last - first + 1) / most))
            return [10.0**power for power in range(first, last + 1) if power % every == 0]
        span = (self.high - self.low) or 1.0
        step = 10.0 ** math.floor(math.log10(span / most))
        step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= most)
        return [step * k for k in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True)
class Envelope:
    """A series in K columns of a plot: place (share of the width), lowest and highest value of each."""

    x: Float64  # (K,)
    low: Float64  # (K,)
    high: Float64  # (K,)


def envelope(time: Float64, value: Float64, axis: Axis, columns: int = COLUMNS) -> Envelope:
    """The n values, NaN left out, as at most `columns` columns. No extreme is lost."""
    known = np.isfinite(value) & (time >= axis.low) & (time <= axis.high)
    place = axis.at(time[known])
    column = np.minimum((place * columns).astype(np.int64), columns - 1)
    order = np.argsort(column, kind="stable")
    column, place, kept = column[order], place[order], value[known][order]
    first = np.flatnonzero(np.diff(column, prepend=-1))
    if not len(first):
        return Envelope(np.empty(0), np.empty(0), np.empty(0))
    return Envelope(place[first], np.minimum.reduceat(kept, first), np.maximum.reduceat(kept, first))


def line(shape: Envelope, y: Axis, height: int, class_: str, *, whole: bool = False) -> Html:
    """The columns as one line, broken where there is no value for long, unless it is `whole`."""
    if not len(shape.x):
        return Html()
    across = 1000 * shape.x
    low, high = height * (1 - y.at(shape.low)), height * (1 - y.at(shape.high))
    steps = np.diff(across)
    longest = max(5 * float(np.median(steps)), 3.0) if len(steps) and not whole else np.inf
    broken = np.concatenate([[True], steps > longest])
    parts: list[str] = []
    before = 0.0  # where the pen is: the nearer end comes first
    for i, (x, bottom, top) in enumerate(zip(across.tolist(), low.tolist(), high.tolist(), strict=True)):
        begin, end = (bottom, top) if abs(before - bottom) <= abs(before - top) else (top, bottom)
        parts.append(f"{'M' if broken[i] else 'L'}{x:.1f} {begin:.1f}")
        if f"{begin:.1f}" != f"{end:.1f}":
            parts.append(f"L{x:.1f} {end:.1f}")
        elif broken[i]:
            parts.append("l0.1 0")  # a lone value is a dot
        before = end
    return tag("path", d="".join(parts), class_=class_, vector_effect="non-scaling-stroke")


def stretched(height: int, *shapes: Html) -> Html:
    """Shapes whose x runs from 0 to 1000, over the whole width."""
    return tag(
        "svg",
        *shapes,
        viewBox=f"0 0 1000 {height}",
        preserveAspectRatio="none",
        width="100%",
        style=f"height:{height}px",
    )


def band(begin: float, end: float, top: int, height: int, class_: str, title: str) -> Html:
    """Shares of the width as a bar that can always be seen."""
    width = max(100 * (end - begin), 0.25)
    left = min(100 * begin, 100 - width)
    return tag(
        "rect",
        tag("title", title),
        x=f"{left:.2f}%",
        width=f"{width:.2f}%",
        y=str(top),
        height=str(height),
        class_=class_,
    )


def across(y: float, class_: str) -> Html:
    """A level line at so many pixels from the top."""
    return tag("line", x1="0", x2="100%", y1=f"{y:.1f}", y2=f"{y:.1f}", class_=class_)


def upright(x: float, height: int, class_: str, title: str = "") -> Html:
    """A line at a share of the width."""
    place = f"{100 * x:.2f}%"
    told = (tag("title", title),) if title else ()
    return tag("line", *told, x1=place, x2=place, y1="0", y2=str(height), class_=class_)


def dots(x: Float64, y: Float64, height: int, class_: str, radius: float = 2.6) -> Html:
    """Dots at shares of width and height (n,)."""
    places = zip((100 * x).tolist(), (height * (1 - y)).tolist(), strict=True)
    return tag("g", *(tag("circle", cx=f"{a:.2f}%", cy=f"{b:.1f}", r=f"{radius:g}") for a, b in places), class_=class_)


def bars(begin: Float64, end: Float64, low: Float64, high: Float64, height: int, class_: str) -> Html:
    """Upright bars (n,): from share to share of the width, from share to share of the height."""
    columns = zip(begin.tolist(), end.tolist(), low.tolist(), high.tolist(), strict=True)
    return tag(
        "g",
        *(
            tag(
                "rect",
                x=f"{100 * a:.3f}%",
                width=f"{100 * (b - a):.3f}%",
                y=f"{height * (1 - d):.1f}",
                height=f"{height * (d - c):.1f}",
            )
            for a, b, c, d in columns
            if d > c
        ),
        class_=class_,
    )


def frame(
    plot: Iterable[Html], height: int, described: str, x: Sequence[tuple[float, str]], y: Sequence[tuple[float, str]]
) -> Html:
    """A plot with its axes: ticks are (share, text). `described` is what a screen reader says of it."""
    grid = [across(height * (1 - share), "grid") for share, _ in y]
    grid += [upright(share, height, "grid") for share, _ in x]
    left = [tag("text", text, x="100%", y=f"{_within(height * (1 - share) + 4, height):.1f}") for share, text in y]
    below = [tag("text", text, x=f"{100 * share:.2f}%", y="13", class_=_anchor(share)) for share, text in x]
    return tag(
        "div",
        tag("svg", *left, class_="ticks", aria_hidden="true", style=f"height:{height}px"),
        tag("svg", *grid, *plot, class_="plot", role="img", aria_label=described, style=f"height:{height}px"),
        tag("svg", *below, class_="ticks below", aria_hidden="true", style="height:18px"),
        class_="frame",
    )


def times(axis: Axis, most: int = 4) -> list[tuple[float, str]]:
    """Ticks of a time axis in UTC; the day is told where it changes."""
    span = (axis.high - axis.low) or 1.0
    step = next((step for step in _STEPS if span / step <= most), 0)
    if not step:
        step = _DAY * next(days for days in _days() if span / (_DAY * days) <= most)
    ticks, shown = [], ""
    for k in range(math.ceil(axis.low / step), math.floor(axis.high / step) + 1):
        try:
            moment = datetime.fromtimestamp(k * step, UTC)
        except (ValueError, OverflowError, OSError):  # a time that no calendar holds
            continue
        day = moment.strftime("%Y-%m-%d" if not shown else "%m-%d")
        clock = moment.strftime("%H:%M:%S" if step < 60 else "%H:%M")
        changed = moment.strftime("%m-%d") != shown
        shown = moment.strftime("%m-%d")
        text = moment.strftime("%Y-%m-%d") if step >= _DAY else f"{day} {clock}" if changed else clock
        ticks.append((float(axis.at(float(k * step))), text))
    return ticks


def power(value: float) -> str:
    """As a tick: 1 000, 0.01, 1e7."""
    if 1 <= value < 1e6:
        return number(value)
    return f"{value:g}" if 1e-4 <= value < 1 else f"1e{round(np.log10(value))}"


def joined(spans: Int64, most: int) -> Int64:
    """(M, 2) ascending [start, end) -> at most `most` of them: the nearest neighbours become one."""
    if len(spans) <= most:
        return spans
    gaps = spans[1:, 0] - np.maximum.accumulate(spans[:, 1])[:-1]
    cut = np.sort(np.argsort(-gaps, kind="stable")[: most - 1]) + 1
    first = np.concatenate([[0], cut])
    return np.stack([spans[first, 0], np.maximum.reduceat(spans[:, 1], first)], axis=1)


def legend(entries: Sequence[tuple[str, str]]) -> Html:
    """(class of the mark, text) in a row."""
    return tag(
        "ul",
        *(tag("li", tag("span", class_=f"mark {class_}", aria_hidden="true"), text) for class_, text in entries),
        class_="legend small",
    )


def figure(body: Sequence[str], caption: str = "") -> Html:
    below = (tag("figcaption", caption, class_="quiet small"),) if caption else ()
    return tag("figure", join(body), *below)


def _days() -> Iterable[int]:
    days = 1
    while True:
        yield from (days, 2 * days, 7 * days) if days == 1 else (days, 2 * days, 5 * days)
        days = 14 if days == 1 else days * 10


def _within(y: float, height: int) -> float:
    return min(max(y, 10.0), height - 1.0)


def _anchor(share: float) -> str:
    return "first" if share < 0.06 else "last" if share > 0.94 else "middle"
