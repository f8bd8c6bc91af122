"""`helm test`: sends one event through the service's own settings, and waits until a member has read past it.

`send_event.py URL` with the members' /metrics; every address the name has is asked. The event is of the stream
`helm-test` and holds what is usual for the model, so it opens no incident.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from kafka import KafkaProducer

from monitor.config import Settings, loading
from monitor.kafka.connect import options
from monitor.model import artefact

STREAM = "helm-test"
PATIENCE = 90.0  # seconds


def send(settings: Settings) -> tuple[int, int]:
    """Partition and offset of the event."""
    manifest = artefact.load(settings.model.path).manifest
    usual = {one.name: one.categories[int(one.mean)] if one.categories else one.mean for one in manifest.features}
    producer = KafkaProducer(**options(settings.kafka, "producer", acks="all"))
    try:
        sent = producer.send(settings.topics.input.name, encoded(usual, settings.events.codec), STREAM.encode()).get(30)
    finally:
        producer.close()
    return sent.partition, sent.offset


def encoded(features: dict[str, Any], codec: str) -> bytes:
    if codec == "float32":
        return struct.pack(f"<{len(features)}f", *features.values())
    event = {"stream": STREAM, "time": time.time(), "features": features}
    return msgspec.msgpack.encode(event) if codec == "msgpack" else msgspec.json.encode(event)


def positions(url: str, partition: int) -> list[float]:
    """The next offset to be read, of each member that has the partition."""
    parts = urlsplit(url)
    found = []
    for *_, address in socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM):
        host = f"[{address[0]}]" if ":" in str(address[0]) else address[0]
        try:
            with urllib.request.urlopen(f"http://{host}:{parts.port}{parts.path}", timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            continue
        pattern = rf'^monitor_consumer_position_offset{{[^}}]*partition="{partition}"[^}}]*}} (\S+)$'
        found += [float(value) for value in re.findall(pattern, text, re.MULTILINE)]
    return found


def main() -> int:
    config = os.environ.get("MONITOR_CONFIG")
    partition, offset = send(loading.load(Path(config) if config else None))
    print(f"sent: partition {partition}, offset {offset}")
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            read = positions(sys.argv[1], partition)
        except OSError as error:
            print(f"{sys.argv[1]}: {error}")
            read = []
        if any(position > offset for position in read):
            print(f"read: a member is at {max(read):.0f}")
            return 0
        time.sleep(1)
    print(f"no member has read it after {PATIENCE:.0f} s; see /readyz", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
