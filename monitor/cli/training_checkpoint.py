"""Where a training stands, in a file beside its artefact until it has ended."""

from __future__ import annotations

import os
from pathlib import Path

from monitor.errors import MonitorError, UsageError
from monitor.model import checkpoint
from monitor.model.checkpoint import Checkpoint


class CheckpointFile:
    """`model.checkpoint` beside the folder `model`; it is whole at every moment."""

    def __init__(self, out: Path) -> None:
        out = Path(os.path.abspath(out))
        self._path = out.with_name(f"{out.name}.checkpoint")

    def read(self) -> Checkpoint:
        """Raises `UsageError` where there is none, `MonitorError` where it cannot be used."""
        try:
            return checkpoint.from_bytes(self._path.read_bytes())
        except FileNotFoundError as error:
            raise UsageError(
                f"--resume: there is no {self._path}",
                "A training leaves one once an epoch has ended, until it has run to its end. Leave --resume out.",
            ) from error
        except OSError as error:
            raise MonitorError(f"{self._path} cannot be read: {error.strerror}", "Check the rights.") from error

    def write(self, state: Checkpoint) -> None:
        fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with fresh.open("wb") as file:
                file.write(checkpoint.to_bytes(state))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise MonitorError(
                f"{self._path} cannot be written: {error.strerror}", "Check rights and space."
            ) from error

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
