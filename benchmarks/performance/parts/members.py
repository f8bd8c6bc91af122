"""Two members beside one, on the same topic and the same backlog.

Each member has a core of its own. With two cores the broker has none left, so the wall clock tells of it too: beside
the ratio of the wall times stands the one with the broker counted out, which is what the busiest member needed of its
core.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.performance.bench import SLOWEST, Bench, Member, console
from benchmarks.performance.processes import ALL, START_SECONDS
from benchmarks.performance.results import middle
from benchmarks.performance.workload import INTERVAL, send

STREAMS = 1_000


def measure(bench: Bench, _folder: Path) -> dict[str, Any]:
    events, topic = 2 * bench.size.events, bench.topic("members")
    load = bench.load(topic, STREAMS, 0, STREAMS * 40, time.time() - 10_000 * INTERVAL)
    send(load)
    groups: dict[int, list[Member]] = {}
    with ExitStack() as stack:
        for count in (1, 2):
            groups[count] = [bench.member(topic, f"members-{count}", core=number) for number in range(count)]
            for member in groups[count]:
                stack.callback(member.process.end)
            _balanced(bench, groups[count], f"members-{count}", load.count)
            for member in groups[count]:
                member.process.pause()
        rounds: list[dict[str, Any]] = []
        for number in range(bench.size.rounds):
            load = replace(load, first=load.first + load.count, count=events)
            send(load)
            order = (1, 2) if number % 2 == 0 else (2, 1)
            rounds.append({str(count): _drain(bench, groups[count], f"members-{count}", load) for count in order})
            told = {count: f"{rounds[-1][str(count)]['rate']:,.0f}/s" for count in (1, 2)}
            console.print(f"round {number + 1} of {bench.size.rounds}: one {told[1]}, two {told[2]}", markup=False)
    return {
        "cores": len(ALL),
        "rate": {count: middle([one[count]["rate"] for one in rounds]) for count in ("1", "2")},
        "wall": middle([one["1"]["wall"] / one["2"]["wall"] for one in rounds]),
        "counted out": middle([one["1"]["busiest"] / one["2"]["busiest"] for one in rounds]),
        "cost": middle([one["2"]["cpu"] / one["1"]["cpu"] for one in rounds]),
        "rounds": rounds,
    }


def _balanced(bench: Bench, members: list[Member], group: str, events: int) -> None:
    """Waits until each has its share of the partitions, and all before the measured backlog is committed."""
    deadline = time.monotonic() + START_SECONDS + events / SLOWEST
    shared = False
    while not shared or bench.committed(group) < events:
        for member in members:
            member.process.check()
        try:
            shares = [member.metrics().get("monitor_consumer_partitions", 0) for member in members]
        except OSError:
            shares = [0]
        shared = min(shares) == max(shares) > 0
        if time.monotonic() > deadline:
            raise SystemExit(f"the partitions are not shared out: {shares}")
        time.sleep(0.2)


def _drain(bench: Bench, members: list[Member], group: str, load: Any) -> dict[str, float]:
    before = bench.committed(group)
    used = [member.process.cpu() for member in members]
    begun = time.perf_counter()
    for member in members:
        member.process.go_on()
    bench.drained([member.process for member in members], group, before, load.count)
    wall = time.perf_counter() - begun
    spent = [member.process.cpu() - past for member, past in zip(members, used, strict=True)]
    for member in members:
        member.process.pause()
    return {"wall": wall, "rate": load.count / wall, "cpu": sum(spent), "busiest": max(spent)}
