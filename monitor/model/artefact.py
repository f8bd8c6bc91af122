"""The folder that training leaves and serving reads: `weights.safetensors`, `model.onnx`, `manifest.json`.

Needs neither torch nor a runtime. Nothing in it is a pickle, and the manifest holds the digests of the other two.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from monitor.errors import ArtefactError
from monitor.model.dataset import names
from monitor.model.manifest import FORMAT_VERSION, Manifest

MANIFEST = "manifest.json"
GRAPH = "model.onnx"
WEIGHTS = "weights.safetensors"
FILES = (GRAPH, WEIGHTS)
MOST_BYTES = {MANIFEST: 2**24, GRAPH: 2**31, WEIGHTS: 2**31}
"""Larger files are not read. An ONNX file cannot be larger than this, being one protobuf message."""

_HERE = -100  # AT_FDCWD of <fcntl.h>
_EXCHANGE = 2  # RENAME_EXCHANGE of <linux/fs.h>


@dataclass(frozen=True, slots=True)
class Artefact:
    """A folder whose bytes are those its manifest names."""

    folder: Path
    manifest: Manifest
    graph: bytes  # ONNX
    weights: bytes  # safetensors


def load(folder: Path, expected_features: Sequence[str] | None = None) -> Artefact:
    """Reads and verifies. `expected_features` are those the configuration names, order included.

    Raises `ArtefactError`, which says what does not fit and what to do.
    """
    if not folder.is_dir():
        raise ArtefactError(
            f"there is no model folder {folder}",
            "Train one with `monitor train`, or set model.path to the folder that holds manifest.json.",
        )
    manifest = _manifest(folder, _read(folder, MANIFEST))
    files = {name: _read(folder, name) for name in FILES}
    for name, content in files.items():
        if _digest(content) != manifest.files[name]:
            raise ArtefactError(
                f"{folder / name} is not the file that {MANIFEST} was written with (SHA-256 differs)",
                "Copy the whole folder again, or train anew; its files cannot be mixed or edited.",
            )
    if expected_features is not None:
        _check_features(folder, manifest.feature_names, tuple(expected_features))
    return Artefact(folder, manifest, files[GRAPH], files[WEIGHTS])


def write(folder: Path, draft: Manifest, files: Mapping[str, bytes]) -> Manifest:
    """Writes `files` (those of `FILES`) and the manifest with their digests, all or nothing.

    The folder is made beside its place and renamed into it, so nobody sees half of one. An artefact that is there is
    replaced: in one step on Linux, where the file system can; elsewhere the place is empty for a moment. A `load`
    that spans the step refuses what it read (the digests differ, or a file is gone). Anything else that is there is
    left alone. Raises `ArtefactError`.
    """
    folder = folder.resolve()  # a link keeps pointing where it did
    manifest = draft.model_copy(update={"files": {name: _digest(files[name]) for name in FILES}})
    replaceable(folder)
    token = secrets.token_hex(4)
    fresh, old = (folder.with_name(f".{folder.name}.{token}.{which}") for which in ("new", "old"))
    try:
        fresh.mkdir(parents=True)
        for name, content in {**files, MANIFEST: manifest.to_json().encode()}.items():
            _write_file(fresh / name, content)
        _sync(fresh)
        if not (folder.exists() and _exchange(fresh, folder)):
            _move(fresh, folder, old)
        _sync(folder.parent)
    except OSError as error:
        raise ArtefactError(
            f"cannot write the model folder {folder}: {error.strerror or error}",
            "Choose a place that can be written, on one file system; a mount point itself cannot be replaced.",
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)  # after an exchange: what was replaced
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
    return manifest


def replaceable(folder: Path) -> None:
    """Raises `ArtefactError` where `write` would destroy something that is not an artefact: ask before training."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ArtefactError(f"{folder} is a file", "Choose another name for the model folder.")
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in {*FILES, MANIFEST})
    if foreign:
        raise ArtefactError(
            f"{folder} holds files that are not a model's: {names(foreign)}",
            "Nothing was overwritten. Choose another folder, or move those files away.",
        )


