"""Errors for people: what is wrong, where, and what to do. The command line prints them without a traceback."""

from __future__ import annotations


class MonitorError(Exception):
    """Something failed that its reader can act on (exit code 1).

    `message` says what is wrong and where; `hint` says what to do about it. Neither ever holds a secret.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


def install_hint(extra: str) -> str:
    """What to do where a library of an extra is missing."""
    return f"Install the extra in a clone of the project: pip install '.[{extra}]'"


class UsageError(MonitorError):
    """Bad usage or configuration: nothing was started (exit code 2)."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration that cannot be used; one line per fault, each with its place."""


class ArtefactError(UsageError):
    """A model folder that cannot be used with this program or this configuration."""


class UnavailableError(MonitorError):
    """The brokers do not answer, or not yet: wait and try the same again."""


class FencedError(MonitorError):
    """Another member, or this one's successor, has taken over: drop everything that is not committed, and rejoin."""


class RefusedError(MonitorError):
    """The brokers answered no: credentials or rights are wrong, and trying again changes nothing."""
