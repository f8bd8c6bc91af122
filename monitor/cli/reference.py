"""The configuration reference, written from the settings themselves: `docs/configuration.md` is this text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic_core import PydanticUndefined

from monitor.config.keys import KEYS, Key, KeyPath

_WORDS = {
    "section": "section",
    "map": "mapping",
    "list": "list",
    "flag": "`true` or `false`",
    "whole": "whole number",
    "number": "number",
    "path": "path",
    "secret": "text, secret",
    "text": "text",
}
_INTRODUCTION = """\
# Configuration

<!-- Written by `monitor schema config --markdown`; tested. Change monitor/config/ instead. -->

One YAML file, named by `-c FILE` or `MONITOR_CONFIG`; an example is
[`deploy/monitor.yaml`](../deploy/monitor.yaml). Every key has a default, so an empty file is a valid one.
`monitor check -c FILE` says what is wrong with a file, or prints the effective settings and where each came
from. `monitor schema config` prints a JSON Schema for editors.

## Which value counts

From lowest to highest: the default, the file, the environment, a command-line flag. Mappings merge key by key
(the sections, `kafka.options`, `topics.*.config`); numbers, text and lists are replaced.

## The file

YAML 1.2 and strict: an unknown key, a key given twice, a number in quotes (`"500"`), `yes` for `true`,
anchors, aliases and tags are errors with the line and what was probably meant. `null` takes a value away
where the table says so. A section with nothing in it has its defaults. A path is relative to the folder of
the file.

## The environment

`MONITOR_` + the path in capitals, with `__` between its parts: `MONITOR_KAFKA__GROUP=pumps` sets
`kafka.group`. Text is taken as it stands and numbers are parsed; lists, mappings and whole sections are JSON
(`MONITOR_EVENTS__FEATURES='["a", "b"]'`). An entry of `kafka.options` is a variable of its own:
`MONITOR_KAFKA__OPTIONS__FETCH_MIN_BYTES=65536`. `null` takes a value away. A path is relative to the working
folder.

A name with `__` that is no setting is an error. A name without `__` is one of ours only if it names a section
(`MONITOR_WEB='{"port": 0}'`) or a key of the top level (`MONITOR_DELIVERY`); others are left alone, because
Kubernetes injects `MONITOR_SERVICE_HOST` and its like where a Service is called `monitor`.

## Secrets

Give passwords as files (`kafka.sasl.password_file`, a mounted secret; one line end at its end is dropped) or
by the environment. They appear in no error, log line, status page or output of `monitor check`, which shows
`********`; nor do entries of `kafka.options` whose name contains password, secret, token, key or credential.

## Durations and sizes

Durations are seconds (`300`, not `5m`), sizes are bytes, unless the table says otherwise.
"""


def markdown() -> str:
    """The whole page."""
    return "\n".join([_INTRODUCTION, "## Every key", "", *_sections()]).rstrip() + "\n"


def _sections() -> Iterator[str]:
    yield from _table(())
    for key in KEYS.values():
        if key.kind != "section":
            continue
        yield f"### {key.dotted}"
        yield ""
        yield " ".join(key.meaning.split())
        yield ""
        yield from _table(key.path)
        for listed in KEYS.values():
            if listed.path[:-1] == key.path and listed.items:
                yield f"Each of `{listed.dotted}`:"
                yield ""
                yield "| key | type | default | meaning |"
                yield "|---|---|---|---|"
                yield from (_cells(item) for item in listed.items)
                yield ""


def _table(section: KeyPath) -> Iterator[str]:
    """The keys of one section, or of the top level; nothing where it has only sections."""
    rows = [row for row in KEYS.values() if row.path[:-1] == section and row.kind != "section"]
    if rows:
        yield "| key | type | default | meaning | environment |"
        yield "|---|---|---|---|---|"
        yield from map(_row, rows)
        yield ""


def _row(key: Key) -> str:
    return _cells(key, f"`{key.variable}`")


def _cells(key: Key, *more: str) -> str:
    cells = (f"`{key.path[-1]}`", _type(key), _default(key), " ".join(key.meaning.split()), *more)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(key: Key) -> str:
    words = " or ".join(f"`{choice}`" for choice in key.choices) or _WORDS[key.kind]
    return ", ".join([words, *key.bounds]) + (", or `null`" if key.nullable else "")


def _default(key: Key) -> str:
    value = key.default
    if value is PydanticUndefined:
        return "required"
    return f"`{value}`" if isinstance(value, str | Path) else f"`{json.dumps(value)}`"
