"""The benchmarks' scorers: small cases by their written rules, and golden values where the data are at hand."""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.detection import batadal, changepoints, data, nab, nsl_kdd, skab, smd
from benchmarks.detection.__main__ import main
from benchmarks.detection.baselines import FlagAll, MaxZ, PcaError, Random, Rule, max_z, pca_error, trailing_mean
from benchmarks.detection.data import Batadal, Flows, NabFile, SkabRun, SmdMachine
from benchmarks.detection.method import Fitted, Method, Series
from benchmarks.detection.registry import BENCHMARKS
from benchmarks.detection.results import Result
from benchmarks.detection.summary import Line, line, markdown
from monitor.batch import Float64
from monitor.errors import UsageError
from monitor.evaluation.confusion import Confusion
from monitor.evaluation.ranking import average_precision, roc_auc
from monitor.evaluation.values import Bool
from monitor.evaluation.vus import vus_pr, window_of

RULE = Rule(quantile=0.9)
BASELINES: tuple[Method, ...] = (FlagAll(), Random(), MaxZ(RULE), PcaError(RULE), MaxZ(Rule(0.9, trailing=3)))


@pytest.fixture(scope="module")
def folder() -> Path:
    name = os.environ.get(data.VARIABLE)
    if not name:
        pytest.skip(f"{data.VARIABLE} names no folder of benchmark data")
    return Path(name)


def golden(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name / "golden_expected.json").read_text())
    return found


def series(values: Float64, name: str = "s") -> Series:
    return Series(name, np.arange(len(values), dtype=float), values, tuple(f"f{i}" for i in range(values.shape[1])))


@dataclass
class Given:
    """A method that gives the scores it was told; it notes what it saw."""

    scores: Float64
    threshold: float = 1.0
    name: str = "given"
    fitted_on: list[Series] = field(default_factory=list)

    def fit(self, series: Sequence[Series], seed: int) -> Fitted:
        self.fitted_on.extend(series)
        return self

    def score(self, values: Float64, time: Float64) -> Float64:
        assert len(values) == len(time) == len(self.scores)
        return self.scores


# --- baselines


@pytest.mark.parametrize("method", BASELINES, ids=lambda method: method.name)
def test_a_score_does_not_depend_on_the_rows_after_it(method: Method) -> None:
    values = np.random.default_rng(0).normal(size=(200, 4))
    fitted = method.fit([series(values[:100])], seed=7)
    whole = fitted.score(values, np.arange(200.0))
    for cut in (1, 2, 50, 199):
        assert np.allclose(fitted.score(values[:cut], np.arange(float(cut))), whole[:cut], rtol=1e-12)


def test_the_pca_error_of_rows_off_a_line_is_their_squared_distance_from_it() -> None:
    along = np.random.default_rng(0).normal(size=(5000, 1))
    direction = np.array([[1.0, 1.0]]) / np.sqrt(2)  # both features have the same spread, so scaling turns nothing
    line = along @ direction
    scorer = pca_error(line)
    spread = line.std(axis=0)[0]
    off = line.mean(axis=0) + np.array([[3.0, 3.0], [spread, -spread]])
    assert scorer(off) == pytest.approx([0.0, 1.0], abs=1e-9)


def test_the_pca_error_leaves_one_direction_out_even_where_all_of_them_vary_alike() -> None:
    values = np.random.default_rng(0).normal(size=(500, 3))
    assert pca_error(values)(values).mean() > 0.1


def test_max_z_counts_standard_deviations_and_a_constant_keeps_its_unit_or_has_the_floor() -> None:
    values = np.column_stack([np.tile([-2.0, 2.0], 50), np.full(100, 7.3)])
    rows = np.array([[3.0, 7.3], [0.0, 7.8]])
    assert max_z(values)(rows) == pytest.approx([1.5, 0.5])
    assert max_z(values, floor=0.1)(rows) == pytest.approx([1.5, 5.0])


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=30), st.integers(1, 5))
def test_the_trailing_mean_has_the_row_and_those_before_it(score: list[float], rows: int) -> None:
    means = [float(np.mean(score[max(0, at - rows + 1) : at + 1])) for at in range(len(score))]
    assert trailing_mean(np.array(score), rows) == pytest.approx(means, abs=1e-9)


def test_rows_that_are_held_back_give_the_threshold_and_are_not_fitted() -> None:
    values = np.concatenate([np.tile([[-1.0], [1.0]], (50, 1)), np.full((50, 1), 5.0)])
    fitted = MaxZ(Rule(quantile=1.0, factor=2.0, held_back=1 / 3)).fit([series(values)], seed=0)
    assert fitted.threshold == pytest.approx(10.0)


# --- protocols on small cases


