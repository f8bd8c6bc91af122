"""Whoever takes over a partition goes on to the byte as the one before would have, wherever that one stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import checkpoint, config, resume
from monitor.alerts import Alert
from monitor.assembly import assemble
from monitor.batch import Outcome, RawRecord
from monitor.checkpoint import Checkpoint
from monitor.incident_state import Loud, Maker, UnreadableStateError, from_bytes, to_bytes
from monitor.pipeline import Pipeline
from tests.test_pipeline import CARELESS, START, Last, episode, feeds, pipeline, record


class Log:
    """What the brokers keep of one partition: its records, its commit, and the changelog of its incident state."""

    def __init__(self, records: Sequence[RawRecord]) -> None:
        self.records = records
        self.commit = Checkpoint(0, 0)
        self.states: dict[str, bytes] = {}
        self.alerts: list[Alert] = []

    def publish(self, outcome: Outcome, *, quietly: bool = True) -> None:
        """`quietly`: a stream that is quiet is forgotten at once, as in a transaction."""
        self.alerts += outcome.alerts
        for (_, stream), change in outcome.states.items():
            if change.quiet and quietly:
                self.states.pop(stream, None)
            else:
                self.states[stream] = change.value

    def take_over(self, line: Pipeline) -> int:
        """Restores a new pipeline and lets it read again what it must; the offset from which it goes on."""
        place = checkpoint.decode(self.commit.offset, self.commit.encode())
        begin = line.restore(0, place, dict(self.states))
        line.process(self.records[begin : place.offset])
        return place.offset


def undisturbed(records: Sequence[RawRecord], windows: dict[str, Any]) -> list[bytes]:
    return [alert.to_bytes() for alert in pipeline(windows=windows).process(records).alerts]


WINDOWS = {"max_gap": 30, "idle_timeout": 60}


@settings(max_examples=250, deadline=None)
@given(
    feeds(),
    st.lists(st.integers(0, 120), max_size=6),
    st.integers(1, 25),
    st.sampled_from([2, 3, 1000]),
    st.integers(1, 3),
)
def test_no_takeover_changes_an_alert(
    partitions: list[list[RawRecord]], stops: list[int], batch: int, cap: int, stride: int
) -> None:
    windows = WINDOWS | {"max_streams": cap, "stride": stride}
    log = Log(partitions[0])
    line, at = pipeline(windows=windows), 0
    with mock.patch.object(resume, "_SPACING", 1), mock.patch.object(resume, "_LOOK_EVERY", 1):
        for stop in [*sorted(stop for stop in stops if stop < len(log.records)), len(log.records)]:
            while at < stop:
                end = min(stop, at + batch)
                log.publish(line.process(log.records[at:end]))
                log.commit = line.checkpoints({0: end})[0]
                assert log.commit.loud == len(log.states)
                at = end
            line = pipeline(windows=windows)
            at = log.take_over(line)
    assert [alert.to_bytes() for alert in log.alerts] == undisturbed(log.records, windows)


@settings(max_examples=250, deadline=None)
@given(feeds(), st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=12))
def test_at_least_once_a_repeat_is_the_same_message(
    partitions: list[list[RawRecord]], turns: list[tuple[int, bool]]
) -> None:
    """Alerts and state are published, then the process is killed before the offsets are committed."""
    log = Log(partitions[0])
    line, at, killed = pipeline(windows=WINDOWS), 0, 0
    with mock.patch.object(resume, "_SPACING", 1), mock.patch.object(resume, "_LOOK_EVERY", 1):
        for size, dies in [*turns, *[(30, False)] * 8]:
            end = min(len(log.records), at + size)
            log.publish(line.process(log.records[at:end]), quietly=False)
            if dies:
                killed += 1
                line = pipeline(windows=WINDOWS)
                at = log.take_over(line)
            else:
                log.commit = line.checkpoints({0: end}).get(0, log.commit)
                at = end
    once = {alert.id: alert.to_bytes() for alert in log.alerts}
    assert list(once.values()) == undisturbed(log.records, WINDOWS)
    assert {alert.to_bytes() for alert in log.alerts} == set(once.values())


def taken_over(line: Pipeline, after: int = 8) -> tuple[Outcome, Pipeline]:
    """An episode whose incident is open when `line` takes over; what it says first, before any new record."""
    log = Log(episode("s"))
    first = pipeline()
    log.publish(first.process(log.records[:after]))
    log.commit = first.checkpoints({0: after})[0]
    log.take_over(line)
    line.reach(0)
    return line.process([]), line


def other_model(names: Sequence[str] = ()) -> Last:
    """Another artefact than `Last`; of other features, where names are given."""
    changed = Last()
    features = (
        [
            feature.model_copy(update={"name": name})
            for feature, name in zip(changed.manifest.features, names, strict=True)
        ]
        if names
        else list(changed.manifest.features)
    )
    changed._manifest = changed.manifest.model_copy(update={"metrics": {}, "features": tuple(features)})
    return changed


def test_the_same_model_and_settings_go_on_without_a_word() -> None:
    outcome, line = taken_over(pipeline())
    assert outcome.alerts == []
    assert [incident[1] for incident in line.incidents.open()] == ["s"]
    assert [(r.partition, r.short, r.forgotten) for r in outcome.recovered] == [(0, 0, 0)]


def test_another_model_closes_what_is_open_with_its_own_digest_and_keeps_the_windows() -> None:
    first = pipeline().process(episode("s")[:8]).alerts[0]
    assert other_model().manifest.digest != Last().manifest.digest
    outcome, line = taken_over(pipeline(other_model()))
    (closed,) = outcome.alerts
    assert (closed.status, closed.reason, closed.incident) == ("closed", "model_changed", first.incident)
    assert closed.evidence.model == first.evidence.model
    assert (closed.severity, closed.score, closed.threshold) == (first.severity, first.score, first.threshold)
    assert outcome.states[0, "s"].quiet
    assert line.store.streams.live(0) == 1
    assert line.process(episode("s")[8:9]).counts.windows == 1


def test_other_settings_close_what_is_open() -> None:
    rules = {"open_after": 2, "open_window": 3, "close_after": 3, "update_every": 5}
    outcome, _ = taken_over(pipeline(incidents=rules))
    assert [(alert.status, alert.reason) for alert in outcome.alerts] == [("closed", "settings_changed")]


def test_other_features_begin_with_empty_windows_and_are_counted() -> None:
    outcome, line = taken_over(pipeline(other_model(["other", "names"])))
    assert [alert.reason for alert in outcome.alerts] == ["model_changed"]
    assert line.store.streams.live(0) == 0
    assert [recovered.short for recovered in outcome.recovered] == [1]


def test_a_stream_that_cannot_be_rebuilt_keeps_its_incident_and_warms_up() -> None:
    log = Log(episode("s"))
    first = assemble(config.Settings.model_validate({"recovery": {"max_replay": 0}, "quality": CARELESS}), Last())
    log.publish(first.process(log.records[:8]))
    log.commit = first.checkpoints({0: 8})[0]
    assert (log.commit.replay_from, log.commit.short) == (8, 1)
    second = assemble(config.Settings.model_validate({"recovery": {"max_replay": 0}, "quality": CARELESS}), Last())
    log.take_over(second)
    outcome = second.process(log.records[8:9])
    assert [recovered.short for recovered in outcome.recovered] == [1]
    assert outcome.counts.windows == 0
    assert second.store.streams.count[second.store.streams.slots(0)].tolist() == [1]
    assert second.process([record(0, 9, "s", START + 3, (0.5, 0.5))]).counts.late == 1


def test_state_that_belongs_to_no_commit_is_forgotten() -> None:
    line = pipeline()
    line.restore(0, Checkpoint(0, 0), {}, void=["ghost"])
    line.reach(0)
    outcome = line.process([])
    assert {key: change.quiet for key, change in outcome.states.items()} == {(0, "ghost"): True}
    assert not list(line.incidents.open())


def test_state_of_another_version_is_forgotten_and_counted() -> None:
    line = pipeline()
    line.restore(0, Checkpoint(0, 0, loud=3), {"a": b"\x90", "b": b"junk"})
    line.reach(0)
    outcome = line.process([])
    assert [recovered.forgotten for recovered in outcome.recovered] == [3]  # two are unreadable, one is not there
    assert all(change.quiet for change in outcome.states.values())


def test_nothing_is_committed_of_a_partition_that_is_still_being_read_again() -> None:
    line = pipeline()
    line.restore(0, Checkpoint(5, 0), {})
    line.process(episode("s")[:3])
    assert line.recovering == {0: 5}
    assert line.checkpoints({0: 3, 1: 7}).keys() == {1}


def test_records_that_are_read_again_count_as_nothing_else() -> None:
    line = pipeline()
    line.restore(0, Checkpoint(9, 0), {})
    outcome = line.process([*episode("s")[:8], RawRecord("events", 0, 8, 0, None, b"junk")])
    assert outcome.counts.replayed == 9
    assert (outcome.counts.records, outcome.counts.events, outcome.counts.windows, outcome.counts.started) == (0,) * 4
    assert (list(outcome.alerts), list(outcome.rejects)) == ([], [])


@pytest.mark.parametrize("value", [b"", b"\xc0", b"\x93\x01\xa1a\xa1b", b"{}", to_bytes(Loud(), Maker("", ""))[:-1]])
def test_bytes_that_are_no_state_are_told(value: bytes) -> None:
    with pytest.raises(UnreadableStateError):
        from_bytes(value)


BEFORE_LEVELS = bytes.fromhex(
    "9a01a16da16391930192cb41d954fc400000000c96cb4004000000000000cb3fb999999999999ac4080000c03f00002040c4080000c03f"
    "00002040c4080000c03f00002040cb41d954fc4000000004c0c0cbfff000000000000092cb41d954fc400000000c90"
)
"""The state of a suspicious stream, as it was written before anything was learned of streams."""


def test_state_that_was_written_before_levels_is_still_read() -> None:
    loud, maker, level = from_bytes(BEFORE_LEVELS)
    assert (maker, level) == (Maker("m", "c"), None)
    assert (loud.seen, loud.heard.offset, [seen for seen, *_ in loud.recent]) == (4, 12, [1])
    assert to_bytes(loud, maker)[1:-1] == BEFORE_LEVELS[1:]
