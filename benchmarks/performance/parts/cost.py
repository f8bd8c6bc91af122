"""CPU of an event and throughput: the service beside raw consume, raw forward and the two peers, on one topic.

Each process drains the same backlog in a group of its own, on the same core, one after the other, in an order that
turns by one in each round. Counted is from the first commit that is seen to the last, so neither start nor joining is
in it; the streams' windows are full by then, so every event counted is scored by its own window.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.performance import environments
from benchmarks.performance.bench import Bench, Drained, console
from benchmarks.performance.processes import ROOT, Process, apart, run
from benchmarks.performance.results import middle
from benchmarks.performance.workload import HIDDEN, INTERVAL, WINDOW, event, send
from monitor.detector import MOST_WINDOWS
from monitor.metrics import STAGES

STREAMS = 100
STRIDE = 8
PEERS = {"kafka-python loop": "kafka_python_loop.py", "Quix Streams": "quix_streams.py"}
SERVICES = ("monitor", "monitor, at least once", f"monitor, stride {STRIDE}", "monitor, linear detector")


def measure(bench: Bench, folder: Path, *, peers: bool = True) -> dict[str, Any]:
    """`folder` is where environments are."""
    events, topic = bench.size.events, bench.topic("cost")
    load = bench.load(topic, STREAMS, 0, events, time.time() - INTERVAL * events / STREAMS)
    size = len(event(load, 0)[2])
    send(load)
    raw: dict[str, list[dict[str, float]]] = {"consume": [], "forward": []}
    found: dict[str, list[Drained]] = {}
    stages: list[dict[str, float]] = []
    python = environments.peers(folder) if peers else Path()

    def ours(name: str) -> Drained:
        drained, told = serve(bench, topic, events, name)
        if name == SERVICES[0]:
            stages.append(told)
        return drained

    def theirs(name: str) -> Drained:
        return peer(bench, python, topic, events, name)

    order: list[tuple[str, Callable[[str], Drained]]] = [(name, ours) for name in (SERVICES if peers else SERVICES[:1])]
    order += [(name, theirs) for name in (PEERS if peers else ())]
    for number in range(bench.size.rounds):
        raw["consume"].append(_raw(bench, "consume", bench.broker.bootstrap, topic, str(events), of=events))
        raw["forward"].append(_raw(bench, "forward", str(bench.model), str(events), str(MOST_WINDOWS), of=events))
        turned = order[number % len(order) :] + order[: number % len(order)]
        for name, drain in turned:
            found.setdefault(name, []).append(drain(name))
        told = ", ".join(f"{name} {values[-1].cost:.1f}" for name, values in found.items())
        base = raw["consume"][-1]["cost"] + raw["forward"][-1]["cost"]
        console.print(f"round {number + 1} of {bench.size.rounds}, µs of CPU for an event: raw {base:.1f}, {told}")
    return _figures(raw, found, stages, size, events)


def serve(bench: Bench, topic: str, events: int, name: str) -> tuple[Drained, dict[str, float]]:
    """`monitor run` on all that the topic holds; its stages, s."""
    sections: dict[str, Any] = {}
    if "least" in name:
        sections["delivery"] = "at_least_once"
    if "stride" in name:
        sections["windows"] = {"stride": STRIDE}
    group = f"cost-{bench.number('group')}"
    model = bench.linear if "linear" in name else bench.model
    member = bench.member(topic, group, model=model, **sections)
    with member.process:
        drained = bench.drained([member.process], group, 0, events)
        metrics = member.metrics()
    return drained, {stage: metrics.get(f"monitor_stage_seconds_sum/{stage}", 0.0) for stage in STAGES}


def peer(bench: Bench, python: Path, topic: str, events: int, name: str) -> Drained:
    number = bench.number("group")
    group, alerts = f"peer-{number}", f"{topic}.alerts"
    script = ROOT / "benchmarks" / "peers" / PEERS[name]
    log = bench.scratch / f"peer-{number}.log"
    command = [str(python), str(script), bench.broker.bootstrap, topic, alerts, group, str(bench.model)]
    with Process(command, log, apart(), {"PYTHONPATH": ""}) as process:
        return bench.drained([process], group, 0, events)


def _raw(bench: Bench, *given: str, of: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.performance.raw", *given]
    found = run(command, bench.scratch / f"raw-{given[0]}.log", apart())
    return {**found, "rate": of / found["wall"], "cost": found["cpu"] / of * 1e6}


def _figures(
    raw: dict[str, list[dict[str, float]]],
    found: dict[str, list[Drained]],
    stages: list[dict[str, float]],
    size: int,
    events: int,
) -> dict[str, Any]:
    costs = {name: [one.cost for one in values] for name, values in found.items()}
    rates = {name: [one.rate for one in values] for name, values in found.items()}
    costs |= {name: [one["cost"] for one in values] for name, values in raw.items()}
    rates |= {name: [one["rate"] for one in values] for name, values in raw.items()}
    base = [a + b for a, b in zip(costs["consume"], costs["forward"], strict=True)]
    ours, cheapest = found["monitor"], found.get("monitor, linear detector", [])
    ratio = [one.cost / bottom for one, bottom in zip(ours, base, strict=True)]
    times, saving, by_cpu = {}, {}, {}
    for name in PEERS:
        if name in rates:
            by_cpu[name] = middle([other / one.cost for one, other in zip(ours, costs[name], strict=True)])
            times[name] = middle([one.rate / other for one, other in zip(ours, rates[name], strict=True)])
            saving[name] = middle([one.rate / other for one, other in zip(cheapest, rates[name], strict=True)])
    return {
        "workload": {
            "streams": STREAMS,
            "events": events,
            "bytes": size,
            "model": f"LSTM of {HIDDEN}, window {WINDOW}",
            "batch": MOST_WINDOWS,
        },
        "cost": {name: middle(values) for name, values in costs.items()},
        "rate": {name: middle(values) for name, values in rates.items()},
        "base": middle(base),
        "ratio": middle(ratio),
        "times": times,
        "times by CPU": by_cpu,
        "times of the linear detector": saving,
        "stages": {stage: middle([one[stage] / events * 1e6 for one in stages]) for stage in STAGES},
        "rounds": {name: [one.plain() for one in values] for name, values in found.items()},
    }
