"""The benchmarks by name: what loads the data, what runs a method on them, what else stands in the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from benchmarks.detection import batadal, data, nab, nsl_kdd, skab, smd
from benchmarks.detection.baselines import Rule
from benchmarks.detection.method import Figures, Method, Published
from monitor.errors import UsageError

Data = TypeVar("Data")
Runner = Callable[[Method, int], Figures]
"""A method and a seed -> the figures of the benchmark."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    title: str
    load: Callable[[Path], Runner]  # from the folder of all data sets
    rule: Rule  # threshold of the baselines
    published: tuple[Published, ...] = ()


def _on(load: Callable[[Path], Data], run: Callable[[Data, Method, int], Figures]) -> Callable[[Path], Runner]:
    return lambda folder: partial(run, load(folder))


BENCHMARKS = {
    "skab": Benchmark("SKAB, causal", _on(data.skab, skab.run), skab.RULE, skab.PUBLISHED),
    "smd-tsb": Benchmark("SMD, TSB-AD-M", _on(data.smd, smd.run_tsb), smd.RULE, smd.PUBLISHED_TSB),
    "smd": Benchmark("SMD, train file", _on(data.smd, smd.run_train), smd.RULE),
    "nab": Benchmark("NAB", _on(data.nab, nab.run), nab.RULE, nab.PUBLISHED),
    "batadal": Benchmark("BATADAL dataset04", _on(data.batadal, batadal.run), batadal.RULE, batadal.PUBLISHED),
    "nsl-kdd": Benchmark("NSL-KDD, one class", _on(data.nsl_kdd, nsl_kdd.run), nsl_kdd.RULE, nsl_kdd.PUBLISHED),
}


def named(names: Sequence[str]) -> list[Benchmark]:
    """Raises `UsageError` for a name there is not."""
    for name in names:
        if name not in BENCHMARKS:
            raise UsageError(f"no benchmark {name!r}", f"There are {', '.join(BENCHMARKS)}.")
    return [BENCHMARKS[name] for name in names]
