"""Records -> Outcome: how the records are cut into calls and how partitions interleave changes nothing."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from itertools import count, pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import config, detector
from monitor.assembly import assemble
from monitor.batch import Counts, Float32, Outcome, RawRecord, Reason, Scores
from monitor.detector import Detector
from monitor.errors import ConfigError
from monitor.model.manifest import Manifest
from monitor.pipeline import Pipeline
from tests import models, status_example

WINDOW = 3
FEATURES = status_example.NAMES[:2]
START = 1_700_000_000.0


class Last:
    """The error is the mean square of a window's last event: a detector that can be checked by eye."""

    def __init__(self) -> None:
        card = status_example.manifest()
        architecture = card.architecture.model_copy(update={"features": 2, "window": WINDOW})
        calibration = card.calibration.model_copy(update={"threshold": 1.0})
        self._manifest = card.model_copy(
            update={"features": card.features[:2], "architecture": architecture, "calibration": calibration}
        )

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    def score(self, windows: Float32) -> Scores:
        last = windows[:, -1]  # (W, F)
        squared = np.minimum(last * last, np.float32(1e30))
        return Scores((squared[:, 0] + squared[:, 1]) / np.float32(2), squared, np.zeros_like(last), last)

    def warm(self) -> None:
        """Nothing to warm."""


CARELESS = {"stuck": False, "unit_jump": False, "gap": False, "clock_ahead": None, "rate_factor": None}
"""No check of the data: what these feeds do to their clocks is not what most tests are about."""


def pipeline(scoring: Detector | None = None, /, **sections: dict[str, Any]) -> Pipeline:
    incidents = {"open_after": 2, "open_window": 3, "close_after": 2, "update_every": 5}
    given_sections = {"incidents": incidents, "windows": {"max_gap": 30, "idle_timeout": 60}} | sections
    given_sections = {"quality": CARELESS} | given_sections
    return assemble(config.Settings.model_validate(given_sections), scoring or Last())


def record(partition: int, offset: int, stream: str, time: float, values: Sequence[float]) -> RawRecord:
    features = dict(zip(FEATURES, values, strict=True))
    value = json.dumps({"stream": stream, "time": time, "features": features}).encode()
    return RawRecord("events", partition, offset, int(time * 1000), stream.encode(), value)


def calls(line: Pipeline, records: Sequence[RawRecord], cuts: Sequence[int] = ()) -> list[Outcome]:
    edges = sorted({0, len(records), *(cut % (len(records) + 1) for cut in cuts)})
    return [line.process(records[start:stop]) for start, stop in pairwise(edges)]


def by_partition(outcomes: Sequence[Outcome]) -> dict[int, list[bytes]]:
    """The bytes of the alerts, and what is said of the rejects, in their order."""
    told: defaultdict[int, list[bytes]] = defaultdict(list)
    for outcome in outcomes:
        for alert, arrival in zip(outcome.alerts, outcome.alert_arrival, strict=True):
            told[alert.evidence.partition].append(alert.to_bytes() + repr(arrival).encode())
        for reject in outcome.rejects:
            told[100 + reject.record.partition].append(f"{reject.record.offset} {reject.detail}".encode())
    return dict(told)


