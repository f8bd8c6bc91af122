"""The optional outputs: what the model says of every scored event, the same bytes however the records were cut."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import alerts, config, detector, outputs
from monitor.alerts import moment
from monitor.assembly import assemble
from monitor.batch import Outcome, OutputName, OutputRecord, RawRecord
from monitor.errors import ConfigError
from monitor.feeds.table import Rows, Table, records
from monitor.model.export import save
from monitor.model.training import Series, train
from monitor.pipeline import Pipeline
from tests.models import FEATURES, START, tiny_artefact, tiny_settings, waves
from tests.test_pipeline import calls, feeds, pipeline

DOCS = Path(__file__).parent.parent / "docs"
ALL = {"scores": "t.scores", "denoised": "t.denoised", "latent": "t.latent"}
CONTRACTS: dict[OutputName, str] = {"scores": "score", "denoised": "denoised", "latent": "latent"}
COLOURS = ("red", "green")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> detector.Detector:
    folder = tiny_artefact(tmp_path_factory.mktemp("model") / "m")
    return detector.load(folder, config.Model(path=folder))


def served(model: detector.Detector, **sections: Any) -> Pipeline:
    return assemble(config.Settings.model_validate({"outputs": ALL} | sections), model)


def events(rows: int = 30, changes: dict[int, dict[str, Any]] | None = None) -> list[RawRecord]:
    """Normal events of one stream, one a second; `changes` by row replaces members of its features (None drops one)."""
    made = []
    for number, row in enumerate(waves(rows, len(FEATURES), seed=4).tolist()):
        features = dict(zip(FEATURES, row, strict=True)) | (changes or {}).get(number, {})
        value = {"stream": "pump-7", "time": START + number + 0.0004, "features": {
            name: value for name, value in features.items() if value is not None
        }}  # fmt: skip
        made.append(
            RawRecord("events", 3, 100 + number, round(1000 * (START + number)), b"k", json.dumps(value).encode())
        )
    return made


def told(outcomes: Sequence[Outcome], output: OutputName) -> list[Any]:
    return [json.loads(record.value) for outcome in outcomes for record in outcome.outputs.get(output, ())]


def everything(outcomes: Sequence[Outcome]) -> dict[OutputName, dict[int, list[OutputRecord]]]:
    """The messages by output and input partition, in their order: between partitions there is none."""
    found: dict[OutputName, dict[int, list[OutputRecord]]] = {}
    for outcome in outcomes:
        for output, messages in outcome.outputs.items():
            for message in messages:
                partition = json.loads(message.value)["evidence"]["partition"]
                found.setdefault(output, {}).setdefault(partition, []).append(message)
    return found


@settings(max_examples=60, deadline=None)
@given(feeds(), st.lists(st.integers(0, 200), max_size=8))
def test_no_cut_into_batches_changes_a_byte(partitions: list[list[RawRecord]], cuts: list[int]) -> None:
    merged = [record for part in partitions for record in part]
    one, other = (calls(pipeline(outputs=ALL), merged, some) for some in ((), cuts))
    assert everything(one) == everything(other)
    windows = sum(outcome.counts.windows for outcome in one)
    assert [len(told(one, output)) for output in outputs.OUTPUTS] == [windows] * 3


@pytest.mark.parametrize("size", [1, 7])
def test_nor_with_a_real_model(model: detector.Detector, size: int) -> None:
    merged = events(60, {20: {"a": 99.0}})
    whole = everything([served(model).process(merged)])
    assert whole["latent"][3]
    line = served(model)
    assert everything([line.process(merged[at : at + size]) for at in range(0, 60, size)]) == whole


def test_every_scored_event_is_told_with_its_place_and_its_numbers(model: detector.Detector) -> None:
    merged = events(30, {25: {"a": 99.0}})
    line = served(model)
    outcome = line.process(merged)
    manifest = model.manifest
    rows = np.array([[json.loads(r.value or b"")["features"][name] for name in FEATURES] for r in merged], np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(rows, 8, axis=0).swapaxes(1, 2)
    said = model.score(np.ascontiguousarray(windows))
    scores, denoised, codes = (told([outcome], output) for output in outputs.OUTPUTS)
    assert len(scores) == len(denoised) == len(codes) == 23
    for number, (score, event, code) in enumerate(zip(scores, denoised, codes, strict=True)):
        evidence = {"topic": "events", "partition": 3, "offset": 107 + number, "model": manifest.digest}
        for message in (score, event, code):
            assert message["evidence"] == evidence | {"config": config.Settings().digest()}
            assert (message["stream"], message["schema_version"]) == ("pump-7", 1)
            assert message["time"] == moment(START + 7 + number).isoformat(timespec="milliseconds")[:-6] + "Z"
        assert score["threshold"] == pytest.approx(line.threshold, rel=1e-5)
        assert score["error"] == pytest.approx(said.error[number], rel=1e-5)
        assert score["score"] == score["counted"] == pytest.approx(said.error[number] / line.threshold, rel=1e-5)
        assert list(event["features"].values()) == pytest.approx(said.expected[number].tolist(), rel=1e-5)
        assert (list(event["features"]), event["repaired"]) == (list(FEATURES), [])
        assert code["code"] == pytest.approx(said.code[number].tolist(), rel=1e-5)
    assert max(score["score"] for score in scores) > 1
    assert len({message["id"] for message in (*scores, *denoised, *codes)}) == 3 * 23


def test_a_missing_feature_is_repaired_from_the_reconstruction_and_marked(model: detector.Detector) -> None:
    missing: dict[int, dict[str, Any]] = {12: {"b": None}, 13: {"b": None, "c": None}, 15: {"a": float("nan")}}
    given_events = {"missing": "impute", "non_finite": "impute"}
    outcome = served(model, events=given_events).process(events(24, missing))
    found = {message["evidence"]["offset"] - 100: message for message in told([outcome], "denoised")}
    assert {row: one["repaired"] for row, one in found.items() if one["repaired"]} == {
        12: ["b"], 13: ["b", "c"], 15: ["a"],
    }  # fmt: skip
    whole = waves(24, len(FEATURES), seed=4)
    for row, place in ((12, 1), (13, 1), (13, 2), (15, 0)):
        assert found[row]["features"][FEATURES[place]] == pytest.approx(whole[row, place], abs=1.0)
        assert found[row]["features"][FEATURES[place]] != pytest.approx(whole[row - 1, place], abs=1e-4)  # not carried


def test_what_a_gate_holds_back_is_in_the_score_and_does_not_count(model: detector.Detector) -> None:
    maintenance = {"from": "2023-11-14T22:00:00Z", "to": "2023-11-15T00:00:00Z"}
    outcome = served(model, gates={"maintenance": [maintenance]}).process(events(30, {25: {"a": 99.0}}))
    scores = told([outcome], "scores")
    assert max(one["score"] for one in scores) > 1 >= max(one["counted"] for one in scores)


def test_what_is_read_again_after_a_restart_is_not_told_again(model: detector.Detector) -> None:
    merged = events(40)
    first = served(model)
    begun = first.process(merged[:25])
    second = served(model)
    second.restore(3, first.checkpoints({3: 125})[3], {})
    after = [second.process(merged[at : at + 5]) for at in range(0, 40, 5)]
    whole = served(model).process(merged)
    for output in outputs.OUTPUTS:
        pieces = [*begun.outputs[output], *(m for outcome in after for m in outcome.outputs.get(output, ()))]
        assert pieces == whole.outputs[output]


def test_off_nothing_is_made_and_no_alert_changes(model: detector.Detector) -> None:
    merged = events(60, {20: {"a": 99.0}, 21: {"a": 99.0}, 22: {"a": 99.0}})
    on, off = served(model).process(merged), served(model, outputs={}).process(merged)
    assert off.outputs == {}
    assert "outputs" not in off.seconds
    assert [alert.to_bytes() for alert in on.alerts] == [alert.to_bytes() for alert in off.alerts] != []
    only = served(model, outputs={"latent": "codes"}).process(merged)
    assert set(only.outputs) == {"latent"}


def test_categories_are_told_by_name(tmp_path: Path) -> None:
    rows = waves(200, 2, 1)
    rows[:, 1] = np.arange(200) // 10 % 2
    learned = tiny_settings(features=[{"match": "colour", "kind": "category"}])
    time = START + np.arange(200.0)
    names = ("level", "colour")
    save(
        train([Series("s", time, rows)], names, {}, learned, source="x", categories={"colour": COLOURS}), tmp_path / "m"
    )
    loaded = detector.load(tmp_path / "m", config.Model(path=tmp_path / "m"))
    table = Table(names, (Rows("s", time, rows),), categories={"colour": COLOURS})
    found = told([served(loaded).process(list(records(table, "events")))], "denoised")
    known = loaded.manifest.features[1].categories
    rows[:, 1] = [known.index(COLOURS[int(code)]) for code in rows[:, 1]]
    windows = np.lib.stride_tricks.sliding_window_view(rows, 8, axis=0).swapaxes(1, 2)
    expected = loaded.score(np.ascontiguousarray(windows)).expected[:, 1]
    assert [one["features"]["colour"] for one in found] == [known[int(code)] for code in expected]
    assert set(known) == set(COLOURS)


@pytest.mark.parametrize("output", outputs.OUTPUTS)
def test_the_headers_are_those_of_a_cloud_event(model: detector.Detector, output: OutputName) -> None:
    message = served(model).process(events(8)).outputs[output][0]
    value, headers = json.loads(message.value), {name: content.decode() for name, content in message.headers}
    assert message.key == b"pump-7"
    assert headers == {
        "ce_specversion": "1.0",
        "ce_id": value["id"],
        "ce_type": f"monitor.{CONTRACTS[output]}.v1",
        "ce_source": "/monitor/events",
        "ce_subject": "pump-7",
        "ce_time": value["time"],
        "content-type": alerts.CONTENT_TYPE,
    }


@pytest.mark.parametrize("output", outputs.OUTPUTS)
def test_a_message_is_what_its_published_schema_says(model: detector.Detector, output: OutputName) -> None:
    message = served(model).process(events(8)).outputs[output][0]
    parsed = msgspec.json.decode(message.value, type=outputs.MESSAGES[output])
    assert msgspec.json.encode(parsed) == message.value
    schema = json.loads((DOCS / f"{CONTRACTS[output]}.schema.json").read_text(encoding="utf-8"))
    assert schema == outputs.json_schema(output), "run: python -m tests.test_outputs"
    value = json.loads(message.value)
    assert list(schema["properties"]) == list(value) == schema["required"]
    assert schema["additionalProperties"] is False


@given(st.floats(-(2.0**126), 2.0**126, width=32) | st.floats(-1000, 1000, width=32))
def test_a_number_has_six_digits_as_in_an_alert(value: float) -> None:
    (found,) = outputs.rounded(np.array([value], np.float32)).tolist()
    assert found == pytest.approx(float(f"{value:.6g}"), rel=2e-6, abs=1e-22)
    if 1e-15 < abs(value) < 1e20:
        assert len(f"{found!r}".replace("-", "").replace(".", "").strip("0").partition("e")[0]) <= 6


@given(st.lists(st.floats(0, 4e9), min_size=1, max_size=5))
def test_a_time_is_written_as_in_an_alert(times: list[float]) -> None:
    found = outputs.moments(np.array(times))
    assert found == [moment(time).isoformat(timespec="milliseconds").replace("+00:00", "Z") for time in times]


def test_an_output_on_a_topic_of_another_purpose_is_refused(model: detector.Detector) -> None:
    with pytest.raises(ConfigError, match=r"outputs\.scores must be a topic of its own, not alerts"):
        served(model, outputs={"scores": "alerts"})
    with pytest.raises(ValueError, match="scores, denoised and latent must be topics of their own"):
        config.Outputs(scores="a", latent="a")


def _write() -> Iterator[Path]:
    for output, contract in CONTRACTS.items():
        place = DOCS / f"{contract}.schema.json"
        text = json.dumps(outputs.json_schema(output), indent=2, ensure_ascii=False)
        place.write_text(f"{text}\n", encoding="utf-8")
        yield place


if __name__ == "__main__":
    print(*_write())
