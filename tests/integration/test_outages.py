"""Brokers that are away at the start, die in mid-run, or hang: waited for, shown, and nothing is lost."""

from __future__ import annotations

import signal
from pathlib import Path

from monitor.local_kafka import FAST_FAILOVER, LocalKafka
from tests.integration.conftest import MakeDeployment
from tests.integration.running import records, rows


def test_a_broker_that_is_away_at_the_start_is_waited_for(deploy: MakeDeployment, tmp_path: Path) -> None:
    """One process, that says in /readyz why it is not ready, and serves once the broker is there."""
    node = LocalKafka(tmp_path / "node", settings=FAST_FAILOVER)
    deployment = deploy(bootstrap=node.bootstrap)
    with node:
        deployment.create_topics()
    service = deployment.start("run")
    service.until(lambda: service.lines("brokers are away; waiting"), "the wait")
    service.until(lambda: node.bootstrap in service.get("/readyz")[1], "the reason in /readyz")
    assert service.get("/readyz")[0] == 503
    assert service.get("/livez")[0] == 200
    with node:
        service.until(service.ready, "readiness")
        assert service.lines("brokers are back")
        deployment.put(records("loud", rows()))
        service.until(lambda: service.status()["events"] == 120, "the events")
        service.signal(signal.SIGTERM)
        assert service.ends() == 0, service.tail()
        assert [alert["status"] for alert in deployment.alerts()][-1] == "closed"


def test_a_broker_killed_in_mid_run_costs_no_alert(deploy: MakeDeployment, local_kafka: LocalKafka) -> None:
    """Events before, an outage, events after: the ids of the alerts are those of an undisturbed run."""
    undisturbed = deploy(bootstrap=local_kafka.bootstrap)
    disturbed = deploy(bootstrap=local_kafka.bootstrap)
    for deployment in (undisturbed, disturbed):  # the ids hold the topic's name
        deployment.write(topics={"input": {"name": disturbed.topics.input.name, "partitions": 1}})
    disturbed.create_topics()
    undisturbed.topics = undisturbed.topics.model_copy(update={"input": disturbed.topics.input})
    undisturbed.create_topics()

    service = disturbed.serve()
    disturbed.put(records("loud", rows(100, anomalies=(40,))))
    service.until(lambda: service.status()["events"] == 100, "the events before")
    local_kafka.kill()
    service.until(lambda: not service.ready(), "readiness lost")
    assert service.get("/livez")[0] == 200
    assert service.metric("monitor_broker_up") == 0
    local_kafka.start()
    service.until(service.ready, "readiness again")
    disturbed.put(records("loud", rows(100, anomalies=(50,)), first=100))
    service.until(lambda: service.status()["events"] >= 200, "the events after")
    service.signal(signal.SIGTERM)
    assert service.ends() == 0, service.tail()

    quiet = undisturbed.serve()
    quiet.until(lambda: quiet.status()["events"] == 200, "all events")
    quiet.signal(signal.SIGTERM)
    assert quiet.ends() == 0, quiet.tail()
    assert set(disturbed.alert_values()) == set(undisturbed.alert_values())
    assert len(undisturbed.alert_values()) >= 4


def test_a_broker_that_dies_with_a_batch_in_hand_gets_it_later(deploy: MakeDeployment, local_kafka: LocalKafka) -> None:
    """The broker hangs while alerts are being published: not ready, alive, published in full when it answers again."""
    deployment = deploy(bootstrap=local_kafka.bootstrap)
    deployment.write(kafka={"publish_timeout": 2})
    deployment.create_topics()
    service = deployment.serve()
    deployment.put(records("warm", rows(100, anomalies=())))
    service.until(lambda: service.status()["events"] == 100, "the events before")
    deployment.put(records("loud", rows(2000, anomalies=range(20, 1900, 40))))
    local_kafka.pause()
    try:
        service.until(lambda: not service.ready(), "readiness lost")
        assert service.get("/livez")[0] == 200
        assert service.process.poll() is None
    finally:
        local_kafka.resume()
    service.until(service.ready, "readiness again")
    service.until(lambda: service.status()["events"] >= 2100, "all events")
    service.signal(signal.SIGTERM)
    assert service.ends() == 0, service.tail()
    ids = [alert["incident"] for alert in deployment.alerts() if alert["status"] == "opened"]
    closed = {alert["incident"] for alert in deployment.alerts() if alert["status"] == "closed"}
    assert len(set(ids)) == 47
    assert closed == set(ids)


def test_a_member_told_to_stop_while_the_broker_is_away_ends_in_time(
    deploy: MakeDeployment, local_kafka: LocalKafka
) -> None:
    """Nothing is in hand, so nothing is missing: exit 0, well before a supervisor would kill it (30 s)."""
    deployment = deploy(bootstrap=local_kafka.bootstrap)
    deployment.create_topics()
    service = deployment.serve()
    local_kafka.kill()
    service.until(lambda: not service.ready(), "readiness lost")
    service.signal(signal.SIGTERM)
    assert service.ends(20) == 0, service.tail()
