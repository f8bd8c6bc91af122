"""How soon a member scores again after it was restarted, with snapshots of its windows and without.

On a real Kafka on this machine: every stream fills its window, the member stops, one more event of every stream comes,
and `monitor run` is started again as a process of its own: first with `recovery.state_dir`, then without it, when it
rebuilds its windows from the topic. Reported are seconds from the process's start until a window was scored and what
came of it published, until all partitions were recovered, and the records replayed per second.

Everything is written to a temporary folder and removed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kafka import KafkaProducer
from rich.console import Console
from rich.table import Table

from monitor.config import Kafka, Topics, TopicSpec, Training
from monitor.kafka.connect import options
from monitor.kafka.topics import Topics as TopicsClient
from monitor.local_kafka import LocalKafka, free_ports
from monitor.model.export import save
from monitor.model.training import Series, train

FEATURES, WINDOW, HIDDEN, PARTITIONS = 16, 32, 8, 4
NAMES = tuple(f"f{number:02d}" for number in range(FEATURES))
BEGIN = 1_700_000_000  # s since the Unix epoch, of the first events; one a second follows
SLOWEST = 2_000.0  # records/s; what is slower is taken for stuck
GOAL = 5.0  # s with snapshots

console = Console(stderr=True, highlight=False)


@dataclass(frozen=True, slots=True)
class Restarted:
    first_score: float  # s from the process's start
    cpu: float  # s that the process had used by then
    recovered: float  # s until the last partition was
    by: str
    replayed: int  # records of all partitions
    rate: float  # records/s over all partitions
    short: int


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds from a member's restart to its first score.")
    parser.add_argument("--streams", type=int, default=100_000, help="live streams (%(default)s)")
    streams = int(parser.parse_args().streams)
    if streams < PARTITIONS:
        parser.error(f"--streams must be at least {PARTITIONS}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it tidies up as after Ctrl+C
    try:
        load, found = os.getloadavg()[0], measure(streams)
    except KeyboardInterrupt:
        sys.exit(130)
    Console(highlight=False).print(
        f"{streams:,} streams, window {WINDOW}, {FEATURES} features, {PARTITIONS} partitions, LSTM {HIDDEN}; "
        f"{os.cpu_count()} cores, load {load:.1f} at the start and {os.getloadavg()[0]:.1f} at the end\n",
        as_table(found),
        f"\nThe goal with snapshots is {GOAL:g} s.",
    )


def measure(streams: int) -> list[Restarted]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="monitor-bench-") as scratch:
        folder = Path(scratch)
        model = make_model(folder / "model")
        with LocalKafka(folder / "kafka") as broker:
            topics = Topics(
                input=TopicSpec(name="bench.events", partitions=PARTITIONS),
                alerts=TopicSpec(name="bench.alerts", partitions=1),
                dead_letters=TopicSpec(name="bench.dead", partitions=1),
                state=TopicSpec(name="bench.state", partitions=PARTITIONS),
            )
            kafka = Kafka(bootstrap_servers=broker.bootstrap, group="bench", instance_id="bench")
            with TopicsClient(kafka, topics) as client:
                client.create(client.inspect())
            bench = Bench(folder, model, kafka, topics, streams)
            bench.produce(range(WINDOW))
            bench.restart(snapshots=True)
            found = []
            for number, snapshots in enumerate((True, False)):
                bench.produce([WINDOW + number])
                found.append(bench.restart(snapshots=snapshots))
            return found


class Bench:
    """One member's configuration, and the topic that it reads."""

    def __init__(self, folder: Path, model: Path, kafka: Kafka, topics: Topics, streams: int) -> None:
        self._folder = folder
        self._model = model
        self._kafka = kafka
        self._topics = topics
        self._streams = streams
        self._produced = self._new = 0
        self._runs = 0

    def produce(self, rounds: Sequence[int]) -> None:
        """One event of every stream for each round; stream n is in partition n % PARTITIONS."""
        begun = time.perf_counter()
        texts = [json.dumps(dict(zip(NAMES, row, strict=True))) for row in rows(1000).round(4).tolist()]
        topic = self._topics.input.name
        producer = KafkaProducer(**options(self._kafka, "producer", acks="all", linger_ms=20, batch_size=2**17))
        try:
            for turn in rounds:
                for number in range(self._streams):
                    name = f"stream-{number:06d}"
                    features = texts[(turn + 7 * number) % len(texts)]
                    value = f'{{"stream":"{name}","time":{BEGIN + turn},"features":{features}}}'
                    producer.send(topic, value.encode(), name.encode(), partition=number % PARTITIONS)
                producer.flush(timeout=120)  # the client bounds nothing by itself
        finally:
            producer.close()
        self._new = len(rounds) * self._streams
        self._produced += self._new
        console.print(f"{self._new:,} events produced in {time.perf_counter() - begun:.0f} s")

    def restart(self, *, snapshots: bool) -> Restarted:
        """A run of the member until it has read all there is; what its recovery took."""
        (port,) = free_ports(1)
        log = self._folder / f"run-{self._runs}.log"
        self._runs += 1
        deadline = time.monotonic() + 60 + self._produced / SLOWEST
        begun = time.time()
        with self._running(log, port, snapshots) as service:

            def wait(name: str, least: float) -> float:
                while (found := metric(port, name)) is None or found < least:
                    if service.poll() is not None or time.monotonic() > deadline:
                        sys.exit(f"{name} stayed at {found}, {least} was expected")
                    time.sleep(0.02)
                return time.time() - begun

            first_score = wait("monitor_windows_scored_total", 1)
            cpu = metric(port, "process_cpu_seconds_total") or 0.0
            wait("monitor_recovered_partitions_total", PARTITIONS)
            wait("monitor_events_total", self._new)
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
        found = [line for line in lines if line["event"] == "partition recovered"]
        seconds = max(line["seconds"] for line in found)
        replayed = sum(line["replayed"] for line in found)
        return Restarted(
            first_score,
            cpu,
            max(at(line) for line in found) - begun,
            ", ".join(sorted({line["by"] for line in found})),
            replayed,
            replayed / seconds if seconds else 0.0,
            sum(line["short"] for line in found),
        )

    @contextmanager
    def _running(self, log: Path, port: int, snapshots: bool) -> Iterator[subprocess.Popen[bytes]]:
        """`monitor run` as a process; ended by SIGTERM, which it must obey with exit code 0."""
        settings: dict[str, Any] = {
            "kafka": {"bootstrap_servers": self._kafka.bootstrap_servers, "group": "bench", "instance_id": "bench"},
            "topics": self._topics.model_dump(include={name: {"name"} for name in Topics.model_fields}),
            "model": {"path": str(self._model)},
            "events": {"max_age": None},
            "web": {"host": "127.0.0.1", "port": port},
            "log": {"format": "json"},
        }
        if snapshots:
            settings["recovery"] = {"state_dir": str(self._folder / "state"), "snapshot_every": 20}
        config = self._folder / "monitor.yaml"
        config.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
        with log.open("wb") as output:
            service = subprocess.Popen([sys.executable, "-m", "monitor", "run", "-c", str(config)], stderr=output)
        try:
            yield service
            service.send_signal(signal.SIGTERM)
            if service.wait(60):
                sys.exit(f"the service ended with code {service.returncode}")
        except (Exception, SystemExit):
            console.print(log.read_text(encoding="utf-8", errors="replace")[-2000:], markup=False)
            raise
        finally:
            if service.poll() is None:
                service.kill()
                service.wait()


