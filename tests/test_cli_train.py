"""`monitor train`: from files to an artefact, flags over configuration, and Ctrl+C."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from kafka import KafkaProducer
from rich.console import Console

from monitor.batch import RawRecord
from monitor.cli import main
from monitor.cli.stopping import stopping
from monitor.cli.train import parse_time
from monitor.cli.training_progress import Display
from monitor.errors import UsageError
from monitor.feeds.files import read
from monitor.feeds.table import records
from monitor.model.architecture import Architecture
from monitor.model.artefact import load
from monitor.model.manifest import Manifest
from monitor.model.objectives.undercomplete import Undercomplete
from monitor.model.training import Progress
from tests.brokers import Topics

TINY = ["--window", "4", "--hidden", "4", "--epochs", "2", "--set", "training.code=2", "--set", "training.device=cpu"]


def rows(n: int = 300, seed: int = 0) -> dict[str, Any]:
    """Two noisy waves, one row a minute."""
    noise = np.random.default_rng(seed).normal(0, 0.1, (2, n))
    phase = np.arange(n) / 5
    return {
        "time": 1_700_000_000 + 60 * np.arange(n),
        "x": np.float32(np.sin(phase) + noise[0]),
        "y": np.float32(3 + np.cos(phase) + noise[1]),
    }


def write_csv(path: Path, columns: dict[str, Any]) -> Path:
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def train(*arguments: object, env: dict[str, str] | None = None) -> Result:
    return CliRunner(env=env).invoke(main, ["train", *map(str, arguments)])


def manifest_of(folder: Path) -> Manifest:
    return load(folder).manifest


def test_help_fits_a_screen_and_names_every_option() -> None:
    """--help is at most 80 x 24, with an example, and no option is left out of it."""
    help_text = train("--help").output
    lines = help_text.rstrip("\n").split("\n")
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert "monitor train 'data/*.csv'" in help_text
    command = main.get_command(None, "train")  # type: ignore[arg-type]  # the context is not looked at
    assert command is not None
    shown = [opt for option in command.params for opt in option.opts if opt.startswith("--") and opt != "--debug"]
    assert len(shown) > 15
    assert [opt for opt in shown if opt not in help_text] == []


def test_csv_ndjson_and_parquet_teach_the_same(tmp_path: Path) -> None:
    """The same rows in three formats give the same weights and threshold, in an artefact that loads."""
    columns = rows()
    csv = write_csv(tmp_path / "wave.csv", columns)
    pq.write_table(pa.table(columns), tmp_path / "wave.parquet")
    ndjson = tmp_path / "wave.ndjson"
    ndjson.write_bytes(b"\n".join(record.value or b"" for record in records(read([str(csv)]), "t")))
    manifests = []
    for source in (csv, ndjson, tmp_path / "wave.parquet"):
        out = tmp_path / f"model-{source.suffix[1:]}"
        result = train(source, "--out", out, "--unit", "x=bar", "--seed", 3, *TINY)
        assert result.exit_code == 0, result.output
        manifests.append(manifest_of(out))
    first, *others = manifests
    assert [(feature.name, feature.unit) for feature in first.features] == [("x", "bar"), ("y", "")]
    assert (first.training.rows, first.training.streams, first.training.interval) == (300, 1, 60.0)
    assert first.training.source == str(csv)
    for other in others:
        assert other.calibration == first.calibration
        assert other.files["weights.safetensors"] == first.files["weights.safetensors"]


def test_summary_and_progress(tmp_path: Path) -> None:
    """Without a terminal: one line per epoch on standard error; the summary and the next command on standard output."""
    columns = rows()
    columns["time"][10] = columns["time"][9]
    result = train(write_csv(tmp_path / "w.csv", columns), "--out", tmp_path / "m", *TINY)
    assert result.exit_code == 0, result.output
    epochs = [line for line in result.stderr.splitlines() if line.startswith("epoch ")]
    assert [line.split()[1] for line in epochs] == ["1/2", "2/2"]
    assert all("loss" in line and "validation" in line and "best" in line for line in epochs)
    assert "note: 1 of 300 rows dropped: their stream has a row of the same time" in result.stderr
    manifest = manifest_of(tmp_path / "m")
    for words in (
        "299 (streams: 1, features: 2)",
        f"{manifest.training.fit_windows} fit",
        f"{manifest.calibration.threshold:.4g}, the largest error there was: expect ",
        " for a budget of 1 a day per stream",
        manifest.digest[:12],
        f"monitor replay FILES --model {tmp_path / 'm'}",
    ):
        assert words in result.stdout


def test_flags_override_the_environment_and_the_configuration(tmp_path: Path) -> None:
    """Flag over --set's rivals: environment over file, flag over both; what no one names keeps its default."""
    config = tmp_path / "monitor.yaml"
    config.write_text("training:\n  window: 9\n  hidden: 7\n  code: 3\n  epochs: 1\n  learning_rate: 0.01\n")
    data = write_csv(tmp_path / "w.csv", rows())
    result = train(
        *(data, "-c", config, "--out", tmp_path / "m", "--window", 5, "--alerts", 12, "--set", "training.loss=huber"),
        env={"MONITOR_TRAINING__HIDDEN": "6", "MONITOR_TRAINING__WINDOW": "8", "MONITOR_TRAINING__DEVICE": "cpu"},
    )
    assert result.exit_code == 0, result.output
    manifest = manifest_of(tmp_path / "m")
    shape = manifest.architecture
    assert isinstance(shape, Architecture)
    assert (shape.window, shape.hidden, shape.code, shape.loss) == (5, (6,), 3, "huber")
    training = manifest.training
    assert (training.epochs, training.learning_rate) == (1, 0.01)
    assert manifest.calibration.alerts_per_stream_per_day == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: nothing to learn from\n  Name files, as in monitor train 'data/*.csv' --out model, or give "),
        (["d.csv", "--from-topic"], "error: --from-topic and a file (d.csv)\n"),
        (["d.csv", "--since", "2026-01-01"], "error: --since is for --from-topic\n"),
        (["--from-topic", "--stream-column", "s"], "error: --stream-column is for files\n"),
        (["--from-topic", "--since", "1", "--to-offset", "9"], "error: a range of time and a range of offsets\n"),
        (["--from-topic", "--since", "soon"], "error: --since soon: not a time\n"),
        (["--from-topic", "--since", "2", "--until", "1"], "error: --since is not before --until\n"),
        (["none.csv"], "error: none.csv: no such file\n"),
        (["d.csv", "--unit", "x"], "error: --unit x: not NAME=VALUE\n"),
        (["d.csv", "--unit", "z=bar"], "error: --unit z: no such feature\n  The features are x, y.\n"),
        (["d.csv", "--set", "training.windo=3"], "--set training.windo"),
        (
            ["d.csv", "--window", "5", "--set", "training.window=3"],
            "error: --window and --set training.window are the ",
        ),
        (["d.csv", "--window", "0"], "--window"),
        (["d.csv", "--out", "full"], "error: full holds "),
    ],
)
def test_bad_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str) -> None:
    """Bad usage is told before anything is learned, with exit code 2."""
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "d.csv", rows(30))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    result = train("--out", "model", *arguments)
    assert message in result.stderr
    assert result.exit_code == 2
    assert not (tmp_path / "model").exists()


