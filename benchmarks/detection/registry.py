"""The benchmarks by name: what loads the data, what runs a method on them, what else stands in the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from benchmarks.detection import batadal, data, nab, nsl_kdd, skab, smd
from benchmarks.detection.baselines import Rule
from benchmarks.detection.method import Figures, Goal, Method, Published
from benchmarks.detection.methods import Entry, entries
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
    goals: tuple[Goal, ...] = ()
    shown: tuple[str, ...] = ()
    """Figures that stand on the page; all where none are named."""
    univariate: bool = False

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The methods that are measured by it."""
        return entries(self.rule, univariate=self.univariate)


def _on(load: Callable[[Path], Data], run: Callable[[Data, Method, int], Figures]) -> Callable[[Path], Runner]:
    return lambda folder: partial(run, load(folder))


BENCHMARKS = {
    "skab": Benchmark(
        "SKAB, causal",
        _on(data.skab, skab.run),
        skab.RULE,
        skab.PUBLISHED,
        (Goal("J", 0.58), Goal("AUC", 0.85), Goal("FAR", 0.20, most=True)),
        ("F1", "FAR", "MAR", "J", "AUC", "MAR @ 5%", "found @ 5%", "delay @ 5%"),
    ),
    "smd-tsb": Benchmark(
        "SMD, TSB-AD-M", _on(data.smd, smd.run_tsb), smd.RULE, smd.PUBLISHED_TSB, (Goal("VUS-PR", 0.65),)
    ),
    "smd": Benchmark(
        "SMD, train file", _on(data.smd, smd.run_train), smd.RULE, goals=(Goal("AP", 0.65), Goal("F1", 0.50))
    ),
    "nsl-kdd": Benchmark(
        "NSL-KDD, one class",
        _on(data.nsl_kdd, nsl_kdd.run),
        nsl_kdd.RULE,
        nsl_kdd.PUBLISHED,
        (Goal("ROC-AUC", 0.97), Goal("F1 @ q95", 0.90), Goal("FPR @ q95", 0.05, most=True)),
        ("ROC-AUC", "AP", "F1", "FPR", "F1 @ q95", "FPR @ q95", "F1 @ q99", "FPR @ q99"),
    ),
    "batadal": Benchmark(
        "BATADAL dataset04",
        _on(data.batadal, batadal.run),
        batadal.RULE,
        batadal.PUBLISHED,
        (Goal("F1", 0.78), Goal("S", 0.90), Goal("found", 7)),
        ("F1", "S", "found", "precision", "recall", "FAR", "AP", "ROC-AUC"),
    ),
    "nab": Benchmark(
        "NAB", _on(data.nab, nab.run), nab.RULE, nab.PUBLISHED, (Goal("standard", 51.7),), univariate=True
    ),
}


def named(names: Sequence[str]) -> list[Benchmark]:
    """Raises `UsageError` for a name there is not."""
    for name in names:
        if name not in BENCHMARKS:
            raise UsageError(f"no benchmark {name!r}", f"There are {', '.join(BENCHMARKS)}.")
    return [BENCHMARKS[name] for name in names]
