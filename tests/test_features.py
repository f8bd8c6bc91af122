"""Transforms end to end: what training saw of a row is what the service sees of the event, whatever the transform."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import config
from monitor.assembly import assemble
from monitor.batch import Batch, Float32, Record, Scores
from monitor.cli import main
from monitor.config import Training
from monitor.detector import Detector, load
from monitor.errors import MonitorError
from monitor.feeds.files import Mapping, read
from monitor.feeds.table import Table, records
from monitor.model import dataset
from monitor.model.artefact import load as load_artefact
from monitor.model.dataset import MOST_CATEGORIES, Series, Split, prepare
from monitor.model.export import save
from monitor.model.training import Trained, errors, train
from monitor.windows import WindowStore
from tests.models import START, tiny_settings, waves

torch.set_num_threads(1)

T = 8
ROWS = 240
RULES: list[dict[str, Any]] = [
    {"match": "bytes", "log1p": True, "scaling": "robust"},
    {"match": "level", "change": "difference", "scaling": "minmax"},
    {"match": "count_*", "change": "rate"},
    {"match": "proto", "kind": "category"},
    {"match": "flag", "scaling": "none", "clip": [0, 1]},
]
NAMES = ("temperature", "bytes", "proto", "level", "count_in", "flag")


def table(folder: Path) -> tuple[Path, Table]:
    """Two streams of one event about every second, with gaps in each, missing cells, resets, and a value never seen."""
    rng = np.random.default_rng(0)
    lines = [",".join(("stream", "time", *NAMES))]
    for stream in ("a", "b"):
        time = START + np.cumsum(rng.choice([0.5, 1.0, 1.25], ROWS)) + 100 * (np.arange(ROWS) > 200)
        counted = np.cumsum(rng.integers(0, 50, ROWS)) % 1000
        for row in range(ROWS):
            proto = "sctp" if row > 230 else ("tcp", "udp", "")[rng.choice(3, p=[0.6, 0.3, 0.1])]
            cells = (
                np.sin(row / 6) + rng.normal(0, 0.1),
                "" if row % 17 == 3 else rng.lognormal(8, 3),
                proto,
                row * 0.3 + rng.normal(),
                "" if row % 29 == 4 else counted[row],
                int(row % 5 == 0),
            )
            lines.append(",".join(map(str, (stream, repr(float(time[row])), *cells))))
    path = folder / "d.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path, read([str(path)], Mapping(category=learning().is_category))


def learning(**changes: Any) -> Training:
    return tiny_settings(features=RULES, window=T, epochs=2, **changes)


@dataclass(frozen=True)
class Learned:
    path: Path  # of the rows
    table: Table
    split: Split
    trained: Trained
    model: Path


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    folder = tmp_path_factory.mktemp("features")
    path, rows = table(folder)
    series = [Series(one.stream, one.time, one.values) for one in rows.series]
    split = prepare(series, rows.features, learning(), categories=rows.categories)
    trained = train(series, rows.features, {"bytes": "B"}, learning(), source="d.csv", categories=rows.categories)
    save(trained, folder / "model")
    return Learned(path, rows, split, trained, folder / "model")


def wholes(split: Split, rows: Table) -> list[int]:
    """First row of every window that the service makes: T rows of a stream without a gap."""
    starts, begin = [], 0
    for one in rows.series:
        broken = np.diff(one.time) > split.max_gap
        starts += [begin + at for at in range(len(one) - T + 1) if not broken[at : at + T - 1].any()]
        begin += len(one)
    return starts


class Watched:
    """A detector that keeps what it was given."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.manifest = detector.manifest
        self.windows: list[Float32] = []

    def score(self, windows: Float32) -> Scores:
        self.windows.append(windows.copy())
        return self._detector.score(windows)

    def warm(self) -> None:
        self._detector.warm()


def served(learned: Learned, runtime: str, seed: int) -> tuple[Float32, Float32]:
    """Windows and errors that the service's pipeline has for the rows, stream after stream, cut anyhow."""
    rng = np.random.default_rng(seed)
    given = {"model": {"path": learned.model, "runtime": runtime}, "events": {"missing": "impute", "max_age": None}}
    settings_ = config.Settings.model_validate(given)
    detector = Watched(load(learned.model, settings_.model))
    pipeline = assemble(settings_, detector)
    found = []
    for offset, one in enumerate(learned.table.series):
        alone = Table(learned.table.features, (one,), categories=learned.table.categories)
        sent: list[Record] = [each._replace(partition=offset) for each in records(alone, "events")]
        cuts = sorted(rng.choice(len(sent), rng.integers(0, 12), replace=False).tolist())
        for begin, end in pairwise([0, *cuts, len(sent)]):
            outcome = pipeline.process(sent[begin:end])
            assert not outcome.rejects
            found.append(outcome.error)
    return np.concatenate(detector.windows), np.concatenate(found)


