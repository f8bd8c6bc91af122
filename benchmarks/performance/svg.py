"""Plots as files of their own: lines, and stacked bars. The same bytes for the same data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monitor.evaluation.charts import Axis
from monitor.web.markup import Html, tag

COLOURS = ("#2a6fbb", "#d9722e", "#2f8f5b", "#8a5bb0", "#b0413e", "#6b7280", "#b8912b", "#4b9aa8", "#c65b8a")
WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 78, 24, 58, 52
_FONT = "system-ui, sans-serif"


@dataclass(frozen=True, slots=True)
class Line:
    """A series; points are (x, y), and (x, low, high) where there is a spread."""

    name: str
    points: Sequence[tuple[float, float]]
    spread: Sequence[tuple[float, float, float]] = ()
    dashed: bool = False


def lines(title: str, across: str, up: str, series: Sequence[Line], *, log_x: bool = False, log_y: bool = False) -> str:
    """A plot of lines with a legend."""
    x = _axis([p[0] for line in series for p in line.points], log_x)
    heights = [p[1] for line in series for p in line.points] + [s[2] for line in series for s in line.spread]
    y = _axis(heights, log_y)
    shapes = []
    for number, line in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        places = [(_x(x, a), _y(y, b)) for a, b in line.points]
        path = "M" + " L".join(f"{a:.1f} {b:.1f}" for a, b in places)
        dashes = "6 4" if line.dashed else None
        shapes.append(tag("path", d=path, fill="none", stroke=colour, stroke_width="2", stroke_dasharray=dashes))
        shapes += [
            tag("line", x1=f"{_x(x, a):.1f}", x2=f"{_x(x, a):.1f}", y1=f"{_y(y, low):.1f}", y2=f"{_y(y, high):.1f}",
                stroke=colour, stroke_width="1.5")
            for a, low, high in line.spread
        ]  # fmt: skip
        if not line.dashed:
            shapes += [tag("circle", cx=f"{a:.1f}", cy=f"{b:.1f}", r="3", fill=colour) for a, b in places]
    grid = [_tick(_x(x, value), None, words(value)) for value in _ticks(x)]
    grid += [_tick(None, _y(y, value), words(value)) for value in _ticks(y)]
    names = [(line.name, COLOURS[number % len(COLOURS)]) for number, line in enumerate(series)]
    return _page(title, across, up, [*grid, *shapes], names, HEIGHT)


def bars(title: str, across: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    """One bar for each row, of named parts laid end to end."""
    parts = list(dict.fromkeys(name for row in rows.values() for name in row))
    x = Axis(0.0, max(sum(row.values()) for row in rows.values()) * 1.12)
    height = TOP + BOTTOM + 46 * len(rows)
    shapes = [_tick(_x(x, value), None, words(value), height) for value in x.ticks(6)]
    for number, (name, row) in enumerate(rows.items()):
        top, at = TOP + 46 * number + 20, 0.0
        shapes.append(_text(name, LEFT, top - 4, "start"))
        for part in parts:
            width = row.get(part, 0.0)
            colour = COLOURS[parts.index(part) % len(COLOURS)]
            left, right = _x(x, at), _x(x, at + width)
            told = tag("title", f"{part}: {width:.1f}")
            shapes.append(
                tag("rect", told, x=f"{left:.1f}", y=str(top), width=f"{right - left:.1f}", height="20", fill=colour)
            )
            at += width
        shapes.append(_text(f"{at:.1f}", _x(x, at) + 6, top + 14, "start"))
    names = [(part, COLOURS[number % len(COLOURS)]) for number, part in enumerate(parts)]
    return _page(title, across, "", shapes, names, height)


def words(value: float) -> str:
    """A number for an axis: 1M, 20k, 0.5."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _axis(values: Sequence[float], log: bool) -> Axis:
    if log:
        low, high = min(values), max(values)
        return Axis(low / 1.3, high * 1.3, log=True)
    return Axis(0.0, max(values) * 1.1 or 1.0)


def _ticks(axis: Axis) -> list[float]:
    """Round values; of a logarithmic axis the powers of ten, and 2 and 5 times them where these are few."""
    found = axis.ticks(6)
    if not axis.log or len(found) > 2:
        return found
    decades = [10.0**power for power in range(-9, 13)]
    return [step * ten for ten in decades for step in (1, 2, 5) if axis.low <= step * ten <= axis.high]


def _x(axis: Axis, value: float) -> float:
    return LEFT + float(axis.at(value)) * (WIDTH - LEFT - RIGHT)


def _y(axis: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - float(axis.at(value)) * (HEIGHT - TOP - BOTTOM)


def _tick(x: float | None, y: float | None, text: str, height: int = HEIGHT) -> Html:
    bottom = height - BOTTOM
    if x is not None:
        line = {"x1": f"{x:.1f}", "x2": f"{x:.1f}", "y1": str(TOP), "y2": str(bottom)}
        label = _text(text, x, bottom + 16, "middle")
    else:
        line = {"x1": str(LEFT), "x2": str(WIDTH - RIGHT), "y1": f"{y:.1f}", "y2": f"{y:.1f}"}
        label = _text(text, LEFT - 8, (y or 0.0) + 4, "end")
    return tag("g", tag("line", stroke="#e2e4e8", stroke_width="1", **line), label)


def _text(text: str, x: float, y: float, anchor: str, weight: str | None = None) -> Html:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}"}
    return tag(
        "text", text, text_anchor=anchor, font_family=_FONT, font_size="12", font_weight=weight, fill="#30343b", **place
    )


def _page(
    title: str, across: str, up: str, shapes: Sequence[Html], names: Sequence[tuple[str, str]], height: int
) -> str:
    legend, at, top = [], float(LEFT), 24
    for name, colour in names if len(names) > 1 else ():
        width = 30 + 6.6 * len(name)
        if at + width > WIDTH:
            at, top = float(LEFT), top + 17
        legend.append(tag("rect", x=f"{at:.1f}", y=str(top), width="10", height="10", fill=colour))
        legend.append(_text(name, at + 14, top + 9, "start"))
        at += width
    labels = [_text(title, LEFT, 16, "start", "600"), _text(across, (LEFT + WIDTH - RIGHT) / 2, height - 14, "middle")]
    if up:
        turned = f"rotate(-90 16 {height / 2:.0f})"
        text = tag("text", up, x="16", y=f"{height / 2:.0f}", text_anchor="middle", font_family=_FONT, font_size="12",
                   fill="#30343b", transform=turned)  # fmt: skip
        labels.append(text)
    size = {"width": str(WIDTH), "height": str(height), "viewBox": f"0 0 {WIDTH} {height}"}
    ground = tag("rect", width="100%", height="100%", fill="#ffffff")
    found = tag("svg", ground, *labels, *legend, *shapes, xmlns="http://www.w3.org/2000/svg", role="img", **size)
    return f"{found}\n"
