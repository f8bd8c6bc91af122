"""`monitor` as a real process, and what surrounds it: its configuration, its events, what it published."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from kafka import KafkaProducer

from monitor import config, detector
from monitor.assembly import assemble
from monitor.batch import Float32, RawRecord
from monitor.config import loading
from monitor.kafka import history
from monitor.kafka.topics import Topics
from tests.brokers import end
from tests.models import FEATURES, START, waves

PATIENCE = 45.0  # s
WINDOW = 8  # of the tiny artefact


def until(condition: Callable[[], Any], explain: Callable[[], str], what: str, seconds: float = PATIENCE) -> Any:
    """Asks until the answer is true, and returns it; fails with what `explain` says."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not in {seconds:g} s: {what}\n{explain()}"
        time.sleep(0.05)
    return answer


class Monitor:
    """A `monitor` process whose log is a file; where `output` is a descriptor, whoever reads that writes the file."""

    def __init__(
        self, log: Path, *arguments: str | Path, environment: Mapping[str, str] | None = None, output: int | None = None
    ) -> None:
        self._log = log
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MONITOR_")}
        with log.open("wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "monitor", *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=sink if output is None else output,
                stderr=subprocess.STDOUT,
                env={**clean, "OMP_NUM_THREADS": "1", **(environment or {})},
            )

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def tail(self) -> str:
        return f"exit {self.process.poll()}, the end of its log:\n{self.log[-3000:]}"

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The facts of each line of the (JSON) log about one event."""
        found = []
        for line in self.log.splitlines():
            try:
                facts = json.loads(line)
            except ValueError:
                continue
            if isinstance(facts, dict) and facts.get("event") == event:
                found.append(facts)
        return found

    def until(self, condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
        """Waits for the condition while the process runs."""

        def check() -> Any:
            answer = condition()
            assert answer or self.process.poll() is None, f"ended before {what}: {self.tail()}"
            return answer

        return until(check, self.tail, what, seconds)

    @property
    def url(self) -> str:
        return str(self.until(lambda: self.lines("started"), "the start")[0]["http"]).replace("0.0.0.0", "127.0.0.1")

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            raise AssertionError(f"{path} is not answered ({error}): {self.tail()}") from error

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("/status.json")[1])
        return found

    def ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name that carry the labels."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            sample, _, number = line.rpartition(" ")
            if sample.partition("{")[0] == name and all(f'{key}="{value}"' in sample for key, value in labels.items()):
                total += float(number)
        return total

    def places(self) -> dict[int, dict[str, Any]]:
        """What the status says of each partition of this member, by its number."""
        return {place["partition"]: place for place in self.status()["partitions"]}

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ends(self, seconds: float = PATIENCE) -> int:
        """Waits for the end; the exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {seconds:g} s: {self.tail()}") from None

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Deployment:
    """One configuration of the service: a group and four topics of its own on a broker, and a model."""

    def __init__(self, folder: Path, bootstrap: str, name: str, model: Path, partitions: int = 1) -> None:
        self.folder = folder
        self.bootstrap = bootstrap
        self.kafka = config.Kafka(bootstrap_servers=bootstrap, group=name)
        self.topics = config.Topics(
            input=config.TopicSpec(name=f"{name}.events", partitions=partitions),
            alerts=config.TopicSpec(name=f"{name}.alerts", partitions=partitions),
            dead_letters=config.TopicSpec(name=f"{name}.dead", partitions=1),
            state=config.TopicSpec(name=f"{name}.state", partitions=partitions),
        )
        self.file = folder / "monitor.yaml"
        self.settings: dict[str, dict[str, Any]] = {
            "kafka": {"bootstrap_servers": bootstrap, "group": name, "poll_seconds": 0.1, "publish_timeout": 5},
            "topics": {
                purpose: {"name": spec.name, "partitions": spec.partitions}
                for purpose, spec in (
                    ("input", self.topics.input),
                    ("alerts", self.topics.alerts),
                    ("dead_letters", self.topics.dead_letters),
                    ("state", self.topics.state),
                )
            },
            "model": {"path": str(model)},
            "events": {"max_age": None},  # events of 2023 in records of today
            "web": {"port": 0, "host": "127.0.0.1"},
            "log": {"format": "json"},
        }
        self.settings["kafka"]["options"] = {"heartbeat_interval_ms": 500}
        self._processes: list[Monitor] = []
        self._producer: KafkaProducer | None = None
        self.write()

    def write(self, **changes: Mapping[str, Any]) -> Path:
        """Writes the configuration file (JSON is YAML), with these settings by section added."""
        for section, values in changes.items():
            self.settings.setdefault(section, {}).update(values)
        self.file.write_text(json.dumps(self.settings))
        return self.file

    def create_topics(self) -> None:
        with Topics(self.kafka, self.topics) as topics:
            topics.create([state for state in topics.inspect() if state.missing])

    def start(self, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> Monitor:
        """A process of this configuration: `monitor ARGUMENTS -c FILE`."""
        log = self.folder / f"{arguments[0]}-{len(self._processes)}.log"
        process = Monitor(log, *arguments, "-c", self.file, environment=environment)
        self._processes.append(process)
        return process

    def serve(self, **environment: str) -> Monitor:
        """A member that is ready."""
        service = self.start("run", environment=environment)
        service.until(service.ready, "readiness")
        return service

    def put(self, records: Iterable[tuple[int, bytes | None, bytes | None]]) -> None:
        """Partition, key and value of each record; returns when the broker has them."""
        if self._producer is None:
            self._producer = KafkaProducer(bootstrap_servers=self.bootstrap, linger_ms=5, acks="all")
        sent = [self._producer.send(self.topics.input.name, value, key, partition=p) for p, key, value in records]
        self._producer.flush(PATIENCE)
        for future in sent:
            future.get(PATIENCE)

    def alerts(self) -> list[dict[str, Any]]:
        return [json.loads(value) for value in self.alert_values()]

    def alert_values(self) -> list[bytes]:
        return [record.value or b"" for record in self.read(self.topics.alerts.name)]

    def undisturbed(self, *, record_time: int = 0) -> list[bytes]:
        """The alerts of the whole input topic from one pipeline that saw it in one piece, a partition at a time.

        `record_time` is added to the times of the records (not of the events), in ms.
        """
        settings = loading.load(self.file)
        pipeline = assemble(settings, detector.load(settings.model.path, settings.model))
        found = sorted(self.read(self.topics.input.name), key=lambda record: (record.partition, record.offset))
        records = [
            RawRecord(r.topic, r.partition, r.offset, r.timestamp + record_time, r.key, r.value, r.headers)
            for r in found
        ]
        return [alert.to_bytes() for alert in pipeline.process(records).alerts]

    def dead_letters(self) -> list[Any]:
        return self.read(self.topics.dead_letters.name)

    def read(self, topic: str) -> list[Any]:
        return [record for batch in history.read(self.kafka, topic) for record in batch]

    def close(self) -> None:
        for process in self._processes:
            process.kill()
        if self._producer is not None:
            end(self._producer)


def event(stream: str, number: int, values: Sequence[float]) -> bytes:
    """Event `number` of a stream, one a second."""
    features = {name: float(np.float32(value)) for name, value in zip(FEATURES, values, strict=True)}
    return msgspec.json.encode({"stream": stream, "time": START + number, "features": features})


def rows(count: int = 120, anomalies: Sequence[int] = (60,), seed: int = 5) -> Float32:
    """Rows (count, F) like those the tiny model learned, with five rows far off from each of `anomalies` on."""
    values = waves(count, len(FEATURES), seed)
    for begin in anomalies:
        values[begin : begin + 5, 0] += 8
    return values


def records(
    stream: str, values: Float32, partition: int = 0, first: int = 0
) -> list[tuple[int, bytes | None, bytes | None]]:
    return [
        (partition, stream.encode(), event(stream, first + number, row)) for number, row in enumerate(values.tolist())
    ]


def by_stream(values: Iterable[bytes]) -> dict[tuple[int, str], list[bytes]]:
    """Alerts by partition and name of their stream: between streams of several partitions there is no order."""
    found: dict[tuple[int, str], list[bytes]] = {}
    for value in values:
        alert = json.loads(value)
        found.setdefault((alert["evidence"]["partition"], alert["stream"]), []).append(value)
    return found
