"""What all parts share: a real broker in its own process, a trained model, topics, members and peers as processes."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from rich.console import Console

from benchmarks.performance import workload
from benchmarks.performance.processes import ALL, SHARED, START_SECONDS, Process, apart, scrape
from benchmarks.performance.workload import NAMES, PARTITIONS, WINDOW, Load
from monitor.alerts import identity
from monitor.config import Kafka, Topics, TopicSpec, Training
from monitor.kafka.topics import Topics as TopicsClient
from monitor.local_kafka import LocalKafka, free_ports
from monitor.model import artefact
from monitor.model.export import save
from monitor.model.training import Series, train
from monitor.snapshot_file import Identity, write
from monitor.windows import Image

console = Console(stderr=True, highlight=False)
SLOWEST = 300.0  # events/s; what is slower is taken for stuck
_LOOK = 0.02  # s between two looks at what a group has committed


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    rounds: int = 5
    events: int = 60_000  # of a backlog
    levels: tuple[int, ...] = (100, 1_000, 10_000, 100_000, 1_000_000)  # live streams
    sustained: float = 60.0  # s
    step: float = 10.0  # s at one load
    many: int = 1_000_000  # live streams of the sustained load

    @property
    def words(self) -> str:
        return f"{self.rounds} rounds of {self.events:,} events, up to {self.levels[-1]:,} streams"


FULL = Size()
QUICK = Size(rounds=1, events=30_000, levels=(100, 10_000), sustained=10.0, step=3.0, many=10_000)
LONG = Size(rounds=9, events=200_000, sustained=300.0, step=30.0)


@dataclass(frozen=True, slots=True)
class Drained:
    """What a process took for the events of a backlog."""

    events: int
    wall: float  # s
    cpu: float  # s of all its threads

    @property
    def rate(self) -> float:
        """Events/s."""
        return self.events / self.wall

    @property
    def cost(self) -> float:
        """Microseconds of CPU for an event."""
        return self.cpu / self.events * 1e6

    def plain(self) -> dict[str, float]:
        return {"events": self.events, "wall": self.wall, "cpu": self.cpu, "rate": self.rate, "cost": self.cost}


@dataclass
class Bench:
    """Ends everything it started when it is left."""

    scratch: Path
    size: Size
    stack: ExitStack = field(default_factory=ExitStack)
    _numbers: dict[str, int] = field(default_factory=dict)

    def __enter__(self) -> Self:
        os.sched_setaffinity(0, SHARED)
        # A broker that waits for the processor on a busy machine is not to be taken for dead.
        self.broker = LocalKafka(self.scratch / "kafka", heap_mib=512, settings={"broker.session.timeout.ms": "60000"})
        self.stack.callback(self.broker.stop)
        self.broker.start(START_SECONDS)
        self.kafka = Kafka(bootstrap_servers=self.broker.bootstrap)
        self.admin = KafkaAdminClient(bootstrap_servers=self.broker.bootstrap)
        self.stack.callback(self.admin.close)
        self.watcher = KafkaConsumer(bootstrap_servers=self.broker.bootstrap)
        self.stack.callback(self.watcher.close, autocommit=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stack.close()
        os.sched_setaffinity(0, ALL)

    def number(self, what: str) -> int:
        """1, 2, 3, ..., for names that are not used twice."""
        self._numbers[what] = self._numbers.get(what, 0) + 1
        return self._numbers[what]

    @cached_property
    def model(self) -> Path:
        return make_model(self.scratch / "model", "autoencoder")

    @cached_property
    def linear(self) -> Path:
        """The detector without a network that docs/detection.md recommends."""
        return make_model(self.scratch / "linear", "linear")

    def topic(self, name: str) -> str:
        """An input topic of that name (a number is added), with those that a member needs beside it."""
        name = f"{name}-{self.number('topic')}"
        topics = self.topics(name)
        with TopicsClient(self.kafka, topics) as client:
            client.create(client.inspect())
        return name

    def topics(self, name: str) -> Topics:
        return Topics(
            input=TopicSpec(name=name, partitions=PARTITIONS),
            alerts=TopicSpec(name=f"{name}.alerts", partitions=1),
            dead_letters=TopicSpec(name=f"{name}.dead", partitions=1),
            state=TopicSpec(name=f"{name}.state", partitions=PARTITIONS),
        )

    def load(self, topic: str, streams: int, first: int, count: int, begin: float, **more: Any) -> Load:
        return Load(self.broker.bootstrap, topic, streams, first, count, begin, **more)

    def member(
        self, topic: str, group: str, *, core: int | None = 0, model: Path | None = None, **sections: Any
    ) -> Member:
        """`monitor run`, on the core of the measured process of that number; `sections` of its configuration."""
        (port,) = free_ports(1)
        named = {name: {"name": spec["name"]} for name, spec in self.topics(topic).model_dump().items()}
        settings: dict[str, Any] = {
            "kafka": {"bootstrap_servers": self.broker.bootstrap, "group": group, "session_timeout": 240},
            "topics": named,
            "model": {"path": str(model or self.model)},
            "events": {"max_age": None},
            "windows": {"max_gap": 3600, "idle_timeout": 36_000, "max_streams": 1_000_000},
            "web": {"host": "127.0.0.1", "port": port},
        }
        for section, values in sections.items():
            settings[section] = {**settings[section], **values} if isinstance(settings.get(section), dict) else values
        path = self.scratch / f"member-{self.number('member')}.yaml"
        path.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
        command = [sys.executable, "-m", "monitor", "run", "-c", str(path)]
        process = Process(command, path.with_suffix(".log"), None if core is None else apart(core))
        self.stack.callback(process.end)
        return Member(process, port)

    def snapshot(self, topic: str, group: str, streams: int, begin: float, model: Path | None = None) -> Path:
        """A folder of snapshots in which every stream of a fresh topic has a whole window, last heard of at `begin`."""
        folder = self.scratch / f"state-{topic}"
        folder.mkdir()
        layout = artefact.load(model or self.model).manifest.layout
        owner = Identity(topic, self._topic_id(topic), group, identity(*layout), WINDOW, len(NAMES))
        table = workload.rows()
        for partition in range(PARTITIONS):
            number = np.arange(partition, streams, PARTITIONS, dtype=np.int64)
            count = len(number)
            image = Image(
                partition,
                0,
                begin,
                [workload.name(stream) for stream in number.tolist()],
                np.full(count, WINDOW, np.int64),
                np.full(count, begin),
                np.zeros(count, np.int64),
                np.full(count, begin),
                np.zeros((count, 2), np.int64),
                np.zeros((count, 2), np.int32),
                table[workload.place(number[:, None], np.arange(-WINDOW, 0, dtype=np.int64)[None])],
            )
            with (folder / f"{partition}.windows").open("wb", buffering=0) as file:
                write(file, owner, image, lambda: True)
        return folder

    def _topic_id(self, topic: str) -> str:
        consumer = KafkaConsumer(bootstrap_servers=self.broker.bootstrap)
        try:
            consumer.partitions_for_topic(topic)
            consumer.assign([TopicPartition(topic, 0)])
            consumer.poll(timeout_ms=200)
            return str(consumer._cluster.topic_id(topic))
        finally:
            consumer.close()

    def committed(self, group: str) -> int:
        """Records of all partitions."""
        try:
            found = self.admin.list_group_offsets({group: None})[group]
        except KafkaError:  # a new group, or the topic that keeps groups is still being made
            return 0
        return sum(max(0, one.offset) for one in found.values())

    def ends(self, topic: str) -> int:
        """Records ever written to a topic."""
        places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        return sum(self.watcher.end_offsets(places).values())

    def drained(
        self, processes: Sequence[Process], group: str, before: int, events: int, *, at_once: bool = False
    ) -> Drained:
        """Waits until the group has committed so many events more than `before`, without joining it.

        Counted is from the first commit that is seen on, or from now on where they begin `at_once`.

        The brokers are asked, not the processes: an answer would cost them the seconds that are being measured.
        """
        deadline = time.monotonic() + START_SECONDS + events / SLOWEST
        first: tuple[float, float, int] | None = None
        if at_once:
            first = time.perf_counter(), sum(process.cpu() for process in processes), 0
        while time.monotonic() < deadline:
            for process in processes:
                process.check()
            done = self.committed(group) - before
            now, cpu = time.perf_counter(), sum(process.cpu() for process in processes)
            if first is None and done > 0:
                first = now, cpu, done
            if first is not None and done >= events:
                return Drained(max(1, done - first[2]), max(now - first[0], _LOOK), cpu - first[1])
            time.sleep(_LOOK)
        sys.exit(f"group {group} committed {self.committed(group) - before} of {events} events in time")


@dataclass(frozen=True, slots=True)
class Member:
    """One `monitor run`."""

    process: Process
    port: int

    def metrics(self) -> dict[str, float]:
        return scrape(self.port)

    def ready(self) -> None:
        """Waits until it has its partitions and their windows."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self.process.check()
            try:
                if self.metrics().get("monitor_ready") == 1:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        sys.exit(f"a member was not ready in time:\n{self.process.log.read_text(encoding='utf-8')[-2000:]}")


def make_model(folder: Path, detector: str) -> Path:
    """One epoch: the weights do not matter for the time a forward pass takes, the shape does."""
    table = np.tile(workload.rows(), (3, 1))
    settings = Training.model_validate(
        {"window": WINDOW, "hidden": [workload.HIDDEN], "epochs": 1, "quantile": 0.999, "device": "cpu"}
        | {"detector": detector}
    )
    series = Series("s", workload.INTERVAL * np.arange(len(table), dtype=np.float64), table)
    save(train([series], NAMES, {}, settings, source="made up"), folder)
    return folder
