"""Feeds whose data are at fault in every way that is looked for, and a model and settings to find it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from monitor.batch import RawRecord
from tests.test_pipeline import FEATURES, START, Last

KINDS = ("calm", "bad", "worse", "still", "scaled", "holes", "invalid", "ahead", "slow", "gap", "idle", "late")
SKEW = 100.0  # s
_STEPS = {"slow": 5.0, "gap": 31.0, "idle": 100.0, "late": -3.0}


class Careful(Last):
    """Knows an event a second and values from 0.1 to 0.9 as normal."""

    def __init__(self, window: int = 3) -> None:
        super().__init__()
        card = self._manifest
        features = [
            feature.model_copy(update={"minimum": 0.1, "maximum": 0.9, "unit": "bar"}) for feature in card.features
        ]
        self._manifest = card.model_copy(
            update={
                "features": tuple(features),
                "architecture": card.architecture.model_copy(update={"window": window}),
                "training": card.training.model_copy(update={"interval": 1.0}),
            }
        )


def moment(after: float) -> str:
    """Seconds after the feeds' start, as the file has it."""
    return datetime.fromtimestamp(START + after, UTC).isoformat()


def sections(**changes: Any) -> dict[str, Any]:
    """Settings under which every check and every gate has something to do."""
    return {
        "events": {"missing": "impute"},
        "incidents": {"open_after": 2, "open_window": 3, "close_after": 2, "update_every": 5},
        "windows": {"max_gap": 30, "idle_timeout": 60},
        "quality": {
            "stuck_after": 3,
            "unit_jump": True,
            "clock_ahead": SKEW / 2,
            "clock_behind": SKEW / 2,
            "rate_factor": 2,
        },
        "gates": {
            "min_deviation": {FEATURES[0]: 1.66},
            "direction": {FEATURES[1]: "below"},
            "valid_range": {FEATURES[0]: [None, 4.9]},
            "maintenance": [{"from": moment(40), "to": moment(60), "streams": "[xs]*", "weekly": True}],
        },
    } | changes


def faulty(partition: int, runs: Sequence[tuple[str, str, int]]) -> list[RawRecord]:
    """Runs of (kind, stream, number of events); what a value is follows from its place."""
    made: list[RawRecord] = []
    now: dict[str, float] = {}
    clock = START
    for kind, stream, events in runs:
        clock = max(clock, now.get(stream, clock))
        if kind in ("gap", "idle"):
            clock += _STEPS[kind]
        now[stream] = max(clock, now.get(stream, START))
        for _ in range(events):
            offset = len(made)
            now[stream] += _STEPS["slow"] if kind == "slow" else 1.0
            time = now[stream] + (_STEPS["late"] if kind == "late" else 0.0)
            wave = 0.5 + 0.01 * (offset * 7 % 13)
            level = {
                "bad": 1.6 + wave / 10,
                "worse": 2 + offset / 20,
                "still": 0.5,
                "scaled": 1000 * wave,
                "invalid": 5.0,
            }
            values: list[float | None] = [level.get(kind, wave), 0.3 if kind == "still" else wave / 2 + 0.1]
            if kind == "holes":
                values[offset % 2] = None
            features = {name: value for name, value in zip(FEATURES, values, strict=True) if value is not None}
            value = json.dumps({"stream": stream, "time": time, "features": features}).encode()
            stamp = time - SKEW if kind == "ahead" else time
            made.append(RawRecord("events", partition, offset, int(stamp * 1000), stream.encode(), value))
    return made