def totals(outcomes: Sequence[Outcome]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for outcome in outcomes:
        total.update(asdict(outcome.counts))
    return {name: value for name, value in total.items() if name != "moved"}  # that one is about two partitions


@st.composite
def feeds(draw: st.DrawFn) -> list[list[RawRecord]]:
    """The records of some partitions, each in offset order: calm, troubled, silent, late, doubled and broken ones."""
    kind = st.sampled_from(["calm", "calm", "bad", "bad", "bad", "worse", "late", "again", "gap", "idle", "junk"])
    partitions = []
    for partition in range(draw(st.integers(1, 3))):
        now = START
        records: list[RawRecord] = []
        runs = draw(st.lists(st.tuples(kind, st.sampled_from("xxyz"), st.integers(1, 4)), max_size=30))
        for what, stream in ((what, stream) for what, stream, times in runs for _ in range(times)):
            now += {"gap": 31, "idle": 100, "again": 0}.get(what, 1)
            offset = len(records)
            if what == "junk":
                records.append(RawRecord("events", partition, offset, int(now * 1000), None, b"junk"))
                continue
            level = {"calm": 0.5, "bad": 1.2, "worse": 2.0 + offset / 7}.get(what, 0.5)
            time = now - 3 if what == "late" else now
            records.append(record(partition, offset, stream, time, (level, level / 2 + 0.4)))
        partitions.append(records)
    return partitions


def interleaved(partitions: Sequence[Sequence[RawRecord]], order: Sequence[int]) -> list[RawRecord]:
    """One list of all records; `order` picks the next partition, the order within each partition is kept."""
    waiting = [list(reversed(records)) for records in partitions]
    merged = []
    for pick in order:
        nonempty = [records for records in waiting if records]
        if nonempty:
            merged.append(nonempty[pick % len(nonempty)].pop())
    for records in waiting:
        merged.extend(reversed(records))
    return merged


@settings(max_examples=200, deadline=None)
@given(
    feeds(),
    st.lists(st.integers(0, 2), max_size=180),
    st.lists(st.integers(0, 200), max_size=8),
    st.sampled_from([2, 3, 1000]),
)
def test_no_cut_and_no_interleaving_changes_an_alert(
    partitions: list[list[RawRecord]], order: list[int], cuts: list[int], cap: int
) -> None:
    windows = {"max_gap": 30, "idle_timeout": 60, "max_streams": cap}
    apart = [outcome for records in partitions for outcome in calls(pipeline(windows=windows), records)]
    together = calls(pipeline(windows=windows), interleaved(partitions, order), cuts)
    one_by_one = calls(pipeline(windows=windows), interleaved(partitions, order), range(200))
    assert by_partition(together) == by_partition(one_by_one) == by_partition(apart)
    assert totals(together) == totals(one_by_one) == totals(apart)


RUNTIMES: tuple[Literal["onnx", "torch"], ...] = ("onnx", "torch")


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.tiny_artefact(tmp_path_factory.mktemp("artefact"), FEATURES)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_no_cut_and_no_interleaving_changes_an_alert_of_a_real_model(
    artefact: Path, runtime: Literal["onnx", "torch"]
) -> None:
    model = detector.load(artefact, config.Model(path=artefact, runtime=runtime))
    luck = np.random.default_rng(5)
    partitions = []
    for partition in range(2):
        streams = {name: models.waves(120, 2, seed) for seed, name in enumerate("xyz", 10 * partition)}
        for values in streams.values():
            values[60:80, 1] += 4
            values[100, 0] = 3.4e38
        partitions.append(
            [
                record(partition, 3 * i + n, name, START + i, streams[name][i].tolist())
                for i in range(120)
                for n, name in enumerate("xyz")
            ]
        )
    whole = [outcome for records in partitions for outcome in calls(pipeline(model), records)]
    assert sum(len(outcome.alerts) for outcome in whole) >= 12  # each stream has an incident to open and to close
    for _ in range(3):
        mixed = interleaved(partitions, luck.integers(0, 2, 720).tolist())
        parts = calls(pipeline(model), mixed, luck.integers(0, 720, 12).tolist())
        assert by_partition(parts) == by_partition(whole)
        assert totals(parts) == totals(whole)


def episode(stream: str, partition: int = 0, begin: float = START) -> list[RawRecord]:
    """Calm, then trouble, then calm: one incident."""
    levels = [0.5] * 5 + [2.0] * 4 + [0.5] * 4
    return [record(partition, i, stream, begin + i, (level, level)) for i, level in enumerate(levels)]


def test_an_episode_is_one_incident_with_its_evidence() -> None:
    (outcome,) = calls(pipeline(), episode("s"))
    opened, closed = outcome.alerts
    assert (opened.status, closed.status) == ("opened", "closed")
    assert (opened.evidence.first_offset, opened.evidence.last_offset, closed.evidence.last_offset) == (5, 6, 10)
    assert (opened.score, opened.error, opened.threshold) == (4.0, 4.0, 1.0)
    assert [(part.observed, part.expected, part.contribution) for part in opened.features] == [(2.0, 0.0, 0.5)] * 2
    assert outcome.alert_arrival == [START + 6, START + 10]
    assert outcome.error.tolist() == outcome.score.tolist() == [0.25] * 3 + [4.0] * 4 + [0.25] * 4


def test_rejects_never_stop_the_others() -> None:
    records = [
        piece
        for i, good in enumerate(episode("s"))
        for piece in (good, RawRecord("events", 0, 1000 + i, 0, None, [None, b"", b"junk"][i % 3]))
    ]
    (outcome,) = calls(pipeline(), records)
    (alone,) = calls(pipeline(), episode("s"))
    assert outcome.alerts == alone.alerts
    assert outcome.counts == Counts(records=26, events=13, windows=11, started=1)
    reasons = Counter(reject.reason for reject in outcome.rejects)
    assert reasons == {Reason.TOMBSTONE: 5, Reason.EMPTY: 4, Reason.NOT_JSON: 4}


def test_one_name_in_two_partitions_is_two_streams() -> None:
    both = [one for pair in zip(episode("s", 0), episode("s", 1), strict=True) for one in pair]
    (outcome,) = calls(pipeline(), both)
    assert outcome.counts.moved == 1
    told = [(alert.evidence.partition, alert.status) for alert in outcome.alerts]
    assert told == [(0, "opened"), (1, "opened"), (0, "closed"), (1, "closed")]
    assert len({alert.incident for alert in outcome.alerts}) == 2


def test_a_dropped_partition_starts_anew_and_the_others_go_on() -> None:
    line = pipeline()
    both = [one for pair in zip(episode("s", 0), episode("s", 1), strict=True) for one in pair]
    line.process(both[:14])
    line.drop(0)
    (outcome,) = calls(line, both[14:])
    assert [(alert.evidence.partition, alert.status) for alert in outcome.alerts] == [(1, "closed")]
    assert outcome.counts.started == 1


def test_the_stages_are_timed_by_the_clock_that_was_given() -> None:
    ticks = count()
    line = assemble(config.Settings(), Last(), lambda: float(next(ticks)))
    assert line.process(episode("s")).seconds == {"decode": 1, "window": 1, "score": 1, "incidents": 1}
    assert line.process([]).seconds == {"decode": 1}


def test_no_records_are_an_empty_outcome() -> None:
    (outcome,) = [pipeline().process([])]
    assert outcome.counts == Counts()
    assert (len(outcome.alerts), len(outcome.error), len(outcome.score)) == (0, 0, 0)


def test_the_latest_scores_are_kept_for_the_worst_streams() -> None:
    line = pipeline()
    for level, stream in enumerate("abcd", 1):
        calls(line, [record(0, 10 * level + i, stream, START + i, (level, level)) for i in range(WINDOW)])
    assert line.store.streams.worst(2) == ([("d", 16.0), ("c", 9.0)], 4.0)


def test_memory_is_bounded_however_many_streams_come_by() -> None:
    line = pipeline(windows={"max_gap": 30, "idle_timeout": 10_000, "max_streams": 50})
    records = [
        record(0, 4 * stream + i, f"s{stream}", START + stream + i / 10, (9, 9))
        for stream in range(1000)
        for i in range(4)
    ]
    outcomes = calls(line, records, range(0, 4000, 130))
    assert totals(outcomes)["evicted"] == 950
    assert len(line.store.streams) == len(line.incidents._loud) == 50
    assert line.store.streams.capacity < 150
    statuses = Counter((alert.status, alert.reason) for outcome in outcomes for alert in outcome.alerts)
    assert statuses == {("opened", None): 1000, ("closed", "evicted"): 950}


def test_the_settings_win_over_the_artefact() -> None:
    assert pipeline().threshold == 1.0
    assert pipeline(model={"threshold": 2.5}).threshold == 2.5


def test_a_stream_may_not_be_forgotten_before_its_gap() -> None:
    with pytest.raises(ConfigError, match=r"windows.idle_timeout \(30 s\) must exceed windows.max_gap \(30 s\)"):
        pipeline(windows={"max_gap": 30, "idle_timeout": 30})
