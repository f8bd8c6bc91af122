"""The service as a process on a real broker: events in, incidents out, and what it shows meanwhile."""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.integration.conftest import MakeDeployment
from tests.integration.running import WINDOW, Deployment, Monitor, event, records, rows, until
from tests.models import FEATURES, START, waves

FAMILIES = (
    "monitor_records_total",
    "monitor_events_total",
    "monitor_rejected_total",
    "monitor_late_events_total",
    "monitor_windows_scored_total",
    "monitor_reconstruction_error_bucket",
    "monitor_score_bucket",
    "monitor_alerts_total",
    "monitor_open_incidents",
    "monitor_threshold",
    "monitor_alert_budget_burn_ratio",
    "monitor_stage_seconds_bucket",
    "monitor_event_to_alert_seconds_bucket",
    "monitor_streams_active",
    "monitor_streams_warming",
    "monitor_streams_evicted_total",
    "monitor_stream_score",
    "monitor_consumer_lag_records",
    "monitor_commits_total",
    "monitor_broker_up",
    "monitor_ready",
    "monitor_model_info",
    "monitor_model_last_successful_load_timestamp_seconds",
)


def incidents(deployment: Deployment, status: str) -> list[str]:
    return [alert["stream"] for alert in deployment.alerts() if alert["status"] == status]


def write_csv(path: Path, streams: dict[str, np.ndarray]) -> None:
    lines = ["stream,time," + ",".join(FEATURES)]
    for number in range(max(map(len, streams.values()))):
        for stream, values in streams.items():
            cells = ",".join(repr(float(value)) for value in values[number].tolist())
            lines.append(f"{stream},{START + number},{cells}")
    path.write_text("\n".join(lines) + "\n")


def test_an_anomaly_becomes_one_incident_and_is_told_everywhere(deployment: Deployment) -> None:
    """Opened and closed in the alert topic, counted in /metrics, shown by the page; a quiet stream is silent."""
    service = deployment.serve()
    deployment.put(records("loud", rows()))
    deployment.put(records("quiet", rows(anomalies=())))
    service.until(lambda: incidents(deployment, "closed"), "the incident closed")
    service.until(lambda: service.status()["events"] == 240, "all events counted")
    alerts = deployment.alerts()
    assert Counter(alert["stream"] for alert in alerts).keys() == {"loud"}
    assert [alert["status"] for alert in alerts if alert["status"] != "updated"] == ["opened", "closed"]
    assert {alert["features"][0]["name"] for alert in alerts} == {"a"}
    assert alerts[0]["evidence"]["topic"] == deployment.topics.input.name
    text = service.get("/metrics")[1]
    assert [name for name in FAMILIES if name not in text] == []
    assert service.metric("monitor_events_total") == 240
    assert service.metric("monitor_windows_scored_total") == 2 * (120 - WINDOW + 1)
    assert service.metric("monitor_alerts_total") == len(alerts)
    assert service.metric("monitor_open_incidents") == 0
    code, page = service.get("/")
    assert (code, "<html" in page, deployment.topics.input.name in page) == (200, True, True)


def test_what_the_service_publishes_replay_prints_to_the_byte(deployment: Deployment, tmp_path: Path) -> None:
    """The same rows, the same configuration and model: the same lines."""
    streams = {"s1": rows(300, (60, 150, 220), 1), "s2": rows(300, (100,), 2), "s3": rows(300, (), 3)}
    data = tmp_path / "rows.csv"
    write_csv(data, streams)
    replay = deployment.start("replay", data, "--json")
    assert replay.ends() == 0, replay.tail()
    printed = [line.encode() for line in replay.log.splitlines() if line.startswith("{")]
    assert len(printed) >= 8, replay.tail()

    service = deployment.serve()
    deployment.put(
        (0, stream.encode(), event(stream, number, values[number].tolist()))
        for number in range(300)
        for stream, values in streams.items()
    )
    service.until(lambda: service.status()["events"] == 900, "all events")
    service.signal(signal.SIGTERM)
    assert service.ends() == 0, service.tail()
    assert deployment.alert_values() == printed

    once = deployment.start("alerts", "--once", "--json")
    assert once.ends() == 0, once.tail()
    assert once.log.encode().splitlines() == printed


