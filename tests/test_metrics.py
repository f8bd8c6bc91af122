"""Metrics: every family is there, named by the rules, right in value, and bounded in labels.

`python -m tests.test_metrics` writes docs/metrics.md anew.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition, parser
from prometheus_client.parser import text_string_to_metric_families as parse_text

from monitor import alerts, config
from monitor.batch import Counts, Outcome, OutputRecord, RawRecord, Reason, Recovered, Reject, StateChange
from monitor.collectors import BulkHistogram, Families, Family
from monitor.delivery_metrics import ACTIONS, RECOVERED_BY, RESULTS
from monitor.forward.metrics import PREFIX, ForwardMetrics
from monitor.gates import GATES
from monitor.metrics import (
    ERROR_BUCKETS,
    SCORE_BUCKETS,
    STAGES,
    Metrics,
    budget_per_window,
    reference,
)
from monitor.model_metrics import OTHER
from monitor.snapshot_file import Misfit
from monitor.status import PartitionStatus, StreamScore
from tests import status_example as example

DOCUMENT = Path(__file__).parent.parent / "docs" / "metrics.md"
NOW = example.NOW
PROMTOOL = shutil.which("promtool")


def made(budget: float | None = 1.0, stride: int = 1, worst_streams: int = 20) -> tuple[CollectorRegistry, Metrics]:
    registry = CollectorRegistry()
    settings = config.Settings(windows=config.Windows(stride=stride), web=config.Web(worst_streams=worst_streams))
    return registry, Metrics(registry, example.manifest(budget), settings)


def alert(
    kind: alerts.Kind = "anomaly", status: alerts.Status = "opened", features: tuple[alerts.Feature, ...] = ()
) -> alerts.Alert:
    """Only what is counted matters here; the rest of the message is left out."""
    moment = datetime.fromtimestamp(NOW, UTC)
    return alerts.Alert.model_construct(
        kind=kind, status=status, severity="major", stream="a", time=moment, features=features
    )


def reject(reason: Reason) -> Reject:
    return Reject(reason, "why", RawRecord("events", 0, 7, -1, None, b"x"))


def test_every_count_of_an_outcome_is_added_to_its_family() -> None:
    registry, metrics = made()
    counts = Counts(
        records=100,
        events=98,
        windows=3,
        late=2,
        duplicate=4,
        gaps=5,
        imputed=6,
        unknown=9,
        started=7,
        idle=8,
        evicted=9,
        replayed=11,
        moved=10,
    )
    outcome = Outcome(
        alerts=(alert(), alert(status="closed"), alert(status="updated")),
        alert_arrival=(NOW - 0.2, NOW + 5, math.nan),  # no event caused the last one
        rejects=(reject(Reason.NOT_JSON), reject(Reason.NOT_JSON)),
        outputs={"scores": [OutputRecord(b"a", b"x", [])] * 3},
        states={(0, "a"): StateChange(b"x", quiet=False), (1, "c"): StateChange(b"y", quiet=True)},
        recovered=(Recovered(0, 5, 1, 2), Recovered(1, 0, 0, 1)),
        counts=counts,
        gated={"maintenance": 3, "data_quality": 1},
        error=np.array([0.1, 0.2, 3.0], np.float32),
        score=np.array([0.1, 1.0, 30.0], np.float64),
        seconds={"decode": 0.002, "publish": 0.3},
    )
    metrics.observe(outcome, NOW)
    metrics.observe(outcome, NOW)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"monitor_{name}", labels)

    assert value("records_total") == 200
    assert value("events_total") == 196
    assert value("windows_scored_total") == 6
    assert value("late_events_total") == 4
    assert value("duplicate_events_total") == 8
    assert value("gaps_total") == 10
    assert value("imputed_values_total") == 12
    assert value("unknown_categories_total") == 18
    assert value("streams_started_total") == 14
    assert value("streams_evicted_total", reason="idle") == 16
    assert value("streams_evicted_total", reason="capacity") == 18
    assert value("streams_moved_total") == 20
    assert value("replayed_records_total") == 22
    assert value("state_records_total") == 4
    assert value("outputs_total", output="scores") == 6
    assert value("outputs_total", output="latent") == 0
    assert value("incident_states_forgotten_total") == 6
    assert value("rejected_total", reason="not_json") == 4
    assert value("gated_total", gate="maintenance") == 6
    assert value("gated_total", gate="data_quality") == 2
    assert value("alerts_total", kind="anomaly", status="opened", severity="major") == 2
    assert value("alerts_total", kind="anomaly", status="closed", severity="major") == 2
    assert value("reconstruction_error_sum") == pytest.approx(6.6, rel=1e-6)
    assert value("score_bucket", le="1.0") == 4
    assert value("score_count") == 6
    assert value("stage_seconds_count", stage="decode") == 2
    assert value("stage_seconds_count", stage="score") == 0
    assert value("event_to_alert_seconds_sum") == pytest.approx(0.4, abs=1e-5)  # a clock ahead counts as 0, not less
    assert value("event_to_alert_seconds_count") == 4


def test_every_label_value_of_a_fixed_list_starts_at_zero() -> None:
    registry, _ = made()
    for reason in Reason:
        assert registry.get_sample_value("monitor_rejected_total", {"reason": reason.value}) == 0
    for stage in STAGES:
        assert registry.get_sample_value("monitor_stage_seconds_count", {"stage": stage}) == 0
    for name, label, values in (
        ("snapshot_ignored", "reason", tuple(Misfit)),
        ("recovered_partitions", "by", RECOVERED_BY),
        ("transactions", "result", RESULTS),
        ("gated", "gate", GATES),
        ("delivery_errors", "action", ACTIONS),
    ):
        for value in values:
            assert registry.get_sample_value(f"monitor_{name}_total", {label: value}) == 0
    labels = {"kind": "drift", "status": "updated", "severity": "critical"}
    assert registry.get_sample_value("monitor_alerts_total", labels) == 0


def test_the_status_sets_every_gauge() -> None:
    registry, metrics = made()
    metrics.broker(True)
    metrics.broker_error("publish")
    metrics.broker_error("poll")
    metrics.rebalanced()
    metrics.committed()
    metrics.model_loaded(NOW - 3)
    metrics.refresh(replace(example.recovering(), recovery="", incident_states=5))
    manifest = example.manifest()
    for name, labels, expected in (
        ("ready", {}, 1),
        ("broker_up", {}, 1),
        ("broker_errors_total", {"kind": "publish"}, 1),
        ("broker_errors_total", {"kind": "poll"}, 1),
        ("rebalances_total", {}, 1),
        ("commits_total", {}, 1),
        ("model_last_successful_load_timestamp_seconds", {}, NOW - 3),
        ("open_incidents", {}, 3),
        ("streams_active", {}, 1041),
        ("streams_warming", {}, 6),
        ("threshold", {}, 0.874),
        ("consumer_partitions", {}, 6),
        ("consumer_lag_records", {"topic": "events", "partition": "3"}, 840),
        ("consumer_position_offset", {"topic": "events", "partition": "5"}, 18_204_113 + 5 * 7919),
        ("consumer_lag_records", {"topic": "events", "partition": "5"}, None),  # its end is not known yet
        ("consumer_end_offset", {"topic": "events", "partition": "5"}, None),
        ("consumer_partition_stuck", {"topic": "events", "partition": "3"}, 1),
        ("consumer_partition_stuck", {"topic": "events", "partition": "0"}, 0),
        ("partitions_recovering", {}, 1),
        ("recovery_records_left", {}, 120_000),
        ("incident_states", {}, 5),
        ("stream_score", {"stream": "plant-2/pump-7"}, 7.31),
        ("stream_score", {"stream": OTHER}, 0.37),
        ("model_info", {"digest": manifest.digest[:12], "network": "lstm", "runtime": "onnx"}, 1),
    ):
        assert registry.get_sample_value(f"monitor_{name}", labels) == expected, (name, labels)
    for unready in (
        replace(example.busy(), state="stopping"),
        replace(example.busy(), stopped="too many records are rejected"),
        example.recovering(),
    ):
        metrics.refresh(example.busy())
        metrics.refresh(unready)
        assert registry.get_sample_value("monitor_ready") == 0


def test_recovery_and_delivery_are_counted_as_they_are_told() -> None:
    registry, metrics = made()
    metrics.recovered("snapshot", seconds=0.5, records=0, short=0)
    metrics.recovered("topic", seconds=4.0, records=200_000, short=3)
    metrics.recovered("nothing", seconds=0.0, records=0, short=0)  # leaves the rate of the one before
    metrics.data_lost(17)
    for action in ("retry", "retry", "fence"):
        metrics.delivery_error(action)
    metrics.transaction("committed")
    metrics.transaction("failed")
    metrics.snapshot_ignored(Misfit.DAMAGED)
    metrics.snapshot_ignored("absent")
    metrics.snapshots_saved(1)
    metrics.snapshot_failed()
    for name, labels, expected in (
        ("recovered_partitions_total", {"by": "snapshot"}, 1),
        ("recovered_partitions_total", {"by": "topic"}, 1),
        ("recovered_partitions_total", {"by": "nothing"}, 1),
        ("recovery_seconds_sum", {}, 4.5),
        ("recovery_replay_rate_records_per_second", {}, 50_000),
        ("streams_short_total", {}, 3),
        ("data_loss_records_total", {}, 17),
        ("delivery_errors_total", {"action": "retry"}, 2),
        ("delivery_errors_total", {"action": "fence"}, 1),
        ("delivery_errors_total", {"action": "stop"}, 0),
        ("transactions_total", {"result": "committed"}, 1),
        ("transactions_total", {"result": "failed"}, 1),
        ("snapshot_ignored_total", {"reason": "damaged"}, 1),
        ("snapshot_ignored_total", {"reason": "absent"}, 1),
        ("snapshots_saved_total", {}, 1),
        ("snapshot_errors_total", {}, 1),
    ):
        assert registry.get_sample_value(f"monitor_{name}", labels) == expected, (name, labels)


@pytest.mark.parametrize(
    "tell",
    [
        lambda metrics: metrics.recovered("luck", 1.0, 1, 0),
        lambda metrics: metrics.delivery_error("panic"),
        lambda metrics: metrics.transaction("lost"),
        lambda metrics: metrics.snapshot_ignored("/var/lib/x is damaged"),
    ],
    ids=["by", "action", "result", "reason"],
)
def test_a_label_value_that_is_not_of_its_list_is_an_error_and_makes_no_series(tell: Callable[[Metrics], None]) -> None:
    registry, metrics = made()
    before = generate_latest(registry).count(b"monitor_")
    with pytest.raises(ValueError, match="is not"):
        tell(metrics)
    assert generate_latest(registry).count(b"monitor_") == before


def strict_families(registry: CollectorRegistry) -> list[Metric]:
    """What the strict parser of the OpenMetrics form reads."""
    text = exposition.generate_latest(registry).decode()  # type: ignore[no-untyped-call]
    return list(parser.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]


def stream_series(registry: CollectorRegistry) -> dict[str, float]:
    families = {family.name: family for family in parse_text(generate_latest(registry).decode())}
    return {sample.labels["stream"]: sample.value for sample in families["monitor_stream_score"].samples}


def test_ten_thousand_streams_never_give_more_than_k_series_and_one() -> None:
    registry, metrics = made(worst_streams=20)
    for turn in range(100):
        worst = tuple(StreamScore(f"stream-{turn}-{i}", 5.0 - i / 100) for i in range(100))
        metrics.refresh(replace(example.busy(), worst=worst, other_worst=0.1))
        series = stream_series(registry)
        assert len(series) == 21
        assert set(series) == {*(f"stream-{turn}-{i}" for i in range(20)), OTHER}
        assert series[OTHER] == 4.8  # the highest of those folded, not of the last


def test_partitions_and_streams_that_left_are_no_longer_scraped() -> None:
    registry, metrics = made()
    metrics.refresh(example.busy())
    metrics.refresh(replace(example.busy(), partitions=(PartitionStatus(9, 5, 8, 1, 0),), worst=(), other_worst=None))
    text = generate_latest(registry).decode()
    assert 'monitor_consumer_lag_records{partition="9",topic="events"} 3.0' in text
    assert 'monitor_consumer_partition_stuck{partition="9",topic="events"} 0.0' in text
    assert 'partition="0"' not in text
    assert "monitor_stream_score{" not in text


@settings(deadline=None)
@given(names=st.lists(st.text(max_size=20), unique=True, max_size=30))
def test_no_stream_name_breaks_the_scrape(names: list[str]) -> None:
    registry, metrics = made()
    hostile = (*names, "\ud800", "\x00", 'a"}\n# TYPE x counter', OTHER)
    metrics.refresh(replace(example.busy(), worst=tuple(StreamScore(name, 1.5) for name in hostile)))
    families = {family.name for family in strict_families(registry)}
    assert "monitor_stream_score" in families
    assert 1 <= len(stream_series(registry)) <= 21


@given(
    values=st.lists(st.floats(0, 1e5, width=32), max_size=200), bounds=st.sampled_from([SCORE_BUCKETS, ERROR_BUCKETS])
)
def test_a_bulk_histogram_means_the_same_as_the_librarys(values: list[float], bounds: tuple[float, ...]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    bulk = BulkHistogram("monitor_x", "X.", bounds, ours)
    single = Histogram("monitor_x", "X.", buckets=bounds, registry=theirs)
    values += [*bounds, 0.0]  # the bounds themselves: `le` is inclusive
    half = len(values) // 2
    bulk.observe(np.array(values[:half], np.float64))
    bulk.observe(np.array(values[half:], np.float64))
    bulk.observe(np.empty(0, np.float32))
    for value in values:
        single.observe(value)
    for family_ours, family_theirs in zip(ours.collect(), theirs.collect(), strict=True):
        assert family_ours.type == family_theirs.type
        expected = {(s.name, s.labels.get("le")): s.value for s in family_theirs.samples if "created" not in s.name}
        actual = {(s.name, s.labels.get("le")): s.value for s in family_ours.samples}
        assert actual == pytest.approx(expected)


def test_a_value_that_is_not_finite_is_counted_and_does_not_spoil_the_sum() -> None:
    registry = CollectorRegistry()
    BulkHistogram("monitor_x", "X.", (1.0,), registry).observe(np.array([0.5, math.nan, math.inf]))
    assert registry.get_sample_value("monitor_x_bucket", {"le": "1.0"}) == 1
    assert registry.get_sample_value("monitor_x_count") == 3
    assert registry.get_sample_value("monitor_x_sum") == 0.5


def test_the_budget_follows_from_the_alerts_a_day_or_from_the_quantile() -> None:
    a_day = example.manifest(budget=2.0, windows_per_day=1440.0).calibration
    assert budget_per_window(a_day, stride=1) * 1440 == pytest.approx(2)
    assert budget_per_window(a_day, stride=10) * 144 == pytest.approx(2)  # a day has a tenth of the windows
    plain = example.manifest(budget=None, quantile=0.999).calibration
    assert budget_per_window(plain, stride=10) == pytest.approx(0.001)


def test_the_burn_ratio_compares_the_last_hour_with_the_budget() -> None:
    registry, metrics = made(budget=1440.0)  # one a window

    def ratio(at: float) -> float | None:
        metrics.refresh(replace(example.busy(), now=NOW + at))
        return registry.get_sample_value("monitor_alert_budget_burn_ratio")

    def observe(windows: int, opened: int) -> None:
        others = (alert("data_quality"), alert(status="closed"))
        found = (*(alert() for _ in range(opened)), *others)
        metrics.observe(Outcome(alerts=found, alert_arrival=[NOW] * len(found), counts=Counts(windows=windows)), NOW)

    assert ratio(0) is None  # nothing was scored: absence, not a zero
    observe(windows=10, opened=5)
    assert ratio(1) == pytest.approx(0.5)
    for minute in range(1, 60):
        ratio(60.0 * minute)
    observe(windows=10, opened=30)
    assert ratio(3590) == pytest.approx(35 / 20)
    assert ratio(3700) == pytest.approx(30 / 10)  # the first ten windows were more than an hour ago
    ratio(7400)
    assert ratio(7500) is None
    observe(windows=4, opened=2)
    assert ratio(7501) == pytest.approx(0.5)
    assert ratio(100) is None  # the clock was set back: what was remembered is dropped
    observe(windows=4, opened=1)
    assert ratio(101) == pytest.approx(0.25)
    assert registry.get_sample_value("monitor_alert_budget_total") == pytest.approx(28)


def test_names_follow_the_rules_of_prometheus() -> None:
    """Prefix, snake case, base units, `_total` on counters and only there, a help text that is a sentence."""
    _, metrics = made()
    assert len({family.name for family in metrics.families}) == len(metrics.families)
    for name, kind, labels, documentation in metrics.families:
        assert re.fullmatch(r"monitor_[a-z]+(_[a-z]+)*", name), name
        assert (kind == "counter") == name.endswith("_total"), name
        assert not re.search(r"_(ms|milliseconds|minutes|hours|kb|mb|percent|count|sum|bucket)(_|$)", name), name
        assert documentation.endswith("."), name
        assert documentation[0].isupper(), name
        assert "le" not in labels


def test_both_formats_parse_and_hold_every_declared_family() -> None:
    registry, metrics = made()
    metrics.refresh(example.busy())
    declared = {family.name.removesuffix("_total") for family in metrics.families}
    text = generate_latest(registry).decode()
    assert declared == {f.name for f in parse_text(text) if f.name.startswith("monitor_")}
    declared = {name.removesuffix("_info") for name in declared}
    strict = strict_families(registry)
    assert declared == {family.name for family in strict if family.name.startswith("monitor_")}
    assert "_created" not in text
    assert all(family.type != "summary" for family in strict)


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool here; the naming test above runs everywhere")
def test_promtool_finds_nothing_to_say() -> None:
    registry, metrics = made()
    metrics.refresh(example.busy())
    command = [str(PROMTOOL), "check", "metrics"]
    result = subprocess.run(command, input=generate_latest(registry), capture_output=True, timeout=30, check=False)
    assert result.returncode == 0, result.stderr.decode() + result.stdout.decode()


def forwarding() -> list[Family]:
    return ForwardMetrics(Families(PREFIX, CollectorRegistry())).families


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool here")
def test_promtool_finds_nothing_to_say_of_forwarding() -> None:
    registry = CollectorRegistry()
    metrics = ForwardMetrics(Families(PREFIX, registry))
    metrics.delivered(0.2)
    metrics.request("taken", 0.1)
    metrics.refresh(ready=True, receiver_up=True, broker_up=True, open_incidents=2, dropped=1, lag={("alerts", "0"): 5})
    text = generate_latest(registry)
    command = [str(PROMTOOL), "check", "metrics"]
    result = subprocess.run(command, input=text, capture_output=True, timeout=30, check=False)
    assert result.returncode == 0, result.stderr.decode() + result.stdout.decode()
    assert b'monitor_forward_lag_records{partition="0",topic="alerts"} 5.0' in text


def test_the_reference_is_what_the_code_declares() -> None:
    _, metrics = made()
    hint = "docs/metrics.md is out of date: run python -m tests.test_metrics"
    assert DOCUMENT.read_text(encoding="utf-8") == reference(metrics.families, forwarding()), hint


def test_an_opened_anomaly_counts_for_the_feature_that_explains_most_of_it() -> None:
    registry, metrics = made()
    features = tuple(
        alerts.Feature(name=name, observed=1, expected=0, contribution=share)
        for name, share in (("flow", 0.6), ("pressure", 0.3))
    )
    told = [
        alert(features=features),
        alert(status="updated", features=features),
        alert("data_quality", features=features),
    ]
    told.append(alert(features=(features[0].model_copy(update={"name": "unknown"}),)))
    metrics.observe(Outcome(alerts=told, alert_arrival=[math.nan] * len(told)), NOW)
    counted = {
        name: registry.get_sample_value("monitor_incident_features_total", {"feature": name})
        for name in ("flow", "pressure", OTHER)
    }
    assert counted == {"flow": 1, "pressure": 0, OTHER: 1}


def test_a_memory_limit_and_the_time_the_model_knows_are_absent_where_there_is_none() -> None:
    registry, metrics = made()
    assert registry.get_sample_value("monitor_memory_limit_bytes") is None
    metrics.memory_limited(5)
    assert registry.get_sample_value("monitor_memory_limit_bytes") == 5
    assert (
        registry.get_sample_value("monitor_model_trained_to_timestamp_seconds") == example.manifest().training.last_time
    )
    undated = example.manifest()
    undated = undated.model_copy(update={"training": undated.training.model_copy(update={"last_time": 5000.0})})
    bare = CollectorRegistry()
    Metrics(bare, undated, config.Settings())
    assert bare.get_sample_value("monitor_model_trained_to_timestamp_seconds") is None


if __name__ == "__main__":
    DOCUMENT.write_text(reference(made()[1].families, forwarding()), encoding="utf-8")
