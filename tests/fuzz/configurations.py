"""Hostile configurations. The bytes up to the first zero byte are the file, each further piece is a variable."""

from __future__ import annotations

import json
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

from monitor import config
from monitor.config import loading
from monitor.config.keys import KEYS
from monitor.errors import ConfigError
from tests.fuzz.target import ROOT, demand, scratch


def check(data: bytes) -> bool:
    """A faulty configuration is told as ConfigError; one that is taken obeys every bound and survives a copy."""
    text, *pieces = data.split(b"\0")
    environ = {}
    for piece in pieces[:8]:
        name, _, value = piece.decode(errors="surrogateescape").partition("=")
        environ[config.ENV_PREFIX + name.removeprefix(config.ENV_PREFIX)] = value
    path = scratch() / "monitor.yaml"
    path.write_bytes(text)
    try:
        loaded = loading.load_with_origins(path, environ)
    except ConfigError as error:
        demand(str(error).encode(errors="surrogateescape"), "no message")
        demand(len(error.message) < 100_000, "a message without end")
        return False
    settings = loaded.settings
    _hold_bounds(settings)
    rows = loading.describe(settings, loaded.origins)
    defaults = {row.path: row for row in _default_rows()}
    for row in rows:
        given = row.source != "default"
        demand(given or row.path not in defaults or row == defaults[row.path], f"{row} is not the default")
    demand(len(settings.digest()) == 64, "the digest is none")
    again = {
        f"{config.ENV_PREFIX}{name.upper()}": value if isinstance(value, str) else json.dumps(value, default=_revealed)
        for name, value in settings.model_dump().items()
    }
    demand(_plain(loading.load(None, again)) == _plain(settings), "written out and read again it is another")
    return True


def _revealed(value: Any) -> str:
    return str(value.get_secret_value()) if hasattr(value, "get_secret_value") else str(value)


def _plain(settings: config.Settings) -> str:
    return json.dumps(settings.model_dump(), default=_revealed, sort_keys=True)


@cache
def _default_rows() -> list[loading.Described]:
    return loading.describe(loading.load(None, {}))


def _hold_bounds(settings: config.Settings) -> None:
    kinds = {"flag": bool, "whole": int, "number": (int, float), "choice": str, "text": str, "path": Path, "list": list}
    judge = {"at least": float.__ge__, "more than": float.__gt__, "at most": float.__le__, "less than": float.__lt__}
    for key in KEYS.values():
        value: Any = settings
        for part in key.path:
            value = getattr(value, part)
        if value is None:
            demand(key.nullable, f"{key.dotted} is null")
            continue
        wanted = kinds.get(key.kind)
        demand(wanted is None or isinstance(value, wanted), f"{key.dotted} is {value!r}")  # type: ignore[arg-type]  # a type, or several
        demand(key.kind == "flag" or not isinstance(value, bool), f"{key.dotted} is {value!r}")
        demand(key.kind != "choice" or value in key.choices, f"{key.dotted} is {value!r}")
        for bound in key.bounds:
            words, _, limit = bound.rpartition(" ")
            demand(judge[words](float(value), float(limit)), f"{key.dotted} is {value!r}, not {bound}")
        demand(key.kind != "number" or isfinite(value), f"{key.dotted} is {value!r}")


def seeds() -> list[bytes]:
    files = [ROOT / "deploy" / "monitor.yaml", *sorted((ROOT / "tests" / "invalid_configs").glob("*.yaml"))]
    plain = [
        b"kafka: {group: a, options: {a: 1}}\n\0KAFKA__GROUP=b\0WEB__PORT=1",
        b'\0WEB={"port": 1}\0EVENTS__FEATURES=["a"]\0KAFKA__OPTIONS__SASL_PASSWORD=x\0MODEL__THRESHOLD=null',
        b"events:\n  max_age: null\n  features: [a, b]\n",
        b"delivery: at_least_once\nincidents: {severity: {warning: 1, major: 2, critical: 3}}\n",
    ]
    told = [
        b"".join(line for line in path.read_bytes().splitlines(keepends=True) if line[:1] != b"#") for path in files
    ]
    return plain + told + _every_default()


def _every_default() -> list[bytes]:
    """A file and a variable for each key."""
    seeds = []
    for key in KEYS.values():
        if key.kind != "section":
            value = json.dumps(key.default, default=str).encode()
            names = [part.encode() for part in key.path]
            seeds.append(b": {".join(names) + b": " + value + b"}" * (len(names) - 1))
            seeds.append(b"\0" + key.variable.removeprefix(config.ENV_PREFIX).encode() + b"=" + value.strip(b'"'))
    return seeds


WORDS = [
    *(key.path[-1].encode() + b": " for key in KEYS.values()),
    *(b"\0" + key.variable.removeprefix(config.ENV_PREFIX).encode() + b"=" for key in KEYS.values()),
    *b": , { } [ ] - # | > & * ! % @ ` ' \" \\ ? <<: --- ... null ~ true yes .nan -.inf 1e999 0x1f 0o7".split(),
    *b"1_000 1:30 2024-01-01 -1 0 1 300 \xef\xbb\xbf \xff \x85 \xe2\x80\xa8".split(),
    *(b"\n", b"\n  ", b"\t", b"\r\n", b" ", b"---\n", b"...\n", b"9" * 120),
]
