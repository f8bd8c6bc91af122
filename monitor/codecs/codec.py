"""What every codec offers, and what they say alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import nan
from typing import Annotated, Any, NoReturn

import msgspec

from monitor import config
from monitor.batch import Reason
from monitor.codecs.layout import Layout

Category = Annotated[str, msgspec.Meta(min_length=1)] | int | float | bool
Read = tuple[str | None, float | None, Any]
"""Stream and time where the value tells them, and a row in the codec's own form."""
UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)
MAX_DEPTH = 500
"""Deepest nesting of a value. Left to itself the reader's limit moves with the depth of the stack it is called on."""

_LONGEST_DETAIL = 300  # characters: it goes into headers, logs and the status page, and quotes what a stranger sent


class NotAnEventError(Exception):
    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail if len(detail) <= _LONGEST_DETAIL else detail[: _LONGEST_DETAIL - 3] + "..."


def refuse(reason: Reason, detail: str) -> NoReturn:
    raise NotAnEventError(reason, detail)


class Codec(ABC):
    """Reads the values of one topic, for the features of one artefact in its order."""

    def __init__(self, layout: Layout, rules: config.Events) -> None:
        self._layout = layout
        self._rules = rules

    @abstractmethod
    def read(self, value: bytes | None) -> Read:
        """One value. Raises `NotAnEventError`."""

    @abstractmethod
    def numbers(self, rows: Sequence[Any]) -> Any:
        """Rows -> (N, numbers) float32 or float64: the features that are numbers; NaN where one is missing."""

    @abstractmethod
    def categories(self, rows: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """Rows -> (categories, N): the values of each feature that is a category; NaN where it is missing."""

    def look_again(self, value: bytes) -> None:  # noqa: B027  most have nothing to look for
        """Raises `NotAnEventError` where the NaN that was read is one that the policies refuse."""

    def sized(self, value: bytes | None) -> bytes:
        """The value, if there is one of a size that may be read. Raises `NotAnEventError`."""
        if value is None:
            refuse(Reason.TOMBSTONE, "the record has no value")
        if not value:
            refuse(Reason.EMPTY, "the value is empty")
        if len(value) > self._rules.max_bytes:
            refuse(Reason.OVERSIZED, f"{len(value)} bytes, events.max_bytes is {self._rules.max_bytes}")
        return value


class Policies:
    """What becomes of a feature that is not as it should be: NaN, or a refusal."""

    def __init__(self, rules: config.Events) -> None:
        self._rules = rules

    def missing(self, name: str) -> float:
        if self._rules.missing == "reject":
            refuse(Reason.MISSING_FEATURE, f"feature {name!r} is missing")
        return nan

    def unfit(self, name: str, fault: str) -> float:
        if self._rules.non_numeric == "reject":
            refuse(Reason.NON_NUMERIC, f"feature {name!r} is {fault}")
        return nan

    def unknown(self, left: Sequence[str]) -> None:
        if left and self._rules.unknown == "reject":
            refuse(Reason.UNKNOWN_FEATURE, f"feature {left[0]!r} is not one of the model's")


def not_finite(name: str) -> str:
    return f"feature {name!r} is not finite in float32"
