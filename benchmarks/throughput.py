"""What the service costs per event, beside the two things it cannot do without: reading and the model's forward pass.

One run measures three things in turn, `--repeat` times, on the same records of a real Kafka on this machine:

- consume: the Kafka client polls every record and nothing else happens to it;
- forward: ONNX Runtime scores as many windows as the service does, 256 at a time, on one thread;
- service: `monitor run` as a process of its own, from the first record to the commit of the last.

Reported are medians. The ratio is the service's CPU seconds over consume + forward: 1 would be a service for free.
Linux only: CPU seconds are read from /proc. Everything is written to a temporary folder and removed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime
import torch
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import RetriableError
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console, Group
from rich.table import Table

from monitor import __version__
from monitor.batch import Float32
from monitor.config import Kafka, Settings, Topics, TopicSpec, Training
from monitor.detector import MOST_WINDOWS
from monitor.kafka.connect import options
from monitor.kafka.topics import Topics as TopicsClient
from monitor.local_kafka import LocalKafka, free_ports
from monitor.metrics import STAGES
from monitor.model.artefact import GRAPH
from monitor.model.export import save
from monitor.model.training import Series, train

FEATURES, WINDOW, HIDDEN, PARTITIONS = 16, 32, 64, 4
NAMES = tuple(f"f{number:02d}" for number in range(FEATURES))
INTERVAL = 1.0  # s of event time between two events of a stream
TRAINING_ROWS = 3_000
START_SECONDS = 60.0  # longest wait for the service's web server, and for its end
SLOWEST = 500.0  # events/s; a service that is slower than this is taken for stuck

console = Console(stderr=True, highlight=False)


@dataclass(frozen=True, slots=True)
class Cost:
    wall: float  # s
    cpu: float  # s of all cores


@dataclass(frozen=True, slots=True)
class Served:
    """One run of the service."""

    wall: float  # s, from the first commit on, scaled to all events
    cpu: float  # s from when it answered HTTP to the commit of the last event
    start_cpu: float  # s before that: imports, the model, the metrics
    stages: dict[str, float]  # s by stage, from its own histogram
    windows: int
    alerts: int
    memory: int  # bytes resident at the end


def main() -> None:
    parser = argparse.ArgumentParser(description="What the service costs per event, beside consume and forward alone.")
    parser.add_argument("--events", type=int, default=200_000, help="records on the topic (%(default)s)")
    parser.add_argument("--streams", type=int, default=1_000, help="streams they are spread over (%(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="rounds; medians are reported (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="20,000 events of 100 streams, once")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there as well")
    given = parser.parse_args()
    if given.quick:
        given.events, given.streams, given.repeat = 20_000, 100, 1
    if not Path("/proc/self/stat").exists():
        parser.error("CPU seconds are read from /proc, which only Linux has")
    if min(given.events, given.streams, given.repeat) < 1:
        parser.error("--events, --streams and --repeat must be at least 1")
    windows = windows_of(given.events, given.streams)
    if not windows:
        parser.error(f"{given.events} events of {given.streams} streams fill no window of {WINDOW}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it tidies up as after Ctrl+C
    try:
        report = measure(given.events, given.streams, given.repeat, windows)
    except KeyboardInterrupt:
        sys.exit(130)
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(as_table(report))


def windows_of(events: int, streams: int) -> int:
    """Windows that the events fill when they come stream by stream in turn, one event each."""
    rounds, left = divmod(events, streams)
    return left * max(0, rounds + 2 - WINDOW) + (streams - left) * max(0, rounds + 1 - WINDOW)


def measure(events: int, streams: int, repeat: int, windows: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="monitor-bench-") as scratch:
        folder = Path(scratch)
        model = make_model(folder / "model")
        with LocalKafka(folder / "kafka") as broker:
            topics = Topics(
                input=TopicSpec(name="bench.events", partitions=PARTITIONS),
                alerts=TopicSpec(name="bench.alerts", partitions=1),
                dead_letters=TopicSpec(name="bench.dead", partitions=1),
            )
            kafka = Kafka(bootstrap_servers=broker.bootstrap)
            with TopicsClient(kafka, topics) as client:
                client.create(client.inspect())
            size = produce(kafka, topics.input.name, events, streams)
            consumed, forwarded, served = [], [], []
            for number in range(1, repeat + 1):
                consumed.append(consume(kafka, topics.input.name, events))
                forwarded.append(forward(model, windows))
                served.append(serve(folder, model, kafka, topics, events, number))
                if served[-1].windows != windows:
                    sys.exit(f"the service scored {served[-1].windows} windows, but the events fill {windows}")
                console.print(
                    f"round {number} of {repeat}: consume {consumed[-1].cpu:.2f}, forward {forwarded[-1].cpu:.2f}, "
                    f"service {served[-1].cpu:.2f} CPU s"
                )
    return {
        "events": events,
        "streams": streams,
        "windows": windows,
        "event_bytes": round(size),
        "model": {"features": FEATURES, "window": WINDOW, "hidden": HIDDEN, "network": "lstm"},
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "python": platform.python_version()},
        "versions": {"monitor": __version__, "onnxruntime": onnxruntime.__version__},
        "rounds": [
            {"consume": asdict(c), "forward": asdict(f), "service": asdict(s), "ratio": s.cpu / (c.cpu + f.cpu)}
            for c, f, s in zip(consumed, forwarded, served, strict=True)
        ],
    }


def make_model(folder: Path) -> Path:
    """One epoch on made-up rows: the weights do not matter for the time a forward pass takes, the shape does."""
    rng = np.random.default_rng(0)
    time_of = INTERVAL * np.arange(TRAINING_ROWS, dtype=np.float64)
    settings = Training(window=WINDOW, hidden=[HIDDEN], epochs=1, quantile=0.999, device="cpu")
    trained = train([Series("s", time_of, rows(rng, np.arange(TRAINING_ROWS)))], NAMES, {}, settings, source="made up")
    save(trained, folder)
    return folder


def rows(rng: np.random.Generator, at: np.ndarray[Any, np.dtype[Any]]) -> Float32:
    """Normal rows (n, F) at positions `at` (n,): a wave of its own phase and level per feature, with noise."""
    phase = at[:, None] / 12 + np.arange(FEATURES)  # (n, F)
    return (10.0 * (np.arange(FEATURES) + 1) + np.sin(phase) + rng.normal(scale=0.05, size=phase.shape)).astype(
        np.float32
    )


def produce(kafka: Kafka, topic: str, events: int, streams: int) -> float:
    """The events, each stream's in order, keyed by stream, uncompressed; their mean size in bytes."""
    begun, total = time.perf_counter(), 0
    rng = np.random.default_rng(1)
    first = time.time() - INTERVAL * math.ceil(events / streams)
    producer = KafkaProducer(**options(kafka, "producer", acks="all", linger_ms=20, batch_size=2**17))
    try:
        for start in range(0, events, streams):
            count, turn = min(streams, events - start), start // streams
            stamp = first + INTERVAL * turn
            for number, row in enumerate(rows(rng, np.arange(count) + turn).astype(np.float64).round(4).tolist()):
                name = f"stream-{number:05d}"
                event = {"stream": name, "time": round(stamp, 3), "features": dict(zip(NAMES, row, strict=True))}
                value = json.dumps(event, separators=(",", ":")).encode()
                total += len(value)
                producer.send(topic, key=name.encode(), value=value, timestamp_ms=int(stamp * 1000))
        producer.flush(timeout=60)
    finally:
        producer.close()
    console.print(f"{events} events of {total / events:.0f} bytes produced in {time.perf_counter() - begun:.0f} s")
    return total / events