def test_skab_fits_on_the_first_400_rows_and_counts_every_other_one_without_a_score_too() -> None:
    label = np.array([0] * 400 + [0, 0, 0, 0, 1, 1, 1, 1]) == 1
    scores = np.array([9.0] * 400 + [0.5, 2.0, np.nan, 0.1, 3.0, np.nan, 0.5, 2.0])
    one = SkabRun(series(np.zeros((408, 2))), label, label)
    method = Given(scores)
    figures = skab.run([one], method, seed=0)
    assert [len(rows) for rows in method.fitted_on] == [400]
    assert (figures["FAR"], figures["MAR"], figures["J"]) == (0.25, 0.5, 0.25)
    ranks = [0.5, 2.0, -1, 0.1], [3.0, -1, 0.5, 2.0]
    pairs = [(a > b) + (a == b) / 2 for b in ranks[0] for a in ranks[1]]
    assert figures["AUC"] == pytest.approx(np.mean(pairs))


def test_a_point_at_the_left_edge_earns_100_and_one_at_the_right_edge_the_cost_of_a_false_one() -> None:
    assert changepoints.Points((0.0, 0.0), 0, 0).score(changepoints.STANDARD) == pytest.approx(100)
    assert changepoints.Points((), 5, 0).score(changepoints.LOW_FN) == pytest.approx(0)
    at_the_end = changepoints.Points((1.0,), 0, 0).score(changepoints.STANDARD)
    assert at_the_end == pytest.approx(100 * (-0.11 + 1) / 2)
    assert at_the_end == changepoints.Points((0.0,), 0, 0).score(changepoints.STANDARD) - 100 * 1.11 / 2


def test_overlapping_change_point_windows_share_no_time() -> None:
    time = np.arange(200.0)
    changes = np.isin(np.arange(200), [10, 40])
    predicted = (np.arange(200) >= 50) & (np.arange(200) < 85)  # changes at 50 and 85
    points = changepoints.compare(predicted, changes, time)
    assert points.position == pytest.approx((40 / 60, 15 / 30))
    assert (points.missed, points.false) == (0, 0)


def plain_nab(file: NabFile, flagged: Bool, profile: nab.Profile) -> float:
    """The rules row by row."""

    def s(x: float) -> float:
        return 2 / (1 + float(np.exp(5 * x))) - 1

    total = 0.0
    windows = file.windows.tolist()
    first = min(int(0.15 * len(flagged)), 750)
    rows = [row for row in np.flatnonzero(flagged).tolist() if row >= first]
    for start, end in windows:
        width = end - start + 1
        weights = [s(-(end - row + 1) / width) / s(-1) for row in rows if start <= row <= end]
        total += max(weights) if weights else -profile.missed
    for row in rows:
        if any(start <= row <= end for start, end in windows):
            continue
        before = [(start, end) for start, end in windows if end < row]
        if not before:
            total -= profile.false
            continue
        start, end = before[-1]
        distance = (row - end) / (end - start)
        total += profile.false * (s(distance) if distance <= 3 else -1)
    null = -profile.missed * len(windows)
    return 100 * (total - null) / (len(windows) - null)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([np.nan, 0.0, 0.3, 0.6, 1.0]), min_size=60, max_size=60),
    st.sampled_from(list(nab.PROFILES)),
)
def test_nab_scores_are_what_its_rules_say_row_by_row_and_the_best_threshold_is_found(
    scores: list[float], name: str
) -> None:
    file = NabFile(series(np.zeros((60, 1))), np.array([[12, 17], [25, 34]]))
    score, profile = np.array(scores), nab.PROFILES[name]
    by_hand = {threshold: plain_nab(file, score >= threshold, profile) for threshold in (0.0, 0.3, 0.6, 1.0, 2.0)}
    for threshold, expected in by_hand.items():
        assert nab.score_at([file], [score], profile, threshold) == pytest.approx(expected, abs=1e-9)
    assert nab.best_threshold([file], [score], profile)[0] == pytest.approx(max(by_hand.values()), abs=1e-9)


def test_batadal_loses_the_share_of_an_attack_before_the_first_flag_in_it() -> None:
    label = np.array([0, 1, 1, 1, 1, 0, 1, 1, 0, 1]) == 1
    flagged = np.array([1, 0, 0, 1, 0, 1, 0, 0, 0, 1]) == 1
    assert batadal.time_lost(flagged, label) == [0.5, 1.0, 0.0]
    figures = batadal.run(
        Batadal(series(np.zeros((5, 1))), series(np.zeros((10, 1))), label), Given(np.where(flagged, 2.0, 0.0)), seed=0
    )
    assert figures["S_TTD"] == pytest.approx(0.5)
    assert figures["S_CLF"] == pytest.approx((2 / 7 + 1 / 3) / 2)
    assert (figures["S"], figures["found"]) == pytest.approx(((0.5 + (2 / 7 + 1 / 3) / 2) / 2, 2.0))


