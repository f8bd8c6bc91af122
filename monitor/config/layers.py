"""The sources of the configuration, each as a layer of plain values and where each value was given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from monitor.config import ENV_DELIMITER, ENV_PREFIX, Settings, strictyaml
from monitor.config.faults import dotted, nearest_variable
from monitor.config.keys import KEYS, Key, KeyPath, is_secret
from monitor.config.strictyaml import YamlError
from monitor.errors import ConfigError

FILE, ENVIRONMENT, FLAG = range(3)

Tree = dict[str, Any]


class Origin(NamedTuple):
    """Where a value was given. Origins sort as a person reads: the file by line, then variables, then flags."""

    rank: int
    line: int
    name: str

    def __str__(self) -> str:
        return f"{self.name}:{self.line}" if self.rank == FILE and self.line else self.name


class Fault(NamedTuple):
    origin: Origin
    text: str


@dataclass(frozen=True, slots=True)
class Layer:
    """One source's values, and where each was given."""

    tree: Tree = field(default_factory=dict)
    origins: dict[strictyaml.Place, Origin] = field(default_factory=dict)


def why(error: OSError | UnicodeDecodeError) -> str:
    return "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else (error.strerror or "unreadable").lower()


def file_layer(path: Path | None, faults: list[Fault]) -> Layer:
    if path is None:
        return Layer()
    name = str(path)
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
        document = strictyaml.read(text)
    except FileNotFoundError:
        raise ConfigError(f"{name}: no such file", "Name the configuration with --config FILE.") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        faults.append(Fault(Origin(FILE, line, name), "not UTF-8 text; save the file as UTF-8"))
        return Layer()
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {why(error)}") from None
    except YamlError as fault:
        faults.append(Fault(Origin(FILE, fault.line, name), fault.text))
        return Layer()
    if document.value is None:
        return Layer()
    if not isinstance(document.value, dict):
        what = "a list" if isinstance(document.value, list) else "a single value"
        if ":" in str(document.value) and (str(document.value).partition(":")[0],) in KEYS:
            what += "; a space must follow the colon"
        faults.append(
            Fault(Origin(FILE, document.line, name), f"the file must hold sections (`kafka:` and so on), not {what}")
        )
        return Layer()
    for repeated in document.repeated:
        # Inside a secret even a key is part of the secret.
        place = dotted(repeated.path if not is_secret(repeated.path) else repeated.path[:-1])
        text = f"{place}: given twice; first on line {repeated.first_line}"
        faults.append(Fault(Origin(FILE, repeated.line, name), text))
    _prepare(document.value, (), path.parent)
    return Layer(document.value, {place: Origin(FILE, line, name) for place, line in document.lines.items()})


def environment_layer(environ: Mapping[str, str], faults: list[Fault]) -> Layer:
    layer = Layer()
    # Sections given as a whole come first, so that single keys override them.
    for name in sorted(environ, key=lambda name: (name.count(ENV_DELIMITER), name)):
        parts = tuple(name.removeprefix(ENV_PREFIX).lower().split(ENV_DELIMITER))
        # Kubernetes injects MONITOR_SERVICE_HOST and the like for a Service named monitor: no setting looks like that.
        if not name.startswith(ENV_PREFIX) or (len(parts) == 1 and parts not in KEYS):
            continue
        origin = Origin(ENVIRONMENT, 0, name)
        key, rest = _find(parts)
        if key is None:
            near = nearest_variable(parts)
            faults.append(Fault(origin, "unknown setting" + (f"; did you mean {near}?" if near else "")))
            continue
        path = (*key.path, ENV_DELIMITER.join(rest)) if rest else key.path
        try:
            value = _from_text(key, path, environ[name])
        except (ValueError, RecursionError):
            example = '["a", "b"]' if key.kind == "list" else '{"key": "value"}'
            faults.append(Fault(origin, f"{dotted(path)}: must be JSON, such as {example}"))
            continue
        for part in reversed(path):
            value = {part: value}
        _prepare(value, (), Path())
        merge(layer, Layer(value, _everywhere(value, origin)))
    return layer


