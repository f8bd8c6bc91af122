"""From settings and a detector to a pipeline: the artefact's values stand in for what the settings leave open."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

import numpy as np

from monitor import config
from monitor.adaptation import Adaptation, Pace
from monitor.alerts import identity
from monitor.batch import Float64
from monitor.detector import Detector
from monitor.errors import ConfigError
from monitor.events import Decoder
from monitor.gates import Gates, fitting
from monitor.incidents import Incidents
from monitor.levels import Levels, Prior
from monitor.model.manifest import Manifest, timed
from monitor.outputs import Outputs
from monitor.pipeline import Pipeline
from monitor.quality import MARGIN, Known, Quality, limits
from monitor.telling import Meaning, Origin
from monitor.windows import WindowStore

_SHORTEST_IDLE = 3600.0
_PRIOR_WINDOWS = 10.0
"""Of a stream that weigh as much as the fleet's calibration, where training had one stream."""


def assemble(settings: config.Settings, detector: Detector, clock: Callable[[], float] = lambda: 0.0) -> Pipeline:
    """The same pipeline for the service, for `replay` and for tests; `clock` only times the stages."""
    manifest = detector.manifest
    max_gap = _given(settings.windows.max_gap, manifest.training.max_gap)
    idle_timeout = _given(settings.windows.idle_timeout, max(_SHORTEST_IDLE, 10 * max_gap))
    if idle_timeout <= max_gap:
        raise ConfigError(
            f"windows.idle_timeout ({idle_timeout:g} s) must exceed windows.max_gap ({max_gap:g} s)",
            "Otherwise a stream is forgotten before its window may be emptied.",
        )
    threshold = _given(settings.model.threshold, manifest.calibration.threshold)
    window, interval = manifest.architecture.window, manifest.training.interval
    still = settings.quality.stuck_after
    if still is not None and still > window:
        raise ConfigError(
            f"quality.stuck_after ({still}) must not exceed the model's window ({window} events)",
            "What is told must follow from one window: only those come back after a restart.",
        )
    _check_outputs(settings)
    _check(settings.gates, manifest.feature_names, {f.name for f in manifest.features if f.categories})
    gates = Gates(settings.gates, manifest.feature_names, after=window * interval)
    origin = Origin(settings.topics.input.name, manifest.digest, settings.digest())
    outputs = Outputs(settings.outputs, manifest.feature_names, manifest.values, threshold, origin)
    features = [
        Known(feature.name, feature.minimum, feature.maximum, number=not feature.categories, still=feature.still)
        for feature in manifest.features
    ]
    prior = _prior(settings.adaptation, manifest, gates) if settings.adaptation.enabled else None
    levels = Levels(prior)
    incidents = Incidents(
        settings.incidents,
        manifest.feature_names,
        threshold,
        origin,
        [feature.unit for feature in manifest.features],
        clean_after=-(-window // settings.windows.stride),
        max_gap=max_gap,
        categories=manifest.values,
        levels=levels,
        meanings={
            feature.name: Meaning(feature.meaning, feature.mean)
            for feature in manifest.features
            if feature.meaning and not feature.categories
        },
    )
    adaptation = None
    if prior is not None:
        pace = Pace(window, interval, settings.windows.stride)
        bounds = _bounds(manifest, gates)
        every = settings.incidents.update_every
        adaptation = Adaptation(settings.adaptation, prior, levels, incidents, pace, threshold, *bounds, every)
    return Pipeline(
        Decoder(manifest.feature_names, settings.events, manifest.codes),
        WindowStore(
            window,
            np.array([feature.mean for feature in manifest.features], np.float32),
            settings.windows,
            interval,
            max_gap,
            idle_timeout,
            limits(settings.quality, interval),
            timed=timed(manifest.features),
        ),
        detector,
        gates,
        Quality(settings.quality, features, window, interval, gates.lowest, gates.highest),
        incidents,
        threshold,
        identity(*manifest.layout),
        settings.recovery.max_replay,
        clock,
        outputs if settings.outputs.topics else None,
        levels,
        adaptation,
    )


def _prior(rules: config.Adaptation, manifest: Manifest, gates: Gates) -> Prior:
    """What levels are measured against. Raises ConfigError where the artefact does not say it."""
    typical = manifest.calibration.typical
    if typical is None:
        raise ConfigError(
            "adaptation.enabled: the artefact does not say what its features' errors usually are",
            "It is of an earlier version: train it again, or leave adaptation off.",
        )
    windows = rules.prior_windows or typical.prior_windows or _PRIOR_WINDOWS
    log_error = np.array(typical.log_error, np.float64)
    spread = float(np.sqrt(typical.within))
    return Prior(log_error, windows, rules.limit, spread, gates.counts, manifest.scoring.over_features == "max")


def _bounds(manifest: Manifest, gates: Gates) -> tuple[Float64, Float64]:
    """(F,) each: outside of them values are out of the training range, or not valid; of a category nothing is."""
    low = np.array([-np.inf if feature.categories else feature.minimum for feature in manifest.features])
    high = np.array([np.inf if feature.categories else feature.maximum for feature in manifest.features])
    margin = np.array([0 if f.categories else MARGIN * (f.maximum - f.minimum) for f in manifest.features])
    return np.maximum(low - margin, gates.lowest), np.minimum(high + margin, gates.highest)


def _check_outputs(settings: config.Settings) -> None:
    """Raises ConfigError for an output on a topic that is for something else."""
    topics = settings.topics
    taken = {spec.name for spec in (topics.input, topics.alerts, topics.dead_letters, topics.state)}
    for output, spec in settings.outputs.topics.items():
        if spec.name in taken:
            raise ConfigError(
                f"outputs.{output} must be a topic of its own, not {spec.name}", "It is one of topics.* already."
            )


def _check(gates: config.Gates, features: Sequence[str], categories: Set[str]) -> None:
    """Raises ConfigError for a gate that this model cannot have."""
    for name, patterns in gates:
        for pattern in patterns if name != "maintenance" else ():
            if not fitting(pattern, features):
                known = ", ".join(features[:10]) + (", ..." if len(features) > 10 else "")
                raise ConfigError(f"gates.{name}: {pattern!r} is none of the model's features", f"They are {known}.")
            measured = {features[f] for f in fitting(pattern, features)} & categories if name != "ignore" else set()
            if measured:
                raise ConfigError(
                    f"gates.{name}: {pattern!r} means {', '.join(sorted(measured))}, a category",
                    "Only a number has a range, a direction and a deviation; gates.ignore is for categories too.",
                )
    if len({f for pattern in gates.ignore for f in fitting(pattern, features)}) == len(features):
        raise ConfigError("gates.ignore leaves no feature", "Something must be left that can be anomalous.")


def _given(setting: float | None, otherwise: float) -> float:
    return otherwise if setting is None else setting