def consume(kafka: Kafka, topic: str, events: int) -> Cost:
    """The client as the service sets it up, without a group and without looking at what comes."""
    consumer = KafkaConsumer(
        **options(
            kafka,
            "consumer",
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            max_poll_records=kafka.poll_records,
        )
    )
    deadline = time.monotonic() + START_SECONDS + events / SLOWEST
    try:
        consumer.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
        wall, cpu, seen = time.perf_counter(), time.process_time(), 0
        while seen < events:
            polled = consumer.poll(timeout_ms=round(kafka.poll_seconds * 1000))
            seen += sum(map(len, polled.values()))
            if time.monotonic() > deadline:
                sys.exit(f"only {seen} of {events} records could be read back in time")
        return Cost(time.perf_counter() - wall, time.process_time() - cpu)
    finally:
        consumer.close(autocommit=False)


def forward(model: Path, windows: int) -> Cost:
    """The graph alone, on one array that is already there: no gathering, no copies."""
    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads = chosen.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model / GRAPH, chosen, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(2)
    batch = np.stack([rows(rng, np.arange(WINDOW) + start) for start in range(MOST_WINDOWS)])  # (B, T, F)
    outputs = [output.name for output in session.get_outputs()]
    session.run(outputs, {"windows": batch})
    wall, cpu = time.perf_counter(), time.process_time()
    for start in range(0, windows, MOST_WINDOWS):
        session.run(outputs, {"windows": batch[: windows - start]})
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def serve(folder: Path, model: Path, kafka: Kafka, topics: Topics, events: int, number: int) -> Served:
    """`monitor run` in a group of its own on all that the topic holds."""
    (port,) = free_ports(1)
    group = f"bench-{number}"
    settings = Settings.model_validate(
        {
            "kafka": {"bootstrap_servers": kafka.bootstrap_servers, "group": group},
            "topics": topics.model_dump(include={"input": {"name"}, "alerts": {"name"}, "dead_letters": {"name"}}),
            "model": {"path": str(model)},
            "web": {"host": "127.0.0.1", "port": port},
        }
    )
    path = folder / f"monitor-{number}.yaml"
    path.write_text(json.dumps(settings.model_dump(mode="json", exclude_unset=True)), encoding="utf-8")  # JSON is YAML
    with running(path, folder / "service.log") as service, admin(kafka) as client:
        wait_for_http(service, port)
        start_cpu = cpu_seconds(service.pid)
        wall = drained(service, client, group, events)
        cpu = cpu_seconds(service.pid) - start_cpu
        found = settled(service, port, events)
        stages = {stage: found.get(f"monitor_stage_seconds_sum/{stage}", 0.0) for stage in STAGES}
        return Served(
            wall,
            cpu,
            start_cpu,
            stages,
            int(found["monitor_windows_scored_total"]),
            int(sum(value for name, value in found.items() if name.startswith("monitor_alerts_total/"))),
            int(found.get("process_resident_memory_bytes", 0)),
        )


