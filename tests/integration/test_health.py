"""What probes, metrics and status page say of real trouble: stuck, stopped, held up, overloaded, or only waiting."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewTopic

from monitor.local_kafka import LocalKafka
from tests.integration.conftest import MakeDeployment
from tests.integration.running import Deployment, Monitor, by_stream, event, records, rows

MIB = 2**20


def alive(member: Monitor) -> bool:
    return member.get("/livez")[0] == 200


def test_a_topic_that_is_deleted_and_made_anew_ends_the_service_with_a_message(deployment: Deployment) -> None:
    deployment.write(kafka={"options": {"heartbeat_interval_ms": 500, "metadata_max_age_ms": 500}})
    service = deployment.serve()
    deployment.put(records("s", rows(20, anomalies=())))
    service.until(lambda: service.status()["events"] == 20, "the events")
    name = deployment.topics.input.name
    admin = KafkaAdminClient(bootstrap_servers=deployment.bootstrap)
    try:
        admin.delete_topics([name])
        service.until(lambda: name not in admin.list_topics(), "the deletion")
        admin.create_topics([NewTopic(name, 1, 1)])
    finally:
        admin.close()
    assert service.ends() == 1
    (failed,) = service.lines("failed")
    assert failed["reason"] == f"topic {name!r} was deleted and made anew while it was being read"
    assert "Start again" in failed["hint"]


def test_too_many_rejects_stop_a_member_unready_alive_and_its_partitions_go_to_another(deploy: MakeDeployment) -> None:
    """It says why for as long as it is let run, and its exit code is 1. The other member has no such limit here."""
    deployment = deploy(partitions=2)
    deployment.write(dead_letters={"max_ratio": 0.5, "window": 10})
    deployment.create_topics()
    member = deployment.serve()
    other = deployment.serve(MONITOR_DEAD_LETTERS__MAX_RATIO="null")
    other.until(lambda: len(member.places()) == len(other.places()) == 1, "an even share")
    (partition,) = member.places()
    deployment.put([(partition, b"k", b"{")] * 6)
    member.until(lambda: not member.ready(), "readiness lost")
    code, said = member.get("/readyz")
    assert code == 503
    assert "6 of the last 6 records were rejected, more than dead_letters.max_ratio (0.5 of 10)" in said
    assert "not_json" in said
    assert "were rejected, more than" in member.get("/")[1]
    other.until(lambda: set(other.places()) == {0, 1}, "the partitions with the other member")
    other.until(lambda: other.status()["rejects"] == 6, "the records set aside by the other member")
    assert len(deployment.dead_letters()) == 6
    assert alive(member)
    assert member.get("/readyz")[0] == 503
    assert member.process.poll() is None
    member.signal(signal.SIGTERM)
    assert member.ends() == 1, member.tail()


def test_a_loop_that_is_stuck_fails_the_liveness_probe_until_it_turns_again(
    deploy: MakeDeployment, tmp_path: Path
) -> None:
    """Nobody reads the pipe that the log goes to: as soon as it is full, a line of log is never done."""
    deployment = deploy()
    deployment.write(web={"stuck_after": 4})
    deployment.create_topics()
    values = rows(2000, anomalies=range(20, 1900, 40))
    for number in range(6):  # two lines of log for each of 47 incidents
        deployment.put(records(f"loud-{number}", values))
    pipe, output = os.pipe()
    os.set_blocking(pipe, False)
    log = tmp_path / "log"
    service = Monitor(log, "run", "-c", deployment.file, output=output)

    def read_log() -> bool:
        with log.open("ab") as file, suppress(BlockingIOError):
            while piece := os.read(pipe, 65536):
                file.write(piece)
        return True

    try:
        service.until(lambda: read_log() and service.lines("started"), "the start")
        service.until(lambda: not alive(service), "the probe to fail")
        assert "the loop has not turned for" in service.get("/livez")[1]
        assert service.get("/readyz")[0] == 503
        service.until(lambda: read_log() and alive(service), "the loop to turn again")
        service.until(lambda: read_log() and service.status()["events"] == 12_000, "all events")
    finally:
        service.kill()
        os.close(output)
        os.close(pipe)
    assert by_stream(deployment.alert_values()) == by_stream(deployment.undisturbed())


def test_brokers_that_are_away_for_longer_than_a_loop_may_be_stuck_do_not_fail_the_liveness_probe(
    deploy: MakeDeployment, local_kafka: LocalKafka
) -> None:
    """With a batch in hand and without one."""
    deployment = deploy(bootstrap=local_kafka.bootstrap)
    deployment.write(web={"stuck_after": 10}, kafka={"publish_timeout": 1})
    deployment.create_topics()
    service = deployment.serve()
    deployment.put(records("loud", rows(2000, anomalies=range(20, 1900, 40))))
    local_kafka.pause()
    try:
        service.until(lambda: not service.ready(), "readiness lost")
        since = time.monotonic()
        while time.monotonic() - since < 14:
            assert alive(service), service.get("/livez")[1]
            time.sleep(0.2)
    finally:
        local_kafka.resume()
    service.until(service.ready, "readiness again")
    service.until(lambda: service.status()["events"] >= 2000, "the events")


def test_a_rebalance_that_lasts_longer_than_a_loop_may_be_stuck_does_not_fail_the_liveness_probe(
    deploy: MakeDeployment,
) -> None:
    """A member that hangs holds up the group until its session is over; whoever joins meanwhile waits, and is alive."""
    deployment = deploy(partitions=2)
    deployment.write(web={"stuck_after": 6}, kafka={"session_timeout": 10})
    deployment.create_topics()
    hanging = deployment.serve()
    hanging.signal(signal.SIGSTOP)
    joining = deployment.start("run")
    joining.until(lambda: "joining the group" in joining.get("/readyz")[1], "the wait for the group")

    def joined() -> bool:
        assert alive(joining), joining.get("/livez")[1]
        return len(joining.places()) == 2

    joining.until(joined, "the partitions of the member that hangs")
    hanging.signal(signal.SIGCONT)
    joining.until(lambda: len(joining.places()) == len(hanging.places()) == 1, "an even share")
    assert alive(hanging)


def test_a_partition_that_stands_still_before_its_end_is_told_and_so_is_its_going_on(deployment: Deployment) -> None:
    """An open transaction of a producer holds up whoever reads what is committed, and the lag alone looks like load."""
    deployment.write(web={"stuck_after": 2})
    service = deployment.serve()
    name = deployment.topics.input.name
    holding = KafkaProducer(bootstrap_servers=deployment.bootstrap, transactional_id=f"{name}.holds")
    try:
        holding.init_transactions()
        holding.begin_transaction()
        holding.send(name, event("s", 0, (10, 20, 30)), b"s", partition=0).get(30)
        deployment.put(records("s", rows(20, anomalies=()), first=1))
        service.until(lambda: service.metric("monitor_consumer_partition_stuck", partition="0") == 1, "the metric")
        assert service.metric("monitor_consumer_lag_records", partition="0") >= 20
        assert service.places()[0]["state"] == "stuck"
        assert "stuck" in service.get("/")[1]
        assert service.get("/readyz")[0] == 200
        holding.commit_transaction()
    finally:
        holding.close()
    service.until(lambda: service.status()["events"] == 21, "the events")
    service.until(lambda: service.metric("monitor_consumer_partition_stuck", partition="0") == 0, "the end of it")


def test_a_backlog_makes_the_lag_grow_and_not_the_memory(deploy: MakeDeployment, local_kafka: LocalKafka) -> None:
    """The broker hangs in the middle of it: nothing more is read meanwhile, and everything is published afterwards."""
    deployment = deploy(bootstrap=local_kafka.bootstrap)
    most = {"fetch_max_bytes": MIB, "max_partition_fetch_bytes": MIB}
    deployment.write(kafka={"poll_bytes": MIB // 2, "publish_timeout": 2})
    deployment.write(kafka={"options": {"heartbeat_interval_ms": 500, **most}})
    deployment.create_topics()
    service = deployment.serve()
    deployment.put(records("s", rows()))
    service.until(lambda: service.status()["events"] == 120, "the events before")
    before = service.metric("process_resident_memory_bytes")

    service.signal(signal.SIGSTOP)
    fill = b" " * 3000  # white space that JSON allows
    values = rows(1000, anomalies=(500,))
    for first in range(120, 30_120, 1000):
        deployment.put([(p, k, (v or b"") + fill) for p, k, v in records("s", values, first=first)])
    service.signal(signal.SIGCONT)
    service.until(lambda: service.status()["events"] > 120, "the first events of the backlog")
    local_kafka.pause()
    try:
        service.until(lambda: not service.ready(), "readiness lost")
        assert service.metric("monitor_consumer_lag_records") > 1000
        assert alive(service)
    finally:
        local_kafka.resume()
    service.until(lambda: service.status()["events"] == 30_120, "all events")
    assert service.metric("monitor_consumer_lag_records") == 0
    assert service.metric("process_resident_memory_bytes") - before < 40 * MIB < 30_000 * len(fill)
    assert deployment.alert_values() == deployment.undisturbed()