def _find(parts: KeyPath) -> tuple[Key | None, KeyPath]:
    """The key these parts lead to, and what is left of them where that is a map."""
    for length in range(len(parts), 0, -1):
        key = KEYS.get(parts[:length])
        if key is not None and (length == len(parts) or key.kind == "map"):
            return key, parts[length:]
    return None, ()


def _from_text(key: Key, path: KeyPath, text: str) -> Any:
    """A variable's text as a value of its key. What does not parse stays text, for validation to refuse by name."""
    if path != key.path:  # one entry of a map
        if key.text_values or is_secret(path):
            return text
        return json.loads(text) if text[:1] in ("[", "{") else strictyaml.scalar(text)
    if text == "null" and key.nullable:
        return None
    if key.kind in ("section", "map", "list"):
        return json.loads(text)
    if key.kind in ("flag", "whole", "number"):
        value = strictyaml.scalar(text)
        return text if value is None else value
    return text


def flag_layer(overrides: Mapping[str, Any], flags: Mapping[str, str]) -> Layer:
    def given(tree: Mapping[str, Any]) -> Tree:
        present = {name: value for name, value in tree.items() if value is not None}
        return {name: given(value) if isinstance(value, Mapping) else value for name, value in present.items()}

    tree = given(overrides)
    _prepare(tree, (), Path())
    places = _everywhere(tree, Origin(FLAG, 0, "command line"))
    for name, flag in flags.items():
        places[tuple(name.split("."))] = Origin(FLAG, 0, flag)
    return Layer(tree, {place: places[place] for place in _everywhere(tree, Origin(FLAG, 0, ""))})


def _everywhere(tree: Any, origin: Origin, path: strictyaml.Place = ()) -> dict[strictyaml.Place, Origin]:
    """Every place inside `tree`, all given at one origin."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    places: dict[strictyaml.Place, Origin] = {path: origin} if path else {}
    for name, value in inner:
        places |= _everywhere(value, origin, (*path, name))
    return places


def _prepare(tree: Tree, path: KeyPath, folder: Path) -> None:
    """In place: a section with nothing in it is empty, and a path is relative to where it was written."""
    for name, value in tree.items():
        key = KEYS.get((*path, name))
        if key is None:
            continue
        if key.kind == "section" and value is None:
            tree[name] = {}
        elif key.kind == "section" and isinstance(value, dict):
            _prepare(value, key.path, folder)
        elif key.kind == "path" and isinstance(value, str) and value:
            tree[name] = folder / value


def defaults() -> Tree:
    """The lowest layer: every default, so that `topics.input.partitions: 12` keeps the default name."""
    return Settings.model_construct().model_dump()


def merge(base: Layer, over: Layer) -> None:
    """In place: `over` on top of `base`, mappings key by key."""
    _merge_trees(base.tree, over.tree, ())
    for place in over.origins:
        if not isinstance(_inside(over.tree, place), dict):
            for old in [old for old in base.origins if old[: len(place)] == place]:
                del base.origins[old]
    for place, origin in over.origins.items():
        if not _holds(base.tree, place):
            continue  # a mapping that was kept from hiding a value that is none
        if place not in base.origins or not isinstance(_inside(over.tree, place), dict):
            base.origins[place] = origin


def _merge_trees(base: Tree, over: Tree, path: KeyPath) -> None:
    for name, value in over.items():
        here = (*path, name)
        holds_keys = here in KEYS and KEYS[here].kind in ("section", "map")
        if isinstance(value, dict) and isinstance(base.get(name), dict):
            _merge_trees(base[name], value, here)
        # Where keys belong, a mapping never hides an earlier source's value that is none: that fault shall be told.
        elif not (isinstance(value, dict) and holds_keys and name in base):
            base[name] = value


def _holds(tree: Any, place: strictyaml.Place) -> bool:
    try:
        _inside(tree, place)
    except (LookupError, TypeError):
        return False
    return True


def _inside(tree: Any, place: strictyaml.Place) -> Any:
    for part in place:
        tree = tree[part]
    return tree
