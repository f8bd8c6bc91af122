"""What pydantic found wrong -> one sentence for a person, which never quotes a secret."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from pydantic_core import ErrorDetails

from monitor.config.keys import KEYS, Key, KeyPath, is_secret
from monitor.config.strictyaml import scalar

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|min|h|d)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_PATTERNS = {r"^[a-zA-Z0-9._-]{1,249}$": "1 to 249 letters, digits, '.', '_' or '-'"}


def dotted(path: Iterable[str | int]) -> str:
    """`topics.input.config[max.message.bytes]`: names joined by dots, indices and unusual names in brackets."""
    text = ""
    for part in path:
        if isinstance(part, str) and re.fullmatch(r"[A-Za-z0-9_-]+", part):
            text += f".{part}" if text else part
        else:
            text += f"[{part}]" if isinstance(part, int) else f"[{json.dumps(part[:60])}]"
    return text


def shown(value: Any) -> str:
    """A value in the words of the file, short and on one line."""
    if isinstance(value, str):
        short = value if len(value) <= 60 else value[:57] + "..."
        return f"the text {json.dumps(short, ensure_ascii=not short.isprintable())}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    if isinstance(value, int | float):
        return f"{value:.12g}" if isinstance(value, float) else str(value)
    return "a list" if isinstance(value, list | tuple) else "a mapping"


def sentence(error: ErrorDetails) -> str:
    """Why the value at `error["loc"]` cannot be used."""
    kind, value = error["type"], error["input"]
    path = tuple(str(part) for part in error["loc"])
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "extra_forbidden":
        return _unknown(path)
    if kind == "literal_error":
        return _choice(KEYS.get(path), value, error["ctx"]["expected"])
    if kind not in _RULES:
        return "cannot be used" if is_secret(path) else error["msg"]
    rule = _RULES[kind](error.get("ctx", {}))
    return rule if kind == "string_too_short" else f"{rule}, not {_refused(path, value)}{_advice(kind, path, value)}"


def _refused(path: KeyPath, value: Any) -> str:
    """The value, or only its kind where it is, or may hold, a secret."""
    section = path in KEYS and KEYS[path].kind == "section"
    if not section and not is_secret(path):
        return shown(value)
    return "text" if isinstance(value, str) else "a number" if type(value) in (int, float) else shown(value)


def nearest_variable(path: KeyPath) -> str | None:
    """The environment variable that was probably meant by one that leads to this path."""
    above = next((key for key in KEYS.values() if key.kind != "section" and path[: len(key.path)] == key.path), None)
    if above is not None:
        return above.variable
    by_name = {key.dotted: key for key in KEYS.values()}
    same_end = [name for name, key in by_name.items() if key.path[-1] == path[-1]]
    close = difflib.get_close_matches(dotted(path), same_end, 1, 0) or difflib.get_close_matches(
        dotted(path), by_name, 1
    )
    return by_name[close[0]].variable if close else None


def _or(parts: Iterable[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} or {last}" if first else last


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and abs(value) < 1e6 else str(int(value))


_RULES: dict[str, Callable[[dict[str, Any]], str]] = {
    "int_type": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "finite_number": lambda _: "must be a finite number",
    "bool_type": lambda _: "must be true or false",
    "string_type": lambda _: "must be text",
    "string_too_short": lambda _: "must not be empty",
    "string_pattern_mismatch": lambda ctx: f"must be {_PATTERNS.get(ctx['pattern'], 'text like ' + ctx['pattern'])}",
    "is_instance_of": lambda _: "must be a path",
    "list_type": lambda _: "must be a list",
    "dict_type": lambda _: "must be a mapping (lines of `key: value`)",
    "model_type": lambda _: "must be a section (lines of `key: value`)",
    "greater_than_equal": lambda ctx: f"must be at least {_number(ctx['ge'])}",
    "greater_than": lambda ctx: f"must be more than {_number(ctx['gt'])}",
    "less_than_equal": lambda ctx: f"must be at most {_number(ctx['le'])}",
    "less_than": lambda ctx: f"must be less than {_number(ctx['lt'])}",
}


def _advice(kind: str, path: KeyPath, value: Any) -> str:
    advice = ""
    if kind == "string_type" and isinstance(value, int | float):
        advice = "put it in quotes"
    elif kind == "is_instance_of" and value == "":
        advice = "leave the line out to have none"
    elif isinstance(value, str) and kind == "model_type" and (*path, value.partition(":")[0]) in KEYS:
        advice = "a space must follow the colon"
    elif isinstance(value, str) and kind == "bool_type" and value.lower() in ("yes", "no", "on", "off", "y", "n"):
        advice = "yes and no are text in YAML 1.2"
    elif isinstance(value, str) and kind in ("int_type", "float_type"):
        duration = _DURATION.fullmatch(value)
        if isinstance(scalar(value), int | float):
            advice = "remove the quotes"
        elif duration:
            advice = f"durations are in seconds: {float(duration[1]) * _SECONDS[duration[2]]:.12g}"
    return advice and f"; {advice}"


def _choice(key: Key | None, value: Any, expected: str) -> str:
    # inside a list there is no key: the choices are those that pydantic names
    choices = key.choices if key else tuple(re.findall(r"'([^']*)'", expected))
    close = difflib.get_close_matches(value, choices, 1) if isinstance(value, str) else []
    either = choices + (("null",) if key and key.nullable else ())
    return f"must be {_or(either)}, not {shown(value)}" + (f"; did you mean {close[0]}?" if close else "")


def _unknown(path: KeyPath) -> str:
    section, name = path[:-1], path[-1]
    here = [key.path[-1] for key in KEYS.values() if key.path[:-1] == section]
    for cutoff in (0.8, 0.6):
        if close := difflib.get_close_matches(name, here, 1, cutoff):
            return f"unknown key; did you mean {dotted((*section, close[0]))}?"
        if elsewhere := [key.dotted for key in KEYS.values() if key.path[-1] == name]:
            return f"unknown key; did you mean {_or(elsewhere[:3])}?"
    everywhere = {key.path[-1]: key.dotted for key in KEYS.values()}
    if far := difflib.get_close_matches(name, everywhere, 1, 0.8):
        return f"unknown key; did you mean {everywhere[far[0]]}?"
    return f"unknown key; {'this section' if section else 'the top level'} has {', '.join(here)}"
