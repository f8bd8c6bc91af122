"""Markup that cannot forget to escape, and numbers, times and counts in words for people. Pure."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from datetime import UTC, datetime

THIN = "\u202f"  # between groups of three digits, and between a number and its unit
UNKNOWN = "\u2013"
_VOID = frozenset({"meta"})


class Html(str):
    """Markup: never escaped again. Only `tag` and `join` make it."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: str | None) -> Html:
    """An element. Children that are not Html are escaped; an attribute of None is left out; `class_` means class."""
    head = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{head}>") if name in _VOID else Html(f"<{name}{head}>{join(children)}</{name}>")


def join(parts: Iterable[str]) -> Html:
    """Parts one after the other; what is not Html is escaped."""
    return Html("".join(part if isinstance(part, Html) else html.escape(part) for part in parts))


def number(value: float) -> str:
    """12 345; one decimal below 100 where there is one."""
    if not math.isfinite(value):
        return UNKNOWN
    text = f"{value:,.1f}" if value < 100 and value != int(value) else f"{value:,.0f}"
    return text.replace(",", THIN)


def significant(value: float) -> str:
    """Three significant digits, never in powers of ten where a person can read it without."""
    if not math.isfinite(value):
        return UNKNOWN
    value = float(f"{value:.3g}")
    if value != 0 and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.2e}"
    decimals = 2 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}".replace(",", THIN)


def percent(part: int, whole: int) -> str:
    """A share as 0 %, < 0.01 %, 1.25 %, 40 %."""
    share = 100 * part / whole if whole else 0.0
    if part and share < 0.01:
        return f"< 0.01{THIN}%"
    return f"{share:.2f}".rstrip("0").rstrip(".") + f"{THIN}%"


def plural(count: float, noun: str) -> str:
    """1 window, 2 windows."""
    return f"{number(count)} {noun}" + ("" if count == 1 else "s")


def moment(seconds: float) -> str:
    """2024-04-05 20:15:07, UTC; a time no calendar holds as its number."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g}"


def duration(seconds: float) -> str:
    """The two greatest units: 3 d 4 h, 12 min 5 s."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts or unit == "s":
            parts.append(f"{count}{THIN}{unit}")
    return " ".join(parts[:2])
