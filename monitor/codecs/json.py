"""JSON: `{"stream": "pump-7", "time": 1712345678.9, "features": {"temperature": 20.1}}`.

The usual record is read by one typed call. Only a record that this call refuses is looked at a second time, member by
member, to apply the policies and to name the fault.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import astuple

from monitor import config
from monitor.batch import Float64, Reason
from monitor.codecs import typed
from monitor.codecs.codec import MAX_DEPTH, UNREADABLE, Codec, Read, refuse
from monitor.codecs.json_members import MemberReader
from monitor.codecs.layout import Layout

_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)  # a text's own are matched with the text


class JsonCodec(Codec):
    """Members other than the three are allowed and not read.

    JSON has no NaN: one that was read has been let through by a policy, and there is nothing to look at again.
    """

    def __init__(self, layout: Layout, rules: config.Events) -> None:
        super().__init__(layout, rules)
        self._typed = typed.reader(msgspec.json.Decoder, layout, rules)
        self._members = MemberReader(layout.number_names, layout.category_names, rules)
        self._unsuspicious = min(rules.max_bytes, 2 * MAX_DEPTH)

    def read(self, value: bytes | None) -> Read:
        if not value or len(value) > self._unsuspicious or not value.isascii():
            value = self._checked_unread(value)
        try:
            event = self._typed(value)
        except UNREADABLE:
            return self._members.read(value)
        return event.stream, event.time, astuple(event.features)

    def numbers(self, rows: Sequence[Any]) -> Float64:
        return typed.numbers(rows, self._layout)

    def categories(self, rows: Sequence[Any]) -> list[list[Any]]:
        return typed.categories(rows, self._layout)

    def _checked_unread(self, value: bytes | None) -> bytes:
        """What the typed call does not look at in members that it skips, so that nothing depends on the way taken."""
        value = self.sized(value)
        try:
            _ = value.isascii() or value.decode()
        except UnicodeDecodeError as error:
            refuse(Reason.NOT_JSON, f"the value is not UTF-8 (byte {error.start})")
        openings = value.count(b"{") + (value.count(b"[") if b"[" in value else 0)  # most have none: a faster look
        if openings > MAX_DEPTH and _is_deep(value):
            refuse(Reason.NOT_JSON, f"the value is nested more than {MAX_DEPTH} deep")
        return value


def _is_deep(value: bytes) -> bool:
    depth = 0
    for found in _BRACKETS.finditer(value):
        depth += (found[0] in b"[{") - (found[0] in b"]}")
        if depth > MAX_DEPTH:
            return True
    return False
