"""`monitor evaluate`: the numbers are those of the evaluation functions on the pipeline's own scores."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from monitor import config, detector
from monitor.batch import Float32
from monitor.cli import main
from monitor.evaluation import backtest, comparison
from monitor.evaluation.baselines import max_z
from monitor.evaluation.comparison import FLAG_ALL, MAX_Z, MODEL, ORACLE, Rows, compare, incidents_at, rows_of
from monitor.evaluation.ranking import best_f1
from monitor.evaluation.report import evaluate
from monitor.feeds import files
from monitor.feeds.table import records
from monitor.model.manifest import Feature
from tests.models import FEATURES, START, tiny_artefact, waves

ROWS = 500
FAULTS = {"pump-1": ((100, 130), (300, 312)), "pump-2": ((200, 240),), "quiet": ()}


def write_data(folder: Path, faults: dict[str, tuple[tuple[int, int], ...]] = FAULTS, rows: int = ROWS) -> Path:
    """Streams of normal rows, a second apart, in which a feature is off for some rows [start, end)."""
    place = folder / "data.csv"
    with place.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["stream", "time", *FEATURES, "remark"])
        for number, (stream, spans) in enumerate(faults.items()):
            values = waves(rows, len(FEATURES), seed=70 + number)
            for start, end in spans:
                values[start:end, 1] += 5
            for row in range(rows):
                writer.writerow([stream, START + row, *(float(value) for value in values[row]), row])
    return place


def write_labels(folder: Path, faults: dict[str, tuple[tuple[int, int], ...]] = FAULTS) -> Path:
    place = folder / "labels.csv"
    lines = [f"{stream},{start},{end - 1}" for stream, spans in faults.items() for start, end in spans]
    place.write_text("\n".join(["stream,start,end", *lines]) + "\n")
    return place


def invoke(*args: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in args], prog_name="monitor", terminal_width=80)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_artefact(tmp_path_factory.mktemp("model") / "m")


def run_on(place: Path, model: Path, settings: config.Settings) -> backtest.Backtest:
    loaded = detector.load(model, settings.model)
    table = files.read([str(place)], files.Mapping(features=FEATURES))
    return backtest.run(settings, loaded, [list(records(table, settings.topics.input.name))])


def settings_for(model: Path) -> config.Settings:
    return config.Settings.model_validate({"model": {"path": model}})


def test_the_numbers_are_those_of_the_evaluation_functions_on_the_scores_of_the_pipeline(
    model: Path, tmp_path: Path
) -> None:
    place = write_data(tmp_path)
    result = invoke("evaluate", place, "--labels", write_labels(tmp_path), "--model", model, "--json")
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    settings = settings_for(model)
    found = run_on(place, model, settings)
    for one in found.series:
        label = np.zeros(ROWS, np.bool_)
        for start, end in FAULTS[one.stream]:
            label[start:end] = True
        spans = [
            (
                int(np.searchsorted(one.offset, fired.opened_offset)),
                ROWS if fired.ended_at is None else round(fired.ended_at - START) + 1,
            )
            for fired in found.anomalies
            if fired.stream == one.stream
        ]
        report = evaluate(one.score, 1.0, label, one.time, np.array(spans, np.int64).reshape(-1, 2))
        facts = told["streams"][one.stream][MODEL]
        for name, value in (
            ("average_precision", report.average_precision),
            ("roc_auc", report.roc_auc),
            ("vus_pr", report.vus_pr),
            ("event_f1", report.events.f1),
            ("delay_rows", report.events.median_delay_rows),
            ("alerts_per_stream_per_day", report.alerts_per_day),
            ("far", report.points.far),
            ("mar", report.points.mar),
            ("unscored", report.unscored),
            ("incidents", report.events.incidents),
        ):
            assert facts[name] == (None if np.isnan(value) else value), (one.stream, name)
        oracle = best_f1(one.score, label)
        if not np.isnan(oracle.f1):
            assert told["streams"][one.stream][ORACLE]["row_f1"] == pytest.approx(oracle.f1)
    assert told["overall"][MODEL]["events_found"] == 3


def test_all_streams_together_are_sums_of_counts_and_means_of_ranks(model: Path, tmp_path: Path) -> None:
    result = invoke("evaluate", write_data(tmp_path), "--labels", write_labels(tmp_path), "--model", model, "--json")
    told: dict[str, Any] = json.loads(result.stdout)
    for method in (MODEL, MAX_Z, FLAG_ALL):
        parts = [told["streams"][stream][method] for stream in FAULTS]
        whole = told["overall"][method]
        for name in ("rows", "unscored", "true_positives", "false_positives", "incidents", "events_labelled"):
            assert whole[name] == sum(part[name] for part in parts), (method, name)
        ranks = [part["vus_pr"] for part in parts if part["vus_pr"] is not None]
        assert len(ranks) == 2  # the quiet stream has no label, so no rank
        assert whole["vus_pr"] == pytest.approx(np.mean(ranks))
        days = 3 * ROWS / 86_400
        assert whole["alerts_per_stream_per_day"] == pytest.approx(whole["incidents"] / days)


def test_flagging_everything_has_the_base_rate_for_precision(model: Path, tmp_path: Path) -> None:
    result = invoke("evaluate", write_data(tmp_path), "--labels", write_labels(tmp_path), "--model", model, "--json")
    facts = json.loads(result.stdout)["streams"]["pump-2"][FLAG_ALL]
    assert facts["average_precision"] == pytest.approx(40 / ROWS)
    assert (facts["roc_auc"], facts["far"], facts["mar"], facts["incidents"]) == (0.5, 1.0, 0.0, 1)


def test_the_table_names_the_oracle_and_the_baselines_and_fits_80_columns(model: Path, tmp_path: Path) -> None:
    result = invoke("evaluate", write_data(tmp_path), "--labels", write_labels(tmp_path), "--model", model)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert re.match(r"all streams +model +oracle +max \|z\| > 3 +flag all", lines[0])
    tables = [line for line in lines if not line.endswith(".")]
    assert max(map(len, tables)) <= 80
    for name in ("Event precision", "Detection delay", "VUS-PR", "FAR", "MAR", "Alerts a stream and day", "pump-2"):
        assert any(name in line for line in lines), name
    assert "point-adjusted" not in result.stdout


def test_a_row_that_is_rejected_counts_as_one_without_a_score(model: Path, tmp_path: Path) -> None:
    place = write_data(tmp_path, {"pump-1": FAULTS["pump-1"]})
    lines = place.read_text().splitlines()
    cells = lines[51].split(",")
    lines[51] = ",".join([*cells[:2], "", *cells[3:]])  # row 50 has no value of the first feature
    place.write_text("\n".join(lines) + "\n")
    labels = write_labels(tmp_path, {"pump-1": FAULTS["pump-1"]})
    result = invoke("evaluate", place, "--labels", labels, "--model", model, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)["overall"][MODEL]
    assert (facts["rows"], facts["unscored"]) == (ROWS, 7 + 1)
    assert "1 rows rejected" in result.stderr


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ("start,end\n0,5\n", "no column 'stream'"),
        ("stream,start,end\npump-9,0,5\n", "pump-9"),
        ("stream,start,end\npump-1,490,500\n", "beyond the 500 rows"),
        ("stream,label\npump-1,2\n", "neither 0 nor 1"),
        ("0\n1\n", "does not name the columns"),
        (
            '[{"stream": "pump-1", "start": 0, "end": 5}]\n',
            ": JSON, but labels are a CSV file\n  Write a column 'label'",
        ),
        ("stream,from,to\npump-1,0,5\n", ": no column 'label' among stream, from, to\n  Name the column of 0 and 1 "),
        (
            "stream,label\n" + "pump-1,0\n" * 499,
            ": 499 labels of stream 'pump-1', but the data have 500 rows of it\n  Give one label for each row ",
        ),
    ],
)
def test_a_wrong_label_file_is_one_clear_error(model: Path, tmp_path: Path, labels: str, told: str) -> None:
    place = tmp_path / "labels.csv"
    place.write_text(labels)
    result = invoke("evaluate", write_data(tmp_path), "--labels", place, "--model", model)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {place}")
    assert told in result.stderr


def test_labels_in_a_parquet_file_are_one_clear_error(model: Path, tmp_path: Path) -> None:
    place = tmp_path / "labels.parquet"
    pq.write_table(pa.table({"label": [0] * ROWS}), place)
    result = invoke("evaluate", write_data(tmp_path), "--labels", place, "--model", model)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {place}: not UTF-8 text (")
    assert result.stderr.endswith(
        "  Labels are a CSV file, also gzipped; a table of another kind, such as Parquet, must be written as one.\n"
    )


def test_series_shorter_than_a_window_are_an_error_that_says_what_is_wanted(model: Path, tmp_path: Path) -> None:
    place = write_data(tmp_path, {"pump-1": ()}, rows=5)
    labels = tmp_path / "labels.csv"
    labels.write_text("label\n" + "0\n" * 5)
    result = invoke("evaluate", place, "--labels", labels, "--model", model)
    assert result.exit_code == 1
    assert result.stderr.endswith(
        "error: none of 5 rows got a score: no window of 8 events was ever full\n"
        "  Give longer series. A silence of more than 10 s (windows.max_gap) empties a window.\n"
    )


def test_bad_usage_has_exit_code_2(model: Path, tmp_path: Path) -> None:
    place, labels = write_data(tmp_path), write_labels(tmp_path)
    assert invoke("evaluate", place, "--model", model).exit_code == 2
    assert invoke("evaluate", place, "--labels", labels, "--model", tmp_path / "none").exit_code == 2
    assert invoke("evaluate", tmp_path / "none.csv", "--labels", labels, "--model", model).exit_code == 2


def test_incidents_of_thresholded_scores_are_those_the_pipeline_opens(model: Path, tmp_path: Path) -> None:
    """What judges the baselines and the oracle counts incidents as the service does."""
    settings = settings_for(model)
    found = run_on(write_data(tmp_path), model, settings)
    for one in rows_of(found):
        assert incidents_at(one, one.score, 1.0, settings.incidents).tolist() == one.incidents.tolist()
    assert found.anomalies


@given(
    values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=6, max_size=6),
    log1p=st.booleans(),
    change=st.sampled_from(["none", "difference", "rate"]),
)
def test_max_z_is_the_largest_deviation_by_the_manifests_statistics(
    values: list[float], log1p: bool, change: Any
) -> None:
    feature = Feature(name="a", mean=0, shift=2.0, scale=4.0, minimum=0, maximum=1, log1p=log1p, change=change)
    plain = Feature(name="b", mean=0, shift=1.0, scale=2.0, minimum=0, maximum=1)
    windows: Float32 = np.array([[[values[0], values[1], 0.0], [values[2], values[3], 2.0]]], np.float32)

    def level(value: float) -> float:
        return float(np.sign(value) * np.log1p(abs(value))) if log1p else value

    now, before = level(values[2]), level(values[0])
    shown = {
        "none": now,
        "difference": now - before,
        "rate": (now if now < before else now - before) / 2.0,
    }[change]
    expected = max(abs(shown - 2.0) / 4.0, abs(values[3] - 1.0) / 2.0)
    assert max_z(windows, (feature, plain))[0] == pytest.approx(expected)


def test_one_threshold_serves_all_streams_in_the_overall_oracle() -> None:
    """Streams whose best thresholds differ: together they cannot have both."""
    time = np.arange(20, dtype=np.float64)
    label = np.arange(20) >= 10
    low, high = np.where(label, 2.0, 1.0), np.where(label, 40.0, 30.0)
    none = np.empty((0, 2), np.int64)
    rows = [Rows(name, time, score, score, np.zeros(20, np.int64), none) for name, score in (("a", low), ("b", high))]
    found = compare(rows, {"a": label, "b": label}, config.Incidents())
    assert [found.streams[name][ORACLE].points.f1 for name in ("a", "b")] == [1.0, 1.0]
    assert found.overall[ORACLE].points.f1 == pytest.approx(40 / 50)  # all of b is flagged with a's threshold
    assert found.overall[MODEL].events.labelled == 2
    assert comparison.stream_days(time) == pytest.approx(20 / 86_400)
