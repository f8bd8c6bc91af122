"""The members of a JSON value that is no usual event, one by one: the policies applied, or the fault by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from monitor import config
from monitor.batch import Reason
from monitor.codecs.codec import UNREADABLE, Category, Policies, refuse

_NUMBER = re.compile(rb"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
# What Python's json.dumps writes for a float that JSON has no number for. A string is matched first, so that what it
# says is left alone, and to the end if nothing closes it: looking for the next one inside would take quadratic time.
_NON_FINITE = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|(?<![\w.+-])(?:NaN|-?Infinity)(?![\w.+-])', re.DOTALL)


class MemberReader:
    """Reads what a typed call refused, as far as the policies let it."""

    def __init__(self, numbers: Sequence[str], categories: Sequence[str], rules: config.Events) -> None:
        self._numbers = numbers
        self._categories = categories
        self._policies = Policies(rules)
        self._loose = msgspec.json.Decoder(dict[str, msgspec.Raw])

    def read(self, value: bytes) -> tuple[str | None, float | None, tuple[Any, ...]]:
        """Stream, time, and the features, numbers before categories. Raises `NotAnEventError`."""
        try:
            members = self._loose.decode(value)
        except msgspec.ValidationError as error:
            refuse(Reason.NOT_AN_EVENT, f"the value is not a JSON object: {error}")
        except UNREADABLE as error:
            try:  # NaN and Infinity are left to the policy, as a number too large is
                members = self._loose.decode(_NON_FINITE.sub(_too_large, value))
            except UNREADABLE:
                refuse(Reason.NOT_JSON, f"the value is not JSON: {error}")
        if "features" not in members:
            refuse(Reason.NOT_AN_EVENT, "the object has no member 'features'")
        try:
            given = self._loose.decode(members["features"])
        except UNREADABLE as error:
            refuse(Reason.NOT_AN_EVENT, f"'features' is not an object of numbers: {error}")
        stream = _member(members, "stream", str, Reason.BAD_STREAM, "text")
        time = _member(members, "time", float, Reason.BAD_TIME, "a number of seconds since 1970")
        row = (
            *(self._number(name, given.pop(name, None)) for name in self._numbers),
            *(self._category(name, given.pop(name, None)) for name in self._categories),
        )
        self._policies.unknown(list(given))
        return stream, time, row

    def _number(self, name: str, raw: msgspec.Raw | None) -> float:
        text = b"null" if raw is None else bytes(raw).strip()
        if _NUMBER.fullmatch(text):
            # 1e999 is infinite: the column check decides about it. A whole number has one zero, as the typed call says.
            return 0.0 if text == b"-0" else float(text)
        if text == b"null":
            return self._policies.missing(name)
        return self._policies.unfit(name, f"not a number: {_shown(text)}")

    def _category(self, name: str, raw: msgspec.Raw | None) -> Any:
        text = b"null" if raw is None else bytes(raw).strip()
        if text in {b"null", b'""'}:
            return self._policies.missing(name)
        try:
            return msgspec.json.decode(text, type=Category)
        except UNREADABLE:
            if _NUMBER.fullmatch(text):
                return float(text)  # infinite, as above
        return self._policies.unfit(name, f"no category: {_shown(text)}")


def _shown(text: bytes) -> str:
    return text[:40].decode(errors="replace")


def _too_large(found: re.Match[bytes]) -> bytes:
    return found[0] if found[0].startswith(b'"') else b"1e999"


def _member(members: dict[str, msgspec.Raw], name: str, kind: type[Any], reason: Reason, wanted: str) -> Any:
    raw = members.get(name)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=kind | None)
    except UNREADABLE:
        refuse(reason, f"{name!r} is not {wanted}: {_shown(bytes(raw))}")
