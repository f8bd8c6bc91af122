"""Structured logging on the standard library: one line per fact, JSON in a container, readable on a terminal.

    log = logs.get("service")
    log.info("started", group="pumps", topics=["events", "alerts"])

Configuration, client options and secrets are never logged; what is not passed as a field cannot appear.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import traceback
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from numbers import Integral, Real
from typing import Any, Literal, TextIO

_ROOT = "monitor"
_FIELDS = "monitor_fields"  # the attribute of a log record that carries the fields
_RESERVED = ("time", "level", "logger", "event", "error", "traceback")
_MAX_DEPTH = 6


class Logger:
    """Facts as an event name and fields; a field that is named like one of the line's own gets a trailing `_`."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, /, **fields: Any) -> None:
        self._log(logging.DEBUG, event, None, fields)

    def info(self, event: str, /, **fields: Any) -> None:
        self._log(logging.INFO, event, None, fields)

    def warning(self, event: str, /, *, exc_info: BaseException | None = None, **fields: Any) -> None:
        self._log(logging.WARNING, event, exc_info, fields)

    def error(self, event: str, /, *, exc_info: BaseException | None = None, **fields: Any) -> None:
        self._log(logging.ERROR, event, exc_info, fields)

    def _log(self, level: int, event: str, error: BaseException | None, fields: Mapping[str, Any]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", event, exc_info=error, extra={_FIELDS: fields})


def get(name: str) -> Logger:
    """The logger of a part of the program: `service`, `kafka`, `web`."""
    return Logger(logging.getLogger(f"{_ROOT}.{name}"))


def configure(
    format: Literal["auto", "json", "text"] = "auto",
    level: Literal["debug", "info", "warning", "error"] = "info",
    stream: TextIO | None = None,
) -> bool:
    """Send everything to `stream` (standard error), replacing what was configured before; returns whether as JSON.

    The level is this program's; libraries speak from warning upwards, and at most once per 10 s for the same thing.
    """
    stream = stream or sys.stderr
    as_text = format == "text" or (format == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    handler.addFilter(Deduplicate())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(_ROOT).setLevel(level.upper())
    logging.captureWarnings(capture=True)
    return not as_text


class Deduplicate(logging.Filter):
    """Libraries' messages that differ in numbers only: one per `every` seconds, with the count of what was left out.

    A broker that is away makes the Kafka client say so many times a second. Bounded: `size` messages are known.
    """

    def __init__(self, every: float = 10.0, size: int = 256) -> None:
        super().__init__()
        self._every = every
        self._size = size
        self._seen: OrderedDict[tuple[str, int, str], tuple[float, int]] = OrderedDict()  # -> (last passed, left out)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == _ROOT or record.name.startswith(f"{_ROOT}."):
            return True
        same = (record.name, record.levelno, re.sub(r"[0-9]+(\.[0-9]+)?", "#", record.getMessage()))
        passed, left_out = self._seen.get(same, (-math.inf, 0))
        if 0 <= record.created - passed < self._every:
            self._seen[same] = (passed, left_out + 1)
            return False
        self._seen[same] = (record.created, 0)
        self._seen.move_to_end(same)
        if len(self._seen) > self._size:
            self._seen.popitem(last=False)
        if left_out:
            setattr(record, _FIELDS, {"repeated": left_out})
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object per line, valid whatever the fields hold."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(_line(record), ensure_ascii=False, allow_nan=False)


class TextFormatter(logging.Formatter):
    """`14:03:12.123 info  service started group=pumps`; control characters of a field never reach the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        line = _line(record)
        trace = line.pop("traceback", "")
        time, level, logger, event = (line.pop(name) for name in ("time", "level", "logger", "event"))
        fields = " ".join(f"{_word(name)}={_word(value)}" for name, value in line.items())
        text = f"{time[11:23]} {level:<7} {logger:<8} {_word(event, spaces=True)}"
        shown = "\n".join("    " + _word(part, spaces=True) for part in trace.splitlines())
        return text + (f"  {fields}" if fields else "") + (f"\n{shown}" if shown else "")


def _line(record: logging.LogRecord) -> dict[str, Any]:
    line: dict[str, Any] = {
        "time": plain(datetime.fromtimestamp(record.created, UTC)),
        "level": record.levelname.lower(),
        "logger": record.name.removeprefix(f"{_ROOT}."),
        "event": plain(record.getMessage()),
    }
    for name, value in getattr(record, _FIELDS, {}).items():
        line[f"{name}_" if name in _RESERVED else plain(name)] = plain(value)
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        line["error"] = plain("".join(traceback.format_exception_only(error)).strip())
        line["traceback"] = plain("".join(traceback.format_exception(error)))
    return line


def plain(value: Any, depth: int = 0) -> Any:  # noqa: PLR0911  one line per kind of value
    """The value in JSON's own types: what JSON lacks becomes text, bytes with escapes."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value).encode("utf-8", "backslashreplace").decode()  # lone surrogates cannot be written
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        number = float(value)
        return number if math.isfinite(number) else str(number)
    if isinstance(value, datetime):  # RFC 3339, as in the alerts
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping) and depth < _MAX_DEPTH:
        return {str(plain(str(name))): plain(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth < _MAX_DEPTH:
        return [plain(inner, depth + 1) for inner in value]
    try:
        return plain(str(value), depth)
    except Exception as error:
        return f"<{type(value).__name__}: str() raised {type(error).__name__}>"


def _word(value: Any, *, spaces: bool = False) -> str:
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=True)
    if not value.isprintable():
        return json.dumps(value)
    return value if spaces or re.fullmatch(r'[^\s"=]+', value) else json.dumps(value, ensure_ascii=False)
