"""Every measure against its definition, written out row by row; and what wrong labels are told."""

from __future__ import annotations

import gzip
from math import isnan, nan, sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.batch import Float64, Int64
from monitor.errors import MonitorError
from monitor.evaluation.confusion import Confusion
from monitor.evaluation.events import EventScores, intervals, per_day, score_events
from monitor.evaluation.labels import read_labels
from monitor.evaluation.ranking import average_precision, best_f1, roc_auc
from monitor.evaluation.report import evaluate
from monitor.evaluation.values import Bool, binary
from monitor.evaluation.vus import NO_PERIOD, THRESHOLDS, vus_pr, window_of

Scored = tuple[Float64, Bool]


@st.composite
def scored(draw: st.DrawFn, most: int = 40, gaps: bool = True) -> Scored:
    """Scores with many ties, some of them missing, and labels in runs."""
    values = [0.0, 0.5, 1.0, 2.0, 3.0] + ([nan] if gaps else [])
    rows = draw(st.lists(st.tuples(st.sampled_from(values), st.booleans(), st.integers(1, 4)), max_size=most))
    score = [value for value, _, length in rows for _ in range(length)]
    label = [flag for _, flag, length in rows for _ in range(length)]
    return np.array(score, np.float64), np.array(label, np.bool_)


def same(left: float, right: float) -> bool:
    return (isnan(left) and isnan(right)) or left == pytest.approx(right, abs=1e-12)


def every(seconds: float, rows: int) -> Float64:
    return np.linspace(0, seconds * rows, rows, endpoint=False, dtype=np.float64)


def rank(score: Float64) -> list[float]:
    return [-np.inf if isnan(value) else float(value) for value in score]


# --- ranking


@given(scored())
def test_roc_auc_is_the_share_of_pairs_that_are_ordered_rightly(case: Scored) -> None:
    score, label = case
    values = rank(score)
    pairs = [
        (values[i] > values[j]) + (values[i] == values[j]) / 2
        for i in np.flatnonzero(label)
        for j in np.flatnonzero(~label)
    ]
    assert same(roc_auc(score, label), sum(pairs) / len(pairs) if pairs else nan)


@given(scored())
def test_average_precision_sums_precision_over_the_recall_that_each_distinct_score_adds(case: Scored) -> None:
    score, label = case
    values = np.array(rank(score))
    total, before = 0.0, 0.0
    for threshold in sorted(set(values.tolist()), reverse=True):
        flagged = values >= threshold
        recall = np.sum(flagged & label) / max(1, label.sum())
        total += (recall - before) * np.sum(flagged & label) / np.sum(flagged)
        before = recall
    assert same(average_precision(score, label), total if label.any() else nan)


@given(scored())
def test_the_oracle_is_the_best_f1_of_all_thresholds_and_reports_the_rates_it_has(case: Scored) -> None:
    score, label = case
    found = best_f1(score, label)
    options = [Confusion.of(score >= threshold, label) for threshold in set(score[~np.isnan(score)].tolist())]
    if not label.any() or not options:
        assert isnan(found.f1)
        return
    assert found.f1 == pytest.approx(max(option.f1 for option in options))
    at = Confusion.of(score >= found.threshold, label)
    assert (found.precision, found.recall, found.f1) == pytest.approx((at.precision, at.recall, at.f1))


def test_equal_scores_have_the_base_rate_for_precision_and_half_the_pairs() -> None:
    label = np.arange(10) < 3
    assert average_precision(np.ones(10), label) == pytest.approx(0.3)
    assert roc_auc(np.ones(10), label) == 0.5


def test_a_row_without_a_score_ranks_below_the_lowest_score() -> None:
    label = np.array([True, False])
    assert roc_auc(np.array([nan, -1e300]), label) == 0.0
    assert roc_auc(np.array([-1e300, nan]), label) == 1.0


# --- rows


def test_the_rates_of_a_confusion_are_those_of_its_counts() -> None:
    counts = Confusion(true_positives=6, false_positives=2, true_negatives=18, false_negatives=4)
    assert counts.precision == 0.75
    assert counts.recall == 0.6
    assert counts.f1 == pytest.approx(2 * 0.75 * 0.6 / 1.35)
    assert (counts.far, counts.mar, counts.j) == pytest.approx((0.1, 0.4, 0.5))


@given(scored(gaps=False), st.data())
def test_confusions_of_parts_add_up_to_the_one_of_the_whole(case: Scored, data: st.DataObject) -> None:
    score, label = case
    cut = data.draw(st.integers(0, len(score)))
    flagged = score > 0.5
    parts = Confusion.of(flagged[:cut], label[:cut]) + Confusion.of(flagged[cut:], label[cut:])
    assert parts == Confusion.of(flagged, label)