def make_model(folder: Path) -> Path:
    """One epoch on made-up rows: the weights do not matter for the time a forward pass takes, the shape does."""
    made = rows(3000)
    settings = Training(window=WINDOW, hidden=[HIDDEN], code=4, epochs=1, quantile=0.999, device="cpu")
    trained = train([Series("s", np.arange(3000.0), made.astype(np.float32))], NAMES, {}, settings, source="made up")
    save(trained, folder)
    return folder


def rows(count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Normal rows (count, F): a wave of its own phase and level per feature, with noise."""
    phase = np.arange(count)[:, None] / 12 + np.arange(FEATURES)
    noise = np.random.default_rng(0).normal(scale=0.05, size=phase.shape)
    return 10.0 * (np.arange(FEATURES) + 1) + np.sin(phase) + noise


def metric(port: int, name: str) -> float | None:
    """The sum of the samples of that name; None while nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    except OSError:
        return None
    finally:
        connection.close()
    samples = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return sum(float(value) for sample, _, value in samples if sample.partition("{")[0] == name)


def at(line: dict[str, Any]) -> float:
    """When a line of the log was written, s since the Unix epoch."""
    return float(np.datetime64(str(line["time"]).removesuffix("Z"), "ms").astype(np.int64)) / 1000


def as_table(found: Sequence[Restarted]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("windows from")
    for column in ("first score s", "CPU s until then", "all recovered s", "replayed", "replayed/s", "warm up again"):
        table.add_column(column, justify="right")
    for one in found:
        times = (f"{one.first_score:.2f}", f"{one.cpu:.2f}", f"{one.recovered:.2f}")
        table.add_row(one.by, *times, f"{one.replayed:,}", f"{one.rate:,.0f}", f"{one.short:,}")
    return table


if __name__ == "__main__":
    main()
