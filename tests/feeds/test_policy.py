"""How rows were made is part of the model that learned from them, and a feed that differs says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from monitor import config
from monitor.cli import main
from monitor.feeds import descriptions
from monitor.model import artefact
from monitor.model.manifest import Manifest
from tests.models import tiny_artefact

JOIN = {"interval": 60, "sensors": [{"name": "temperature", "take": ["last", "mean"]}]}
HOSTS = {"vectors": "hosts"}


def feed(**settings: object) -> config.Feed:
    return config.Feed.model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "features", "made"),
    [
        ({"join": JOIN}, ["temperature.last", "temperature.mean"], True),
        ({"join": JOIN}, ["temperature.last"], True),  # one was left out in training
        ({"join": JOIN}, ["temperature.last", "flow.last"], False),
        ({}, ["host.weight@5"], True),
        ({"decays": [1.0]}, ["host.weight@5"], False),
        ({"vectors": "hosts"}, ["host.targets"], True),
        ({"vectors": "flows"}, ["host.targets"], False),
    ],
)
def test_rows_are_taken_for_those_of_a_feed_that_gives_all_their_features(
    settings: dict[str, object], features: list[str], made: bool
) -> None:
    assert descriptions.made_by(feed(**settings), features) is made


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        ({"join": JOIN}, {"join": JOIN}, ()),
        ({"join": JOIN}, {"join": JOIN | {"interval": 30}}, ("join.interval: 30, in training 60",)),
        ({"join": JOIN}, {"join": JOIN | {"stream": "boiler-3"}}, ()),
        ({"vectors": "flows"}, {"vectors": "flows", "flows": {"idle": 5}}, ("flows.idle: 5, in training 15",)),
        (HOSTS, {"vectors": "hosts", "hosts": {"interval": 5}}, ("hosts.interval: 5, in training 1",)),
        ({}, {"flows": {"idle": 5}, "max_keys": 9}, ()),
    ],
)  # fmt: skip
def test_what_makes_other_features_is_told_and_nothing_else(
    was: dict[str, object], now: dict[str, object], told: tuple[str, ...]
) -> None:
    assert descriptions.differences(feed(**was), feed(**now)) == told


def test_training_keeps_the_policy_and_a_feed_with_another_says_so(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("time,temperature\n" + "".join(f"{20 * n},{20 + n % 7}\n" for n in range(3000)))
    settings, out, joined = tmp_path / "c.yaml", tmp_path / "model", tmp_path / "joined.ndjson"
    content = {"feed": {"join": JOIN}, "model": {"path": str(out)}, "training": {"detector": "max_z", "window": 2}}
    settings.write_text(json.dumps(content))
    run = CliRunner()
    sent = run.invoke(main, ["feed", str(rows), "--stdout", "-c", str(settings)])
    assert sent.exit_code == 0, sent.output
    assert "other settings" not in sent.stderr  # there is no model yet
    joined.write_text(sent.stdout)
    learned = run.invoke(main, ["train", str(joined), "--out", str(out), "-c", str(settings)])
    assert learned.exit_code == 0, learned.output
    manifest = artefact.load(out).manifest
    assert manifest.feed == feed(join=JOIN)
    assert manifest.to_json().encode() == (out / "manifest.json").read_bytes()
    settings.write_text(json.dumps(content | {"feed": {"join": JOIN | {"interval": 30}}}))
    again = run.invoke(main, ["feed", str(rows), "--stdout", "-c", str(settings)])
    assert f"note: the model in {out} was trained with other settings: join.interval: 30" in again.stderr


def test_a_model_that_knows_no_feed_keeps_its_digest(tmp_path: Path) -> None:
    manifest = artefact.load(tiny_artefact(tmp_path / "m")).manifest
    assert manifest.feed is None
    assert '"feed"' not in manifest.to_json()
    more = manifest.model_copy(update={"feed": feed(join=JOIN)})
    assert Manifest.model_validate_json(more.to_json(), strict=True) == more