def test_the_two_smd_protocols_fit_on_what_they_say_and_average_machines() -> None:
    label = np.arange(300) % 100 < 10
    machines = [
        SmdMachine(series(np.zeros((50, 1)), "a"), series(np.zeros((300, 1)), "a"), label, 20, 9),
        SmdMachine(series(np.zeros((60, 1)), "b"), series(np.zeros((300, 1)), "b"), ~label, 30, 9),
    ]
    method = Given(np.where(label, 2.0, 0.0))
    figures = smd.run_tsb(machines, method, seed=0)
    assert [len(rows) for rows in method.fitted_on] == [20, 30]
    assert figures["VUS-PR"] == pytest.approx((figures["a"] + figures["b"]) / 2)
    method = Given(np.where(label, 2.0, 0.0))
    train = smd.run_train(machines, method, seed=0)
    assert [len(rows) for rows in method.fitted_on] == [50, 60]
    assert (train["ROC-AUC"], train["F1"]) == (0.5, 0.5)


def flows(columns: dict[str, Sequence[float]], protocol: Sequence[str], attack: Sequence[int]) -> Flows:
    features = tuple(name for name in data.FLOW_COLUMNS if name not in data.FLOW_CATEGORIES)
    rows = len(attack)
    values = np.array([columns.get(name, [0.0] * rows) for name in features], np.float64).T
    return Flows(values, (tuple(protocol), ("http",) * rows, ("SF",) * rows), features, np.array(attack) == 1)


def test_flows_are_encoded_by_what_the_normal_ones_show_and_unknown_categories_are_zeros() -> None:
    normal = flows({"src_bytes": [0.0, 99.0], "serror_rate": [0.0, 0.5]}, ["tcp", "udp"], [0, 0])
    encoded = nsl_kdd.Encoder.fit(normal).encode(
        flows({"src_bytes": [9.0, 9999.0], "serror_rate": [1.0, 0.25]}, ["udp", "icmp"], [1, 1])
    )
    row = dict(zip(encoded.features, encoded.values.T.tolist(), strict=True))
    assert row["src_bytes"] == pytest.approx([0.5, 2.0])
    assert row["serror_rate"] == [2.0, 0.5]
    assert (row["protocol_type=tcp"], row["protocol_type=udp"]) == ([0, 0], [1, 0])
    assert not encoded.ordered


def test_nsl_kdd_is_fitted_on_normal_rows_alone() -> None:
    train = flows({"count": [1.0, 2.0, 500.0]}, ["tcp"] * 3, [0, 0, 1])

    @dataclass
    class Spy:
        name: str = "spy"

        def fit(self, series: Sequence[Series], seed: int) -> Fitted:
            assert [len(one) for one in series] == [2]
            return MaxZ(RULE).fit(series, seed)

    assert nsl_kdd.run((train, train), Spy(), seed=0)["TPR"] == 1.0


def test_the_table_has_a_figure_for_each_name_and_the_spread_over_seeds() -> None:
    results = [Result({"AUC": 0.5 + seed / 10, "F1": 0.25}, 3.0, 2.0, 4, 100.0) for seed in range(3)]
    text = markdown([Line("a|b", {"AUC": 0.9, "other": 12.34}, {}), line("mine", results)])
    assert r"| a\|b | 0.900 |  | 12.3 |  |  |  |" in text
    assert "| mine | 0.600 ± 0.082 | 0.250 |  | 3 | 2.0 | 4 x 100 |" in text


def test_a_wrong_folder_or_name_is_told_and_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path)]) == 2
    assert data.VARIABLE in capsys.readouterr().err
    (tmp_path / "skab").mkdir()
    assert main(["--data", str(tmp_path), "--only", "skib"]) == 2
    assert "no benchmark 'skib'" in capsys.readouterr().err
    with pytest.raises(UsageError):
        data.check(None)


# --- golden values