def test_constant_column_is_a_warning(tmp_path: Path) -> None:
    """A column that never changes can be learned from, but is named."""
    columns = rows()
    columns["flat"] = np.full(len(columns["x"]), 5)
    result = train(write_csv(tmp_path / "w.csv", columns), "--out", tmp_path / "m", *TINY)
    assert result.exit_code == 0, result.output
    assert (
        "note: Constant in the fitting rows, so any change in them counts in full: flat. "
        "Leave out what is no measurement, such as a label.\n"
    ) in result.stderr
    assert manifest_of(tmp_path / "m").features[2].scale == 1


def test_infinite_numbers_are_missing_and_a_note(tmp_path: Path) -> None:
    columns = rows()
    columns["x"][::3] = np.inf
    result = train(write_csv(tmp_path / "w.csv", columns), "--out", tmp_path / "m", *TINY)
    assert result.exit_code == 0, result.output
    assert "w.csv: column 'x': 100 of 300 numbers are infinite, taken for missing\n" in result.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda columns: columns | {"gone": [""] * 300},
            "error: no fitting row has a value for gone\n"
            "  Leave these features out (--features names those to learn), or give rows that have them.\n",
        ),
        (
            lambda columns: {name: column[:1] for name, column in columns.items()},
            "error: no whole window of 4 events for fitting, validation, calibration in 1 row (streams: 1)\n"
            "  One stream needs about 34 rows: give more rows, or lower training.window (--window).\n",
        ),
        (
            lambda columns: {name: column[:3] for name, column in columns.items()},
            "error: no whole window of 4 events for fitting, validation, calibration in 3 rows (streams: 1)\n"
            "  One stream needs about 34 rows without a gap longer than 600 s: "
            "give more rows, or lower training.window (--window).\n",
        ),
    ],
    ids=["a column without a value", "one row", "fewer rows than a window"],
)
def test_rows_that_nothing_can_be_learned_from(tmp_path: Path, change: Any, message: str) -> None:
    """Too few rows, or none of a feature, end in a message that names the trouble, and in no artefact."""
    result = train(write_csv(tmp_path / "w.csv", change(rows())), "--out", tmp_path / "m", *TINY)
    assert result.exit_code == 1
    assert result.stderr.endswith(message)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            "loss",
            "error: training diverged: the loss became {} in epoch 1\n  Lower training.learning_rate (now 0.001).\n",
        ),
        (
            "validation_loss",
            "error: the validation loss is {}\n  Lower training.learning_rate, or check the rows.\n",
        ),
    ],
)
def test_a_loss_that_is_no_number_ends_without_an_artefact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, message: str, number: float
) -> None:
    """No rows are known that make one, since what the network sees is bounded: so the loss itself is replaced."""
    monkeypatch.setattr(Undercomplete, where, lambda _self, z, *_: z.sum() * 0 + number)
    result = train(write_csv(tmp_path / "w.csv", rows()), "--out", tmp_path / "m", *TINY)
    assert result.exit_code == 1
    assert result.stderr.endswith(message.format(number))
    assert not (tmp_path / "m").exists()


