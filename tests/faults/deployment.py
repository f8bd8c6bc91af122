"""One run's configuration: topics and a group of its own, and what a reader finds in them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from monitor import config
from monitor.kafka.topics import Topics
from tests.faults.plan import Plan
from tests.faults.schedule import SESSION
from tests.faults.stream import LONG_AGO

PATIENCE = 60.0  # s
_TOPICS = ("input", "alerts", "dead_letters", "state")


class Deployment:
    """`name` is unique on the brokers; files go to `folder`."""

    def __init__(self, plan: Plan, name: str, folder: Path, bootstrap: str, model: Path) -> None:
        self.plan = plan
        self.name = name
        self.folder = folder
        self.bootstrap = bootstrap
        parts = plan.shape.partitions
        self.topics = {purpose: f"{name}.{purpose}" for purpose in _TOPICS}
        self._base: dict[str, Any] = {
            "delivery": plan.delivery,
            "kafka": {
                "bootstrap_servers": bootstrap,
                "group": name,
                "poll_seconds": 0.05,
                "session_timeout": SESSION,
                "max_poll_interval": 60,
                "publish_timeout": 5,
                "transaction_timeout": 8,
                "options": {"heartbeat_interval_ms": 400},
            },
            "topics": {
                purpose: {"name": topic, "partitions": 1 if purpose == "dead_letters" else parts}
                for purpose, topic in self.topics.items()
            },
            "model": {"path": str(model)},
            "events": {"max_age": LONG_AGO / 2, "missing": "impute"},
            "dead_letters": {"max_ratio": None},
            "windows": {"max_streams": 12, "idle_timeout": 40},
            "incidents": {"open_after": 2, "open_window": 4, "close_after": 4, "cooldown": 12, "update_every": 15},
            "web": {"port": 0, "host": "127.0.0.1"},
            "log": {"format": "json"},
        }
        self._base["topics"]["input"]["config"] = {"retention.ms": "-1"}  # its records are of 2023
        for section, values in plan.changes.items():
            self._base.setdefault(section, {}).update(values)
        self.settings = config.Settings.model_validate(self._base)

    def create_topics(self) -> None:
        with Topics(self.settings.kafka, self.settings.topics) as topics:
            topics.create([state for state in topics.inspect() if state.missing])

    def file(self, member: int, bootstrap: str = "") -> Path:
        """The configuration file of a member (JSON is YAML); `bootstrap` where its brokers are seen otherwise."""
        own = json.loads(json.dumps(self._base))
        if self.plan.static:
            own["kafka"]["instance_id"] = f"{self.name}-{member}"
        if bootstrap:
            own["kafka"]["bootstrap_servers"] = bootstrap
        if self.plan.snapshots:
            own.setdefault("recovery", {})["state_dir"] = str(self.state_dir(member))
        path = self.folder / f"member-{member}.yaml"
        path.write_text(json.dumps(own, indent=1))
        return path

    def state_dir(self, member: int) -> Path:
        return self.folder / f"state-{member}"

    def ends(self, purpose: str) -> dict[int, int]:
        """Next offsets of a topic, by partition."""
        consumer = KafkaConsumer(bootstrap_servers=self.bootstrap.split(","), group_id=None, enable_auto_commit=False)
        try:
            topic = self.topics[purpose]
            parts = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
            return {part.partition: int(end) for part, end in consumer.end_offsets(parts).items()}
        finally:
            consumer.close(autocommit=False)

    def read(self, purpose: str) -> list[Any]:
        """All committed records of a topic, each partition in order. Waits until no open transaction hides any."""
        topic = self.topics[purpose]
        consumer = KafkaConsumer(
            bootstrap_servers=self.bootstrap.split(","),
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )
        plain = KafkaConsumer(bootstrap_servers=self.bootstrap.split(","), group_id=None, enable_auto_commit=False)
        try:
            parts = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
            deadline = time.monotonic() + PATIENCE
            while (stable := consumer.end_offsets(parts)) != (ends := plain.end_offsets(parts)):
                assert time.monotonic() < deadline, f"{topic}: a transaction stays open: {stable} before {ends}"
                time.sleep(0.2)
            return _read(consumer, parts, ends)
        finally:
            plain.close()
            consumer.close(autocommit=False)


def _read(consumer: Any, parts: list[TopicPartition], ends: Mapping[TopicPartition, int]) -> list[Any]:
    consumer.assign(parts)
    consumer.seek_to_beginning()
    found: dict[TopicPartition, list[Any]] = {part: [] for part in parts}
    deadline = time.monotonic() + PATIENCE
    while any(consumer.position(part) < ends[part] for part in parts):
        assert time.monotonic() < deadline, f"not read in {PATIENCE:g} s: {ends}"
        for part, records in consumer.poll(timeout_ms=200).items():
            found[part] += records
    return [record for part in parts for record in found[part]]