@pytest.mark.parametrize(("runtime", "seed"), [("onnx", 0), ("onnx", 1), ("torch", 2)])
def test_the_service_scores_what_training_scored(learned: Learned, runtime: str, seed: int) -> None:
    """The same windows to the bit, but for the seconds before a window's first event, which are not read."""
    starts = np.array(wholes(learned.split, learned.table), np.int64)
    windows, found = served(learned, runtime, seed)
    wanted = learned.split.take(starts)
    for both in (windows, wanted):
        both[:, 0, -1] = 0
    assert windows.tobytes() == wanted.tobytes()
    np.testing.assert_allclose(found, errors(learned.trained.scorer, learned.split, starts), rtol=1e-4)
    assert len(found) > 300


def test_a_window_s_score_is_the_same_to_the_bit_however_the_records_were_cut(learned: Learned) -> None:
    _, first = served(learned, "onnx", 3)
    _, second = served(learned, "onnx", 4)
    assert first.tobytes() == second.tobytes()


def test_the_manifest_lists_how_each_feature_is_read(learned: Learned) -> None:
    manifest = load_artefact(learned.model).manifest
    features = {feature.name: feature for feature in manifest.features}
    assert tuple(features) == NAMES
    assert features["proto"].categories == ("tcp", "udp")  # of the fitting rows, by name; sctp came later
    assert features["proto"].mean == 0  # the commonest
    assert (features["bytes"].log1p, features["bytes"].unit) == (True, "B")
    assert [features[name].change for name in ("level", "count_in")] == ["difference", "rate"]
    assert features["flag"].clip == (0, 1)
    assert manifest.architecture.channels == 7
    assert manifest.columns == 7  # six features and the seconds


def test_replay_reads_the_rows_as_training_did(learned: Learned, tmp_path: Path) -> None:
    """From the configuration file to an artefact to alerts, text and all."""
    file = tmp_path / "monitor.yaml"
    file.write_text(
        json.dumps(
            {
                "training": learning().model_dump(mode="json", include={"features", "window", "code", "epochs"})
                | {"hidden": 8, "device": "cpu", "quantile": 0.5},
                "events": {"missing": "impute"},
            }
        ),
        encoding="utf-8",
    )
    run = CliRunner()
    result = run.invoke(main, ["train", str(learned.path), "--out", str(tmp_path / "m"), "-c", str(file)])
    assert result.exit_code == 0, result.output
    assert load_artefact(tmp_path / "m").manifest.features == learned.trained.manifest_draft.features[:1] + tuple(
        feature.model_copy(update={"unit": ""}) for feature in learned.trained.manifest_draft.features[1:]
    )
    result = run.invoke(main, ["replay", str(learned.path), "--model", str(tmp_path / "m"), "-c", str(file), "--json"])
    assert result.exit_code == 0, result.output
    count = len(wholes(learned.split, learned.table))
    assert f"{2 * ROWS} events, {count} windows scored, 0 rejected" in result.stderr
    alerts = [json.loads(line) for line in result.stdout.splitlines()]
    assert all(alert["features"] for alert in alerts if alert["kind"] == "anomaly")
    assert {feature["name"] for alert in alerts for feature in alert["features"]} <= set(NAMES)


def coded(texts: list[str], **changes: Any) -> Split:
    """The split of rows whose one category has these texts."""
    known = tuple(dict.fromkeys(texts))
    codes = np.array([known.index(text) if text else np.nan for text in texts], np.float32)
    values = np.column_stack([waves(len(texts), 1), codes])
    one = Series("s", START + np.arange(len(texts), dtype=np.float64), values)
    rules = [{"match": "c", "kind": "category"}, *changes.pop("rules", ())]
    return prepare([one], ("x", "c"), tiny_settings(features=rules, **changes), categories={"c": known})


def test_categories_are_those_of_the_fitting_rows_by_name() -> None:
    texts = (["b", "a", "b", ""] * 60)[:240] + ["new", "a", "b", ""] * 40
    split = coded(texts)
    assert split.features[1].categories == ("a", "b")
    assert split.rows[[0, 1, 240, 241], 1].tolist() == [1, 0, -1, 0]
    assert np.isnan(split.rows[3, 1])
    window = split.take(np.array([0]))[0, :, 1]
    assert window.tolist() == [1, 0, 1, 1, 1, 0, 1, 1]  # what is missing is as before
    assert split.channels == 3


