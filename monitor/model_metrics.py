"""Metric families of what is served: the model, how old its knowledge is, which features explain, this process."""

from __future__ import annotations

from collections.abc import Callable

from monitor import __version__
from monitor.alerts import Alert
from monitor.collectors import Families
from monitor.model.manifest import Manifest

FEATURES = 200  # features with a counter of their own; the others are folded into OTHER
OTHER = "_other"
_FIRST_DATE = 946_684_800.0  # s, the year 2000: a file without times counts its rows from 0


class ModelMetrics:
    """`clean` makes a name a label value."""

    def __init__(self, families: Families, manifest: Manifest, runtime: str, clean: Callable[[str], str]) -> None:
        self._clean = clean
        self._features = dict.fromkeys(map(clean, manifest.feature_names[:FEATURES]))
        self._explained = families.counter(
            "incident_features",
            "Anomaly incidents by the feature that explained most when they opened; "
            f'feature="{OTHER}": of all beyond {FEATURES}.',
            feature=tuple(dict.fromkeys((*self._features, OTHER))),
        )
        families.info(
            "model",
            "The model being served; the digest's first 12 hex digits.",
            digest=manifest.digest[:12],
            network=manifest.architecture.network,
            runtime=runtime,
        )
        self._loaded = families.snapshot(
            "model_last_successful_load_timestamp_seconds", "When the model was loaded, seconds since the Unix epoch."
        )
        trained_to = families.snapshot(
            "model_trained_to_timestamp_seconds",
            "Newest event time the model learned from, seconds since the Unix epoch; absent where there were none.",
        )
        if manifest.training.last_time >= _FIRST_DATE:
            trained_to.replace({(): manifest.training.last_time})
        self._memory_limit = families.snapshot(
            "memory_limit_bytes", "Memory limit of the process's control group; absent where there is none."
        )
        families.info("build", "Version of this program.", version=__version__)

    def explained(self, alert: Alert) -> None:
        """Counts the feature that explains most of an anomaly that opened; other alerts are not counted."""
        if alert.kind == "anomaly" and alert.status == "opened" and alert.features:
            top = self._clean(alert.features[0].name)
            self._explained.labels(top if top in self._features else OTHER).inc()

    def loaded(self, at: float) -> None:
        """A model is served from now on; `at` in s since the Unix epoch."""
        self._loaded.replace({(): at})

    def memory_limited(self, limit: int | None) -> None:
        """The process may use so many bytes; None for no limit."""
        self._memory_limit.replace({} if limit is None else {(): limit})