def test_ctrl_c_keeps_the_best_epoch(tmp_path: Path) -> None:
    """SIGINT during training ends it after the step; the best epoch so far is saved, and the exit code is 0."""
    data = write_csv(tmp_path / "w.csv", rows(600))
    endless = ["--epochs", 100_000, "--set", "training.patience=100000"]
    with started(data, "--out", tmp_path / "m", *TINY, *endless) as process:
        wait_for_line(process, "epoch 2/")
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate(timeout=60)
    assert process.returncode == 0, rest
    assert "stopping after this step" in rest
    manifest = manifest_of(tmp_path / "m")
    assert 1 <= manifest.training.best_epoch <= manifest.training.epochs < 100_000
    assert manifest.digest[:12] in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_at_once(number: signal.Signals) -> None:
    """The first signal only asks to stop, the second interrupts; afterwards the handlers are as before."""
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    said = io.StringIO()

    def interrupted_twice() -> None:
        with stopping(Display(Console(file=said, width=200)).stopping) as stop:
            assert not stop()
            signal.raise_signal(number)
            assert stop()
            signal.raise_signal(number)
            pytest.fail("the second signal did nothing")

    with pytest.raises(KeyboardInterrupt):
        interrupted_twice()
    kept = "no epoch has ended, so no model will be written"
    assert said.getvalue() == f"stopping after this step, {kept} (once more: end at once)\n"
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_terminal_shows_a_bar() -> None:
    """On a terminal one line is drawn anew, with epoch, loss, validation loss, best epoch and time left."""
    screen = io.StringIO()
    with Display(Console(file=screen, force_terminal=True, width=120)) as display:
        display.progress(Progress(3, 30, 5, 10, 0.25, 0.5, 2, 3725))
    last = screen.getvalue()
    for words in ("epoch 3/30", "loss 0.25", "validation 0.5", "best 2", "ETA 1:02:05", "\u2501"):
        assert words in last


@contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """`monitor train` as a process of its own, which does not outlive the test."""
    with subprocess.Popen(
        [sys.executable, "-m", "monitor", "train", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_line(process: subprocess.Popen[str], beginning: str) -> None:
    """Read standard error up to a line that begins so; fails when there is none."""
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:
        seen += line
        if line.startswith(beginning):
            return
    pytest.fail(f"no line {beginning!r} in:\n{seen}")


def test_the_topic_teaches_what_the_files_teach(tmp_path: Path, kafka: str, topics: Topics) -> None:
    """A range of a topic gives the weights that the same rows give from a file; what is no event is counted."""
    columns = rows()
    whole = read([str(write_csv(tmp_path / "wave.csv", columns))])
    topic = topics.create("train")
    producer = KafkaProducer(bootstrap_servers=kafka)
    try:
        sent = [
            producer.send(topic, record.value, key=record.key, partition=0, timestamp_ms=record.timestamp)
            for record in (*records(whole, topic), RawRecord(topic, 0, 300, 1_700_018_000_000, b"wave", b"?"))
        ]
        assert [each.get(30).offset for each in sent] == list(range(301))
    finally:
        producer.close()
    config = tmp_path / "monitor.yaml"
    config.write_text(f"kafka:\n  bootstrap_servers: {kafka}\ntopics:\n  input:\n    name: {topic}\n")
    part = write_csv(tmp_path / "part.csv", {name: column[20:] for name, column in columns.items()})
    assert train(part, "--out", tmp_path / "file", *TINY).exit_code == 0
    wanted = manifest_of(tmp_path / "file")
    ranges = (("--from-offset", 20, "--to-offset", 301), ("--since", columns["time"][20], "--until", "2030-01-01"))
    for number, limits in enumerate(ranges):
        out = tmp_path / f"topic{number}"
        result = train("--from-topic", "-c", config, "--out", out, *limits, *TINY)
        assert result.exit_code == 0, result.output
        assert "note: 1 of 281 records rejected as not_json: " in result.stderr
        assert "read 281 of 281 records" in result.stderr
        manifest = manifest_of(out)
        assert manifest.files["weights.safetensors"] == wanted.files["weights.safetensors"]
        assert manifest.calibration == wanted.calibration
        assert manifest.training.source == f"topic {topic}"


def test_times_on_the_command_line() -> None:
    """ISO 8601, UTC where it names no zone, or seconds; anything else is refused."""
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
    for text in ("2026-03-01T12:00:00Z", "2026-03-01 12:00", "2026-03-01T13:00+01:00", str(noon)):
        assert parse_time("--since", text) == noon
    assert parse_time("--since", None) is None
    for text in ("soon", "nan", "inf", ""):
        with pytest.raises(UsageError, match="not a time"):
            parse_time("--since", text)
