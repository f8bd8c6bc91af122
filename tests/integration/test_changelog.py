"""The topic that keeps open incidents: what is written to it, and what a real broker's compaction leaves of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from monitor import config
from monitor.batch import Float32
from monitor.local_kafka import LocalKafka
from tests.integration.conftest import MakeDeployment
from tests.integration.running import Deployment, by_stream, records, rows

STREAMS = 30
QUICK_COMPACTION = {
    "min.cleanable.dirty.ratio": "0.01",
    "min.compaction.lag.ms": "0",
    "delete.retention.ms": "0",
    "segment.ms": "200",  # by time: brokers take no segment of less than 1 MiB
}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[LocalKafka]:
    """A broker that looks for something to compact all the time."""
    with LocalKafka(tmp_path / "kafka", settings={"log.cleaner.backoff.ms": "100"}) as found:
        yield found


@pytest.fixture
def compacted(deploy: MakeDeployment, node: LocalKafka) -> Deployment:
    """One partition, and a topic for state that is compacted as soon as can be."""
    made = deploy(bootstrap=node.bootstrap)
    state = config.TopicSpec(name=made.topics.state.name, partitions=1, config=QUICK_COMPACTION)
    made.topics = made.topics.model_copy(update={"state": state})
    made.write(kafka={"instance_id": "only"})
    made.create_topics()
    return made


def streams(kept: list[Any]) -> set[str]:
    """Of the records of the state topic."""
    return {msgspec.json.decode(record.key, type=tuple[str, int, str])[2] for record in kept}


def together(values: Float32, names: list[str], first: int = 0) -> list[tuple[int, bytes | None, bytes | None]]:
    """The same rows for each stream, side by side."""
    feeds = [records(name, values, first=first) for name in names]
    return [record for step in zip(*feeds, strict=True) for record in step]


def test_what_compaction_leaves_is_what_is_open_and_a_successor_goes_on_from_it(compacted: Deployment) -> None:
    """Growth: at most a record for each event of a stream that is not quiet until the broker compacts, none for others.

    Of what is closed neither a state nor, in the end, a tombstone is left. The newest segment is never compacted; what
    is in it here is what one small stream wrote last.
    """
    deployment = compacted
    deployment.write(model={"threshold": 100.0})  # no normal window is anywhere near it
    service = deployment.serve()
    names = [f"closed-{number}" for number in range(STREAMS)]
    values = rows(120, anomalies=(30, 70))
    deployment.put(records("quiet", rows(120, anomalies=())))
    for begin, end in ((0, 34), (34, 74), (74, 120)):  # the first and the second end with an incident open
        deployment.put(together(values[begin:end], names, begin))
        service.until(lambda: service.status()["events"] == 120 + end * STREAMS, "the events")  # noqa: B023  called in this turn
    assert service.status()["open_total"] == 0
    written = service.metric("monitor_state_records_total")
    deployment.put(records("open", values[:34]))
    service.until(lambda: service.status()["open_total"] == 1, "an incident that stays open")
    assert 2 * STREAMS <= written <= 120 * STREAMS
    assert "quiet" not in streams(deployment.read(deployment.topics.state.name))

    turns = 0

    def only_open() -> bool:
        nonlocal turns
        turns += 1  # something new must be written for a segment to end
        deployment.put(records("last", rows(40, anomalies=(20,)), first=100 * turns))
        service.until(lambda: service.places()[0]["lag"] == 0, "the events read")
        kept = deployment.read(deployment.topics.state.name)
        return streams(kept) <= {"open", "last"} and sum(streams([record]) == {"open"} for record in kept) == 1

    service.until(only_open, "the compaction, tombstones too")
    left = deployment.read(deployment.topics.state.name)
    assert len(left) < written
    assert service.metric("monitor_incident_states") <= 2

    service.kill()
    deployment.put(records("open", values[34:], first=34))
    successor = deployment.serve()
    successor.until(lambda: successor.places()[0]["lag"] == 0 and successor.status()["events"] >= 86, "the rest")
    assert by_stream(deployment.alert_values()) == by_stream(deployment.undisturbed())
    assert successor.metric("monitor_incident_states_forgotten_total") == 0


def test_state_is_written_for_streams_that_are_not_quiet_and_for_no_other(deployment: Deployment) -> None:
    deployment.write(model={"threshold": 100.0})  # no normal window is anywhere near it
    service = deployment.serve()
    deployment.put(together(rows(120, anomalies=()), [f"quiet-{number}" for number in range(5)]))
    service.until(lambda: service.status()["events"] == 600, "quiet events")
    assert deployment.read(deployment.topics.state.name) == []
    values = rows(120)
    deployment.put(records("loud", values[:64]))
    service.until(lambda: service.status()["open_total"] == 1, "an open incident")
    assert deployment.read(deployment.topics.state.name)[-1].value
    deployment.put(records("loud", values[64:], first=64))
    service.until(lambda: service.status()["events"] == 720, "loud events")
    kept = deployment.read(deployment.topics.state.name)
    assert streams(kept) == {"loud"}
    assert kept[-1].value is None
    assert service.metric("monitor_state_records_total") == len(kept)
    assert service.metric("monitor_incident_states") == 0