@contextmanager
def running(config: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The service as a process; ended by SIGTERM, which it must obey with exit code 0."""
    with log.open("ab") as output:
        service = subprocess.Popen([sys.executable, "-m", "monitor", "run", "-c", str(config)], stderr=output)
    try:
        yield service
        service.send_signal(signal.SIGTERM)
        if service.wait(START_SECONDS):
            sys.exit(f"the service ended with code {service.returncode}")
    except (Exception, SystemExit):
        console.print(tail(log), markup=False)
        raise
    finally:
        if service.poll() is None:
            service.kill()
            service.wait()


@contextmanager
def admin(kafka: Kafka) -> Iterator[Any]:
    client = KafkaAdminClient(**options(kafka, "admin"))
    try:
        yield client
    finally:
        client.close()


def wait_for_http(service: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            get(port, "/livez")
        except OSError:
            if service.poll() is not None or time.monotonic() > deadline:
                sys.exit("the service did not start")
            time.sleep(0.02)
        else:
            return


def drained(service: subprocess.Popen[bytes], client: Any, group: str, events: int) -> float:
    """Waits until the group has committed all events; the seconds that takes, without joining the group.

    The brokers are asked, not the service: a scrape would cost it the CPU seconds that are being measured.
    """
    deadline = time.monotonic() + START_SECONDS + events / SLOWEST
    first: tuple[float, int] | None = None
    while time.monotonic() < deadline and service.poll() is None:
        now, done = time.perf_counter(), committed(client, group)
        if first is None and done:
            first = now, done
        if first is not None and done >= events:
            return (now - first[0]) * events / max(1, events - first[1])
        time.sleep(0.05)
    sys.exit(f"the service committed {committed(client, group)} of {events} events, then ended or took too long")


def committed(client: Any, group: str) -> int:
    try:
        found = client.list_group_offsets({group: None})[group]
    except RetriableError:  # the first group of a new node: the topic that keeps groups is still being made
        return 0
    return sum(max(0, place.offset) for place in found.values())


def settled(service: subprocess.Popen[bytes], port: int, events: int) -> dict[str, float]:
    """The service's metrics once it says itself that nothing is left; its gauges are a second behind."""
    deadline = time.monotonic() + START_SECONDS
    while service.poll() is None and time.monotonic() < deadline:
        found = scrape(port)
        lag = [value for name, value in found.items() if name.startswith("monitor_consumer_lag_records/")]
        if found["monitor_events_total"] == events and len(lag) == PARTITIONS and not any(lag):
            return found
        time.sleep(0.2)
    sys.exit("the service's metrics do not say that every event was read")


def scrape(port: int) -> dict[str, float]:
    """Samples by name, and `name/labels` where there are any (their values, joined by commas)."""
    families = text_string_to_metric_families(get(port, "/metrics"))
    return {
        "/".join([sample.name, *filter(None, [",".join(sample.labels.values())])]): sample.value
        for family in families
        for sample in family.samples
    }


def get(port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def cpu_seconds(pid: int) -> float:
    """User and system seconds of a process and all its threads (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:] if log.exists() else ""


def as_table(report: dict[str, Any]) -> Group:
    """Medians over the rounds."""
    rounds, events, cores = report["rounds"], report["events"], report["machine"]["cores"]

    def middle(*path: str) -> float:
        return median(value_at(one, path) for one in rounds)

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for column in ("wall s", "events/s", "CPU s", "CPU µs/event", "ratio"):
        table.add_column(column, justify="right")

    def add(name: str, cpu: float, wall: float | None = None, ratio: float | None = None) -> None:
        speed = ["", ""] if wall is None else [f"{wall:.2f}", f"{events / wall:,.0f}"]
        table.add_row(name, *speed, f"{cpu:.2f}", f"{cpu / events * 1e6:.1f}", "" if ratio is None else f"{ratio:.2f}")

    for name in ("consume", "forward"):
        add(name, middle(name, "cpu"), middle(name, "wall"))
    base = median(one["consume"]["cpu"] + one["forward"]["cpu"] for one in rounds)
    add("consume + forward", base, None, 1.0)
    add("service", middle("service", "cpu"), middle("service", "wall"), middle("ratio"))
    table.add_section()
    for stage in STAGES:
        wall = middle("service", "stages", stage)
        table.add_row(f"  its stage {stage}", f"{wall:.2f}", f"{wall / events * 1e6:.1f} µs/event")
    ratios = [one["ratio"] for one in rounds]
    return Group(
        f"{events} events ({report['event_bytes']} bytes of JSON), {report['streams']} streams, {PARTITIONS} "
        f"partitions, {report['windows']} windows of {WINDOW} x {FEATURES}, LSTM {HIDDEN}",
        f"{report['machine']['cpu']}, {cores} cores; medians of {len(rounds)}\n",
        table,
        f"\nratio: CPU of the service / (consume + forward); {min(ratios):.2f} to {max(ratios):.2f} over the rounds",
        "Stages are wall seconds; poll includes waiting for records.",
        f"Not counted: start-up, {middle('service', 'start_cpu'):.2f} CPU s. "
        f"{middle('service', 'alerts'):.0f} alerts, {middle('service', 'memory') / 2**20:.0f} MiB resident.",
    )


def value_at(tree: Any, path: Sequence[str]) -> float:
    for name in path:
        tree = tree[name]
    return float(tree)


if __name__ == "__main__":
    main()