@pytest.mark.parametrize("label", [[0, 1, 2], [0, 1, nan], [0, 1], [0.5, 0, 1], [[0, 1, 1]]])
def test_labels_that_are_not_one_0_or_1_for_each_row_are_refused(label: list[float]) -> None:
    with pytest.raises(MonitorError):
        binary(np.array(label), rows=3)


# --- events


@st.composite
def spans(draw: st.DrawFn, rows: int) -> Int64:
    pairs = draw(st.lists(st.tuples(st.integers(0, rows - 1), st.integers(1, 6)), max_size=6))
    return np.array([(start, min(rows, start + length)) for start, length in pairs], np.int64).reshape(-1, 2)


@given(st.data())
def test_events_are_what_a_look_at_each_row_says(data: st.DataObject) -> None:
    rows = 30
    label = np.array(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)), np.bool_)
    incidents = data.draw(spans(rows))
    time = np.cumsum(np.array(data.draw(st.lists(st.floats(1, 9), min_size=rows, max_size=rows))))
    labelled = intervals(label)
    scores = score_events(labelled, incidents, time)

    flagged = {row for start, end in incidents.tolist() for row in range(start, end)}
    delays, missed = [], []
    for start, end in labelled.tolist():
        hits = sorted(flagged & set(range(start, end)))
        if hits:
            delays.append((hits[0] - start, float(time[hits[0]] - time[start])))
        else:
            missed.append((start, end))
    false = [(start, end) for start, end in incidents.tolist() if not label[start:end].any()]
    assert list(zip(scores.delay_rows, scores.delay_seconds, strict=True)) == delays
    assert list(scores.missed) == missed
    assert list(scores.false) == false
    assert scores.incidents == len(incidents)
    assert same(scores.recall, len(delays) / len(labelled) if len(labelled) else nan)
    assert same(scores.precision, 1 - len(false) / len(incidents) if len(incidents) else nan)


@given(st.lists(st.booleans(), max_size=30))
def test_intervals_hold_the_flagged_rows_and_no_two_of_them_touch(rows: list[bool]) -> None:
    found = intervals(np.array(rows, np.bool_))
    assert [row for start, end in found.tolist() for row in range(start, end)] == list(np.flatnonzero(rows))
    assert all(end < start for (_, end), (start, _) in zip(found[:-1].tolist(), found[1:].tolist(), strict=True))


def test_a_long_incident_counts_once_and_one_row_of_an_interval_is_no_more_than_that_row() -> None:
    labelled = np.array([[10, 20], [30, 40], [50, 60]])
    scores = score_events(labelled, np.array([[15, 35], [70, 71]]), every(60.0, 100))
    assert (scores.precision, scores.recall) == pytest.approx((0.5, 2 / 3))
    assert scores.f1 == pytest.approx(2 * 0.5 * (2 / 3) / (0.5 + 2 / 3))
    assert scores.delay_rows == (5, 0)
    assert (scores.median_delay_rows, scores.median_delay_seconds) == (2.5, 150.0)
    assert scores.missed == ((50, 60),)
    assert scores.false == ((70, 71),)


