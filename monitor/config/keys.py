"""The table of every configuration key, read off `config.Settings`: for errors, the environment and the reference."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from monitor.config import ENV_DELIMITER, ENV_PREFIX, Settings

Kind = Literal["section", "map", "list", "choice", "flag", "whole", "number", "path", "secret", "text"]
KeyPath = tuple[str, ...]

MASK = "********"
_KINDS: tuple[tuple[type, Kind], ...] = (
    (bool, "flag"),  # before int, which it is a subclass of
    (int, "whole"),
    (float, "number"),
    (Path, "path"),
    (SecretStr, "secret"),
    (str, "text"),
)
_BOUNDS = (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than"))
_FREE: KeyPath = ("kafka", "options")  # a map whose names are the client's own
_SECRET_NAME = re.compile(r"password|secret|token|key|credential", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the configuration, or one section."""

    path: KeyPath
    kind: Kind
    nullable: bool
    default: Any
    meaning: str  # its docstring
    choices: tuple[str, ...] = ()
    bounds: tuple[str, ...] = ()  # "at least 1", in words
    text_values: bool = False  # a map whose values are text, taken from the environment as they stand
    items: tuple[Key, ...] = ()  # of a list of sections: the keys that each of them has

    @property
    def dotted(self) -> str:
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        return variable(self.path)


def variable(path: KeyPath) -> str:
    """The environment variable that sets this key."""
    return ENV_PREFIX + ENV_DELIMITER.join(path).upper()


def is_secret(path: tuple[str | int, ...]) -> bool:
    """Whether the value at this path must never be shown: a secret setting, or a client option that sounds like one."""
    for length in range(1, len(path) + 1):
        key = KEYS.get(tuple(str(part) for part in path[:length]))
        if key is not None and key.kind == "secret":
            return True
        if key is not None and key.path == _FREE:
            return any(_SECRET_NAME.search(str(part)) for part in path[length:])
    return False


def masked(value: Any, path: tuple[str | int, ...]) -> Any:
    """The value as it may be shown: what is secret in it, at any depth, is replaced by asterisks."""
    if is_secret(path):
        return None if value is None else MASK
    if isinstance(value, Mapping):
        return {name: masked(inner, (*path, name)) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [masked(inner, (*path, index)) for index, inner in enumerate(value)]
    return value


def _unwrap(annotation: Any, metadata: list[Any]) -> tuple[Any, bool]:
    """The plain type inside `Annotated` and `| None`, and whether null is allowed; constraints go into `metadata`."""
    nullable = False
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation, *extra = get_args(annotation)
            for item in extra:
                metadata.extend(item.metadata if isinstance(item, FieldInfo) else [item])
        elif origin in (Union, UnionType):
            (annotation,) = (part for part in get_args(annotation) if part is not type(None))
            nullable = True
        else:
            return annotation, nullable


def _key(path: KeyPath, field: FieldInfo, default: Any) -> Key:
    metadata = list(field.metadata)
    plain, nullable = _unwrap(field.annotation, metadata)
    bounds = tuple(
        f"{words} {getattr(item, name)}" for name, words in _BOUNDS for item in metadata if hasattr(item, name)
    )
    meaning = field.description or ""
    origin = get_origin(plain)
    if origin is Literal:
        return Key(path, "choice", nullable, default, meaning, choices=get_args(plain))
    if origin is list:
        return Key(path, "list", nullable, default, meaning, items=_items(plain, path))
    if origin is dict:
        return Key(path, "map", nullable, default, meaning, text_values=get_args(plain)[1] is str)
    if issubclass(plain, BaseModel):
        return Key(path, "section", nullable, default, meaning or plain.__doc__ or "")
    return Key(path, _kind(plain), nullable, default, meaning, bounds=bounds)


def _kind(plain: type) -> Kind:
    return next(kind for parent, kind in _KINDS if issubclass(plain, parent))


def _items(plain: Any, path: KeyPath) -> tuple[Key, ...]:
    """The keys of what a list holds, where those are sections."""
    held = _unwrap(get_args(plain)[0], [])[0]
    if not (isinstance(held, type) and issubclass(held, BaseModel)):
        return ()
    fields = held.model_fields.items()
    return tuple(
        _key((*path, field.alias or name), field, field.get_default(call_default_factory=True))
        for name, field in fields
    )


def _walk(model: BaseModel, path: KeyPath) -> Iterator[Key]:
    for name, field in type(model).model_fields.items():
        default = getattr(model, name)
        key = _key((*path, name), field, default)
        yield key
        if key.kind == "section":
            yield from _walk(default, key.path)


# Constructed without validation, because validation would read the environment of whoever imports this.
KEYS: Mapping[KeyPath, Key] = MappingProxyType({key.path: key for key in _walk(Settings.model_construct(), ())})
