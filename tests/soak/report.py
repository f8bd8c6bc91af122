"""What a soak showed: how memory changes with the events of a process, and how many metric series there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan, nan, prod
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest

from monitor.config import Settings
from monitor.metrics import Metrics
from monitor.model.manifest import Manifest
from tests.soak.members import Life, Sample

SETTLED_SECONDS, SETTLED_SHARE = 15.0, 0.25  # of a process: before that it fills its tables
FEWEST = 10  # samples for a slope
MIB = 2**20


def series_bound(settings: Settings, manifest: Manifest, partitions: int) -> int:
    """Most series that a member of this configuration can have on /metrics.

    What is there from the start, and of each family whose label sets come and go as many as its labels allow.
    """
    registry = CollectorRegistry()
    metrics = Metrics(registry, manifest, settings)
    lines = [line for line in generate_latest(registry).decode().splitlines() if line and line[0] != "#"]
    bounds = {"topic": 1, "partition": partitions, "stream": settings.web.worst_streams + 1}
    shown = {line.partition("{")[0].partition(" ")[0] for line in lines}
    coming = (family for family in metrics.families if not any(name.startswith(family.name) for name in shown))
    return len(lines) + sum(prod(bounds[label] for label in family.labels) for family in coming)


def steady(samples: Sequence[Sample]) -> list[Sample]:
    """Those after the process has settled."""
    if not samples:
        return []
    least = SETTLED_SHARE * samples[-1].events
    return [one for one in samples if one.seconds >= SETTLED_SECONDS and one.events >= least]


def slope(lives: Sequence[Sequence[Sample]]) -> float:
    """MiB per million events by least squares, each process with a level of its own; NaN where there is too little."""
    above = below = 0.0
    for samples in lives:
        if len(samples) >= FEWEST:
            events = np.array([one.events for one in samples]) / 1e6
            memory = np.array([one.resident for one in samples]) / MIB
            above += float(((events - events.mean()) * (memory - memory.mean())).sum())
            below += float(((events - events.mean()) ** 2).sum())
    return above / below if below > 0 else nan


def summary(lives: Sequence[Life], bound: int, events: int, seconds: float) -> dict[str, Any]:
    """All numbers of the report."""
    every = [one for life in lives for one in life.samples]
    last = [life.samples[-1] for life in lives if life.samples]
    return {
        "events": events,
        "seconds": round(seconds),
        "members": len({life.member for life in lives}),
        "restarts": {
            name: sum(life.end == name for life in lives) for name in sorted({life.end for life in lives} - {"the end"})
        },
        "slope_mib_per_million_events": slope([steady(life.samples) for life in lives]),
        "largest_mib": max((one.resident for one in every), default=0) / MIB,
        "largest_series": max((one.series for one in every), default=0),
        "series_bound": bound,
        "largest_streams": max((one.streams for one in every), default=0),
        "forgotten_idle": sum(one.idle for one in last),
        "forgotten_capacity": sum(one.capacity for one in last),
        "alerts": sum(one.alerts for one in last),
        "slowest_stop": max((life.stopped_in for life in lives if life.end in ("SIGTERM", "the end")), default=0.0),
        "bad_exits": [life.code for life in lives if life.end != "SIGKILL" and life.code != 0],
        "processes": [_process(life) for life in lives if life.samples],
    }


def _process(life: Life) -> dict[str, Any]:
    settled = steady(life.samples)
    memory = [one.resident / MIB for one in settled] or [nan]
    return {
        "member": life.member,
        "ended_by": life.end,
        "seconds": round(life.samples[-1].seconds),
        "events": life.samples[-1].events,
        "first_mib": memory[0],
        "last_mib": memory[-1],
        "largest_mib": max(memory),
        "slope": slope([settled]),
        "samples": len(settled),
    }


def failures(results: Mapping[str, Any], most_slope: float) -> list[str]:
    """Why the soak failed; nothing where it did not."""
    found = []
    if not results["slope_mib_per_million_events"] <= most_slope:  # NaN too
        found.append(f"memory grows by {results['slope_mib_per_million_events']:.2f} MiB per million events")
    if results["largest_series"] > results["series_bound"]:
        found.append(f"{results['largest_series']} metric series, the bound is {results['series_bound']}")
    if results["bad_exits"]:
        found.append(f"members ended with {results['bad_exits']}")
    found += [
        f"{name} is 0: the soak did not reach what it is for"
        for name in ("forgotten_idle", "forgotten_capacity", "alerts", "largest_series")
        if not results[name]
    ]
    return found


def _number(value: float, form: str) -> str:
    return "-" if isnan(value) else format(value, form)


def section(results: Mapping[str, Any]) -> str:
    """Markdown for docs/reliability.md."""
    restarts = ", ".join(f"{count} by {name}" for name, count in results["restarts"].items()) or "none"
    lines = [
        "## Soak",
        "",
        f"`make soak`: {results['events']:,} events in {results['seconds']:,} s through {results['members']} members "
        f"(restarts: {restarts}), with streams that come and go all the time: "
        f"{results['forgotten_idle']:,.0f} were forgotten for being silent, {results['forgotten_capacity']:,.0f} "
        f"because there were too many. {results['alerts']:,.0f} alerts.",
        "",
        f"- Memory: **{results['slope_mib_per_million_events']:+.2f} MiB per million events** (least squares over what "
        f"each process used after it had settled: {SETTLED_SECONDS:g} s and a quarter of its events); at most "
        f"{results['largest_mib']:.0f} MiB.",
        f"- Metric series of a member: at most {results['largest_series']}; the configuration bounds them to "
        f"{results['series_bound']}.",
        f"- Slowest orderly stop: {results['slowest_stop']:.1f} s.",
        "",
        "| member | ended by | s | events | MiB settled | MiB last | MiB per million events |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one['member']} | {one['ended_by']} | {one['seconds']} | {one['events']:,.0f} "
        f"| {_number(one['first_mib'], '.1f')} | {_number(one['last_mib'], '.1f')} | {_number(one['slope'], '+.2f')} |"
        for one in results["processes"]
    ]
    return "\n".join(lines) + "\n"