def test_an_incident_that_begins_at_the_row_after_an_interval_finds_nothing() -> None:
    scores = score_events(np.array([[10, 20]]), np.array([[20, 25]]), np.arange(30.0))
    assert (scores.found, scores.precision, scores.recall, scores.f1) == (0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("incident", [[5, 5], [6, 5], [-1, 3], [8, 11]])
def test_an_impossible_incident_is_refused(incident: list[int]) -> None:
    with pytest.raises(MonitorError, match="incident"):
        score_events(np.empty((0, 2), np.int64), np.array([incident]), np.arange(10.0))


def test_a_gap_is_no_quiet_day() -> None:
    half_days = every(43_200.0, 10)
    assert per_day(10, half_days) == pytest.approx(2.0)
    assert per_day(10, np.concatenate([half_days[:5], half_days[5:] + 1e7])) == pytest.approx(2.0)
    assert isnan(per_day(1, np.array([0.0])))


def test_events_of_two_series_are_pooled_by_adding() -> None:
    one = EventScores((1, 3), (60.0, 180.0), ((5, 6),), 4, ((0, 1), (2, 3)))
    both = one + EventScores((5,), (5.0,), (), 1, ())
    assert (both.found, both.labelled, both.precision, both.median_delay_rows) == (3, 4, 0.6, 3.0)


# --- volume under the surface


def plain_vus_pr(score: Float64, label: Bool, window: int) -> float:
    """The definition with whole arrays, one threshold and one tolerance at a time."""
    score = np.array(rank(score))
    rows = len(score)
    runs = [(start, end - 1) for start, end in intervals(label).tolist()]

    def widened(by: int) -> list[list[int]]:
        merged: list[list[int]] = []
        for start, end in runs:
            if merged and start - by <= merged[-1][1]:
                merged[-1][1] = min(rows - 1, end + by)
            else:
                merged.append([max(0, start - by), min(rows - 1, end + by)])
        return merged

    descending = sorted(score.tolist(), reverse=True)
    areas = []
    for width in range(window + 1):
        soft = label.astype(float)
        for start, end in runs:
            for x in range(end + 1, min(end + width // 2, rows - 1) + 1):
                soft[x] += sqrt(1 - (x - end) / width)
            for x in range(max(0, start - width // 2), start):
                soft[x] += sqrt(1 - (start - x) / width)
        soft = np.minimum(soft, 1)
        around = np.zeros(rows, bool)
        for start, end in widened(window // 2):
            around[start : end + 1] = True
        segments = widened(width // 2)
        area, before = 0.0, 0.0
        for at in np.linspace(0, rows - 1, THRESHOLDS).astype(int):
            flagged = score >= descending[at]
            near = float(np.sum(soft[around & ~label] * flagged[around & ~label]))
            hits = float(np.sum(flagged & label)) + near
            positives = (float(label.sum()) + float(label.sum()) + near) / 2
            existence = np.mean([flagged[start : end + 1].any() for start, end in segments])
            recall = min(1.0, hits / positives) * float(existence)
            area += (recall - before) * hits / float(flagged.sum())
            before = recall
        areas.append(area)
    return float(np.mean(areas))


@settings(max_examples=12, deadline=None)
@given(scored(most=25), st.integers(0, 12))
def test_vus_pr_is_its_definition(case: Scored, window: int) -> None:
    score, label = case
    found = vus_pr(score, label, window)
    assert same(found, plain_vus_pr(score, label, window) if label.any() else nan)


def test_vus_pr_of_a_perfect_score_with_no_tolerance_is_1() -> None:
    label = np.arange(1000) % 200 < 20
    assert vus_pr(label.astype(float), label, 1) == pytest.approx(1.0)


@pytest.mark.parametrize("period", [7, 24, 60, 250])
def test_the_window_is_the_period_of_the_column(period: int) -> None:
    time = np.arange(6000)
    wave = np.sin(2 * np.pi * time / period) * np.exp(-time / 1e5)
    assert window_of(wave) == period


@pytest.mark.parametrize("column", [np.full(1000, 3.3), np.arange(1000.0), np.zeros(2), np.empty(0), np.ones(1)])
def test_a_column_without_a_period_has_the_window_of_none(column: Float64) -> None:
    assert window_of(column) == NO_PERIOD


# --- the report


@settings(max_examples=50, deadline=None)
@given(scored(), st.floats(0, 3))
def test_any_series_has_a_report_and_only_what_is_undefined_is_nan(case: Scored, threshold: float) -> None:
    score, label = case
    report = evaluate(score, threshold, label.astype(float), every(60.0, len(score)), vus_window=5)
    positives, negatives = bool(label.any()), bool((~label).any())
    assert isnan(report.average_precision) is not positives
    assert isnan(report.vus_pr) is not positives
    assert isnan(report.roc_auc) is not (positives and negatives)
    assert isnan(report.events.recall) is not positives
    assert isnan(report.points.far) is not negatives
    assert report.points.true_positives + report.points.false_positives == np.sum(score > threshold)
    assert report.events.incidents == len(intervals(score > threshold))
    assert report.unscored == np.isnan(score).sum()
    if positives and not np.isnan(score).all():
        assert report.oracle.f1 >= (0.0 if isnan(report.points.f1) else report.points.f1) - 1e-12
        assert report.oracle_events.incidents >= 1


def test_the_report_takes_incidents_for_the_events_and_rows_for_the_rest() -> None:
    score = np.array([0, 2, 0, 2, 0, 0, 0, 0.0])
    label = np.array([0, 1, 1, 1, 0, 0, 1, 0])
    report = evaluate(score, 1.0, label, every(3600.0, 8), incidents=np.array([[3, 6]]))
    assert report.points == Confusion(true_positives=2, false_positives=0, true_negatives=4, false_negatives=2)
    assert (report.events.delay_rows, report.events.missed, report.events.false) == ((2,), ((6, 7),), ())
    assert report.alerts_per_day == pytest.approx(3.0)
    assert report.oracle.threshold == 2.0
    assert report.oracle_events.incidents == 2


@pytest.mark.parametrize("label", [np.zeros(4), np.array([0, 1, 3]), np.array([0, nan, 1])])
def test_wrong_labels_are_a_message(label: Float64) -> None:
    with pytest.raises(MonitorError, match="label"):
        evaluate(np.zeros(3), 1.0, label, np.arange(3.0))


def test_times_of_another_length_are_a_message() -> None:
    with pytest.raises(MonitorError, match="3 scores but 2 times"):
        evaluate(np.zeros(3), 1.0, np.zeros(3), np.arange(2.0))


# --- label files

TIMES: dict[str, Float64] = {name: np.add(1.7e9, every(60.0, rows)) for name, rows in (("a", 5), ("b", 3))}
ONE = {"a": TIMES["a"]}


def write(folder: Path, text: str, name: str = "labels.csv") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "label\n0\n1\n1\n0\n1\n",
        "time;anomaly\n0;0.0\n1;1.0\n2;1\n3;0\n4;1\n",
        "outage\r\n0\r\n1\r\n1\r\n0\r\n1\r\n",
        "start,end\n1,2\n4,4\n",
        "start,end\n4,4\n1,1\n1,2\n",
        "start,end\n1700000060,1700000120\n1700000240,1700000999\n",
        "start,end\n2023-11-14T22:14:20Z,2023-11-14T22:15:20+00:00\n2023-11-14 22:17:20,2023-11-15\n",
        "stream,start,end\na,1,2\na,4,4\n",
        '"start","end"\n"1","2"\n\n4,4\n',
    ],
)
def test_the_same_labels_can_be_written_in_many_ways(tmp_path: Path, text: str) -> None:
    for name in ("labels.csv", "labels.csv.gz"):
        assert read_labels(write(tmp_path, text, name), ONE)["a"].tolist() == [False, True, True, False, True]


def test_streams_are_told_apart_and_one_without_intervals_is_normal(tmp_path: Path) -> None:
    rows = "stream,label\n" + "".join(f"{name},{value}\n" for name, value in zip("ababaab", "0110011", strict=False))
    assert {name: labels.tolist() for name, labels in read_labels(write(tmp_path, rows + "a,0\n"), TIMES).items()} == {
        "a": [False, True, False, True, False],
        "b": [True, False, True],
    }
    spanned = read_labels(write(tmp_path, "stream,start,end\nb,0,1\n"), TIMES)
    assert (spanned["a"].tolist(), spanned["b"].tolist()) == ([False] * 5, [True, True, False])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("label\n0\n1\n", "2 labels, but the data have 5 rows"),
        ("stream,label\na,0\n", "1 labels of stream 'a', but the data have 5 rows"),
        ("label\n0\n2\n0\n0\n0\n", "line 3: label '2' is neither 0 nor 1"),
        ("label\n0\nyes\n0\n0\n0\n", "line 3: label 'yes' is neither 0 nor 1"),
        ('label\n0\n""\n0\n0\n0\n', "line 3: label '' is neither 0 nor 1"),
        ("stream,label\nz,0\n", "line 2: stream 'z' is not in the data"),
        ("stream,start,end\nz,0,1\n", "line 2: stream 'z' is not in the data"),
        ("start,end\n3,1\n", "line 2: interval 3 to 1 ends before it starts"),
        ("start,end\n3,5\n", "lies beyond the 5 rows"),
        ("start,end\n-1,2\n", "lies beyond the 5 rows"),
        ("start,end\n1.5,2\n", "not whole numbers"),
        ("start,end\n1,soon\n", "end 'soon' is neither a number nor a time"),
        ("start,end\n1,nan\n", "end 'nan' is neither a number nor a time"),
        ("start,end\n1,2023-11-14\n", "numbers and ISO times"),
        ("start,end\n1600000000,1600000100\n", "holds no row of stream 'a'"),
        ("start,end\n1700000060000,1700000120000\n", "holds no row of stream 'a'"),
        ("x,y\n0,1\n", "no column 'label' among x, y"),
        ("0\n1\n0\n", "the first line does not name the columns"),
        ("", "the first line does not name the columns"),
        ("label\n0,1\n", "line 2: 2 cells, but the header has 1"),
        ('label\n"0\n', "unexpected end of data"),
    ],
)
def test_a_wrong_label_file_is_a_message_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(MonitorError) as caught:
        read_labels(path, ONE)
    assert str(path) in caught.value.message
    assert told in caught.value.message
    assert caught.value.hint


def test_data_of_several_streams_need_a_column_that_names_them(tmp_path: Path) -> None:
    with pytest.raises(MonitorError, match="no column 'stream', but the data have 2 streams"):
        read_labels(write(tmp_path, "start,end\n0,1\n"), TIMES)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("labels.csv", b"label\n\xff\n", "not UTF-8"),
        ("labels.csv.gz", b"label\n0\n", "damaged gzip"),
        ("labels.csv.gz", gzip.compress(b"label\n" + b"0\n" * 999)[:-9], "damaged gzip"),
    ],
)
def test_a_damaged_file_is_a_message(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MonitorError, match=told):
        read_labels(tmp_path / name, ONE)


def test_a_file_that_is_not_there_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(MonitorError, match="cannot be read"):
        read_labels(tmp_path / "no.csv", ONE)
