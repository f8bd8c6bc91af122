"""Produces a recording at its pace, on a thread of its own, through whatever happens to the brokers."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from tests.brokers import end
from tests.faults.stream import Sent

_TICK = 0.02  # s
_PATIENCE = 120.0  # s


class Feeder:
    """`as_intended`: each record got the offset that its place among its partition's records says.

    Where brokers die the client may send a batch twice, or give one up: then the topic tells what was fed.
    """

    def __init__(self, bootstrap: str, topic: str, records: Sequence[Sent], seconds: float, stutter: int = 0) -> None:
        """`stutter`: each so-manieth record is sent twice, as a client does that makes a mistake; 0: none is."""
        self._bootstrap = bootstrap
        self._topic = topic
        self._records = records
        self._seconds = seconds
        self._stutter = stutter
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self.error: BaseException | None = None
        self.as_intended = True
        self.ends: dict[int, int] = {}  # next offsets, where all went as intended

    def start(self) -> None:
        self._thread.start()

    def hurry(self) -> None:
        """What is left, without a pace."""
        self._seconds = 0.0

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
            end(producer)

    def _send_all(self, producer: KafkaProducer) -> None:
        begun = time.monotonic()
        sent: list[Any] = []
        for number, record in enumerate(self._records):
            behind = number * self._seconds / len(self._records) - (time.monotonic() - begun)
            if behind > _TICK:
                time.sleep(behind)
            sent.append(self._send(producer, record))
            if self._stutter and number % self._stutter == 0:
                self._send(producer, record)
        deadline = time.monotonic() + _PATIENCE
        for record, future in zip(self._records, sent, strict=True):
            expected = self.ends.get(record.partition, 0)
            if _offset(future, deadline - time.monotonic()) != expected:  # those behind it are waited for all the same
                self.as_intended = False
            self.ends[record.partition] = expected + 1

    def _send(self, producer: KafkaProducer, record: Sent) -> Any:
        try:
            return producer.send(
                self._topic, record.value, record.key, list(record.headers), record.partition, record.timestamp
            )
        except KafkaError:  # its buffer stayed full
            return None


def _offset(future: Any, seconds: float) -> int | None:
    """Where the record stands; None where nobody knows."""
    if future is None:
        return None
    with suppress(KafkaError):
        return int(future.get(max(0.0, seconds)).offset)
    return None
