"""Members that are killed, restarted, joined and replaced on a real broker: alerts as if nothing had happened."""

from __future__ import annotations

import itertools
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewPartitions

from monitor.batch import Float32
from tests.brokers import end
from tests.integration.conftest import MakeDeployment
from tests.integration.running import Deployment, Monitor, by_stream, records, rows
from tests.models import tiny_artefact

CUT = 64  # rows of a member before it goes: the anomaly at row 60 is open then
QUICK_METADATA = {"heartbeat_interval_ms": 500, "metadata_max_age_ms": 500}


def statuses(deployment: Deployment) -> list[str]:
    return [alert["status"] for alert in deployment.alerts()]


def recovered(member: Monitor) -> list[dict[str, Any]]:
    return member.lines("partition recovered")


def stop(member: Monitor) -> None:
    member.signal(signal.SIGTERM)
    assert member.ends() == 0, member.tail()


@pytest.fixture
def values() -> Float32:
    return rows(160, anomalies=(60, 120))


def test_a_member_killed_in_an_open_incident_goes_on_as_if_nothing_had_happened(
    deployment: Deployment, values: Float32
) -> None:
    """The incident is closed by the successor, and the windows did not warm up again."""
    deployment.write(kafka={"instance_id": "only"})
    first = deployment.serve()
    deployment.put(records("loud", values[:CUT]))
    first.until(lambda: statuses(deployment) == ["opened"], "the open incident")
    first.kill()
    deployment.put(records("loud", values[CUT:], first=CUT))
    second = deployment.serve()
    second.until(lambda: second.status()["events"] == len(values) - CUT, "the events after")
    assert deployment.alert_values() == deployment.undisturbed()
    assert statuses(deployment) == ["opened", "closed"] * 2
    assert second.metric("monitor_windows_scored_total") == len(values) - CUT
    assert second.metric("monitor_replayed_records_total") > 0
    assert second.metric("monitor_streams_short_total") == 0
    assert [line["by"] for line in recovered(second)] == ["topic"]


def test_members_that_are_killed_while_they_learn_go_on_as_if_nothing_had_happened(deployment: Deployment) -> None:
    """Before, within and after a shift that is absorbed: what is learned comes back from the state topic."""
    deployment.write(
        kafka={"instance_id": "only"},
        adaptation={"enabled": True, "half_life": 600, "prior_windows": 5, "absorb_after": 200, "drift_factor": 2},
        incidents={"update_every": 60},
        quality={"stuck": False},
    )
    shifted = rows(1200, anomalies=(1000,))
    shifted[300:, 1] += 2
    cuts = [0, 150, 400, 700, len(shifted)]
    members: list[Monitor] = []
    for first, last in itertools.pairwise(cuts):
        for member in members:
            member.kill()
        deployment.put(records("learned", shifted[first:last], first=first))
        members.append(deployment.serve())
        members[-1].until(lambda: members[-1].status()["partitions"][0]["lag"] == 0, "the end")
    expected = deployment.undisturbed()
    members[-1].until(lambda: deployment.alert_values() == expected, "the alerts of an undisturbed run")
    told = [json.loads(value) for value in expected]
    reasons = [alert["reason"] for alert in told if alert["kind"] == "anomaly" and alert["status"] == "closed"]
    assert reasons[0] == "absorbed"
    assert {alert["kind"] for alert in told} == {"anomaly", "drift"}
    assert [line["forgotten"] for member in members for line in recovered(member)] == [0] * len(members)


def test_a_static_member_that_is_killed_and_restarted_moves_no_partition_and_blocks_no_reader(
    deploy: MakeDeployment, values: Float32
) -> None:
    """Its share comes back, the other member notices nothing, and what it left open is ended by its successor.

    The transaction that the killed process was in is played by a producer under its transactional id: it would hold up
    readers for much longer than anything here is waited for.
    """
    deployment = deploy(partitions=4)
    deployment.write(kafka={"transaction_timeout": 280})
    deployment.create_topics()
    first = deployment.serve(MONITOR_KAFKA__INSTANCE_ID="first")
    other = deployment.serve(MONITOR_KAFKA__INSTANCE_ID="other")
    other.until(lambda: len(first.places()) == len(other.places()) == 2, "an even share")
    share, kept = set(first.places()), set(other.places())
    moves = len(other.lines("partitions assigned")), len(other.lines("partitions revoked"))
    for partition in range(4):
        deployment.put(records(f"s{partition}", values[:CUT], partition))
    other.until(lambda: len(statuses(deployment)) == 4, "four open incidents")
    first.kill()

    left_open = KafkaProducer(
        bootstrap_servers=deployment.bootstrap,
        transactional_id=f"{deployment.kafka.group}.first",
        transaction_timeout_ms=280_000,
    )
    left_open.init_transactions()
    left_open.begin_transaction()
    for partition in range(4):
        left_open.send(deployment.topics.alerts.name, b"never committed", partition=partition).get(30)
    end(left_open)

    for partition in range(4):
        deployment.put(records(f"s{partition}", values[CUT:], partition, CUT))
    again = deployment.serve(MONITOR_KAFKA__INSTANCE_ID="first")
    again.until(lambda: set(again.places()) == share, "the same share")
    expected = by_stream(deployment.undisturbed())
    again.until(lambda: by_stream(deployment.alert_values()) == expected, "the alerts of an undisturbed run")
    assert set(other.places()) == kept
    assert (len(other.lines("partitions assigned")), len(other.lines("partitions revoked"))) == moves


