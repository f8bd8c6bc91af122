"""From settings and a detector to a pipeline: the artefact's values stand in for what the settings leave open."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from monitor import config
from monitor.alerts import identity
from monitor.detector import Detector
from monitor.errors import ConfigError
from monitor.events import Decoder
from monitor.incidents import Incidents, Origin
from monitor.pipeline import Pipeline
from monitor.windows import WindowStore

_SHORTEST_IDLE = 3600.0


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
    return Pipeline(
        Decoder(manifest.feature_names, settings.events),
        WindowStore(
            manifest.architecture.window,
            np.array([feature.mean for feature in manifest.features], np.float32),
            settings.windows,
            manifest.training.interval,
            max_gap,
            idle_timeout,
        ),
        detector,
        Incidents(
            settings.incidents,
            manifest.feature_names,
            threshold,
            Origin(settings.topics.input.name, manifest.digest, settings.digest()),
        ),
        threshold,
        identity(*manifest.feature_names),
        settings.recovery.max_replay,
        clock,
    )


def _given(setting: float | None, otherwise: float) -> float:
    return otherwise if setting is None else setting
