"""`make soak`. Results go to tests/soak/results.json; exit code 1 where memory grows or series are not bounded."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient, KafkaProducer
from kafka import errors as kafka_errors

from monitor.config import Settings
from monitor.kafka.topics import Topics
from monitor.local_kafka import LocalKafka
from monitor.model import artefact
from tests.models import tiny_artefact
from tests.soak import report, traffic
from tests.soak.members import Members

RESULTS = Path(__file__).with_name("results.json")
GROUP = "soak"
MOST_AHEAD = 150_000  # records the producer may be ahead of the commits
PATIENCE = 180.0  # s without a commit
SESSION = 10.0  # s
# Member 0 lives long, so that its memory can be seen over many events.
RESTARTS = ((1, signal.SIGTERM), (1, signal.SIGKILL), (1, signal.SIGTERM), (1, signal.SIGKILL), (0, signal.SIGKILL))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000, help="%(default)s")
    parser.add_argument("--restarts", type=int, default=20, help="of members, evenly over the events (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--delivery", choices=["exactly_once", "at_least_once"], default="exactly_once")
    parser.add_argument("--most-slope", type=float, default=2.0, help="MiB per million events (%(default)s)")
    asked = parser.parse_args()
    if not Path("/proc/self/statm").exists():
        parser.error("memory is read from /proc, which only Linux has")
    with tempfile.TemporaryDirectory(prefix="monitor-soak-") as scratch:
        results = soak(Path(scratch), asked.events, asked.restarts, asked.seed, asked.delivery)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(report.section(results))
    failures = report.failures(results, asked.most_slope)
    print(*failures, sep="\n", file=sys.stderr)
    return 1 if failures else 0


def soak(folder: Path, events: int, restarts: int, seed: int, delivery: str) -> dict[str, Any]:
    model = tiny_artefact(folder / "model")
    with LocalKafka(folder / "kafka", heap_mib=512) as kafka:
        settings = configuration(kafka.bootstrap, model, delivery)
        with Topics(settings.kafka, settings.topics) as topics:
            topics.create([state for state in topics.inspect() if state.missing])
        members = Members(folder, [file(folder, settings, member) for member in range(2)])
        begun = time.monotonic()
        try:
            members.start()
            sent = feed(kafka.bootstrap, members, events, restarts, seed)
            settle(kafka.bootstrap, members, sent, 0)
            time.sleep(2)  # for a last look
            members.stop()
        finally:
            members.kill()
        bound = report.series_bound(settings, artefact.load(model).manifest, traffic.PARTITIONS)
        return report.summary(members.lives, bound, sent, time.monotonic() - begun)


def configuration(bootstrap: str, model: Path, delivery: str) -> Settings:
    parts = {"partitions": traffic.PARTITIONS}
    return Settings.model_validate(
        {
            "delivery": delivery,
            "kafka": {
                "bootstrap_servers": bootstrap,
                "group": GROUP,
                "session_timeout": SESSION,
                "options": {"heartbeat_interval_ms": 1000},
            },
            "topics": {
                "input": {"name": "soak", **parts},
                "alerts": {"name": "soak.alerts", **parts},
                "dead_letters": {"name": "soak.dead"},
                "state": {"name": "soak.state", **parts},
            },
            "model": {"path": str(model)},
            "windows": {"max_streams": traffic.MAX_STREAMS, "idle_timeout": traffic.IDLE_TIMEOUT},
            "web": {"port": 0, "host": "127.0.0.1"},
            "log": {"format": "json", "level": "warning"},
        }
    )


def file(folder: Path, settings: Settings, member: int) -> Path:
    """The configuration file of a member; JSON is YAML."""
    tree = settings.model_dump(mode="json", exclude_unset=True)
    tree["kafka"]["instance_id"] = f"{GROUP}-{member}"
    tree["log"] = {"format": "json"}
    path = folder / f"member-{member}.yaml"
    path.write_text(json.dumps(tree))
    return path


def feed(bootstrap: str, members: Members, events: int, restarts: int, seed: int) -> int:
    """Sends, and restarts members on the way; how many records it sent."""
    count = -(-events // traffic.EVENTS_PER_TICK)
    begin = time.time() - count  # so that the last event is of now, and nothing of it is old
    producer = KafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        linger_ms=20,
        batch_size=2**18,
        max_block_ms=60_000,
    )
    order = cycle(RESTARTS)
    sent = done = 0
    next_word = time.monotonic() + 30
    try:
        for records in traffic.ticks(begin, count, seed):
            for one in records:
                producer.send("soak", one.value, one.key, partition=one.partition, timestamp_ms=one.timestamp)
            sent += len(records)
            if sent % (10 * traffic.EVENTS_PER_TICK) == 0:
                consumed = settle(bootstrap, members, sent, MOST_AHEAD)
                if done < restarts and consumed >= (done + 1) * events / (restarts + 1):
                    members.restart(*next(order))
                    done += 1
                if time.monotonic() >= next_word:
                    next_word += 30
                    print(f"{consumed:,} events, {done} restarts", file=sys.stderr, flush=True)
        producer.flush(60)
    finally:
        producer.close(5)
    return sent


def settle(bootstrap: str, members: Members, sent: int, ahead: int) -> int:
    """Waits until the commits are no further behind than `ahead`; how many records are committed."""
    patience = Patience()
    for offsets in committed(bootstrap):
        consumed = sum(offsets.values())
        members.check()
        if sent - consumed <= ahead:
            return consumed
        patience.look(consumed)
        time.sleep(0.3)
    raise AssertionError("unreachable")


class Patience:
    """Ends the soak where nothing moves."""

    def __init__(self) -> None:
        self._seen = -1
        self._since = time.monotonic()

    def look(self, consumed: int) -> None:
        if consumed != self._seen:
            self._seen, self._since = consumed, time.monotonic()
        assert time.monotonic() - self._since < PATIENCE, f"nothing was committed for {PATIENCE:g} s after {consumed}"


def committed(bootstrap: str) -> Iterator[dict[int, int]]:
    """The offsets of the group by partition, each time anew; those before where the brokers do not tell."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    offsets: dict[int, int] = {}
    try:
        while True:
            with suppress(kafka_errors.KafkaError):
                found = admin.list_group_offsets({GROUP: None})[GROUP]
                offsets = {partition.partition: max(0, entry.offset) for partition, entry in found.items()}
            yield offsets
    finally:
        admin.close()


if __name__ == "__main__":
    sys.exit(main())
