"""Where a training stands when an epoch has ended: enough to go on as if it had never been interrupted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_safetensors
from safetensors.torch import save as to_safetensors
from torch import Tensor

import monitor
from monitor.config import Training
from monitor.errors import MonitorError
from monitor.model.dataset import CHUNK, Split

VERSION = "1"
HINT = "Give the same files and settings as before, or leave --resume out to begin anew."
UNBOUND = {"epochs", "max_minutes"}
"""Settings that may be others when training goes on: they say only when it ends."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All values are copies."""

    identity: Mapping[str, str]  # what must be the same for a training to go on: `identity`
    epochs: int  # that ended
    train_loss: float  # of the best epoch
    validation_loss: float
    best_epoch: int  # from 1
    last_loss: float  # of validation, in the last epoch
    tensors: Mapping[str, Tensor]  # weights, best weights, optimisers, random numbers; by a path


def identity(split: Split, settings: Training) -> dict[str, str]:
    """What a checkpoint is bound to: the libraries, each setting, and a digest of the rows and how they are split."""
    rows = hashlib.sha256()
    for start in range(0, len(split.rows), CHUNK):
        rows.update(np.ascontiguousarray(split.rows[start : start + CHUNK]).data)
    for array in (split.time, split.stream, split.fit, split.validation, split.mean):
        rows.update(np.ascontiguousarray(array).data)
    for feature in split.features:
        rows.update(feature.model_dump_json().encode())
    found = {"rows": rows.hexdigest(), "version of torch": torch.__version__, "version": monitor.__version__}
    given = settings.model_dump(mode="json", exclude=UNBOUND)
    return found | {f"training.{name}": json.dumps(value, sort_keys=True) for name, value in sorted(given.items())}


def check(found: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Raises `MonitorError` with what is not the same."""
    others = [name for name in sorted(found.keys() | wanted.keys()) if found.get(name) != wanted.get(name)]
    if others:
        told = ", ".join("the rows" if name == "rows" else name for name in others)
        raise MonitorError(f"the training cannot go on: it began with other values of {told}", HINT)


def to_bytes(state: Checkpoint) -> bytes:
    """Safetensors; all that is no tensor is JSON in its metadata."""
    card = {
        name: getattr(state, name)
        for name in ("identity", "epochs", "train_loss", "validation_loss", "best_epoch", "last_loss")
    }
    tensors = {name: tensor.contiguous() for name, tensor in state.tensors.items()}
    return to_safetensors(tensors, {"version": VERSION, "state": json.dumps(card)})


def from_bytes(content: bytes) -> Checkpoint:
    """What `to_bytes` wrote. Raises `MonitorError` where it is damaged, or of another version."""
    try:
        length = int.from_bytes(content[:8], "little")
        card: Any = json.loads(content[8 : 8 + length])["__metadata__"]
        if card["version"] != VERSION:
            raise MonitorError(f"the checkpoint is of version {card['version']}, not {VERSION}", HINT)
        return Checkpoint(tensors=from_safetensors(content), **json.loads(card["state"]))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise MonitorError(f"the checkpoint is damaged ({type(error).__name__}: {error})", HINT) from error


def flat(name: str, state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a state dictionary, nested or not, copied to the CPU; their paths begin with `name`."""
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        path = f"{name}/{key}"
        if isinstance(value, Tensor):
            found[path] = value.detach().cpu().clone()
        elif isinstance(value, Mapping):
            found |= flat(path, value)
    return found


def below(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those whose path begins with `name`, by the rest of it."""
    return {key.removeprefix(f"{name}/"): tensor for key, tensor in tensors.items() if key.startswith(f"{name}/")}
