"""MessagePack (https://github.com/msgpack/msgpack/blob/master/spec.md): the members of the JSON event, as a map.

The usual record is read by one typed call, as in `json`; what that refuses is read member by member.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite
from typing import Any

import msgspec
from msgspec.structs import astuple

from monitor import config
from monitor.batch import Float64, Reason
from monitor.codecs import typed
from monitor.codecs.codec import MAX_DEPTH, UNREADABLE, Category, Codec, Policies, Read, not_finite, refuse
from monitor.codecs.layout import Layout

# Bytes that begin a map or an array, wherever they stand: there are no more levels than there are of these.
_CONTAINERS = bytes([*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF])
_SIZES = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_SIZES |= {0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}  # fixext: a type, and its bytes
_LENGTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}  # bytes that hold the length of bytes or text
_EXTENSIONS = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_SHOWN = 40  # characters


class MessagePackCodec(Codec):
    """Members other than the three are allowed and not read."""

    def __init__(self, layout: Layout, rules: config.Events) -> None:
        super().__init__(layout, rules)
        self._typed = typed.reader(msgspec.msgpack.Decoder, layout, rules)
        self._loose = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
        self._policies = Policies(rules)
        self._unsuspicious = min(rules.max_bytes, MAX_DEPTH)

    def read(self, value: bytes | None) -> Read:
        if not value or len(value) > self._unsuspicious:
            value = self.sized(value)
            if len(value) - len(value.translate(None, _CONTAINERS)) > MAX_DEPTH and _is_deep(value):
                refuse(Reason.NOT_MSGPACK, f"the value is nested more than {MAX_DEPTH} deep")
        try:
            event = self._typed(value)
        except UNREADABLE:
            return self._by_member(value)
        return event.stream, event.time, astuple(event.features)

    def numbers(self, rows: Sequence[Any]) -> Float64:
        return typed.numbers(rows, self._layout)

    def categories(self, rows: Sequence[Any]) -> list[list[Any]]:
        return typed.categories(rows, self._layout)

    def look_again(self, value: bytes) -> None:
        self._by_member(value)

    def _by_member(self, value: bytes) -> Read:
        try:
            members = self._loose.decode(value)
        except msgspec.ValidationError as error:
            refuse(Reason.NOT_AN_EVENT, f"the value is not a map of texts: {error}")
        except UNREADABLE as error:
            refuse(Reason.NOT_MSGPACK, f"the value is not MessagePack: {error}")
        if "features" not in members:
            refuse(Reason.NOT_AN_EVENT, "the map has no member 'features'")
        try:
            given = self._loose.decode(members["features"])
        except UNREADABLE as error:
            refuse(Reason.NOT_AN_EVENT, f"'features' is not a map of numbers: {error}")
        stream = _member(members, "stream", str, Reason.BAD_STREAM, "text")
        time = _member(members, "time", float, Reason.BAD_TIME, "a number of seconds since 1970")
        row = (
            *(self._number(name, _plain(given.pop(name, None))) for name in self._layout.number_names),
            *(self._category(name, _plain(given.pop(name, None))) for name in self._layout.category_names),
        )
        self._policies.unknown(list(given))
        return stream, time, row

    def _number(self, name: str, found: Any) -> float:
        if found is None:
            return self._policies.missing(name)
        if isinstance(found, bool) or not isinstance(found, int | float):
            return self._policies.unfit(name, f"not a number: {_shown(found)}")
        if isfinite(found):
            return float(found)
        if self._rules.non_finite == "reject":
            refuse(Reason.NON_FINITE, not_finite(name))
        return inf  # which the policy makes missing

    def _category(self, name: str, found: Any) -> Any:
        if found is None or found == "":
            return self._policies.missing(name)
        if isinstance(found, float) and not isfinite(found):
            return self._policies.unfit(name, f"no category: {_shown(found)}")
        try:
            return msgspec.convert(found, Category)
        except UNREADABLE:
            return self._policies.unfit(name, f"no category: {_shown(found)}")


def _plain(raw: msgspec.Raw | None) -> Any:
    if raw is None:
        return None
    try:
        return msgspec.msgpack.decode(raw)
    except UNREADABLE:
        return _Unreadable()


class _Unreadable:
    """A text that is not UTF-8, or an extension of a form that is none."""

    def __repr__(self) -> str:
        return "unreadable"


def _shown(found: Any) -> str:
    return repr(found)[:_SHOWN]


def _member(members: dict[str, msgspec.Raw], name: str, kind: type[Any], reason: Reason, wanted: str) -> Any:
    raw = members.get(name)
    if raw is None:
        return None
    try:
        return msgspec.msgpack.decode(raw, type=kind | None)
    except UNREADABLE:
        refuse(reason, f"{name!r} is not {wanted}: {_shown(_plain(raw))}")


def _is_deep(value: bytes) -> bool:
    """Whether it is nested more than MAX_DEPTH deep; what is cut off or malformed is for the reader to refuse."""
    left = [1]  # of each open container, how many values are still to come
    at = 0
    while at < len(value):
        while left and left[-1] == 0:
            left.pop()
        if not left:
            return False  # trailing bytes
        left[-1] -= 1
        first = value[at]
        at += 1
        inside = 0
        if 0x80 <= first < 0xA0:
            inside = (first & 0x0F) * (2 if first < 0x90 else 1)
        elif 0xA0 <= first < 0xC0:
            at += first & 0x1F
        elif first in _SIZES:
            at += _SIZES[first]
        elif first in _LENGTHS or first in _EXTENSIONS:
            width = _LENGTHS.get(first) or _EXTENSIONS[first]
            at += width + int.from_bytes(value[at : at + width]) + (first in _EXTENSIONS)
        elif 0xDC <= first <= 0xDF:
            width = 2 if first in {0xDC, 0xDE} else 4
            inside = int.from_bytes(value[at : at + width]) * (2 if first >= 0xDE else 1)
            at += width
        if inside:
            left.append(inside)
            if len(left) - 1 > MAX_DEPTH:
                return True
    return False