def test_alerts_prints_a_repeated_alert_once(deployment: Deployment) -> None:
    """At-least-once delivery: two groups that publish the same alerts stand for a repeat."""
    deployment.put(records("loud", rows()))
    for group in ("first", "second"):
        deployment.write(kafka={"group": f"{deployment.kafka.group}-{group}"})
        service = deployment.serve()
        service.until(lambda: service.status()["events"] == 120, "all events")  # noqa: B023  called in this turn
        service.signal(signal.SIGTERM)
        assert service.ends() == 0, service.tail()
    published = deployment.alert_values()
    half = len(published) // 2
    assert half > 0
    assert published[:half] == published[half:], "a repeat is the same message"
    once = deployment.start("alerts", "--once", "--json")
    assert once.ends() == 0, once.tail()
    assert once.log.encode().splitlines() == published[:half]


def test_ready_only_with_an_assignment_and_alive_throughout(deploy: MakeDeployment) -> None:
    """No broker: 503 with the reason, alive, and one process all the while."""
    deployment = deploy(bootstrap="127.0.0.1:1")
    service = deployment.start("run")
    service.until(lambda: "127.0.0.1:1" in service.get("/readyz")[1], "the reason in /readyz")
    assert service.get("/readyz")[0] == 503
    assert service.get("/livez")[0] == 200
    assert service.get("/")[0] == 200
    service.until(lambda: service.metric("monitor_broker_errors_total", kind="connect") >= 2, "a second attempt")
    service.signal(signal.SIGTERM)
    assert service.ends() == 0, service.tail()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_commits_and_the_successor_goes_on_without_loss(
    deployment: Deployment, number: signal.Signals
) -> None:
    first = deployment.serve()
    deployment.put(records("loud", rows(50, anomalies=(30,))))
    first.until(lambda: first.status()["events"] == 50, "the first part")
    first.signal(number)
    assert first.ends(15) == 0, first.tail()
    second = deployment.serve()
    deployment.put(records("loud", rows(120, anomalies=(60,)), first=50))
    second.until(lambda: second.status()["events"] >= 120, "the second part")
    assert second.status()["events"] == 120, "nothing that was committed is read again, nothing is left out"
    opened = [alert for alert in deployment.alerts() if alert["status"] == "opened"]
    assert [alert["evidence"]["first_offset"] for alert in opened] == sorted(
        {alert["evidence"]["first_offset"] for alert in opened}
    )
    assert any(alert["evidence"]["first_offset"] >= 50 for alert in opened)


def test_a_second_signal_ends_at_once(deploy: MakeDeployment, request: pytest.FixtureRequest) -> None:
    """Where the first cannot finish: the broker does not answer, so the group cannot be left in order."""
    node = request.getfixturevalue("local_kafka")
    deployment = deploy(bootstrap=node.bootstrap)
    deployment.write(kafka={"publish_timeout": 30})
    deployment.create_topics()
    service = deployment.serve()
    node.pause()
    service.signal(signal.SIGTERM)
    service.until(lambda: service.lines("stopping"), "the first signal noticed")
    service.signal(signal.SIGTERM)
    assert service.ends(5) == 128 + signal.SIGTERM, service.tail()
    node.resume()


def test_two_members_share_the_partitions(deploy: MakeDeployment) -> None:
    """Every event is counted by one of them, and each stream's incident is told once."""
    deployment = deploy(partitions=4)
    deployment.create_topics()
    first = deployment.serve()
    second = deployment.serve()

    def share(member: Monitor) -> set[int]:
        return {partition["partition"] for partition in member.status()["partitions"]}

    def shared() -> bool:
        return len(share(first)) == len(share(second)) == 2 and share(first) | share(second) == {0, 1, 2, 3}

    first.until(shared, "an even share")
    for partition in range(4):
        deployment.put(records(f"loud-{partition}", rows(seed=partition), partition))
    second.until(lambda: first.status()["events"] + second.status()["events"] >= 480, "all events")
    until(lambda: len(incidents(deployment, "closed")) >= 4, second.tail, "four incidents")
    assert first.status()["events"] == second.status()["events"] == 240
    assert sorted(set(incidents(deployment, "opened"))) == [f"loud-{partition}" for partition in range(4)]
    opened = [alert["id"] for alert in deployment.alerts()]
    assert len(opened) == len(set(opened))


