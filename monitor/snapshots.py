"""Snapshots of the windows on a local disk: a restart replays only the records that came after.

They are a short cut and nothing else: alerts are the same without them, since every window can be rebuilt from the
topic. So one that does not fit is not used, one that cannot be written is told, and neither stops anything.

One file for each partition, `3.windows`, replaced as a whole: written under another name, flushed to the disk, renamed.
Whatever happens meanwhile, the folder has the old one or the new one.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from threading import Condition, Event, Thread

from monitor.checkpoint import Checkpoint
from monitor.errors import ConfigError
from monitor.snapshot_file import Header, Identity, Misfit, UnfitError, read_header, read_image, write
from monitor.windows import Image

__all__ = ["Identity", "Misfit", "Snapshots", "Unfit"]

_SUFFIX = ".windows"
_TEMPORARY = ".windows.tmp"
_LOCK = "lock"
_LAST_WAIT = 0.5  # s for a write that was told to stop; it looks at each megabyte


@dataclass(frozen=True, slots=True)
class Unfit:
    """There is no snapshot to go on from."""

    reason: Misfit
    detail: str  # for a person: one clause


class Snapshots:
    """The snapshots of one member, in a folder that is its own. One thread writes, everything else is the caller's."""

    def __init__(self, folder: Path, identity: Identity, max_replay: int) -> None:
        """Takes the folder, and removes what a killed process left half written.

        `max_replay` is the most records that are read again. Raises ConfigError where the folder cannot be made,
        written, or is in use.
        """
        self._folder = folder
        self._identity = identity
        self._max_replay = max_replay
        self._lock = _take(folder)
        self._changed = Condition()
        self._waiting: dict[int, Image] = {}  # by partition; guarded by _changed, as are all below
        self._writing: Image | None = None
        self._void = False  # whether what is being written was forgotten meanwhile
        self._problems: dict[int, str] = {}  # by partition, the newest: bounded
        self._written = 0  # since this was last asked
        self._closing = False
        self._abandoned = Event()
        # A daemon: a disk that hangs in a system call must not keep the process.
        self._thread = Thread(target=self._write_all, name="snapshots", daemon=True)
        self._thread.start()

    def load(self, partition: int, checkpoint: Checkpoint, log_start: int) -> Image | Unfit:
        """The windows of a partition to go on from, or why there are none; `log_start` is its oldest record's offset.

        The records from the image's offset up to the checkpoint's are still to be replayed.
        """
        path = self._path(partition)
        try:
            with FileIO(path) as file:
                header = read_header(file)
                self._check_owner(partition, header)
                self._check_place(header.offset, checkpoint, log_start)
                return read_image(file, header)
        except FileNotFoundError:
            return Unfit(Misfit.ABSENT, f"there is no {path}")
        except OSError as error:
            return Unfit(Misfit.UNREADABLE, f"{path} cannot be read: {error.strerror}")
        except UnfitError as error:
            if error.reason is Misfit.BEYOND_COMMIT:
                # Perhaps of records that the brokers have lost since: it must not fit again once others take their
                # offsets.
                self.forget(partition)
            return Unfit(error.reason, f"{path}: {error.detail}")

    def save(self, image: Image) -> None:
        """Hands over windows to be written; takes no time. To be called when everything before the offset is committed.

        What is still waiting for the same partition is replaced. What goes wrong is told by `problems`.
        """
        if image.values.shape != (len(image.names), self._identity.window, self._identity.width):
            raise ValueError(f"windows of shape {image.values.shape} are not of {self._identity}")
        with self._changed:
            if self._closing:
                raise RuntimeError("the snapshots are closed")
            self._waiting[image.partition] = image
            self._changed.notify_all()

    @property
    def busy(self) -> bool:
        """Whether something is waiting or being written; who takes no image meanwhile holds one at a time in memory."""
        with self._changed:
            return bool(self._waiting) or self._writing is not None

    def forget(self, partition: int) -> None:
        """Removes the snapshot of a partition, and what is on its way to become one."""
        with self._changed:
            self._waiting.pop(partition, None)
            self._void |= self._writing is not None and self._writing.partition == partition
            try:
                self._path(partition).unlink(missing_ok=True)
            except OSError as error:
                self._problems[partition] = f"{self._path(partition)} cannot be removed: {error.strerror}"

    def problems(self) -> tuple[str, ...]:
        """What failed since this was last asked, at most the newest of each partition."""
        with self._changed:
            found = tuple(self._problems.values())
            self._problems.clear()
        return found

    def written(self) -> int:
        """How many stand on the disk since this was last asked."""
        with self._changed:
            found, self._written = self._written, 0
        return found

    def close(self, seconds: float = 5.0) -> None:
        """Waits this long for what was handed over, drops the rest (told by `problems`), gives the folder back."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._abandoned.set()
            self._thread.join(_LAST_WAIT)

    def _path(self, partition: int) -> Path:
        return self._folder / f"{partition}{_SUFFIX}"

    def _check_owner(self, partition: int, header: Header) -> None:
        """Raises UnfitError where the windows are not of this partition, or of another topic, group or artefact."""
        mine = self._identity
        compared: list[tuple[Misfit, str, object, object]] = [
            (Misfit.OTHER_TOPIC, "topic", header.topic, mine.topic),
            (Misfit.OTHER_TOPIC, "topic id", header.topic_id, mine.topic_id),
            (Misfit.OTHER_TOPIC, "partition", header.partition, partition),
            (Misfit.OTHER_GROUP, "consumer group", header.group, mine.group),
            (Misfit.OTHER_FEATURES, "features' digest", header.features, mine.features),
            (Misfit.OTHER_FEATURES, "number of features", header.width, mine.width),
            (Misfit.OTHER_WINDOW, "window length", header.window, mine.window),
        ]
        for reason, what, found, expected in compared:
            if found != expected:
                raise UnfitError(reason, f"its {what} is {found!r}, not {expected!r}")

    def _check_place(self, offset: int, checkpoint: Checkpoint, log_start: int) -> None:
        """Raises UnfitError where the records up to the commit cannot, or need not, be replayed on top."""
        commit = checkpoint.offset
        if offset > commit:
            raise UnfitError(Misfit.BEYOND_COMMIT, f"it is of offset {offset}, the commit of {commit}")
        if offset < log_start:
            raise UnfitError(Misfit.BEFORE_LOG, f"it is of offset {offset}, the log begins at {log_start}")
        if commit - offset > self._max_replay:
            raise UnfitError(
                Misfit.TOO_FAR_BACK,
                f"{commit - offset} records would have to be replayed, recovery.max_replay is {self._max_replay}",
            )
        # The commit knows a shorter way, and of no eviction before it. One that was made by another program knows of no
        # streams either: then the snapshot is all there is.
        if offset < checkpoint.replay_from and checkpoint.live:
            raise UnfitError(
                Misfit.TOO_FAR_BACK,
                f"it is of offset {offset}, without it a replay from {checkpoint.replay_from} is enough",
            )

    def _write_all(self) -> None:
        """The thread: writes what waits, one after the other, until closed and nothing is left."""
        while image := self._next():
            problem = ""
            try:
                if not self._write(image):
                    problem = "was not written to the end before the service stopped"
            except OSError as error:
                problem = f"cannot be written: {error.strerror}"
            except Exception as error:  # whatever it is, the service goes on without this snapshot
                problem = f"cannot be written: {type(error).__name__}: {error}"
            with self._changed:
                if problem:
                    self._problems[image.partition] = f"{self._path(image.partition)} {problem}"
                else:
                    self._written += 1
                self._writing, self._void = None, False
        os.close(self._lock)  # here, and not in `close`: nobody may have the folder while a write still hangs in it

    def _next(self) -> Image | None:
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            if self._waiting:
                self._writing = self._waiting.pop(next(iter(self._waiting)))
            return self._writing

    def _write(self, image: Image) -> bool:
        """Replaces a snapshot; False where it was told to stop. Leaves nothing behind but a whole one."""
        path = self._path(image.partition)
        temporary = self._folder / f"{image.partition}{_TEMPORARY}"
        try:
            with FileIO(temporary, "w") as file:
                if not write(file, self._identity, image, lambda: not self._abandoned.is_set()):
                    return False
                os.fsync(file.fileno())
            with self._changed:
                if self._void:
                    return True
                temporary.replace(path)
            _flush_folder(self._folder)
        finally:
            temporary.unlink(missing_ok=True)
        return True


def _take(folder: Path) -> int:
    """The descriptor that holds the folder's lock, in a folder that exists, can be written, and has no litter."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _unusable(folder, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for litter in folder.glob(f"*{_TEMPORARY}"):
            litter.unlink()
        probe = folder / f"probe{_TEMPORARY}"
        probe.touch()
        probe.unlink()
    except BlockingIOError as error:
        os.close(lock)
        raise ConfigError(
            f"recovery.state_dir: {folder} is in use by another process",
            "Give each member a folder of its own.",
        ) from error
    except OSError as error:
        os.close(lock)
        raise _unusable(folder, error) from error
    return lock


def _unusable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"recovery.state_dir: {folder} cannot be used: {error.strerror}",
        "Name a folder that this user can write, on a volume that outlives the process; or leave the setting out.",
    )


def _flush_folder(folder: Path) -> None:
    """The rename itself must be on the disk too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