def test_rules_that_no_feature_comes_under_are_named() -> None:
    rules = [{"match": "x", "log1p": True}, {"match": "y_*"}, {"match": "x", "change": "difference"}]
    split = coded(["a", "b"] * 150, rules=rules)
    assert split.warnings == ("No feature comes under these rules of training.features: y_*, x.",)


def test_a_category_that_is_always_the_same_is_said() -> None:
    (warning,) = coded(["a"] * 300).warnings
    assert warning.startswith("Constant in the fitting rows, so any change in them counts in full: c.")


def test_too_many_categories_are_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_CATEGORIES == 1000
    monkeypatch.setattr(dataset, "MOST_CATEGORIES", 4)
    assert coded(list("abcd") * 75).channels == 5
    with pytest.raises(MonitorError) as error:
        coded(list("abcde") * 60)
    assert str(error.value) == (
        "feature 'c' has 5 values in the fitting rows, a category has at most 4\n"
        "  Leave the feature out, or group its values before they get here."
    )


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0.0, 0.25, 1.0, 3.0, 50.0])), max_size=60),
    st.lists(st.integers(0, 60), max_size=5),
    st.integers(0, 40),
)
def test_a_timed_window_holds_the_seconds_between_its_events(
    steps: list[tuple[str, float]], cuts: list[int], begin: int
) -> None:
    """However the events are cut, and wherever reading began: of its own events, and of nothing before them."""
    time = START + np.cumsum([step for _, step in steps])
    streams = [stream for stream, _ in steps]
    marked = np.arange(len(steps), dtype=np.float32)[:, None]  # each event's number is its value

    def made(first: int, borders: list[int]) -> dict[int, list[list[float]]]:
        store = WindowStore(3, np.zeros(1, np.float32), config.Windows(), 1.0, 10.0, 1e6, timed=True)
        places = sorted({first, *(border for border in borders if first < border < len(steps)), len(steps)})
        windows: dict[int, list[list[float]]] = {}
        for start, end in pairwise(places):
            rows = slice(start, end)
            same = np.zeros(end - start, np.int64)
            batch = Batch(streams[rows], time[rows], time[rows], marked[rows], same, np.arange(start, end))
            for step in store.push(batch):
                for row, values in zip(step.windows.row.tolist(), step.windows.inputs.tolist(), strict=True):
                    windows[start + row] = values
        return windows

    whole = made(0, cuts)
    assert all(len(window) == 3 for window in whole.values())
    for window in whole.values():
        events = [int(value) for value, _ in window]
        assert [seconds for _, seconds in window[1:]] == np.diff(time[events]).astype(np.float32).tolist()
    for row, window in made(min(begin, len(steps)), []).items():
        assert [value for value, _ in window] == [value for value, _ in whole[row]]
        assert window[1:] == whole[row][1:]


def test_a_timed_window_goes_on_from_an_image() -> None:
    """A copy of the windows has the seconds too: whoever goes on from it makes the same ones."""

    def store() -> WindowStore:
        return WindowStore(4, np.zeros(1, np.float32), config.Windows(), 1.0, 10.0, 1e6, timed=True)

    def push(into: WindowStore, first: int, end: int) -> list[Float32]:
        numbers = np.arange(first, end)
        time = START + numbers**2 / 100
        batch = Batch(["a"] * len(numbers), time, time, numbers[:, None].astype(np.float32), numbers * 0, numbers)
        return [step.windows.inputs for step in into.push(batch)]

    one, other = store(), store()
    push(one, 0, 20)
    other.load(one.image(0, 20))
    for left, right in zip(push(one, 20, 40), push(other, 20, 40), strict=True):
        assert left.tobytes() == right.tobytes()


def test_windows_of_other_codes_or_columns_do_not_fit(learned: Learned) -> None:
    """What is kept of windows holds codes: of the same names in another order they would be other values."""
    manifest = learned.trained.manifest_draft
    proto = manifest.features[2]
    plain = [feature.model_copy(update={"change": "none"}) for feature in manifest.features]
    others = [
        [*manifest.features[:2], proto.model_copy(update={"categories": ("udp", "tcp")}), *manifest.features[3:]],
        [*manifest.features[:2], proto.model_copy(update={"categories": ()}), *manifest.features[3:]],
        plain,
    ]
    layouts = [manifest.model_copy(update={"features": tuple(features)}).layout for features in others]
    assert len({manifest.layout, *layouts}) == 4
    numbers = [feature.model_copy(update={"categories": ()}) for feature in plain]
    assert manifest.model_copy(update={"features": tuple(numbers)}).layout == NAMES
