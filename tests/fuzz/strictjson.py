"""A second reader of JSON, after RFC 8259, slow and plain: what the oracles read with.

It is Python on purpose: a fuzzer sees which of its branches an input takes, which no reader in C shows it. Numbers stay
text, members stay a list, and how deep it nests is counted rather than met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_SPACE = b" \t\n\r"
_ESCAPES = {ord(key): value for key, value in zip('"\\/bfnrt', '"\\/\b\f\n\r\t', strict=True)}
_WORDS = (b"true", b"false", b"null")
_NOT_NUMBERS = (b"NaN", b"Infinity", b"-Infinity")  # Python's json.dumps writes them


class NotJsonError(Exception):
    """The bytes are not one JSON value."""


@dataclass(frozen=True, slots=True)
class Number:
    text: str  # as it stands; "NaN", "Infinity" and "-Infinity" where those were asked for


@dataclass(frozen=True, slots=True)
class Word:
    text: str  # true, false, null


@dataclass(frozen=True, slots=True)
class Object:
    members: Sequence[tuple[str, Value]]

    def last(self, name: str) -> Value | None:
        """The member of that name; of several the last one, as everybody's reader has it."""
        return next((value for key, value in reversed(self.members) if key == name), None)


@dataclass(frozen=True, slots=True)
class Array:
    items: Sequence[Value]


Value = Number | Word | Object | Array | str


@dataclass(frozen=True, slots=True)
class Document:
    value: Value
    depth: int  # of the deepest value; 0 for one that holds no other


def read(data: bytes, *, non_finite: bool = False) -> Document:
    """Raises NotJsonError. `non_finite` allows NaN, Infinity and -Infinity wherever a number may stand."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise NotJsonError(f"not UTF-8: {error}") from error
    reader = _Reader(data, non_finite)
    value = reader.document()
    return Document(value, reader.deepest)


class _Reader:
    def __init__(self, data: bytes, non_finite: bool) -> None:
        self._data = data
        self._at = 0
        self._words = _WORDS + (_NOT_NUMBERS if non_finite else ())
        self.deepest = 0

    def document(self) -> Value:
        """Without recursion: nesting is limited by the length of the input alone."""
        open_values: list[tuple[list[Value] | list[tuple[str, Value]], str | None]] = []
        while True:
            self._skip_space()
            done: Value
            if self._take(b"["):
                open_values.append(([], None))
                self.deepest = max(self.deepest, len(open_values))
                self._skip_space()
                if not self._take(b"]"):
                    continue
                open_values.pop()
                done = Array(())
            elif self._take(b"{"):
                self.deepest = max(self.deepest, len(open_values) + 1)
                self._skip_space()
                if not self._take(b"}"):
                    open_values.append(([], self._key()))
                    continue
                done = Object(())
            else:
                done = self._scalar()
            while open_values:
                items, key = open_values.pop()
                items.append(done if key is None else (key, done))  # type: ignore[arg-type]  # one kind per list
                self._skip_space()
                if self._take(b","):
                    self._skip_space()
                    open_values.append((items, None if key is None else self._key()))
                    break
                if not self._take(b"]" if key is None else b"}"):
                    self._fail()
                done = Array(items) if key is None else Object(items)  # type: ignore[arg-type]  # one kind per list
            else:
                self._skip_space()
                if self._at != len(self._data):
                    self._fail()
                return done

    def _fail(self) -> None:
        raise NotJsonError(f"byte {self._at}")

    def _skip_space(self) -> None:
        while self._at < len(self._data) and self._data[self._at] in _SPACE:
            self._at += 1

    def _take(self, token: bytes) -> bool:
        found = self._data.startswith(token, self._at)
        self._at += len(token) * found
        return found

    def _key(self) -> str:
        if not self._take(b'"'):
            self._fail()
        key = self._text()
        self._skip_space()
        if not self._take(b":"):
            self._fail()
        return key

    def _scalar(self) -> Value:
        if self._take(b'"'):
            return self._text()
        for word in self._words:
            if self._take(word):
                return Word(word.decode()) if word in _WORDS else Number(word.decode())
        return self._number()

    def _number(self) -> Number:
        begin = self._at
        self._take(b"-")
        if not self._take(b"0"):
            self._digits()
        if self._take(b"."):
            self._digits()
        if self._take(b"e") or self._take(b"E"):
            if not self._take(b"+"):
                self._take(b"-")
            self._digits()
        return Number(self._data[begin : self._at].decode())

    def _digits(self) -> None:
        begin = self._at
        while self._at < len(self._data) and 0x30 <= self._data[self._at] <= 0x39:
            self._at += 1
        if self._at == begin:
            self._fail()

    def _text(self) -> str:
        parts: list[bytes] = []
        while True:
            begin = self._at
            while self._at < len(self._data) and self._data[self._at] not in b'"\\' and self._data[self._at] >= 0x20:
                self._at += 1
            parts.append(self._data[begin : self._at])
            if self._take(b'"'):
                return b"".join(parts).decode()
            if not self._take(b"\\"):
                self._fail()
            parts.append(self._escape().encode())

    def _escape(self) -> str:
        if self._take(b"u"):
            unit = self._unit()
            if 0xD800 <= unit < 0xDC00 and self._take(b"\\u"):
                low = self._unit()
                if 0xDC00 <= low < 0xE000:
                    return chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))
                self._fail()
            if 0xD800 <= unit < 0xE000:
                self._fail()  # half a pair is no character
            return chr(unit)
        letter = self._data[self._at : self._at + 1]
        if not letter or letter[0] not in _ESCAPES:
            self._fail()
        self._at += 1
        return _ESCAPES[letter[0]]

    def _unit(self) -> int:
        digits = self._data[self._at : self._at + 4]
        if len(digits) != 4 or any(digit not in b"0123456789abcdefABCDEF" for digit in digits):
            self._fail()
        self._at += 4
        return int(digits, 16)
