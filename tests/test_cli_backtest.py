"""`monitor backtest`: it fires what `monitor replay` fires, and its memory does not grow with what it saw."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import config, detector
from monitor.batch import RawRecord
from monitor.evaluation import backtest
from monitor.evaluation.comparison import rows_of
from monitor.evaluation.excerpts import AFTER, BEFORE, MOST_POINTS, Excerpts, Point
from monitor.evaluation.hindsight import BUDGETS, look_back
from monitor.evaluation.sampling import Sample
from monitor.evaluation.watching import CODES
from monitor.feeds import files
from monitor.feeds.table import records
from tests.models import FEATURES, tiny_artefact
from tests.test_cli_evaluate import FAULTS, ROWS, invoke, run_on, settings_for, write_data, write_labels

KEY = (0, "pump")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_artefact(tmp_path_factory.mktemp("model") / "m")


def test_a_backtest_fires_exactly_what_a_replay_fires(model: Path, tmp_path: Path) -> None:
    place = write_data(tmp_path)
    replayed = invoke("replay", place, "--model", model, "--ignore", "remark", "--json")
    assert replayed.exit_code == 0, replayed.output
    told: dict[str, list[dict[str, object]]] = {}
    for line in replayed.stdout.splitlines():
        alert = json.loads(line)
        told.setdefault(alert["incident"], []).append(alert)
    found = run_on(place, model, settings_for(model))
    assert [one.incident for one in found.fired] == list(told)
    assert len(told) >= 3
    for one in found.fired:
        messages = told[one.incident]
        assert one.messages[0] == messages[0]["id"]
        assert one.messages[-1] == messages[-1]["id"]
        assert (one.severity, one.stream) == (messages[-1]["severity"], messages[-1]["stream"])
        assert one.score == pytest.approx(messages[-1]["score"], rel=1e-5)


@pytest.mark.parametrize("size", [1, 7, 333])
def test_the_cut_into_batches_changes_nothing(model: Path, tmp_path: Path, size: int) -> None:
    place, settings = write_data(tmp_path), settings_for(model)
    loaded = detector.load(model, settings.model)
    table = files.read([str(place)], files.Mapping(features=FEATURES))
    everything = list(records(table, "events"))
    cut = [everything[start : start + size] for start in range(0, len(everything), size)]
    one, other = (backtest.run(settings, loaded, batches) for batches in ([everything], cut))
    assert one.fired == other.fired
    for left, right in zip(one.series, other.series, strict=True):
        np.testing.assert_array_equal(left.score, right.score)
        np.testing.assert_array_equal(left.z, right.z)
    assert list(one.excerpts) == list(other.excerpts)
    for incident, excerpt in one.excerpts.items():
        np.testing.assert_array_equal(excerpt.expected, other.excerpts[incident].expected)


def test_each_score_stands_at_the_event_that_closed_its_window(model: Path, tmp_path: Path) -> None:
    place, settings = write_data(tmp_path), settings_for(model)
    loaded = detector.load(model, settings.model)
    table = files.read([str(place)], files.Mapping(features=FEATURES))
    found = backtest.run(settings, loaded, [list(records(table, "events"))])
    for rows, series in zip(table.series, found.series, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(rows.values, 8, axis=0).swapaxes(1, 2)
        expected = loaded.score(np.ascontiguousarray(windows)).error / found.threshold
        assert np.isnan(series.score[:7]).all()
        np.testing.assert_allclose(series.score[7:], expected, rtol=1e-6)


def test_codes_are_those_of_the_windows_they_stand_for(model: Path, tmp_path: Path) -> None:
    settings = settings_for(model)
    loaded = detector.load(model, settings.model)
    table = files.read([str(write_data(tmp_path))], files.Mapping(features=FEATURES))
    everything = list(records(table, "events"))
    found = backtest.run(settings, loaded, [everything[start : start + 64] for start in range(0, len(everything), 64)])
    codes = found.latent
    assert codes is not None
    assert len(np.unique(np.stack([codes.series, codes.row]), axis=1).T) == len(codes.code)
    assert np.count_nonzero(codes.score > 1) >= 40
    for place in range(0, len(codes.code), 50):
        rows = table.series[codes.series[place]]
        end = int(codes.row[place]) + 1
        np.testing.assert_array_equal(codes.code[place], loaded.score(rows.values[None, end - 8 : end]).code[0])
        assert codes.score[place] == found.series[codes.series[place]].score[end - 1]


@given(counts=st.lists(st.integers(0, 300), max_size=30), most=st.integers(1, 50))
def test_a_sample_is_evenly_spaced_and_bounded(counts: list[int], most: int) -> None:
    sample = Sample(most)
    first = 0
    for count in counts:
        picked = sample.pick(count)
        if len(picked):
            numbers = first + picked
            sample.add(numbers, numbers[:, None].astype(np.float32))
        first += count
    steps = np.diff(sample.number)
    assert len(sample.number) <= most
    assert len(set(steps.tolist())) <= 1
    assert (sample.values[:, 0] == sample.number).all() if len(sample.number) else not any(counts)
    assert len(sample.number) >= min(first, most + 1) // 2


def point(time: float, score: float) -> Point:
    values = np.full(2, time, np.float32)
    return Point(time, score, values, values)


@pytest.mark.parametrize("length", [3, 100, 5000])
def test_an_excerpt_is_bounded_however_long_its_incident_and_keeps_the_peak(length: int) -> None:
    excerpts = Excerpts()
    for time in range(1000):
        excerpts.event(KEY, point(time, 0.5))
    excerpts.opened(KEY, "it")
    worst = 1000 + length // 3
    for time in range(1000, 1000 + length):
        excerpts.event(KEY, point(time, 9.0 if time == worst else 2.0))
    excerpts.closed(KEY, "it", at_once=False)
    for time in range(1000 + length, 1100 + length):
        excerpts.event(KEY, point(time, 0.5))
    excerpt = excerpts.finish()["it"]
    assert len(excerpt.time) <= MOST_POINTS + 1
    assert (np.diff(excerpt.time) > 0).all()
    assert excerpt.time[excerpt.score == 9.0].tolist() == [worst]
    assert excerpt.time[0] >= 1000 - BEFORE
    assert excerpt.time[-1] <= 1000 + length + AFTER
    if length <= 100:
        assert excerpt.time.tolist() == list(range(1000 - BEFORE, 1000 + length + AFTER))


def test_of_many_incidents_the_highest_are_kept() -> None:
    excerpts = Excerpts(most=3)
    for number in range(20):
        key = (0, f"s{number}")
        excerpts.event(key, point(0, 1.0 + (number * 7) % 20))
        excerpts.opened(key, f"i{number}")
        if number % 2:
            excerpts.closed(key, f"i{number}", at_once=True)
    kept = list(excerpts.finish())
    assert [1.0 + (int(name[1:]) * 7) % 20 for name in kept] == [20.0, 19.0, 18.0]


def test_the_budget_table_holds_each_budget_on_the_rows_it_was_made_from(model: Path, tmp_path: Path) -> None:
    found = run_on(write_data(tmp_path), model, settings_for(model))
    rows = rows_of(found)
    hindsight = look_back(found, rows)
    assert hindsight is not None
    configured, *budgets = hindsight.choices
    assert (configured.incidents, configured.score) == (len(found.anomalies), 1.0)
    assert hindsight.stream_days == pytest.approx(len(FAULTS) * ROWS / 86_400)
    assert [one.budget for one in budgets] == list(BUDGETS)
    for one in budgets:
        assert one.budget is not None
        assert one.per_day <= one.budget
        assert sum(one.severities.values()) == one.incidents
    assert budgets == sorted(budgets, key=lambda one: -one.score)


def test_the_report_is_written_and_its_path_told(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    result = invoke(
        *("backtest", write_data(tmp_path), "--labels", write_labels(tmp_path), "--model", model, "--out", out)
    )
    assert result.exit_code == 0, result.output
    assert str(out) in result.stdout
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_report_compares_the_network_with_pca_where_torch_is_there(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, out, again, less = write_data(tmp_path), *(tmp_path / f"{name}.html" for name in ("one", "again", "less"))
    for path in (out, again):
        assert invoke("backtest", place, "--model", model, "--out", path).exit_code == 0
    assert out.read_bytes() == again.read_bytes()
    assert "PCA against the code" in out.read_text(encoding="utf-8")
    monkeypatch.delitem(sys.modules, "monitor.model.decoding", raising=False)
    monkeypatch.delattr("monitor.model.decoding", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    told = invoke("backtest", place, "--model", model, "--out", less)
    assert told.exit_code == 0, told.output
    assert "note: PCA against the network needs torch, which is not installed: left out of the report" in told.stderr
    assert "PCA against the code" not in less.read_text(encoding="utf-8")


def test_the_windows_that_are_kept_are_calm_and_as_the_model_read_them(model: Path, tmp_path: Path) -> None:
    found = run_on(write_data(tmp_path), model, settings_for(model))
    loaded = detector.load(model, config.Model(path=model))
    assert 100 < len(found.calm) <= CODES
    assert (loaded.score(found.calm).error <= found.threshold).all()


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ((), "nothing to look back at"),
        (("--from-topic", "data.csv"), "--from-topic and a file"),
        (("data.csv", "--since", "2026-01-01"), "--since is for --from-topic"),
        (("--from-topic", "--time-column", "t"), "--time-column is for files"),
    ],
)
def test_bad_usage_is_told_before_anything_is_read(args: tuple[str, ...], told: str, tmp_path: Path) -> None:
    result = invoke("backtest", *args, "--out", tmp_path / "r.html")
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(tmp_path: Path) -> None:
    result = invoke("backtest", "data.csv", "--out", tmp_path / "none" / "r.html")
    assert result.exit_code == 2
    assert "no folder" in result.stderr


def test_settings_that_open_later_fire_less(model: Path, tmp_path: Path) -> None:
    place = write_data(tmp_path)
    loud = run_on(place, model, settings_for(model))
    strict = config.Settings.model_validate({"model": {"path": model}, "incidents": {"min_duration": 20.0}})
    late = run_on(place, model, strict)
    assert 0 < len(late.anomalies) < len(loud.anomalies)


def test_a_name_in_two_partitions_is_two_streams(model: Path, tmp_path: Path) -> None:
    settings = settings_for(model)
    loaded = detector.load(model, settings.model)
    table = files.read([str(write_data(tmp_path, {"pump-1": FAULTS["pump-1"]}))], files.Mapping(features=FEATURES))
    one = list(records(table, "events"))
    two = [record._replace(partition=3, offset=1000 + 2 * record.offset) for record in one]
    mixed = [record for pair in zip(one, two, strict=True) for record in pair]
    found = backtest.run(settings, loaded, [mixed[:300], mixed[300:]])
    assert [(series.stream, series.partition) for series in found.series] == [("pump-1", 0), ("pump-1", 3)]
    first, second = rows_of(found)
    np.testing.assert_array_equal(first.score, second.score)
    assert first.incidents.tolist() == second.incidents.tolist()
    assert len(first.incidents) == 2
    assert len({one.incident for one in found.fired}) == 4


def test_rejects_are_counted_by_reason_with_one_example(model: Path) -> None:
    settings = settings_for(model)
    loaded = detector.load(model, settings.model)
    bad = [RawRecord("events", 0, offset, 0, b"s", b"{%d" % offset) for offset in range(50)]
    found = backtest.run(settings, loaded, [bad[:20], bad[20:]])
    assert [(text.partition(":")[0], count) for text, count in found.rejects] == [("not_json", 50)]
    assert (found.rejected, found.records, found.series) == (50, 50, ())