def _manifest(folder: Path, content: bytes) -> Manifest:
    path = folder / MANIFEST
    again = "Train the model again, or restore the folder from where it was copied."
    try:
        raw = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} is not JSON: {error}", again) from error
    version = raw.get("format_version") if isinstance(raw, dict) else None
    if version is not None and version != FORMAT_VERSION:
        raise ArtefactError(
            f"{path} has format_version {version}; this program reads {FORMAT_VERSION}",
            "Use the version of monitor that trained the model, or train it again with this one.",
        )
    try:
        manifest = Manifest.model_validate_json(content, strict=True)  # strict: no number from a text, none from true
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}" for one in error.errors()]
        raise ArtefactError(f"{path} is not a model's manifest: {names(faults)}", again) from error
    if set(manifest.files) != set(FILES):
        raise ArtefactError(
            f"{path} must name the files {names(FILES)}, not {names(sorted(manifest.files)) or 'none'}", again
        )
    channels = sum(max(1, len(feature.categories)) for feature in manifest.features)
    if {channels, *map(len, manifest.scoring.units)} != {manifest.architecture.channels}:
        raise ArtefactError(
            f"{path} describes features of {channels} channels for a network of {manifest.architecture.channels}", again
        )
    if len(manifest.scoring.units) != len(manifest.scoring.spans) or not manifest.features:
        raise ArtefactError(f"{path} has no unit of error for each span", again)
    if manifest.scoring.last > manifest.architecture.window:
        raise ArtefactError(f"{path} scores the last {manifest.scoring.last} events of a shorter window", again)
    if len(set(manifest.feature_names)) < len(manifest.feature_names):
        raise ArtefactError(f"{path} has two features of one name", again)
    return manifest


def _check_features(folder: Path, known: tuple[str, ...], expected: tuple[str, ...]) -> None:
    if known == expected:
        return
    missing = [name for name in expected if name not in known]
    extra = [name for name in known if name not in expected]
    faults = []
    if missing:
        faults.append(f"it was not trained with {names(missing)}")
    if extra:
        faults.append(f"it needs {names(extra)} as well")
    if not faults:
        place, name = next((i, name) for i, name in enumerate(known) if expected[i : i + 1] != (name,))
        other = expected[place] if place < len(expected) else "nothing"
        faults.append(
            f"the order differs from place {place + 1} on, where the model has {name} and events.features {other}"
        )
    raise ArtefactError(
        f"the model in {folder} does not fit events.features: {'; '.join(faults)}",
        "Set events.features to the model's, or remove the setting; or train a model with these features.",
    )


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    try:
        state = path.stat()  # before opening: a pipe that nobody writes to never opens
        if stat.S_ISREG(state.st_mode) and state.st_size <= MOST_BYTES[name]:
            return path.read_bytes()
    except FileNotFoundError as error:
        raise ArtefactError(
            f"the model folder {folder} has no {name}", "Copy the whole folder, or train the model again."
        ) from error
    except OSError as error:
        raise ArtefactError(
            f"cannot read {folder / name}: {error.strerror or error}", "Check its owner and its permissions."
        ) from error
    kind = f"too large ({state.st_size} bytes)" if stat.S_ISREG(state.st_mode) else "not a regular file"
    raise ArtefactError(f"{path} is {kind}", "Copy the whole folder, or train the model again.")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write_file(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two folders in one step. False where that cannot be done: what is wrong, if anything, a rename says."""
    call = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    return call is not None and call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0


def _move(fresh: Path, folder: Path, old: Path) -> None:
    if folder.exists():
        folder.rename(old)
    try:
        fresh.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise


def _sync(folder: Path) -> None:
    """Makes the names in a folder survive a power cut, where the system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
