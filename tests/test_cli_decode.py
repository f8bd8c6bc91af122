"""Codes of a file and back: `replay --latent`, `decode`, and `sample`, by the command line."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import config, detector
from monitor.feeds import files
from monitor.feeds.codes import Card, Coded, read_codes
from monitor.feeds.table import Rows, Table
from monitor.feeds.writing import ENDINGS, write
from monitor.model import artefact
from monitor.model.decoding import Decoding
from tests.models import FEATURES, START, tiny_artefact, waves
from tests.test_cli_evaluate import invoke

T, ROWS = 8, 203
GAP = 100  # the row before which the stream was silent


def data(folder: Path) -> Path:
    """Two streams of normal rows, one with a gap, a late row and a row of one feature less."""
    place = folder / "data.csv"
    with place.open("w", newline="") as text:
        out = csv.writer(text)
        out.writerow(["stream", "time", *FEATURES])
        for seed, stream in ((11, "one"), (12, "two")):
            values = waves(ROWS, len(FEATURES), seed).tolist()
            time = START + np.arange(ROWS) + 0.25
            if stream == "two":
                time[GAP:] += 1000
                values[50][1] = ""
            for number in range(ROWS):
                out.writerow([stream, time[number], *values[number]])
                if stream == "two" and number == 60:
                    out.writerow([stream, time[40], 0.0, 0.0, 0.0])  # late
    return place


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_artefact(tmp_path_factory.mktemp("model") / "m", epochs=40)


@pytest.fixture
def impute(tmp_path: Path) -> Path:
    place = tmp_path / "monitor.yaml"
    place.write_text("events: {missing: impute}\n")
    return place


def test_codes_go_to_a_file_and_come_back_as_rows_with_the_ratio_and_the_error(
    model: Path, tmp_path: Path, impute: Path
) -> None:
    place, codes, back = data(tmp_path), tmp_path / "codes.parquet", tmp_path / "back.csv"
    plain = invoke("replay", place, "--model", model, "-c", impute, "--json")
    latent = invoke("replay", place, "--model", model, "-c", impute, "--json", "--latent", codes)
    assert latent.exit_code == 0, latent.output
    assert latent.stdout == plain.stdout, "the alerts are those without codes"
    card, coded = read_codes(codes)
    manifest = artefact.load(model).manifest
    assert card == Card(manifest.digest, T, 3)
    assert [(one.stream, len(one.time)) for one in coded] == [("one", ROWS), ("two", ROWS)]
    assert [int(np.isnan(one.score).sum()) for one in coded] == [T - 1, 2 * (T - 1)]

    told = invoke("decode", codes, "--model", model, "--out", back, "--against", place)
    assert told.exit_code == 0, told.output
    # 25 whole windows of one; 12 before the gap and 12 after it of two
    assert "49 windows of 8 events decoded: 392 of 406 events" in told.stdout
    assert "compression 8 to 1: 96 bytes of values a window, 12 of code" in told.stdout
    found = files.read([str(back)])
    original = files.read([str(place)])
    assert [len(rows) for rows in found.series] == [200, 192]
    for rows, source in zip(found.series, original.series, strict=True):
        assert set(rows.time.tolist()) <= set(source.time.tolist())
    one, source = found.series[0], original.series[0]
    np.testing.assert_array_equal(one.time, source.time[:200])
    error = np.sqrt(np.mean((one.values - source.values[:200]) ** 2, axis=0))
    assert (error < 0.5).all()
    scales = [feature.scale for feature in manifest.features]
    total = re.search(r"error (\S+) \(root mean square, standardised units\), (\S+)% of the variance kept", told.stdout)
    assert total
    assert float(total[1]) < 0.7
    lost = {
        line.split()[0]: float(line.split()[1]) for line in told.stdout.splitlines() if line[:2] in ("a ", "b ", "c ")
    }
    assert np.sqrt(np.mean([(lost[name] / scale) ** 2 for name, scale in zip(FEATURES, scales, strict=True)])) == (
        pytest.approx(float(total[1]), rel=1e-3)
    )


def test_what_is_decoded_is_what_the_network_reconstructs(model: Path) -> None:
    """The closing event is the one that is served as expected; no torch ran for that."""
    loaded = artefact.load(model)
    windows = np.lib.stride_tricks.sliding_window_view(waves(40, len(FEATURES), 3), T, axis=0).swapaxes(1, 2)
    said = detector.OnnxDetector(loaded, 1).score(np.ascontiguousarray(windows))
    decoded = Decoding(loaded).decode(said.code)
    assert decoded.shape == windows.shape
    np.testing.assert_allclose(decoded[:, -1], said.expected, rtol=1e-5)


@pytest.mark.parametrize("objective", ["variational", "adversarial", "composite"])
def test_every_objective_can_be_decoded_from_its_code_alone(objective: str, tmp_path: Path) -> None:
    loaded = artefact.load(tiny_artefact(tmp_path / "m", objective=objective, epochs=3))
    windows = np.lib.stride_tricks.sliding_window_view(waves(40, len(FEATURES), 3), T, axis=0).swapaxes(1, 2)
    said = detector.OnnxDetector(loaded, 1).score(np.ascontiguousarray(windows))
    decoded = Decoding(loaded).decode(said.code)
    # of a variational model the reconstruction is over several codes drawn about this one
    np.testing.assert_allclose(decoded[:, -1], said.expected, atol=0.5 if objective == "variational" else 1e-4)


@pytest.mark.parametrize("name", ["pca", "ensemble"])
def test_a_model_whose_code_tells_no_window_says_so(name: str, tmp_path: Path) -> None:
    folder = tiny_artefact(tmp_path / "m", detector=name, epochs=1)
    place, codes = data(tmp_path), tmp_path / "codes.parquet"
    assert invoke("replay", place, "--model", folder, "--json", "--latent", codes).exit_code == 0
    told = invoke("decode", codes, "--model", folder, "--out", tmp_path / "back.csv")
    assert told.exit_code == 2
    assert "cannot be decoded" in told.stderr
    assert "training.detector=autoencoder" in told.stderr


def test_codes_of_another_model_and_files_that_are_none_are_refused(model: Path, tmp_path: Path) -> None:
    place, codes = data(tmp_path), tmp_path / "codes.parquet"
    other = tiny_artefact(tmp_path / "other", epochs=1)
    assert invoke("replay", place, "--model", other, "--json", "--latent", codes).exit_code == 0
    told = invoke("decode", codes, "--model", model, "--out", tmp_path / "back.csv")
    assert told.exit_code == 1
    assert "was written by model" in told.stderr
    told = invoke("decode", place, "--model", model, "--out", tmp_path / "back.csv")
    assert told.exit_code == 1
    assert "monitor replay FILES --latent" in told.stderr
    told = invoke("decode", codes, "--model", other, "--out", tmp_path / "back.xyz")
    assert told.exit_code == 2
    assert "does not tell the format" in told.stderr


@pytest.mark.parametrize("args", [("decode", "codes"), ("sample",)])
def test_without_torch_they_say_what_to_install(
    args: tuple[str, ...], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = tmp_path / "codes.parquet"
    assert invoke("replay", data(tmp_path), "--model", model, "--json", "--latent", codes).exit_code == 0
    monkeypatch.delitem(sys.modules, "monitor.model.decoding", raising=False)
    monkeypatch.delattr("monitor.model.decoding", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    given = [codes if part == "codes" else part for part in args]
    told = invoke(*given, "--model", model, "--out", tmp_path / "out.csv")
    assert told.exit_code == 2
    assert "needs torch, which is not installed" in told.stderr
    assert "pip install '.[train]'" in told.stderr


def test_a_counter_s_course_is_in_the_code_and_its_level_is_not(tmp_path: Path) -> None:
    rows = waves(400, 2, 0)
    rows[:, 1] = np.cumsum(1 + np.sin(np.arange(400) / 12) + 0.01 * rows[:, 1])
    folder = tmp_path / "m"
    source = tmp_path / "count.csv"
    write(source, Table(("level", "count"), (Rows("s", START + np.arange(400.0), rows),)))
    place = tmp_path / "monitor.yaml"
    place.write_text("training: {code: 3, features: [{match: count, change: rate}]}\n")
    settings = ["-c", place, "--window", "8", "--epochs", "20", "--hidden", "16", "--set", "training.quantile=0.99"]
    trained = invoke("train", source, "--out", folder, *settings)
    assert trained.exit_code == 0, trained.output
    codes, back = tmp_path / "codes.parquet", tmp_path / "back.parquet"
    replayed = invoke("replay", source, "--model", folder, "--json", "--latent", codes)
    assert replayed.exit_code == 0, replayed.stderr
    told = invoke("decode", codes, "--model", folder, "--out", back, "--against", source)
    assert told.exit_code == 0, told.output
    assert "Read as a change: count" in told.stdout
    assert re.search(r"^count +0\.\d+ .*RMS error of its change", told.stdout, re.MULTILINE)
    course = pq.read_table(back)["count"].to_numpy()[:T]
    assert course[0] == pytest.approx(artefact.load(folder).manifest.features[1].mean, rel=1e-5)
    np.testing.assert_allclose(np.diff(course), np.diff(rows[:T, 1]), atol=1.0)


def test_samples_are_rows_of_the_model_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    folder = tiny_artefact(tmp_path / "m", objective="variational", epochs=60)
    made = {}
    for name, seed in (("one", 7), ("same", 7), ("other", 8)):
        out = tmp_path / f"{name}.csv"
        told = invoke("sample", "--model", folder, "--count", 50, "--seed", seed, "--out", out)
        assert told.exit_code == 0, told.output
        made[name] = out.read_bytes()
    assert made["one"] == made["same"] != made["other"]
    table = files.read([str(tmp_path / "one.csv")])
    assert [rows.stream for rows in table.series] == [f"sample-{number}" for number in range(1, 51)]
    assert {len(rows) for rows in table.series} == {T}
    drawn = np.stack([rows.values for rows in table.series])
    normal = waves(400, len(FEATURES))
    np.testing.assert_allclose(drawn.mean(axis=(0, 1)), normal.mean(axis=0), atol=0.6)
    assert (drawn.std(axis=(0, 1)) < 2 * normal.std(axis=0) + 0.3).all()
    replayed = invoke("replay", tmp_path / "one.csv", "--model", folder, "--json")
    assert "50 windows scored" in replayed.stderr


def test_a_model_that_is_no_distribution_says_how_to_train_one(model: Path, tmp_path: Path) -> None:
    told = invoke("sample", "--model", model, "--out", tmp_path / "out.csv")
    assert told.exit_code == 2
    assert "its objective is not variational" in told.stderr
    assert "--set training.objective=variational" in told.stderr
    assert not (tmp_path / "out.csv").exists()


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 6))
def test_tiles_do_not_overlap_and_none_that_fits_is_left_out(whole: list[bool], window: int) -> None:
    score = np.array([1.0 if one and at >= window - 1 else np.nan for at, one in enumerate(whole)])
    ends = Coded("s", np.arange(len(whole), dtype=np.float64), score, np.zeros((len(whole), 1), np.float32)).tiles(
        window
    )
    assert (np.diff(ends) >= window).all()
    assert not np.isnan(score[ends]).any()
    covered = {row for end in ends.tolist() for row in range(end - window + 1, end + 1)}
    for end in np.flatnonzero(~np.isnan(score)).tolist():
        assert covered & set(range(end - window + 1, end + 1))


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_written_is_read_again(ending: str, tmp_path: Path) -> None:
    values = np.array([[0.1, 0, 16_777_217], [np.nan, 1, -1e-30], [3e38, 0, 0.0]], np.float32)
    table = Table(
        ("a b", "colour", "c"), (Rows("s,1", START + np.arange(3.0), values),), categories={"colour": ("r", 'g"')}
    )
    place = tmp_path / f"rows{ending}"
    write(place, table)
    found = files.read([str(place)], files.Mapping(features=table.features, category=lambda name: name == "colour"))
    assert found.categories == {"colour": ("r", 'g"')}
    np.testing.assert_array_equal(found.series[0].values, values)
    assert (found.series[0].stream, found.series[0].time.tolist()) == ("s,1", table.series[0].time.tolist())


def test_outputs_of_the_configuration_do_not_reach_a_replay(model: Path, tmp_path: Path) -> None:
    place = tmp_path / "monitor.yaml"
    place.write_text("outputs: {scores: scores}\n")
    assert config.Outputs(scores="scores").topics
    one, other = (invoke("replay", data(tmp_path), "--model", model, "--json", *more) for more in ((), ("-c", place)))
    assert one.stdout == other.stdout