def test_poison_is_set_aside_and_the_good_records_are_scored(deployment: Deployment) -> None:
    """Every kind of bad record among good ones: a dead letter each with its reason, all good ones counted."""
    good = event("s", 0, (10, 20, 30))
    fields = json.loads(good)
    poison: list[tuple[str, bytes | None]] = [
        ("tombstone", None),
        ("empty", b""),
        ("oversized", b"x" * 5000),
        ("not_json", b"{nonsense"),
        ("not_json", b"\xff\xfe\x00"),
        ("not_an_event", b"[1, 2]"),
        ("not_an_event", b'{"stream": "s"}'),
        ("bad_stream", json.dumps({**fields, "stream": ""}).encode()),
        ("bad_time", json.dumps({**fields, "time": "yesterday"}).encode()),
        ("in_future", json.dumps({**fields, "time": START + 1e9}).encode()),
        ("missing_feature", json.dumps({**fields, "features": {"a": 1, "b": 2}}).encode()),
        ("unknown_feature", json.dumps({**fields, "features": {**fields["features"], "d": 4}}).encode()),
        ("non_finite", json.dumps({**fields, "features": {**fields["features"], "a": 1e300}}).encode()),
        ("non_numeric", json.dumps({**fields, "features": {**fields["features"], "a": "12"}}).encode()),
    ]
    mixed = []
    for number, good_record in enumerate(records("loud", rows())):
        mixed.append(good_record)
        if number < len(poison):
            mixed.append((0, b"key", poison[number][1]))
    deployment.write(events={"max_bytes": 4096})
    service = deployment.serve()
    deployment.put(mixed)
    service.until(lambda: service.status()["events"] == 120, "all good events")
    assert service.status()["rejects"] == len(poison)
    letters = deployment.dead_letters()
    reasons = [dict(letter.headers)["monitor-reason"].decode() for letter in letters]
    assert reasons == [reason for reason, _ in poison]
    assert [letter.value for letter in letters] == [value for _, value in poison]
    for reason, count in Counter(reasons).items():
        assert service.metric("monitor_rejected_total", reason=reason) == count
    service.until(lambda: incidents(deployment, "closed") == ["loud"], "the incident")
    assert service.process.poll() is None


def test_a_record_too_large_for_the_dead_letters_does_not_stop_the_service(deployment: Deployment) -> None:
    """It is set aside without its value, which the headers say; the records behind it are scored."""
    big = 900_000
    deployment.write(
        topics={
            "dead_letters": {
                "name": f"{deployment.topics.dead_letters.name}.small",
                "partitions": 1,
                "config": {"max.message.bytes": "100000"},
            }
        },
        events={"max_bytes": 4096},
    )
    created = deployment.start("topics", "--create")
    assert created.ends() == 0, created.tail()
    service = deployment.serve()
    noise = np.random.default_rng(0).bytes(big)
    deployment.put([(0, b"key", noise), (0, noise, b"x"), *records("s", waves(20, len(FEATURES)))])
    service.until(lambda: service.status()["events"] == 20, "the events behind it")
    letter, keyless = deployment.read(f"{deployment.topics.dead_letters.name}.small")
    facts = dict(keyless.headers)
    assert (keyless.key, keyless.value, facts["monitor-key-bytes"]) == (None, b"", str(big).encode())
    headers = dict(letter.headers)
    assert (letter.key, letter.value, headers["monitor-reason"]) == (b"key", b"", b"oversized")
    assert headers["monitor-value-bytes"] == str(big).encode()


def test_learn_from_the_topic_then_serve_with_what_was_learned(deployment: Deployment, tmp_path: Path) -> None:
    deployment.put(records("s1", waves(500, len(FEATURES), 0)))
    deployment.put(records("s2", waves(500, len(FEATURES), 1)))
    out = tmp_path / "learned"
    deployment.write(
        training={"window": WINDOW, "hidden": 8, "code": 2, "epochs": 4, "batch": 64, "learning_rate": 0.01}
        | {"quantile": 0.99, "device": "cpu"}
    )
    train = deployment.start("train", "--from-topic", "--out", out)
    assert train.ends(90) == 0, train.tail()
    deployment.write(model={"path": str(out)})
    service = deployment.serve()
    service.until(lambda: service.status()["events"] == 1000, "the normal events")
    deployment.put(records("s1", rows(60, anomalies=(30,)), first=500))
    service.until(lambda: "s1" in incidents(deployment, "opened"), "the incident")
    threshold = json.loads((out / "manifest.json").read_text())["calibration"]["threshold"]
    assert service.metric("monitor_threshold") == threshold
