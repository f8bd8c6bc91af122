"""A bounded read of what a topic holds: for training, and for looking back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from monitor import config
from monitor.batch import Record
from monitor.errors import UnavailableError
from monitor.kafka.connect import translated
from monitor.kafka.reader import reader

_PATIENCE = 30.0  # s without a record before the end: the brokers are gone


def read(
    kafka: config.Kafka,
    topic: str,
    *,
    since: float | None = None,
    until: float | None = None,
    from_offset: int | None = None,
    to_offset: int | None = None,
    progress: Callable[[int, int], None] = lambda _read, _all: None,
) -> Iterator[Sequence[Record]]:
    """Batches of records of all partitions, from one time (of the record, s since the Unix epoch) or offset to another.

    The end is fixed when the read begins: records that arrive meanwhile are not read. `progress` is told the records
    read so far and the offsets to read in all.
    """
    doing = f"reading {topic}"
    with reader(kafka, topic, doing) as (consumer, partitions):
        with translated(kafka, doing):
            first = consumer.beginning_offsets(partitions)
            end = consumer.end_offsets(partitions)
            begin = {p: max(first[p], from_offset or 0) for p in partitions}
            if since is not None:
                found = consumer.offsets_for_times({p: round(since * 1000) for p in partitions})
                begin = {p: max(begin[p], found[p].offset if found.get(p) else end[p]) for p in partitions}
            if to_offset is not None:
                end = {p: min(end[p], to_offset) for p in partitions}
            if until is not None:
                found = consumer.offsets_for_times({p: round(until * 1000) for p in partitions})
                end = {p: min(end[p], found[p].offset) if found.get(p) else end[p] for p in partitions}
            remaining = [p for p in partitions if begin[p] < end[p]]
            consumer.assign(remaining)
            for partition in remaining:
                consumer.seek(partition, begin[partition])
        total = sum(end[p] - begin[p] for p in remaining)
        done = 0
        waited = 0.0
        while remaining:
            with translated(kafka, doing):
                polled = consumer.poll(timeout_ms=500)
                # The position moves past transaction markers too: it, not the last record, says when all is read.
                remaining = [p for p in remaining if (consumer.position(p) or 0) < end[p]]
            batch = [record for p, records in polled.items() for record in records if record.offset < end[p]]
            waited = 0.0 if polled else waited + 0.5
            if waited > _PATIENCE:
                raise UnavailableError(
                    f"{doing}: no record for {_PATIENCE:g} s, {total - done} offsets are missing",
                    "Do all brokers of the topic answer?",
                )
            done += len(batch)
            progress(done, total)
            if batch:
                yield batch
