"""An endless read of what comes: how `monitor alerts` follows the alert topic. It commits nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from monitor import config
from monitor.batch import Record
from monitor.kafka.connect import translated
from monitor.kafka.reader import reader


def follow(
    kafka: config.Kafka, topic: str, start: Literal["beginning", "end"], *, poll_seconds: float = 0.5
) -> Iterator[Sequence[Record] | None]:
    """Batches of committed records of all partitions; an empty batch when nothing came for `poll_seconds`.

    None is yielded once: when the log's end, as it was when the read began, has been reached.
    """
    doing = f"following {topic}"
    with reader(kafka, topic, doing) as (consumer, partitions):
        with translated(kafka, doing):
            consumer.assign(partitions)
            end = consumer.end_offsets(partitions)
            begin = consumer.beginning_offsets(partitions) if start == "beginning" else end
            for partition in partitions:
                consumer.seek(partition, begin[partition])
        reached = False
        while True:
            with translated(kafka, doing):
                polled = consumer.poll(timeout_ms=round(poll_seconds * 1000))
                caught_up = reached or all((consumer.position(p) or 0) >= end[p] for p in partitions)
            yield [record for records in polled.values() for record in records]
            if caught_up and not reached:
                reached = True
                yield None
