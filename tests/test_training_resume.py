"""A training that is interrupted and goes on: the same artefact as of one that was not."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from monitor.errors import MonitorError
from monitor.model import checkpoint
from monitor.model.artefact import load
from monitor.model.checkpoint import Checkpoint
from monitor.model.dataset import prepare
from monitor.model.fitting import fit
from tests.models import series, tiny_settings
from tests.networks.made import OBJECTIVES
from tests.test_cli_train import rows, train, write_csv

LONG = ["--window", "4", "--hidden", "4", "--epochs", "12", "--set", "training.code=2"]
LONG += ["--set", "training.device=cpu", "--set", "training.patience=50", "--set", "training.dropout=0.1"]


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_going_on_ends_as_if_nothing_had_happened(objective: str, optimiser: str) -> None:
    """From the bytes of the second epoch's checkpoint, four epochs end with the same weights and losses."""
    settings = tiny_settings(epochs=4, dropout=0.2, optimiser=optimiser, objective=objective)
    split = prepare([series()], ("a", "b", "c"), settings)
    kept: list[bytes] = []
    whole = fit(split, settings, keep=lambda state: kept.append(checkpoint.to_bytes(state)))
    gone_on = fit(split, settings, resumed=checkpoint.from_bytes(kept[1]))
    assert (gone_on.validation_loss, gone_on.best_epoch) == (whole.validation_loss, whole.best_epoch)
    for name, tensor in whole.model.state_dict().items():
        assert tensor.equal(gone_on.model.state_dict()[name]), name


def test_a_killed_process_goes_on_to_the_same_artefact(tmp_path: Path) -> None:
    """kill -9 after an epoch: with --resume, the artefact has the digest of a training that was not killed."""
    data = write_csv(tmp_path / "wave.csv", rows(4000))
    assert train(data, "--out", tmp_path / "whole", *LONG).exit_code == 0
    assert not (tmp_path / "whole.checkpoint").exists()
    command = [sys.executable, "-m", "monitor", "train", str(data), "--out", str(tmp_path / "cut"), *LONG]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (tmp_path / "cut.checkpoint").exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "cut").exists()
    result = train(data, "--out", tmp_path / "cut", "--resume", *LONG)
    assert result.exit_code == 0, result.output
    assert "note: going on after epoch " in result.stderr
    assert "windows a second fitted" in result.stdout
    assert load(tmp_path / "cut").manifest.digest == load(tmp_path / "whole").manifest.digest
    assert not (tmp_path / "cut.checkpoint").exists()


def test_what_ctrl_c_ended_goes_on_to_the_same_artefact(tmp_path: Path) -> None:
    """SIGINT after an epoch leaves an artefact of the epochs so far; with --resume, it becomes that of all of them."""
    data = write_csv(tmp_path / "wave.csv", rows(4000))
    assert train(data, "--out", tmp_path / "whole", *LONG).exit_code == 0
    command = [sys.executable, "-m", "monitor", "train", str(data), "--out", str(tmp_path / "cut"), *LONG]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (tmp_path / "cut.checkpoint").exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "note: it was stopped early: the same command with --resume goes on" in said
    whole, cut = load(tmp_path / "whole").manifest, load(tmp_path / "cut").manifest
    assert 1 <= cut.training.epochs < whole.training.epochs
    assert (tmp_path / "cut.checkpoint").exists()
    result = train(data, "--out", tmp_path / "cut", "--resume", *LONG)
    assert result.exit_code == 0, result.output
    assert load(tmp_path / "cut").manifest.digest == whole.digest
    assert not (tmp_path / "cut.checkpoint").exists()


def test_other_rows_or_settings_are_refused_by_name() -> None:
    """More epochs may be asked for; nothing else may differ."""
    settings = tiny_settings(epochs=1)
    split = prepare([series()], ("a", "b", "c"), settings)
    kept: list[Checkpoint] = []
    fit(split, settings, keep=kept.append)
    fit(split, tiny_settings(epochs=2), resumed=kept[0])
    with pytest.raises(MonitorError, match=r"began with other values of training\.batch\n"):
        fit(split, tiny_settings(batch=99), resumed=kept[0])
    other = prepare([series(seed=1)], ("a", "b", "c"), settings)
    with pytest.raises(MonitorError, match=r"began with other values of the rows\n"):
        fit(other, settings, resumed=kept[0])


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    """None there, and a damaged one: each says what to do."""
    data = write_csv(tmp_path / "wave.csv", rows())
    result = train(data, "--out", tmp_path / "m", "--resume", *LONG)
    assert result.exit_code != 0
    assert f"--resume: there is no {tmp_path / 'm.checkpoint'}" in result.stderr
    (tmp_path / "m.checkpoint").write_bytes(np.arange(40, dtype=np.uint8).tobytes())
    result = train(data, "--out", tmp_path / "m", "--resume", *LONG)
    assert result.exit_code != 0
    assert "the checkpoint is damaged" in result.stderr
