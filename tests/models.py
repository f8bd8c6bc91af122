"""Small real models for the tests: trained, exported and written in about a second, once per session and arguments."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch

from monitor.batch import Float32
from monitor.config import Training
from monitor.model.export import save
from monitor.model.training import Series, Trained, train

START = 1_700_000_000.0
FEATURES = ("a", "b", "c")


def tiny_settings(**changes: object) -> Training:
    """Settings that train in about a second; `changes` by name, checked as any settings are."""
    small = {"window": 8, "hidden": 16, "code": 3, "epochs": 12, "batch": 32, "learning_rate": 1e-2, "device": "cpu"}
    return Training.model_validate(small | {"quantile": 0.99} | changes)


def waves(rows: int, features: int, seed: int = 0) -> Float32:
    """Normal rows (n, F): a sine of its own phase and level per feature, with a little noise."""
    rng = np.random.default_rng(seed)
    phase = np.arange(rows)[:, None] / 12 + np.arange(features)  # (n, F)
    noise = rng.normal(scale=0.05, size=(rows, features))
    return (10.0 * (np.arange(features) + 1) + np.sin(phase) + noise).astype(np.float32)


def series(rows: int = 400, features: int = 3, stream: str = "s", seed: int = 0, interval: float = 1.0) -> Series:
    return Series(stream, START + interval * np.arange(rows, dtype=np.float64), waves(rows, features, seed))


def tiny_trained(features: tuple[str, ...] = FEATURES, rows: int = 400, **changes: object) -> Trained:
    torch.set_num_threads(1)
    several = [series(rows, len(features), stream, seed) for seed, stream in enumerate(("s1", "s2"))]
    units = dict.fromkeys(features, "bar")
    return train(several, features, units, tiny_settings(**changes), source="tests/models.py")


@cache
def _artefact(features: tuple[str, ...], changes: tuple[tuple[str, object], ...]) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        save(tiny_trained(features, **dict(changes)), folder)  # type: ignore[arg-type]  # settings by name
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def tiny_artefact(folder: Path, features: tuple[str, ...] = FEATURES, window: int = 8, **changes: object) -> Path:
    """Writes a really trained artefact to `folder` (which may exist if it is empty) and returns it.

    It knows `waves(n, len(features))` at one event a second as normal. `changes` are training settings by name.
    """
    files = _artefact(features, (("window", window), *sorted(changes.items())))
    assert not any(folder.glob("*")), f"{folder} is not empty"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder
