"""The soak's own arithmetic and traffic, so that what it says of memory can be believed."""

from __future__ import annotations

from collections import defaultdict
from math import isnan
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from monitor import config
from monitor.batch import RawRecord
from monitor.config import Settings
from monitor.events import Decoder
from monitor.metrics import Metrics
from monitor.model import artefact
from tests.models import FEATURES, tiny_artefact
from tests.soak import traffic
from tests.soak.members import Sample
from tests.soak.report import MIB, failures, section, series_bound, slope, steady
from tests.status_example import busy


def life(slope: float, level: float, count: int = 40) -> list[Sample]:
    """A process whose memory grows by `slope` MiB per million events."""
    return [
        Sample(float(n), n * 10_000.0, round((level + slope * n / 100) * MIB), 300, 5.0, 1.0, 1.0, 1.0)
        for n in range(count)
    ]


def test_the_slope_is_that_of_the_processes_whatever_their_levels() -> None:
    """A later process that starts higher is no growth; one line through all would say so."""
    assert slope([life(3.0, 100), life(3.0, 400)]) == pytest.approx(3.0, abs=1e-3)
    assert slope([life(0.0, 100), life(0.0, 400)]) == pytest.approx(0.0, abs=1e-9)
    assert isnan(slope([life(3.0, 100, count=5)]))


def test_what_a_process_fills_at_its_start_is_no_growth() -> None:
    filling = [Sample(float(n), n * 10_000.0, min(n, 12) * 10 * MIB, 300, 5.0, 1.0, 1.0, 1.0) for n in range(60)]
    assert slope([filling]) > 100
    assert slope([steady(filling)]) == 0


RESULTS = {
    "events": 10, "seconds": 1, "members": 2, "restarts": {"SIGKILL": 1}, "slope_mib_per_million_events": 0.1,
    "largest_mib": 100.0, "largest_series": 300, "series_bound": 337, "largest_streams": 9, "forgotten_idle": 1,
    "forgotten_capacity": 1, "alerts": 1, "slowest_stop": 1.0, "bad_exits": [],
    "processes": [
        {"member": 0, "ended_by": "SIGKILL", "seconds": 1, "events": 10.0, "first_mib": 1.0, "last_mib": 1.0,
         "largest_mib": 1.0, "slope": float("nan"), "samples": 0}
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("slope_mib_per_million_events", 2.1),
        ("slope_mib_per_million_events", float("nan")),
        ("largest_series", 338),
        ("bad_exits", [1]),
        ("forgotten_idle", 0),
        ("forgotten_capacity", 0),
        ("alerts", 0),
    ],
)
def test_a_soak_that_shows_growth_or_nothing_fails(name: str, value: object) -> None:
    assert failures(RESULTS, 2.0) == []
    assert len(failures(RESULTS | {name: value}, 2.0)) == 1


def test_the_section_tells_the_numbers() -> None:
    text = section(RESULTS)
    assert "+0.10 MiB per million events" in text
    assert "| 0 | SIGKILL | 1 | 10 | 1.0 | 1.0 | - |" in text


def test_streams_live_as_long_as_they_should_and_all_kinds_of_records_are_sent() -> None:
    begin = 1_700_000_000.0
    decoder = Decoder(FEATURES, config.Events())
    seen: dict[str, list[float]] = defaultdict(list)
    rejects = 0
    for number, sent in enumerate(traffic.ticks(begin, 120, seed=3)):
        assert len(sent) == traffic.EVENTS_PER_TICK
        records = [RawRecord("t", one.partition, number, one.timestamp, one.key, one.value) for one in sent]
        decoded = decoder.decode(records)
        rejects += len(decoded.rejects)
        for stream, time in zip(decoded.batch.stream, decoded.batch.time.tolist(), strict=True):
            seen[stream].append(time)
    whole = [times for times in seen.values() if begin + 10 < times[0] and times[-1] < begin + 110]
    assert rejects > 0
    assert max(times[-1] - times[0] for times in whole) <= traffic.LIFE  # one more where the first is told late
    assert any(len(set(times)) < len(times) for times in whole)
    assert len(seen) > 3 * traffic.EVENTS_PER_TICK


def test_a_member_with_every_stream_and_partition_has_as_many_series_as_the_bound_says(tmp_path: Path) -> None:
    settings = Settings.model_validate({"web": {"worst_streams": 2}})
    manifest = artefact.load(tiny_artefact(tmp_path / "model")).manifest
    registry = CollectorRegistry()
    metrics = Metrics(registry, manifest, settings)
    bound = series_bound(settings, manifest, partitions=3)
    before = len([line for line in generate_latest(registry).decode().splitlines() if line[:1] != "#"])
    status = busy()
    metrics.refresh(status)
    after = len([line for line in generate_latest(registry).decode().splitlines() if line[:1] != "#"])
    assert before < after <= series_bound(settings, manifest, partitions=len(status.partitions))
    assert bound - before >= 3
