"""YAML 1.2 text -> plain values and the line of each; what a configuration does not need is refused.

The tree is built from the parser's events and not composed first: a document that is nested without end, or that
multiplies itself through aliases, ends here at its first such event.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.reader import ReaderError

MAX_CHARACTERS = 262_144
MAX_DEPTH = 20

Place = tuple[str | int, ...]

# Only the parser's own words decide; they are replaced, because they may quote the text, and the text may be a secret.
_SYNTAX = (
    ("found character '\\t'", "a tab cannot indent or start a value; use spaces"),
    ("mapping values are not allowed", "a second ': ' where a value was expected; check the indentation, or quote it"),
    ("sequence entries are not allowed", "'- ' where a value was expected; start the list on a line of its own"),
    ("expected <block end>", "this line's indentation fits no line above it"),
    ("expected '<document start>'", "this line's indentation fits no line above it"),
    ("expected ',' or ']'", "a list opened with '[' is not closed with ']'"),
    ("expected ',' or '}'", "a mapping opened with '{' is not closed with '}'"),
    ("found unexpected end of stream", "a quotation mark is not closed"),
    ("found unexpected document separator", "a quotation mark is not closed"),
    ("found unknown escape character", "an unknown \\ escape in double quotes; write \\\\, or use single quotes"),
    ("could not find expected ':'", "a key without ': ' after it"),
    ("found character", "a value cannot start with this character; put it in quotes"),
)
_WORDS = dict.fromkeys(("", "~", "null", "Null", "NULL")) | {
    word: value for value, words in ((True, "true True TRUE"), (False, "false False FALSE")) for word in words.split()
}
_NUMBERS: tuple[tuple[re.Pattern[str], Callable[[str], float]], ...] = (
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+"), lambda text: int(text, 0)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"), lambda text: float(text.replace(".", ""))),
)


class YamlError(Exception):
    """The text cannot be read further: `line` counts from 1, `text` says why and quotes nothing."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(f"line {line}: {text}")
        self.line = line
        self.text = text


@dataclass(frozen=True, slots=True)
class Repeated:
    """A key given twice; the first one counts."""

    path: Place
    line: int
    first_line: int


@dataclass(frozen=True, slots=True)
class Document:
    value: Any = None  # None for a text without content
    line: int = 1
    lines: dict[Place, int] = field(default_factory=dict)  # of each key and list item
    repeated: list[Repeated] = field(default_factory=list)


def scalar(text: str) -> Any:
    """A plain (unquoted) scalar by the YAML 1.2 core schema: `yes`, `on` and `1_000` are text, `010` is ten."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > 100:  # no number of a configuration; Python refuses to convert thousands of digits
        return text
    for pattern, convert in _NUMBERS:
        if pattern.fullmatch(text):
            return convert(text)
    return text


def read(text: str) -> Document:
    """Raises `YamlError` where the text is not one YAML document without anchors, aliases and tags."""
    if len(text) > MAX_CHARACTERS:
        raise YamlError(1, f"longer than {MAX_CHARACTERS} characters; this is not a configuration")
    document: Document | None = None
    try:
        events = YAML(typ="safe", pure=True).parse(text)
        for event in events:
            if isinstance(event, DocumentStartEvent):
                if document is not None:
                    raise YamlError(_line(event), "a second document; one file holds one configuration")
                document = _read_document(events)
            elif isinstance(event, StreamEndEvent):
                break
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlError(line, "a control character, which YAML does not allow") from None
    except MarkedYAMLError as error:
        # A quotation mark or bracket that is not closed is noticed at the end; where it opened is what helps.
        opened = error.context_mark if "not closed" in _reason(error) else None
        mark = opened or error.problem_mark or error.context_mark
        raise YamlError(mark.line + 1 if mark else 1, _reason(error)) from None
    except YAMLError:
        raise YamlError(1, "not valid YAML") from None
    return document or Document()


def _reason(error: MarkedYAMLError) -> str:
    problem = str(error.problem)
    return next((words for start, words in _SYNTAX if problem.startswith(start)), "not valid YAML")


def _line(event: Event) -> int:
    return int(event.start_mark.line) + 1


def _read_document(events: Iterator[Event]) -> Document:
    first = next(events)
    document = Document(line=_line(first))
    value = _value(first, events, (), document)
    return Document(value, document.line, document.lines, document.repeated)


def _value(event: Event, events: Iterator[Event], path: Place, document: Document) -> Any:
    if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
        raise YamlError(
            _line(event), "anchors (&) and aliases (*) are not supported; write it out, or put it in quotes"
        )
    if getattr(event, "tag", None):
        raise YamlError(_line(event), "tags (!) are not supported; leave it out, or put the value in quotes")
    if len(path) > MAX_DEPTH:
        raise YamlError(_line(event), f"nested more than {MAX_DEPTH} deep")
    if isinstance(event, MappingStartEvent):
        return _mapping(events, path, document)
    if isinstance(event, SequenceStartEvent):
        items: list[Any] = []
        while not isinstance(item := next(events), SequenceEndEvent):
            here = (*path, len(items))
            document.lines[here] = _line(item)
            items.append(_value(item, events, here, document))
        return items
    text = str(getattr(event, "value", ""))
    return scalar(text) if getattr(event, "implicit", (False,))[0] else text


def _mapping(events: Iterator[Event], path: Place, document: Document) -> dict[str, Any]:
    values: dict[str, Any] = {}
    while not isinstance(name := next(events), MappingEndEvent):
        if not isinstance(name, ScalarEvent) or not name.value or name.anchor or name.tag:
            raise YamlError(_line(name), "a key must be plain text")
        here = (*path, name.value)
        value = next(events)
        if name.value in values:
            document.repeated.append(Repeated(here, _line(name), document.lines[here]))
            _value(value, events, here, Document())
        else:
            document.lines[here] = _line(name)
            values[name.value] = _value(value, events, here, document)
    return values
