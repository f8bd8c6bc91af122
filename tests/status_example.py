"""A model card and a status as a running service has them, for the tests of what shows them."""

from __future__ import annotations

from dataclasses import replace

from monitor.model.architecture import Architecture
from monitor.model.manifest import Calibration, Feature, Manifest, Scoring, TrainingRecord
from monitor.status import OpenIncident, PartitionStatus, SeenReject, Status, StreamScore, WarmingStream

NOW = 1_712_345_678.0
NAMES = ("temperature", "vibration", "pressure", "flow", "current", "speed")


def manifest(budget: float | None = 1.0, quantile: float = 0.999, windows_per_day: float = 1440.0) -> Manifest:
    features = [
        Feature(name=name, unit="", mean=20.0 + i, scale=2.0, minimum=10.0, maximum=30.0)
        for i, name in enumerate(NAMES)
    ]
    return Manifest(
        architecture=Architecture(network="lstm", channels=len(features), window=32, hidden=(64,), code=16),
        features=tuple(features),
        scoring=Scoring(spans=("window",), units=((0.2,) * len(features),)),
        calibration=Calibration(
            method="quantile" if budget is None else "incidents",
            expected=None if budget is None else (budget / 2, budget, budget * 2),
            threshold=0.874,
            quantile=quantile,
            alerts_per_stream_per_day=budget,
            windows=5120,
            windows_per_stream_per_day=windows_per_day,
        ),
        training=TrainingRecord(
            rows=20480,
            streams=4,
            fit_windows=12160,
            validation_windows=3040,
            first_time=1_704_067_200.0,
            last_time=1_706_659_200.0,
            interval=60.0,
            max_gap=600.0,
            optimiser="adam",
            learning_rate=1e-3,
            epochs=24,
            best_epoch=19,
            seed=0,
            device="cpu",
            source="pumps/2024-01-*.parquet",
        ),
        metrics={"validation_error": 0.21},
        libraries={"torch": "2.13.0"},
        files={"weights.safetensors": "00" * 32, "model.onnx": "11" * 32},
    )


def starting() -> Status:
    """Before the group has dealt out its partitions."""
    return Status(
        state="running",
        not_ready=("No partitions are assigned to this member yet.",),
        started_at=NOW - 2,
        now=NOW,
        model=manifest(),
        settings_digest="ab12cd34ef56" + "0" * 52,
        threshold=0.874,
        group="pumps",
        topics=("events", "alerts", "events.dead", "events.state"),
    )


def busy() -> Status:
    """A service under way: incidents, rejects, streams of every kind."""
    worst = [7.31, 2.62, 1.58, 1.08, 0.93, 0.88, 0.81, 0.66, 0.52, 0.47, 0.41, 0.38]
    names = ("plant-2/pump-7", "plant-1/pump-3", "plant-4/compressor-12/stage-2")
    return Status(
        state="running",
        not_ready=(),
        started_at=NOW - 187_342,
        now=NOW,
        model=manifest(),
        settings_digest="ab12cd34ef56" + "0" * 52,
        threshold=0.874,
        group="pumps",
        topics=("events", "alerts", "events.dead", "events.state"),
        partitions=tuple(
            PartitionStatus(i, 18_204_113 + 7919 * i, None if i == 5 else 18_204_113 + 7919 * i + lag, 171 + i, i % 3)
            for i, lag in enumerate((0, 12, 3, 840, 0, 0))
        ),
        events_per_second=4183.2,
        events=109_331_207,
        alerts=412,
        rejects=1287,
        open_incidents=(
            OpenIncident(names[0], 3, "anomaly", "critical", NOW - 421, 9.86),
            OpenIncident(names[1], 0, "anomaly", "major", NOW - 1860, 3.02),
            OpenIncident(names[2], 1, "unit_jump", "warning", NOW - 95, 1.94),
        ),
        open_total=3,
        last_rejects=(
            SeenReject("missing_feature", "feature 'vibration' is missing", "events", 3, 18_227_801),
            SeenReject("not_json", "byte 17: expected a comma, found 'x'", "events", 0, 18_203_990),
            SeenReject("in_future", "time 1712345679123 is 54265 years ahead of the record", "events", 1, 18_211_002),
        ),
        worst=tuple(
            StreamScore(names[i] if i < 3 else f"plant-{i % 4 + 1}/{'pump' if i % 3 else 'fan'}-{i + 3}", score)
            for i, score in enumerate(worst)
        ),
        other_worst=0.37,
        warming=(WarmingStream("plant-3/pump-41", 27, 32), WarmingStream("plant-3/pump-42", 4, 32)),
    )


def recovering() -> Status:
    """The same, a minute after two partitions came from another member: one is stuck, one still being recovered."""
    status = busy()
    partitions = list(status.partitions)
    start = partitions[2].position - 480_000
    partitions[2] = replace(partitions[2], recovering_from=start, recovering_until=partitions[2].position + 120_000)
    partitions[3] = replace(partitions[3], stuck=True)
    progress = "recovering 1 of 6 partitions: 120,000 records to go, 85,000/s"
    return replace(status, partitions=tuple(partitions), recovery=progress)
