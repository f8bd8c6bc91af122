"""From an event's sending to the moment its alert can be read, by load and by delivery; beside the plain loop.

An event's time is when it was sent, and an alert carries the time of the event that caused it: one clock, one machine.
The reader is a consumer of committed alerts that polls without a pause. Loads are shares of the load that the same
member took at most, from a backlog, right before.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from kafka import KafkaConsumer, TopicPartition

from benchmarks.performance import environments
from benchmarks.performance.bench import Bench, Member, console
from benchmarks.performance.parts.cost import PEERS
from benchmarks.performance.parts.streams import Level, drain, started
from benchmarks.performance.processes import ROOT, SHARED, Process, apart
from benchmarks.performance.results import middle
from benchmarks.performance.workload import WINDOW, command, send

STREAMS = 10_000
SHARES = (0.1, 0.25, 0.75, 0.9)
"""Of the maximum, once each; half of it in every round. Where there is one round, a quarter and half of it."""
HALF = 0.5
SPIKES = 251
"""One event in so many is a spike: a prime, so that in the end every stream has its turn."""
AT_ONCE = {"open_after": 1, "open_window": 1}
"""The event that is waited for is the first bad one, and not the third."""
LOOP = "kafka-python loop"
LOOP_STREAMS = 100
_SETTLE = 1.0  # s after a load until the next


class Reader:
    """Alerts as they become readable: how long after their event each came."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._consumer = KafkaConsumer(
            bootstrap_servers=bootstrap,
            isolation_level="read_committed",
            auto_offset_reset="latest",
            fetch_max_wait_ms=5,
        )
        self._consumer.assign([TopicPartition(topic, 0)])
        self._consumer.seek_to_end()
        self._consumer.poll(timeout_ms=100)
        self._going = True
        self.delays: list[float] = []  # s
        self._thread = Thread(target=self._read, daemon=True)
        self._thread.start()

    def taken(self) -> list[float]:
        """The delays since this was last asked, s."""
        found, self.delays = self.delays, []
        return found

    def close(self) -> None:
        self._going = False
        self._thread.join(10)
        self._consumer.close(autocommit=False)

    def _read(self) -> None:
        while self._going:
            for records in self._consumer.poll(timeout_ms=50).values():
                now = time.time()
                self.delays += [now - _sent(json.loads(record.value)) for record in records]


def _sent(alert: dict[str, Any]) -> float:
    told = alert["time"]
    if isinstance(told, str):
        return datetime.fromisoformat(told).timestamp()
    return float(told)


def measure(bench: Bench, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for delivery in ("at_least_once", "exactly_once"):
        with ExitStack() as stack:
            level = started(bench, f"latency-{delivery}", STREAMS, stack, delivery=delivery, incidents=AT_ONCE)
            level.member.process.pause()
            most = drain(bench, level, bench.size.events).rate
            level.member.process.go_on()
            found[delivery] = {"most": most} | _loads(bench, level, most, f"{level.load.topic}.alerts")
        _tell(delivery, found[delivery])
    with _loop(bench, folder) as (level, most):
        found[LOOP] = {"most": most} | _loads(bench, level, most, f"{level.load.topic}.alerts")
    _tell(LOOP, found[LOOP])
    return found


def _tell(name: str, found: dict[str, Any]) -> None:
    half = found["half"]
    told = f"p50 {half['p50']['median']:.0f} ms, p99 {half['p99']['median']:.0f} ms at {found['most'] * HALF:,.0f}/s"
    console.print(f"{name}: {told}", markup=False)


def _loads(bench: Bench, level: Level, most: float, alerts: str) -> dict[str, Any]:
    reader = Reader(bench.broker.bootstrap, alerts)
    try:
        _one(bench, level, reader, most * SHARES[1], bench.size.step / 2)  # nothing is as it was just after the start
        shares = {
            str(share): _one(bench, level, reader, most * share, bench.size.step)
            for share in (SHARES if bench.size.rounds > 1 else SHARES[1:2])
        }
        half = [_one(bench, level, reader, most * HALF, bench.size.step) for _ in range(bench.size.rounds)]
    finally:
        reader.close()
    figures = {name: middle([one[name] for one in half]) for name in ("rate", "p50", "p99", "worst", "alerts")}
    return {"half": figures, "shares": {**shares, str(HALF): {k: figures[k]["median"] for k in figures}}}


def _one(bench: Bench, level: Level, reader: Reader, rate: float, seconds: float) -> dict[str, float]:
    """Milliseconds."""
    load = level.more(round(rate * seconds), rate=rate, spike_every=SPIKES)
    reader.taken()
    with Process(command(load), bench.scratch / "load.log", SHARED) as sender:
        while not sender.ended:
            level.member.process.check()
            time.sleep(0.1)
        achieved = load.count / float(sender.told()["seconds"])
    time.sleep(_SETTLE)
    delays = 1000 * np.array(reader.taken() or [np.nan])
    p50, p99 = np.percentile(delays, [50, 99]).tolist()
    return {"rate": achieved, "p50": p50, "p99": p99, "worst": float(delays.max()), "alerts": len(delays)}


@contextmanager
def _loop(bench: Bench, folder: Path) -> Iterator[tuple[Level, float]]:
    """The plain loop with whole windows, and what it takes at most, events/s."""
    topic, group = bench.topic("latency-loop"), f"loop-{bench.number('group')}"
    python = environments.peers(folder)
    warm = LOOP_STREAMS * (WINDOW + 40)
    load = bench.load(topic, LOOP_STREAMS, 0, warm, time.time() - 1000)
    send(load)
    script = ROOT / "benchmarks" / "peers" / PEERS[LOOP]
    given = [str(python), str(script), bench.broker.bootstrap, topic, f"{topic}.alerts", group, str(bench.model)]
    with Process(given, bench.scratch / "loop.log", apart(), {"PYTHONPATH": ""}) as process:
        bench.drained([process], group, 0, warm)
        level = Level(LOOP_STREAMS, group, Member(process, 0), load, warm)
        process.pause()
        most = drain(bench, level, bench.size.events // 6).rate
        process.go_on()
        yield level, most
