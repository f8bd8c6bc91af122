"""The plots of docs/performance.md, by the name of their file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.performance import svg
from benchmarks.performance.svg import Line

Figures = Mapping[str, dict[str, Any]]
"""The figures of each part that was measured."""


def plots(found: Figures) -> dict[str, str]:
    """File name -> SVG text, of the parts there are."""
    made: dict[str, str] = {}
    if "streams" in found:
        made["throughput.svg"] = throughput(found["streams"])
    if "latency" in found:
        made["latency.svg"] = latency(found["latency"])
    if "cost" in found and "profile" in found:
        made["stages.svg"] = stages(found["cost"], found["profile"])
    if "forward" in found:
        made["roofline.svg"] = roofline(found["forward"])
    return made


def throughput(found: dict[str, Any]) -> str:
    rate = found["rate"]
    points = [(float(streams), values["median"]) for streams, values in rate.items()]
    spread = [(float(streams), values["low"], values["high"]) for streams, values in rate.items()]
    line = Line("monitor", points, spread)
    return svg.lines("Throughput against live streams", "live streams", "events/s", [line], log_x=True)


def latency(found: dict[str, Any]) -> str:
    series = []
    for name, values in found.items():
        points = sorted((float(share) * 100, one["p99"]) for share, one in values["shares"].items())
        series.append(Line(name.replace("_", " "), points))
    return svg.lines(
        "Latency against load, 99th percentile", "% of the maximum load of the same", "ms", series, log_y=True
    )


def stages(cost: dict[str, Any], profile: dict[str, Any]) -> str:
    """The service's CPU of an event, split as the profiler saw the samples that did not wait."""
    whole, shares = cost["cost"]["monitor"]["median"], profile["active"]
    rows = {
        "raw consume + raw forward": {
            "consume (poll)": cost["cost"]["consume"]["median"],
            "score": cost["cost"]["forward"]["median"],
        },
        "monitor": {
            "consume (poll)" if name == "poll" else name: share * whole for name, share in shares.items() if share > 0
        },
    }
    return svg.bars("CPU of an event by stage", "µs", rows)


def roofline(found: dict[str, Any]) -> str:
    flops, bandwidth = found["flops"]["median"], found["bandwidth"]["median"]
    ridge, intensity = flops / bandwidth, {size: float(value) for size, value in found["intensity"].items()}
    left, right = min(ridge, *intensity.values()) / 4, max(intensity.values()) * 4
    roof = [(left, left * bandwidth / 1e9), (ridge, flops / 1e9), (right, flops / 1e9)]
    series = [Line("roof of one core", roof, dashed=True)]
    for runtime in ("onnx", "torch"):
        points = [(at, found[runtime][size]["median"] * found["operations"] / 1e9) for size, at in intensity.items()]
        series.append(Line(runtime, points))
    return svg.lines(
        "Roofline of the forward pass",
        f"operations for each byte, in batches of {', '.join(intensity)}",
        "GFLOP/s",
        series,
        log_x=True,
        log_y=True,
    )
