"""What no service can do without, as a process of its own: reading the records, and the forward pass in batches.

    python -m benchmarks.performance.raw consume BOOTSTRAP TOPIC EVENTS
    python -m benchmarks.performance.raw forward MODEL WINDOWS BATCH

Prints wall and CPU seconds as JSON.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import onnxruntime
from kafka import KafkaConsumer, TopicPartition

from benchmarks.performance.workload import PARTITIONS, WINDOW, rows
from monitor.config import Kafka
from monitor.kafka.connect import options
from monitor.model.artefact import GRAPH


def consume(bootstrap: str, topic: str, events: int) -> tuple[float, float]:
    """The client as the service sets it up, without a group and without looking at what comes."""
    kafka = Kafka(bootstrap_servers=bootstrap)
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
    try:
        consumer.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
        wall, cpu, seen = time.perf_counter(), time.process_time(), 0
        while seen < events:
            polled = consumer.poll(timeout_ms=round(kafka.poll_seconds * 1000))
            seen += sum(map(len, polled.values()))
            if time.perf_counter() - wall > 120:
                sys.exit(f"only {seen} of {events} records could be read back in time")
        return time.perf_counter() - wall, time.process_time() - cpu
    finally:
        consumer.close(autocommit=False)


def session(graph: str) -> onnxruntime.InferenceSession:
    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads = chosen.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, chosen, providers=["CPUExecutionProvider"])


def forward(model: str, windows: int, size: int) -> tuple[float, float]:
    """The graph alone, on one array that is already there: no gathering, no copies."""
    made = session(f"{model}/{GRAPH}")
    table = rows()
    batch = np.stack([table[start : start + WINDOW] for start in range(size)])  # (B, T, F)
    outputs = [output.name for output in made.get_outputs()]
    made.run(outputs, {"windows": batch})
    wall, cpu = time.perf_counter(), time.process_time()
    for start in range(0, windows, size):
        made.run(outputs, {"windows": batch[: windows - start]})
    return time.perf_counter() - wall, time.process_time() - cpu


def main(what: str, *given: str) -> None:
    if what == "consume":
        wall, cpu = consume(given[0], given[1], int(given[2]))
    else:
        wall, cpu = forward(given[0], int(given[1]), int(given[2]))
    print(json.dumps({"wall": wall, "cpu": cpu}))


if __name__ == "__main__":
    main(*sys.argv[1:])
