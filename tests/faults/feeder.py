"""Produces a recording at its pace, on a thread of its own, through whatever happens to the brokers."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from kafka import KafkaProducer
from kafka.errors import KafkaError

from tests.faults.stream import Sent

_TICK = 0.02  # s
_PATIENCE = 120.0  # s


class Feeder:
    """Each record gets the offset that its place among its partition's records says; else the run is void."""

    def __init__(self, bootstrap: str, topic: str, records: Sequence[Sent], seconds: float) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._records = records
        self._seconds = seconds
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self.error: BaseException | None = None
        self.ends: dict[int, int] = {}

    def start(self) -> None:
        self._thread.start()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def _feed(self) -> None:
        producer = KafkaProducer(
            bootstrap_servers=self._bootstrap.split(","),
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            delivery_timeout_ms=round(_PATIENCE * 1000),
            max_block_ms=round(_PATIENCE * 1000),
            reconnect_backoff_max_ms=500,
        )
        try:
            self._send_all(producer)
        except BaseException as error:  # told by the thread that waits for this one
            self.error = error
        finally:
            # In order it would flush first, and a batch that a killed broker answered twice is waited for in vain.
            producer._sender.force_close()
            producer._sender.join(1)
            with suppress(KafkaError):
                producer.close(timeout=0)

    def _send_all(self, producer: KafkaProducer) -> None:
        begun = time.monotonic()
        sent = []
        for number, record in enumerate(self._records):
            behind = number * self._seconds / len(self._records) - (time.monotonic() - begun)
            if behind > _TICK:
                time.sleep(behind)
            sent.append(
                producer.send(
                    self._topic,
                    record.value,
                    record.key,
                    list(record.headers),
                    record.partition,
                    record.timestamp,
                )
            )
        for record, future in zip(self._records, sent, strict=True):
            offset = future.get(_PATIENCE).offset
            expected = self.ends.get(record.partition, 0)
            if offset != expected:
                raise AssertionError(f"fed record {expected} of partition {record.partition} became {offset}")
            self.ends[record.partition] = expected + 1
