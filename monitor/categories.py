"""Categories as codes: the text of a value -> its place among the names. One rule for files, topics and the service.

The text counts as it is. A number or a boolean is taken as its JSON text, where 5.0 is "5". An empty text is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite, nan

import msgspec

UNKNOWN = -1.0
"""Code of a value that is none of the names."""


class Codes(dict[str, float]):
    """Code of each name, looked up by any value; `UNKNOWN` for others, NaN for what is missing."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        super().__init__((name, float(code)) for code, name in enumerate(names))

    def __missing__(self, value: object) -> float:
        if value is None or value == "":
            return nan
        if isinstance(value, float) and not isfinite(value):
            return value
        return self.of_text(_text(value))

    def of_text(self, text: str) -> float:
        """Code of a text, whether it is a name or not."""
        return self.get(text, UNKNOWN)


def _text(value: object) -> str:
    """Raises TypeError for what is neither text nor number nor boolean."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        # A whole number beyond 2^53 has the exponent that JSON writes; below, all its digits.
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else msgspec.json.encode(value).decode()
    raise TypeError(f"{type(value).__name__} is no category")