def test_skab_predictions_have_their_published_figures(folder: Path) -> None:
    runs = data.skab(folder)
    expected = golden(folder, "skab")
    test_rows = [one.label[skab.TRAIN_ROWS :] for one in runs]
    assert expected["counts"] == {
        "files": len(runs),
        "test_rows": sum(map(len, test_rows)),
        "anomalous_test_rows": sum(int(rows.sum()) for rows in test_rows),
    }
    with gzip.open(folder / "skab" / "golden_predictions.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    for name in ("LSTM_AE", "Conv_AE", "T2-q", "Isolation_Forest", "all_rows_flagged"):
        predicted: dict[str, list[bool]] = {}
        for row in rows:
            predicted.setdefault(row["file"], []).append(row.get(name, "1") == "1")
        points, changes = Confusion(0, 0, 0, 0), changepoints.Points((), 0, 0)
        for one in runs:
            flagged = np.array(predicted[one.series.name])
            points += Confusion.of(flagged, one.label[skab.TRAIN_ROWS :])
            part = slice(skab.TRAIN_ROWS, None)
            changes += changepoints.compare(flagged, one.changepoint[part], one.series.time[part])
        figures = {
            "F1": round(points.f1, 3 if name == "all_rows_flagged" else 2),
            "FAR": round(100 * points.far, 2),
            "MAR": round(100 * points.mar, 2),
            "NAB_standard": round(changes.score(changepoints.STANDARD), 2),
            "NAB_lowFP": round(changes.score(changepoints.LOW_FP), 2),
            "NAB_lowFN": round(changes.score(changepoints.LOW_FN), 2),
            "missed_CPs": changes.missed,
            "FP_CPs": changes.false,
            "true_CPs": changes.windows,
        }
        assert {key: figures[key] for key in expected[name]} == expected[name], name


def test_smd_scores_have_their_golden_figures(folder: Path) -> None:
    machines = {machine.test.name: machine for machine in data.smd(folder)}
    for name, expected in golden(folder, "smd").items():
        label = machines[name].label
        score = data.matrix(folder / "smd" / f"golden_{name}_score.csv.gz")[:, 0]
        assert machines[name].vus_window == expected["vus_window"]
        assert round(vus_pr(score, label, expected["vus_window"]), 6) == expected["VUS_PR"]
        assert round(vus_pr(score, label, 100), 6) == expected["VUS_PR_window_100"]
        assert round(average_precision(score, label), 6) == expected["average_precision"]
        assert round(roc_auc(score, label), 6) == expected["roc_auc"]
    for machine in machines.values():
        assert window_of(machine.test.values[:, 0]) == machine.vus_window


def test_nab_scores_have_their_golden_figures(folder: Path) -> None:
    files = data.nab(folder)
    expected = golden(folder, "nab")
    assert (len(files), sum(len(file.windows) for file in files)) == (expected["files"], expected["windows"])
    names = {"standard": "standard", "low FP": "reward_low_FP_rate", "low FN": "reward_low_FN_rate"}
    for detector in ("numenta", "windowedGaussian"):
        place = folder / "nab" / "golden_scores" / detector
        scores = [data.matrix(place / f"{file.series.name}.gz")[:, 0] for file in files]
        for profile, name in names.items():
            best, threshold = nab.best_threshold(files, scores, nab.PROFILES[profile])
            assert round(best, 2) == expected[detector][name]
            if profile == "standard":
                assert threshold == pytest.approx(expected[detector]["threshold"], abs=1e-12)


@dataclass(frozen=True)
class Measured:
    """A figure of a baseline that was measured before, with another program."""

    benchmark: str
    method: Callable[[Rule], Method]
    figures: dict[str, float]


MEASURED = [
    Measured("skab", lambda rule: FlagAll(), {"F1": 0.698, "J": 0.0}),
    Measured("skab", MaxZ, {"F1": 0.703, "FAR": 0.261, "MAR": 0.336, "J": 0.403, "AUC": 0.789}),
    Measured("smd-tsb", MaxZ, {"VUS-PR": 0.541}),
    Measured("smd", MaxZ, {"AP": 0.586, "F1": 0.084}),
    Measured("nsl-kdd", lambda rule: FlagAll(), {"F1": 0.725}),
]


@pytest.mark.parametrize("case", MEASURED, ids=lambda case: case.benchmark)
def test_a_baseline_has_the_figures_it_had_before(folder: Path, case: Measured) -> None:
    benchmark = BENCHMARKS[case.benchmark]
    figures = benchmark.load(folder)(case.method(benchmark.rule), 0)
    assert {name: round(figures[name], 3) for name in case.figures} == case.figures


def test_the_data_have_the_sizes_that_are_written_of_them(folder: Path) -> None:
    water = data.batadal(folder)
    assert (len(water.train), len(water.test), water.train.values.shape[1]) == (8761, 4177, 43)
    assert int(water.label.sum()) == 492
    assert len(batadal.time_lost(water.label, water.label)) == 7
    assert np.all(np.diff(water.test.time) == 3600)
    train, test = data.nsl_kdd(folder)
    assert (len(train.attack), int((~train.attack).sum())) == (25_192, 13_449)
    assert (len(test.attack), int((~test.attack).sum())) == (22_544, 9_711)
    assert train.values.shape[1] == 38
