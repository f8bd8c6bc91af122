"""How a command that logs ends on an error: among lines of JSON the last one is JSON too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from monitor.errors import MonitorError
from monitor.logs import Logger


@contextmanager
def failures_logged(log: Logger, *, as_json: bool) -> Iterator[None]:
    """Logs what is raised and exits with its code; on a terminal, or with --debug, the command line prints it."""
    context = click.get_current_context()
    try:
        yield
    except Exception as error:
        if not as_json or context.meta["monitor.debug"]:
            raise
        context.exit(_log_failure(log, error))


def _log_failure(log: Logger, error: Exception) -> int:
    """Returns the exit code."""
    if isinstance(error, MonitorError):
        log.error("failed", reason=error.message, hint=error.hint)
        return error.exit_code
    log.error("failed", reason=f"{type(error).__name__}: {error}", hint="Run again with --debug.")
    return 1
