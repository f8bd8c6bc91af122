"""The retraining job's script, as the chart runs it: real training, real comparison."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from monitor.model import artefact
from tests.deploy.rendering import CHART, ROOT
from tests.models import FEATURES, START, waves

SCRIPT = CHART / "files" / "scripts" / "retrain.py"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("retrain", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(path: Path, *, faulty: tuple[int, int] | None = None) -> Path:
    """400 normal rows of one stream; `faulty`: from, to another level of the first feature, labelled."""
    values = waves(400, len(FEATURES))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["stream", "time", *FEATURES])
        for place, row in enumerate(values):
            jump = 5.0 if faulty and faulty[0] <= place < faulty[1] else 0.0
            writer.writerow(["s", START + place, row[0] + jump, *row[1:]])
    return path


def retrain(models: Path, normal: Path, compare: dict[str, Any]) -> str:
    order = {
        "models": str(models),
        "path": "pumps",
        "from_topic": False,
        "days": 1,
        "files": [str(normal)],
        "arguments": ["--window", "8", "--set", "training.detector=max_z", "--set", "training.quantile=0.99"],
        "compare": compare,
        "keep": 1,
    }
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), json.dumps(order)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_new_model_takes_the_place_unless_it_is_worse(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    normal = rows(tmp_path / "normal.csv")
    labelled = rows(tmp_path / "labelled.csv", faulty=(200, 240))
    labels = tmp_path / "labels.csv"
    labels.write_text(f"stream,start,end\ns,{START + 200},{START + 239}\n")
    compare: dict[str, Any] = {
        "files": [],
        "labels": "",
        "measure": "average_precision",
        "tolerance": 0,
        "arguments": [],
    }
    served = models / "pumps"

    assert "is the first" in retrain(models, normal, compare)
    first = served.resolve()
    artefact.load(served)

    compare |= {"files": [str(labelled)], "labels": str(labels)}
    assert "the old one stays" in retrain(models, normal, compare | {"tolerance": -2})  # what is asked is out of reach
    assert served.resolve() == first

    assert "the new one is in its place" in retrain(models, normal, compare)  # as good is good enough
    assert served.resolve() != first
    artefact.load(served)
    made = sorted(path.name for path in models.glob("pumps-2*"))
    assert made == [served.resolve().name]  # keep=1: the newest, which is the one in use


def test_a_folder_that_was_put_there_by_hand_is_kept(script: ModuleType, tmp_path: Path) -> None:
    served = tmp_path / "pumps"
    served.mkdir()
    (served / "manifest.json").write_text("by hand")
    (tmp_path / "pumps-20260101T000000Z").mkdir()
    script.place(served, "pumps-20260101T000000Z")
    assert served.readlink() == Path("pumps-20260101T000000Z")
    assert (tmp_path / "pumps-first" / "manifest.json").read_text() == "by hand"


def test_the_model_in_use_is_never_thrown_away(script: ModuleType, tmp_path: Path) -> None:
    names = [f"pumps-2026010{day}T000000Z" for day in range(1, 5)]
    for name in names:
        (tmp_path / name).mkdir()
    served = tmp_path / "pumps"
    script.place(served, names[0])
    script.prune(tmp_path, {"path": "pumps", "keep": 2}, served)
    assert sorted(path.name for path in tmp_path.glob("pumps-2*")) == [names[0], *names[2:]]
