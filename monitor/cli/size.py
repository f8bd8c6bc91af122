"""`monitor size`: members, CPU and memory to ask for."""

from __future__ import annotations

import math
import re

import click

from monitor.sizing import LOAD, REPLAY, Plan, Shape, plan

_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_RATE = re.compile(r"(?P<count>\d+(\.\d*)?|\.\d+)(/(?P<unit>s|min|h|d))?")


class Rate(click.ParamType[float]):
    """Events of one stream: `10`, `10/s`, `1/min`, `4/h`; a second."""

    name = "rate"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = _RATE.fullmatch(str(value).strip())
        if found is None or not float(found["count"]):
            self.fail(f"{str(value)[:40]!r} is no rate; say 10/s, 1/min, 4/h or 1/d", param, ctx)
        return float(found["count"]) / _SECONDS[found["unit"] or "s"]


@click.command(epilog="Example: monitor size --streams 1000000 --rate 1/min --features 16")
@click.option("--streams", type=click.IntRange(1), required=True, help="Live streams of all members.")
@click.option("--rate", type=Rate(), required=True, help="Events of each stream: 10/s, 1/min, 4/h.")
@click.option("--features", type=click.IntRange(1), required=True, help="Features of an event.")
@click.option("--window", type=click.IntRange(1), default=32, show_default=True, help="Events of a window.")
@click.option("--hidden", type=click.IntRange(1), default=64, show_default=True, help="Size of the LSTM.")
@click.option("--linear", is_flag=True, help="training.detector: linear, without a network.")
@click.option("--stride", type=click.IntRange(1), default=1, show_default=True, help="windows.stride.")
@click.option(
    "--load",
    type=click.FloatRange(0, 1, min_open=True),
    default=LOAD,
    show_default=True,
    help="Of a core, to plan with.",
)
def size(
    streams: int, rate: float, features: int, window: int, hidden: int, linear: bool, stride: int, load: float
) -> None:
    """Members, CPU and memory to ask for.

    By formulas with constants measured on one machine (docs/performance.md, "Sizes"): right within a factor of two
    elsewhere. Measure your own with `make bench PART=cost`.
    """
    shape = Shape(features, window, hidden, "linear" if linear else "lstm", stride)
    found = plan(streams, rate, shape, load)
    for name, text in _lines(streams, shape, found):
        click.echo(f"{name:<12}{text}")
    click.echo(f"\nFor the chart's values:\n{_values(found)}")


def _lines(streams: int, shape: Shape, found: Plan) -> list[tuple[str, str]]:
    share = f"{found.core:.0%}" if found.core >= 0.01 else "less than 1%"
    back = f"{_seconds(found.replay)} to rebuild the windows from the topic ({REPLAY:,} records/s)"
    return [
        ("events", f"{found.rate:,.4g}/s" if found.rate < 10 else f"{found.rate:,.0f}/s"),
        ("one core", f"{found.capacity:,.0f}/s ({shape.event:.1f} µs of CPU an event)"),
        ("members", f"{found.members:,} ({share} of a core each); the input needs at least as many partitions"),
        ("memory", f"{_mib(found.request)} each, limit {_mib(found.limit)} ({shape.stream:,.0f} bytes a stream)"),
        ("streams", f"{math.ceil(streams / found.members):,} each"),
        ("restart", f"{back}; with a volume of {_mib(found.volume)} each: seconds"),
    ]


def _values(found: Plan) -> str:
    """As YAML for `helm install -f`."""
    cpu = max(100, math.ceil(found.core * 1000 / 50) * 50)
    memory = f"memory: {found.request // 2**20}Mi"
    return (
        f"replicas: {found.members}\n"
        "resources:\n"
        f"  requests: {{cpu: {cpu}m, {memory}, ephemeral-storage: 64Mi}}\n"
        f"  limits: {{memory: {found.limit // 2**20}Mi, ephemeral-storage: 512Mi}}\n"
        "config:\n"
        f"  topics: {{input: {{partitions: {_partitions(found.members)}}}}}"
    )


def _partitions(members: int) -> int:
    """Twice the members, so that they can grow, as a power of two, so that each has as many."""
    return int(2 ** max(2, math.ceil(math.log2(2 * members))))


def _mib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB" if size >= 4 * 2**30 else f"{size // 2**20:,} MiB"


def _seconds(value: float) -> str:
    return f"{value / 60:,.0f} min" if value >= 120 else f"{value:,.0f} s"
