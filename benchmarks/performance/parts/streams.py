"""What many live streams cost: throughput and memory from a hundred to a million, and a million at one event a minute.

One member for each number of streams, all at once and each on a topic of its own; all but the measured one are stopped.
Each begins with snapshots in which every stream has a whole window, as after a restart, so every event is scored.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.performance.bench import Bench, Drained, Member, console
from benchmarks.performance.processes import SHARED, Process
from benchmarks.performance.results import middle
from benchmarks.performance.workload import FEATURES, INTERVAL, WINDOW, Load, command, send

MINUTE = 60.0
PAST = 1800.0
"""Seconds ago that the snapshots' newest events are: backlogs come after them, and before what is sent as of now."""
GOAL = 1.25 * WINDOW * FEATURES * 4 + 200
"""Bytes a stream may take."""


@dataclass
class Level:
    """A member with so many live streams."""

    streams: int
    group: str
    member: Member
    load: Load
    sent: int = 0

    def more(self, count: int, **changed: Any) -> Load:
        """The next so many events."""
        found = replace(self.load, first=self.sent, count=count, **changed)
        self.sent += count
        return found


def measure(bench: Bench, _folder: Path) -> dict[str, Any]:
    events, levels = bench.size.events, []
    with ExitStack() as stack:
        for streams in bench.size.levels:
            level = started(bench, f"streams-{streams}", streams, stack)
            now = level.member.metrics()
            console.print(
                f"{streams:,} streams: {level.member.process.resident() / 2**20:,.0f} MiB, "
                f"{now['monitor_streams_active']:,.0f} active, {now['monitor_streams_warming']:,.0f} warming",
                markup=False,
            )
            level.member.process.pause()
            levels.append(level)
        rounds: dict[int, list[Drained]] = {streams: [] for streams in bench.size.levels}
        for number in range(bench.size.rounds):
            for level in levels[number % len(levels) :] + levels[: number % len(levels)]:
                rounds[level.streams].append(drain(bench, level, events))
            told = ", ".join(f"{streams:,}: {values[-1].rate:,.0f}/s" for streams, values in rounds.items())
            console.print(f"round {number + 1} of {bench.size.rounds}, events/s by streams: {told}", markup=False)
        memory = {level.streams: level.member.process.resident() for level in levels}
        many = next(level for level in levels if level.streams == bench.size.many)
        for level in levels:
            if level is not many:
                level.member.process.end()
        steady = sustained(bench, many)
    first, last = bench.size.levels[0], bench.size.levels[-1]
    ratio = [b.rate / a.rate for a, b in zip(rounds[first], rounds[last], strict=True)]
    each = (memory[last] - memory[first]) / (last - first)
    return {
        "rate": {str(streams): middle([one.rate for one in values]) for streams, values in rounds.items()},
        "cost": {str(streams): middle([one.cost for one in values]) for streams, values in rounds.items()},
        "memory": {str(streams): value for streams, value in memory.items()},
        "most": last,
        "ratio": middle(ratio),
        "bytes a stream": each,
        "goal": GOAL,
        "sustained": steady,
        "rounds": {str(streams): [one.plain() for one in values] for streams, values in rounds.items()},
    }


def started(bench: Bench, name: str, streams: int, stack: ExitStack, **sections: Any) -> Level:
    """A member that has all these streams with whole windows, and nothing to read yet."""
    topic, group = bench.topic(name), f"{name}-{bench.number('group')}"
    begin = time.time() - PAST
    folder = bench.snapshot(topic, group, streams, begin)
    recovery = {"state_dir": str(folder), "snapshot_every": 86_400}
    member = bench.member(topic, group, recovery=recovery, **sections)
    stack.callback(member.process.end)
    member.ready()
    deadline = time.monotonic() + MINUTE
    while member.metrics().get("monitor_streams_active") != streams:
        if time.monotonic() > deadline:
            sys.exit(
                f"the snapshots of {name} were not used:\n{member.process.log.read_text(encoding='utf-8')[-2000:]}"
            )
        time.sleep(0.2)
    return Level(streams, group, member, bench.load(topic, streams, 0, 0, begin + INTERVAL))


def drain(bench: Bench, level: Level, events: int) -> Drained:
    """A backlog that comes while the member is stopped."""
    before = bench.committed(level.group)
    send(level.more(events))
    level.member.process.go_on()
    found = bench.drained([level.member.process], level.group, before, events, at_once=True)
    level.member.process.pause()
    return found


def sustained(bench: Bench, level: Level) -> dict[str, Any]:
    """Every stream sends once a minute: does the lag stay where it is, with what CPU and memory."""
    rate, seconds = level.streams / MINUTE, bench.size.sustained
    process = level.member.process
    process.go_on()
    load = level.more(round(rate * seconds), rate=rate)
    before, written = bench.committed(level.group), bench.ends(load.topic)
    begun, cpu = time.perf_counter(), process.cpu()
    lag: list[tuple[float, int]] = []
    with Process(command(load), bench.scratch / "load.log", SHARED) as sender:
        while not sender.ended:
            time.sleep(0.5)
            process.check()
            behind = bench.ends(load.topic) - written - (bench.committed(level.group) - before)
            lag.append((time.perf_counter() - begun, behind))
        sending, ended = float(sender.told()["seconds"]), time.perf_counter()
    bench.drained([process], level.group, before, load.count, at_once=True)
    settled, used = time.perf_counter() - ended, process.cpu() - cpu
    half = len(lag) // 2
    return {
        "streams": level.streams,
        "rate": load.count / sending,
        "seconds": sending,
        "settled": settled,
        "core": used / sending,
        "lag": lag,
        "lag of the first half": _mean(lag[: max(1, half)]),
        "lag of the second half": _mean(lag[half:]),
        "memory": process.resident(),
    }


def _mean(lag: list[tuple[float, int]]) -> float:
    return sum(behind for _, behind in lag) / max(1, len(lag))
