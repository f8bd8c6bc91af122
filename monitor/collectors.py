"""Families on a registry, declared for the reference too, and two kinds of metric that prometheus_client lacks.

These are a histogram fed by arrays, and a gauge that is replaced as a whole.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.metrics_core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class BulkHistogram(Collector):
    """A histogram that takes an array at once, with the meaning of `prometheus_client.Histogram` (`le` is inclusive).

    A value that is not finite counts in the +Inf bucket and is left out of the sum, which it would spoil for good.
    """

    def __init__(self, name: str, documentation: str, buckets: Sequence[float], registry: CollectorRegistry) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = np.asarray(buckets, np.float64)  # (K,) ascending, without +Inf
        self._labels = [_le(bound) for bound in (*buckets, math.inf)]
        self._counts = np.zeros(len(buckets) + 1, np.int64)  # (K + 1,) not cumulative
        self._sum = 0.0
        self._lock = Lock()
        registry.register(self)

    def observe(self, values: NDArray[np.floating]) -> None:
        """Count an array of any length at once."""
        if values.size == 0:
            return
        wide = values.astype(np.float64)
        bucket = np.searchsorted(self._bounds, wide, side="left")  # bounds[i - 1] < value <= bounds[i]
        counts = np.bincount(bucket, minlength=len(self._counts))
        total = float(np.sum(wide, where=np.isfinite(wide)))
        with self._lock:
            self._counts += counts
            self._sum += total

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            cumulative, total = np.cumsum(self._counts).tolist(), self._sum
        yield HistogramMetricFamily(
            self._name, self._documentation, buckets=list(zip(self._labels, cumulative, strict=True)), sum_value=total
        )


class SnapshotGauge(Collector):
    """A gauge whose label sets are replaced as a whole: what is not in the newest snapshot is not scraped."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = tuple(labels)
        self._values: Mapping[tuple[str, ...], float] = {}
        registry.register(self)

    def replace(self, values: Mapping[tuple[str, ...], float]) -> None:
        self._values = dict(values)  # one assignment: a scrape in another thread sees the old or the new

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        yield family


class Family(NamedTuple):
    """What the reference says of a family: the name as it is scraped, its type, its label names, its help."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


class Families:
    """Makes families under one prefix on one registry; `declared` has them in the order they were made."""

    def __init__(self, prefix: str, registry: CollectorRegistry) -> None:
        self.declared: list[Family] = []
        self._prefix = prefix
        self._registry = registry

    def counter(self, name: str, documentation: str, **labels: Sequence[str]) -> Counter:
        """A counter; every combination of its label values starts at 0, so that a rate sees the first one."""
        full = self._declare(f"{name}_total", "counter", documentation, labels).removesuffix("_total")
        counter = Counter(full, documentation, tuple(labels), registry=self._registry)
        if labels:
            for values in itertools.product(*labels.values()):
                counter.labels(*values)
        return counter

    def gauge(self, name: str, documentation: str) -> Gauge:
        return Gauge(self._declare(name, "gauge", documentation), documentation, registry=self._registry)

    def snapshot(self, name: str, documentation: str, *labels: str) -> SnapshotGauge:
        full = self._declare(name, "gauge", documentation, labels)
        return SnapshotGauge(full, documentation, labels, self._registry)

    def bulk(self, name: str, documentation: str, buckets: Sequence[float]) -> BulkHistogram:
        full = self._declare(name, "histogram", documentation)
        return BulkHistogram(full, documentation, buckets, self._registry)

    def histogram(self, name: str, documentation: str, buckets: Sequence[float], *labels: str) -> Histogram:
        full = self._declare(name, "histogram", documentation, labels)
        return Histogram(full, documentation, labels, buckets=buckets, registry=self._registry)

    def info(self, name: str, documentation: str, **values: str) -> None:
        full = self._declare(f"{name}_info", "gauge", documentation, values)
        Info(full.removesuffix("_info"), documentation, registry=self._registry).info(values)

    def _declare(self, name: str, kind: str, documentation: str, labels: Iterable[str] = ()) -> str:
        self.declared.append(Family(self._prefix + name, kind, tuple(labels), documentation))
        return self._prefix + name


def _le(bound: float) -> str:
    return "+Inf" if math.isinf(bound) else repr(float(bound))
