"""Where settings come from: defaults, then one strict YAML file, then the environment, then command-line flags.

Mappings merge key by key; everything else is replaced by the later source. Every fault is one line that begins with its
place, and none quotes a secret. What the settings are is the package itself.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from monitor.config import Settings, strictyaml
from monitor.config.faults import dotted, sentence
from monitor.config.keys import KEYS, KeyPath, masked
from monitor.config.layers import (
    FILE,
    Fault,
    Layer,
    Origin,
    Tree,
    defaults,
    environment_layer,
    file_layer,
    flag_layer,
    merge,
    why,
)
from monitor.errors import ConfigError

HINT = "Every key with its type and default: monitor schema config --markdown"


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings that passed every check, and where each given value came from."""

    settings: Settings
    origins: Mapping[strictyaml.Place, Origin]


class Described(NamedTuple):
    path: str
    value: str  # as it would stand in the file; secrets as asterisks
    source: str  # "default", "monitor.yaml:12", "MONITOR_KAFKA__GROUP" or "--group"


def load(
    path: Path | None, environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """The settings. Raises `ConfigError` with one line per fault, sorted by place."""
    return load_with_origins(path, environ, overrides).settings


def load_with_origins(
    path: Path | None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    flags: Mapping[str, str] | None = None,
) -> Loaded:
    """As `load`, and where each value came from, for `describe`.

    `overrides` is nested as the file is; None in it means "flag not given". `flags` names the flag of a dotted key
    (`{"model.path": "--model"}`), for errors.
    """
    faults: list[Fault] = []
    layers = [
        file_layer(path, faults),
        environment_layer(os.environ if environ is None else environ, faults),
        flag_layer(overrides or {}, flags or {}),
    ]
    if any(fault.origin.rank == FILE and not layers[0].tree for fault in faults):
        raise _error(faults)  # nothing of the file could be read, so what follows would only be consequences
    merged = Layer(defaults(), {})
    for layer in layers:
        merge(merged, layer)
    settings, found = _validate(merged, str(path) if path else "configuration")
    if faults or found or settings is None:
        raise _error(faults + found)
    return Loaded(settings, merged.origins)


def secret(value: SecretStr | None, file: Path | None, name: str) -> str | None:
    """The secret itself, from the setting `name` or from `name`_file less one line end; None where neither is given."""
    if value is not None and file is not None:
        raise ConfigError(f"{name}: give {name} or {name}_file, not both")
    if file is None:
        return None if value is None else value.get_secret_value()
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{name}_file: {file} does not exist", "Is the secret mounted?") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name}_file: {file} cannot be read: {why(error)}") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ConfigError(f"{name}_file: {file} is empty")
    return text


def describe(settings: Settings, origins: Mapping[strictyaml.Place, Origin] | None = None) -> list[Described]:
    """Every effective setting in the order of their definition, a line per key of a mapping; secrets as asterisks."""
    rows = []
    for key in KEYS.values():
        if key.kind == "section":
            continue
        value = _at(settings, key.path)
        entries = [((*key.path, name), value[name]) for name in value] if key.kind == "map" else []
        for path, inner in entries or [(key.path, value)]:
            origin = (origins or {}).get(path)
            rows.append(Described(dotted(path), _as_text(masked(inner, path)), str(origin or "default")))
    return rows


def _as_text(value: Any) -> str:
    if isinstance(value, str | Path):
        return str(value) if str(value).isprintable() else json.dumps(str(value))
    return json.dumps(value, default=_plain)


def _plain(value: object) -> object:
    return value.model_dump(mode="json", by_alias=True) if isinstance(value, BaseModel) else str(value)


def _at(settings: Settings, path: KeyPath) -> Any:
    value: Any = settings
    for part in path:
        value = getattr(value, part)
    return value


def _error(faults: list[Fault]) -> ConfigError:
    lines = dict.fromkeys(f"{origin}: {text}" for origin, text in sorted(faults))
    return ConfigError("\n".join(lines), HINT)


def _validate(merged: Layer, unplaced: str) -> tuple[Settings | None, list[Fault]]:
    """Section by section, because only then is pydantic strict: no number from text, none from true."""
    sections: Tree = {}
    faults: list[Fault] = []

    def collect(error: ErrorDetails, section: strictyaml.Place = ()) -> None:
        place = (*section, *error["loc"])
        text = sentence({**error, "loc": place})
        origin = _origin(merged, place, text) or Origin(FILE, 0, unplaced)
        faults.append(Fault(origin, f"{dotted(place)}: {text}" if place else text))

    for name, value in merged.tree.items():
        known = Settings.model_fields.get(name)
        if known is None:
            collect({"type": "extra_forbidden", "loc": (name,), "msg": "", "input": value})
            continue
        try:
            sections[name] = TypeAdapter[Any](known.annotation or Any).validate_python(value, strict=True)
        except ValidationError as error:
            for found in error.errors(include_url=False):
                collect(found, (name,))
    if faults:
        return None, faults
    return Settings.model_construct(**sections), faults  # not Settings(), which would read the environment again


def _origin(layer: Layer, place: strictyaml.Place, text: str) -> Origin | None:
    """The nearest origin: the key the message names, else the place itself, what is in it, or what it is in."""
    inside = [known for known in layer.origins if known[: len(place)] == place and known != place]
    named = [known for known in inside if re.search(rf"\b{re.escape(str(known[-1]))}\b", text)]
    outside = [place[:length] for length in range(len(place), 0, -1)]
    for candidate in (*named[:1], place, *inside[:1], *outside):
        if candidate in layer.origins:
            return layer.origins[candidate]
    return None
