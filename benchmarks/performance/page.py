"""docs/performance.md and its plots from the results. The words are in `page.md` beside this file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.performance.plots import plots
from benchmarks.performance.results import Store

WORDS = Path(__file__).with_name("page.md")
PARTS = ("cost", "streams", "latency", "members", "start", "profile", "forward")
LOOP = "kafka-python loop"
MISSING = "Not measured yet."
Figures = dict[str, Any]


def write(store: Store, target: Path) -> None:
    """The page, and a folder of plots beside it with its name."""
    found = {name: result for name in PARTS if (result := store.get(name))}
    figures = {name: result["figures"] for name, result in found.items()}
    drawn = plots(figures)
    folder = target.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in drawn.items():
        (folder / name).write_text(text, encoding="utf-8")
    target.write_text(text_of(found, sorted(drawn), folder.name), encoding="utf-8")


def text_of(found: Mapping[str, Figures], drawn: Sequence[str], folder: str) -> str:
    """The whole page; what is not measured yet is said to be missing."""
    figures = {name: result["figures"] for name, result in found.items()}
    blocks = {"goals": _goals(figures), "machine": _machine(found)}
    tables: dict[str, Callable[[Figures], str]] = {
        "cost": _cost,
        "streams": _streams,
        "latency": _latency,
        "members": _members,
        "start": _start,
        "profile": _profile,
        "forward": _forward,
    }
    blocks |= {name: table(figures[name]) if name in figures else MISSING for name, table in tables.items()}
    text = WORDS.read_text(encoding="utf-8")
    for name in ("throughput", "latency", "stages", "roofline"):
        picture = f"![{name}]({folder}/{name}.svg)" if f"{name}.svg" in drawn else ""
        text = text.replace(f"{{{{plot {name}}}}}", picture)
    for name, block in blocks.items():
        text = text.replace(f"{{{{{name}}}}}", block)
    return text


def _goals(found: Mapping[str, Figures]) -> str:
    rows = ["| figure | goal | measured | |", "|---|---|---:|---|"]

    def add(name: str, part: str, goal: str, limit: float, value: Callable[[Figures], tuple[float, str]]) -> None:
        if part not in found:
            rows.append(f"| {name} | {goal} | | not measured |")
            return
        number, told = value(found[part])
        reached = number >= limit if goal.startswith(">=") else number <= limit
        rows.append(f"| {name} | {goal} | {told} | {'reached' if reached else '**not reached**'} |")

    def ratio(one: Figures) -> tuple[float, str]:
        return one["median"], _spread(one, "{:.2f}")

    def times(found: Figures, peer: str) -> tuple[float, str]:
        wall, cpu = found["times"][peer], found["times by CPU"][peer]
        return wall["median"], f"{_spread(wall, '{:.2f}')}; by CPU time {_spread(cpu, '{:.2f}')}"

    add("CPU of an event / (raw consume + raw forward)", "cost", "<= 1.25", 1.25, lambda f: ratio(f["ratio"]))
    add("throughput / Quix Streams", "cost", ">= 6.5", 6.5, lambda f: times(f, "Quix Streams"))
    add("throughput / kafka-python loop", "cost", ">= 5.5", 5.5, lambda f: times(f, LOOP))
    add(
        "the same without a network, slower of the two ratios; that it detects as much is not shown at this window",
        "cost",
        ">= 20",
        20,
        lambda f: min((ratio(one) for one in f["times of the linear detector"].values()), key=lambda one: one[0]),
    )
    add("live streams at one event a minute: core used", "streams", "<= 1", 1.0, _core)
    add("resident memory with them, GiB", "streams", "<= 4", 4.0, _resident)
    add("throughput with the most streams / with 100", "streams", ">= 0.9", 0.9, lambda f: ratio(f["ratio"]))
    add(
        "bytes of a stream", "streams", "<= 2,760", 2760, lambda f: (f["bytes a stream"], f"{f['bytes a stream']:,.0f}")
    )
    for name, limit in (("at_least_once", 50), ("exactly_once", 150)):
        add(
            f"p99 from event to alert at half load, {name.replace('_', ' ')}, ms",
            "latency",
            f"<= {limit}",
            limit,
            lambda f, name=name: (f[name]["half"]["p99"]["median"], _spread(f[name]["half"]["p99"], "{:.0f}")),  # type: ignore[misc]
        )
    add("two members / one, broker counted out", "members", ">= 1.8", 1.8, lambda f: ratio(f["counted out"]))
    add(
        "start to first score, s",
        "start",
        "<= 3",
        3.0,
        lambda f: (f["first score"]["monitor"]["median"], _spread(f["first score"]["monitor"], "{:.2f}")),
    )
    add(
        "share of a stage: its metrics against a sampling profiler, largest difference",
        "profile",
        "<= 10 %",
        0.1,
        lambda f: (f["difference"], f"{f['difference']:.1%}"),
    )
    return "\n".join(rows)


def _core(found: Figures) -> tuple[float, str]:
    one = found["sustained"]
    grows = one["lag of the second half"] > 2 * one["lag of the first half"] + one["rate"]
    told = f"{one['streams']:,} streams, {one['rate']:,.0f}/s: {one['core']:.2f}, lag {'grew' if grows else 'flat'}"
    return (2.0 if grows else one["core"]), told


def _resident(found: Figures) -> tuple[float, str]:
    size = found["sustained"]["memory"] / 2**30
    return size, f"{size:.2f}"


def _cost(found: Figures) -> str:
    work = found["workload"]
    rows = ["| | µs of CPU | events/s | times its CPU |", "|---|---:|---:|---:|"]
    base = found["base"]["median"]
    for name in found["cost"]:
        cost, rate = found["cost"][name], found["rate"][name]
        rows.append(
            f"| {_named(name)} | {_spread(cost, '{:.1f}')} | {_spread(rate, '{:,.0f}')} | {cost['median'] / base:.2f} |"
        )
    rows.append(f"| raw consume + raw forward | {_spread(found['base'], '{:.1f}')} | | 1 |")
    return (
        "\n".join(rows) + f"\n\n{work['events']:,} events of {work['bytes']} bytes of {work['streams']} streams; "
        f"{work['model']}; raw forward in batches of {work['batch']}. Median of {found['ratio']['rounds']} rounds, "
        "lowest and highest beside it."
    )


def _named(name: str) -> str:
    return {"consume": "raw consume", "forward": "raw forward", "monitor": "monitor, exactly once"}.get(name, name)


def _streams(found: Figures) -> str:
    rows = ["| live streams | events/s | µs of CPU of an event | resident, MiB |", "|---:|---:|---:|---:|"]
    for streams, rate in found["rate"].items():
        memory = found["memory"][streams] / 2**20
        cost = _spread(found["cost"][streams], "{:.1f}")
        rows.append(f"| {int(streams):,} | {_spread(rate, '{:,.0f}')} | {cost} | {memory:,.0f} |")
    one = found["sustained"]
    return "\n".join(rows) + (
        f"\n\nA stream takes {found['bytes a stream']:,.0f} bytes beyond what a member with few has. "
        f"{one['streams']:,} streams at one event a minute ({one['rate']:,.0f} events/s, sent for "
        f"{one['seconds']:.0f} s): {one['core']:.2f} of a core, {one['memory'] / 2**30:.2f} GiB resident, mean lag "
        f"{one['lag of the first half']:,.0f} events in the first half and {one['lag of the second half']:,.0f} in the "
        f"second; all of it was committed {one['settled']:.1f} s after the last was sent."
    )


def _latency(found: Figures) -> str:
    rows = [
        "| | most, events/s | load | p50, ms | p99, ms | worst, ms | alerts |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, values in found.items():
        for share, one in sorted(values["shares"].items(), key=lambda item: float(item[0])):
            half = values["half"] if float(share) == 0.5 else None
            cells = [_spread(half[key], "{:.1f}") if half else f"{one[key]:.1f}" for key in ("p50", "p99", "worst")]
            told = f"{name.replace('_', ' ')} | {float(share):.0%} | {one['rate']:,.0f}"
            rows.append(f"| {told} | {' | '.join(cells)} | {one['alerts']:.0f} |")
    return "\n".join(rows)


def _members(found: Figures) -> str:
    one, two = (_spread(found["rate"][count], "{:,.0f}") for count in ("1", "2"))
    return (
        f"| | events/s |\n|---|---:|\n| one member | {one} |\n| two members | {two} |\n\n"
        f"By the wall clock, with the broker on the same {found['cores']} cores: "
        f"{_spread(found['wall'], '{:.2f}')} times. "
        f"With the broker counted out: {_spread(found['counted out'], '{:.2f}')} times. "
        f"CPU of an event with two, over that with one: {_spread(found['cost'], '{:.2f}')}."
    )


def _start(found: Figures) -> str:
    rows = ["| | start to first score, s | CPU until then, s |", "|---|---:|---:|"]
    for name, one in found["first score"].items():
        rows.append(f"| {name} | {_spread(one, '{:.2f}')} | {_spread(found['cpu'][name], '{:.2f}')} |")
    weight = found["weight"]
    parts = ", ".join(f"{name} {size / 2**20:,.0f}" for name, size in found["heaviest"].items())
    return "\n".join(rows) + (
        f"\n\n`monitor run` imports for {_spread(found['import'], '{:.2f}')} s. The environment of a serving pod has "
        f"{weight['monitor, serving'] / 2**20:,.0f} MiB without Python and pip ({parts}), that of the peers "
        f"{weight['peers'] / 2**20:,.0f} MiB."
    )


def _profile(found: Figures) -> str:
    rows = ["| stage | its own metrics | sampling profiler |", "|---|---:|---:|"]
    rows += [f"| {name} | {share:.1%} | {found['profiler'][name]:.1%} |" for name, share in found["metrics"].items()]
    top = ", ".join(f"`{name}` {share:.1%}" for name, share in found["top"])
    return "\n".join(rows) + (
        f"\n\nShares of {found['seconds']:.0f} s of a backlog, {found['samples']:,} samples; the largest difference of "
        f"a share is {found['difference']:.1%}. What ran most often: {top}."
    )


def _forward(found: Figures) -> str:
    rows = ["| batch | ONNX Runtime, windows/s | torch, windows/s | GFLOP/s of ONNX Runtime |", "|---:|---:|---:|---:|"]
    for size, one in found["onnx"].items():
        done = one["median"] * found["operations"] / 1e9
        rows.append(f"| {size} | {_spread(one, '{:,.0f}')} | {_spread(found['torch'][size], '{:,.0f}')} | {done:.1f} |")
    return "\n".join(rows) + (
        f"\n\nA window is {found['operations']:,} operations. This core: "
        f"{found['flops']['median'] / 1e9:,.0f} GFLOP/s, "
        f"{found['bandwidth']['median'] / 1e9:,.1f} GB/s."
    )


def _machine(found: Mapping[str, Figures]) -> str:
    rows = ["| part | date | machine | load before, after | took | command |", "|---|---|---|---|---:|---|"]
    for name, one in found.items():
        place, (before, after) = one["machine"], one["load"]
        told = f"{place['cpu']}, {place['cores']} cores, {place['memory'] / 2**30:.0f} GiB"
        rows.append(
            f"| {name} | {one['date']} | {told} | {before}, {after} | {one['seconds']} s | `{one['command']}` |"
        )
    if not found:
        return MISSING
    last = max(found.values(), key=lambda one: str(one["date"]))["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in last["versions"].items())
    return "\n".join(rows) + f"\n\nPython {last['python']}, {versions}."


def _spread(one: Figures, form: str) -> str:
    """The median, and in brackets what the rounds were between."""
    told = form.format(one["median"])
    if one["rounds"] < 2:
        return told
    return f"{told} ({form.format(one['low'])}-{form.format(one['high'])})"
