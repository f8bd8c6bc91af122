"""Events that are not JSON, through the service on a real broker."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from kafka import KafkaProducer

from tests.brokers import end
from tests.integration.running import Deployment, rows
from tests.models import FEATURES, START


def values(codec: str) -> list[bytes]:
    """The rows of one stream, and behind them a record that is no event."""
    if codec == "float32":
        return [*(row.astype("<f4").tobytes() for row in rows()), b"cut"]
    events = [
        {"stream": "pump", "time": START + number, "features": dict(zip(FEATURES, row, strict=True))}
        for number, row in enumerate(rows().tolist())
    ]
    return [*map(msgspec.msgpack.encode, events), b"\xc1"]


@pytest.mark.parametrize(("codec", "reason"), [("msgpack", "not_msgpack"), ("float32", "not_an_event")])
def test_another_codec_leads_to_the_same_incident(deployment: Deployment, codec: str, reason: str) -> None:
    deployment.write(events={"codec": codec})
    service = deployment.serve()
    producer = KafkaProducer(bootstrap_servers=deployment.bootstrap, acks="all")
    try:
        for number, value in enumerate(values(codec)):
            producer.send(deployment.topics.input.name, value, b"pump", timestamp_ms=round(1000 * (START + number)))
        producer.flush(30)
    finally:
        end(producer)
    service.until(lambda: service.status()["events"] == 120, "all events counted")
    service.until(lambda: Counter(a["status"] for a in deployment.alerts())["closed"] == 1, "the incident closed")
    (dead,) = deployment.dead_letters()
    assert dict(dead.headers)["monitor-reason"] == reason.encode()
    opened, *_ = deployment.alerts()
    assert (opened["stream"], opened["features"][0]["name"]) == ("pump", FEATURES[0])
    assert deployment.alert_values() == deployment.undisturbed()