def history(partition: int, count: int) -> list[tuple[int, bytes | None, bytes | None]]:
    """A stream that fell silent, then many events of others: all of them are between its window and the end."""
    normal = rows(count // 20, anomalies=(), seed=partition)
    others = [records(f"p{partition}-{number}", normal, partition, 20) for number in range(20)]
    return [
        *records(f"p{partition}-silent", normal[:10], partition),
        *(record for step in zip(*others, strict=True) for record in step),
    ]


def test_partitions_that_stay_keep_flowing_while_others_move_and_are_recovered(
    deploy: MakeDeployment, values: Float32
) -> None:
    """A join takes one partition and leaves the other alone; a leave brings it back, and nothing waits for its replay.

    The second member takes few records at a time, so that its replay can be watched.
    """
    deployment = deploy(partitions=2)
    deployment.create_topics()
    for partition in range(2):
        deployment.put(history(partition, 20_000))
    first = deployment.serve()
    first.until(lambda: first.status()["events"] == 40_020, "the history")

    second = deployment.start("run", environment={"MONITOR_KAFKA__POLL_RECORDS": "10"})
    told = second.until(
        lambda: (answer := second.get("/readyz"))[0] == 503 and "recovering 1 of 1 partitions" in answer[1] and answer,
        "the recovery's progress",
    )
    assert "records to go" in told[1]
    (moved,) = second.places()
    stays = 1 - moved
    deployment.put(records("loud", values[:CUT], stays))
    first.until(lambda: first.places()[stays]["lag"] == 0, "the partition that stays read to its end")
    second.until(second.ready, "readiness")
    assert [line["partitions"] for line in first.lines("partitions revoked")] == [[moved]]

    stop(first)
    second.until(lambda: second.places().get(stays, {}).get("state") == "recovering", "the second takeover")
    before = second.places()[moved]["position"]
    deployment.put(records("loud", values, moved))
    went_on = second.until(
        lambda: (
            (places := second.places())[moved]["position"] > before
            and places[stays]["state"] == "recovering"
            and places
        ),
        "new records of one partition during the recovery of the other",
    )
    assert went_on[stays]["recovering_until"] > went_on[stays]["position"]
    deployment.put(records("loud", values[CUT:], stays, CUT))
    expected = by_stream(deployment.undisturbed())
    assert {stream for _, stream in expected} == {"loud"}
    second.until(lambda: by_stream(deployment.alert_values()) == expected, "the alerts of an undisturbed run")
    assert second.metric("monitor_streams_short_total") == 0


def test_a_partition_that_is_added_is_read_from_its_beginning_and_collides_with_nothing(
    deployment: Deployment, values: Float32
) -> None:
    """A stream that its key moves there warms up again; its incidents are others than those of the old partition."""
    deployment.write(kafka={"options": QUICK_METADATA})
    service = deployment.serve()
    deployment.put(records("mover", values[:CUT]))
    service.until(lambda: statuses(deployment) == ["opened"], "the incident in the old partition")
    admin = KafkaAdminClient(bootstrap_servers=deployment.bootstrap)
    try:
        admin.create_partitions({deployment.topics.input.name: NewPartitions(total_count=2)})
    finally:
        admin.close()
    with_both = KafkaProducer(bootstrap_servers=deployment.bootstrap, acks="all")
    try:
        for partition, stream, part, first in ((1, "mover", values[CUT:], CUT), (0, "stays", values, 0)):
            for _, key, value in records(stream, part, partition, first):
                with_both.send(deployment.topics.input.name, value, key, partition=partition)
        with_both.flush(30)
    finally:
        with_both.close()
    service.until(lambda: service.status()["events"] == 2 * len(values), "all events")
    found = by_stream(deployment.alert_values())
    assert found == by_stream(deployment.undisturbed())
    assert found.keys() == {(0, "mover"), (1, "mover"), (0, "stays")}
    incidents = {place: {json.loads(value)["incident"] for value in told} for place, told in found.items()}
    assert len(set.union(*incidents.values())) == sum(map(len, incidents.values()))
    assert service.status()["rejects"] == 0
    assert [entry["stream"] for entry in service.status()["shared"]] == ["mover"]
    stop(service)


@pytest.mark.parametrize("change", ["model_changed", "settings_changed"])
def test_what_is_open_under_another_model_or_other_settings_is_closed_with_the_reason_and_windows_are_kept(
    deployment: Deployment, values: Float32, tmp_path: Path, change: str
) -> None:
    deployment.write(kafka={"instance_id": "only"})
    first = deployment.serve()
    deployment.put(records("loud", values[:CUT]))
    first.until(lambda: statuses(deployment) == ["opened"], "the open incident")
    stop(first)
    if change == "model_changed":
        deployment.write(model={"path": str(tiny_artefact(tmp_path / "other", seed=1))})
    else:
        deployment.write(incidents={"close_after": 9})
    second = deployment.serve()
    second.until(lambda: statuses(deployment) == ["opened", "closed"], "the end of what was open, without any event")
    opened, closed = deployment.alerts()
    assert (closed["incident"], closed["reason"]) == (opened["incident"], change)
    deployment.put(records("loud", values[CUT:], first=CUT))
    second.until(lambda: second.status()["events"] == len(values) - CUT, "the events after")
    assert second.metric("monitor_windows_scored_total") == len(values) - CUT
    assert second.metric("monitor_streams_short_total") == 0
    later, part = deployment.alerts()[2:], change.removesuffix("_changed").replace("settings", "config")
    assert {alert["reason"] for alert in later} == {None, "recovered"}
    assert opened["evidence"][part] not in {alert["evidence"][part] for alert in later}


def test_two_members_in_different_surroundings_publish_the_same_bytes(
    deploy: MakeDeployment, deployment: Deployment
) -> None:
    """Another time zone, hash seed, client, member name, delivery and cut into batches; and other record times."""
    twin = deploy()
    twin.write(topics={"input": {"name": deployment.topics.input.name, "partitions": 1}})
    twin.create_topics()
    streams = {f"s{number}": rows(160, (50 + number, 110), number) for number in range(4)}
    deployment.put(
        record for step in zip(*(records(*item) for item in streams.items()), strict=True) for record in step
    )
    surroundings = (
        (deployment, {"TZ": "Pacific/Chatham", "PYTHONHASHSEED": "1", "MONITOR_KAFKA__CLIENT_ID": "one"}),
        (
            twin,
            {
                "TZ": "America/St_Johns",
                "PYTHONHASHSEED": "2",
                "MONITOR_KAFKA__CLIENT_ID": "two",
                "MONITOR_KAFKA__INSTANCE_ID": "two",
                "MONITOR_KAFKA__POLL_RECORDS": "23",
                "MONITOR_DELIVERY": "at_least_once",
                "MONITOR_WEB__HOST": "0.0.0.0",
            },
        ),
    )
    published = []
    for place, environment in surroundings:
        member = place.serve(**environment)
        member.until(lambda: member.status()["events"] == 640, "all events")  # noqa: B023  called in this turn
        stop(member)
        published.append(place.alert_values())
    assert published[0] == published[1]
    assert len(published[0]) >= 16
    assert published[0] == deployment.undisturbed(record_time=86_400_000)


def test_a_snapshot_spares_the_replay_before_it_and_a_damaged_one_changes_nothing(
    deployment: Deployment, values: Float32, tmp_path: Path
) -> None:
    folder = tmp_path / "snapshots"
    deployment.write(kafka={"instance_id": "only"}, recovery={"state_dir": str(folder), "snapshot_every": 3600})
    first = deployment.serve()
    deployment.put(records("loud", values[:CUT]))
    first.until(lambda: statuses(deployment) == ["opened"], "the open incident")
    stop(first)  # takes the snapshot
    assert [line["reason"] for line in first.lines("no snapshot is used")] == ["absent"]

    second = deployment.serve()
    deployment.put(records("loud", values[CUT : CUT + 5], first=CUT))
    second.until(lambda: second.status()["events"] == 5, "events behind the snapshot")
    assert [(line["by"], line["replayed"]) for line in recovered(second)] == [("snapshot", 0)]
    second.kill()

    third = deployment.serve()
    deployment.put(records("loud", values[CUT + 5 : 130], first=CUT + 5))
    third.until(lambda: third.status()["events"] == 130 - CUT - 5, "more events")
    assert [(line["by"], line["replayed"]) for line in recovered(third)] == [("snapshot", 5)]
    stop(third)

    (snapshot,) = folder.glob("*.windows")
    damaged = bytearray(snapshot.read_bytes())
    damaged[len(damaged) // 2] ^= 0x10
    snapshot.write_bytes(damaged)
    fourth = deployment.serve()
    deployment.put(records("loud", values[130:], first=130))
    fourth.until(lambda: fourth.status()["events"] == len(values) - 130, "the rest")
    assert [line["reason"] for line in fourth.lines("no snapshot is used")] == ["damaged"]
    assert [line["by"] for line in recovered(fourth)] == ["topic"]
    assert fourth.metric("monitor_snapshot_ignored_total", reason="damaged") == 1
    assert deployment.alert_values() == deployment.undisturbed()
    assert statuses(deployment) == ["opened", "closed"] * 2
    assert fourth.metric("monitor_streams_short_total") == 0
