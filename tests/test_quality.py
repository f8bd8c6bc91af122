"""Faults of the data: each is found in windows that show it, and in none that do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import inf, nan
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import checkpoint, config, resume
from monitor.alerts import Alert
from monitor.batch import Float32, Float64, Timing, Windows
from monitor.errors import ConfigError
from monitor.incident_state import Finding, Incident, Loud, Maker, Peak, Point, Reading, Trouble, from_bytes, to_bytes
from monitor.quality import UNITS, Known, Quality, limits
from monitor.timing import streaks
from tests.faulty import KINDS, Careful, faulty, sections
from tests.test_pipeline import FEATURES, START, by_partition, calls, pipeline, record, totals
from tests.test_recovery import Log

T = 16
KNOWN = Known("flow", 10.0, 30.0, still=2)
ANY = np.full(1, -inf), np.full(1, inf)


def found(
    values: Sequence[float] | Float64 | Float32,
    known: Known = KNOWN,
    bounds: tuple[Float64, Float64] = ANY,
    missing: float | None = None,
    timing: Timing | None = None,
    **rules: Any,
) -> tuple[Finding, ...]:
    """What is found in one window of one feature."""
    window = np.array(values, np.float32).reshape(1, -1, 1)
    share = None if missing is None else np.full((1, 1), missing, np.float32)
    windows = Windows(window, np.zeros(1, np.int64), np.zeros(1, np.int64), share, timing)
    checks = Quality(config.Quality.model_validate({"unit_jump": True} | rules), [known], window.shape[1], 2.0, *bounds)
    return checks.check(windows, np.full((1, 1), 20, np.float32), np.array([START])).get(0, ())


def causes(findings: Sequence[Finding]) -> list[str]:
    return [f"{finding.cause}{' goes on' if finding.lasting else ''}" for finding in findings]


def wave(events: int = T, noise: float = 0.02, seed: int = 1) -> Float64:
    """In the training range, and never the same twice."""
    luck = np.random.default_rng(seed)
    made: Float64 = 20 + 5 * np.sin(np.arange(events) / 5) + luck.normal(scale=noise, size=events)
    return made


def test_nothing_is_found_in_a_normal_window() -> None:
    assert found(wave()) == ()


def test_a_value_that_stays_the_same_to_the_bit_is_stuck() -> None:
    (finding,) = found([12.3] * T)
    assert (finding.cause, finding.score, finding.time) == ("stuck", 1.0, START)
    assert finding.readings == (Reading("flow", float(np.float32(12.3)), 20.0),)
    nearly = np.full(T, 12.3, np.float32)
    for place in range(T):
        other = nearly.copy()
        other[place] = np.nextafter(other[place], np.float32(inf))
        assert found(other) == ()


@pytest.mark.parametrize(
    ("known", "rules", "stuck"),
    [
        (replace(KNOWN, minimum=12.3, maximum=12.3), {}, False),  # it never varied
        (replace(KNOWN, still=T // 2 + 1), {}, False),  # nearly as long in training
        (replace(KNOWN, still=T // 2), {}, True),
        (replace(KNOWN, still=None), {}, False),  # who knows
        (replace(KNOWN, still=None), {"stuck_after": T}, True),
        (replace(KNOWN, number=False), {"stuck_after": T}, False),  # a category may stay
        (KNOWN, {"stuck": False}, False),
    ],
)
def test_a_feature_is_stuck_only_where_training_knows_it_otherwise(
    known: Known, rules: dict[str, Any], stuck: bool
) -> None:
    assert causes(found([12.3] * T, known, **rules)) == ["stuck"] * stuck


def test_stuck_may_take_fewer_events_than_a_window() -> None:
    values = np.concatenate([wave(T - 5), np.full(5, 20.0)])
    assert causes(found(values, stuck_after=5)) == ["stuck"]
    assert found(values, stuck_after=6) == ()


def test_what_was_imputed_is_missing_and_not_stuck() -> None:
    assert causes(found([12.3] * T, missing=0.75)) == ["missing"]
    assert found([12.3] * T, missing=0.5) == ()
    assert found([12.3] * T, missing=1.0, max_missing=None) == ()


def jumped(unit: int, events: int, seed: int = 1, noise: float = 0.02) -> Float64:
    values = wave(seed=seed, noise=noise)
    values[T - events :] = values[T - events :] * UNITS[unit].factor + UNITS[unit].offset
    return values


FAR = [
    number
    for number, unit in enumerate(UNITS)
    if all(not 8 <= value * unit.factor + unit.offset <= 32 for value in (14.5, 20, 25.5))
]
ALIKE = {"°C to °F", "m to ft"}  # at 20 or so


@pytest.mark.parametrize("unit", FAR)
@pytest.mark.parametrize("events", [3, 5, 10])
def test_a_change_of_unit_is_found_by_its_third_event_and_named(unit: int, events: int) -> None:
    (finding,) = found(jumped(unit, events, noise=0.005))
    name = UNITS[unit].name
    assert (finding.cause, finding.lasting) == ("unit_jump", False)
    assert finding.detail in ({name} | ALIKE if name in ALIKE else {name})
    assert finding.score > 1


def test_most_changes_of_unit_leave_the_training_range() -> None:
    assert len(FAR) >= 15


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 1e5), st.sampled_from([1, 3, 6, 12]))
@settings(max_examples=200, deadline=None)
def test_a_value_that_freezes_far_outside_is_no_change_of_unit(seed: int, rise: float, events: int) -> None:
    """Whatever unit would bring it back: it is not as lively as it was."""
    values = wave(seed=seed, noise=0.5)
    values[T - events :] = 31 * (1 + rise)
    assert "unit_jump" not in causes(found(values))


def test_two_events_are_no_change_of_unit_yet_but_one_that_is_open_goes_on() -> None:
    values = jumped(0, 2)
    assert causes(found(values)) == ["unit_jump goes on"]
    assert causes(found(wave() * 1000)) == ["unit_jump goes on"]
    assert found(jumped(0, 5), unit_jump=False) == ()
    assert found(jumped(0, 5), replace(KNOWN, number=False)) == ()


def test_a_value_outside_the_valid_range_is_found() -> None:
    bounds = np.array([5.0]), np.array([90.0])
    assert found([*wave(T - 1), 90.0], bounds=bounds, unit_jump=False) == ()
    (finding,) = found([*wave(T - 1), 100.0], bounds=bounds, unit_jump=False)
    assert (finding.cause, finding.measure, finding.limit) == ("out_of_range", 1.5, 1.0)  # half a training range beyond
    assert causes(found([*wave(T - 1), 4.0], bounds=bounds, unit_jump=False)) == ["out_of_range"]


def timed(interval: float = 2.0, ahead: float = 0.0, pace: int = 0, skew: int = 0) -> Timing:
    return Timing(np.array([interval]), np.array([ahead]), np.array([pace]), np.array([skew]))


@pytest.mark.parametrize(
    ("timing", "rules", "expected"),
    [
        (timed(interval=10, pace=T - 1), {}, ("sampling_rate", 5.0, "more seldom")),
        (timed(interval=10, pace=T - 2), {}, None),
        (timed(interval=0.25, pace=1 - T), {}, ("sampling_rate", 8.0, "more often")),
        (timed(ahead=75, skew=T), {}, ("clock_skew", 75.0, "ahead of")),
        (timed(ahead=75, skew=T - 1), {}, None),
        (timed(ahead=-75, skew=-T), {"clock_behind": 70}, ("clock_skew", 75.0, "behind")),
    ],
)
def test_times_are_at_fault_where_they_are_so_for_a_whole_window(
    timing: Timing, rules: dict[str, Any], expected: tuple[str, float, str] | None
) -> None:
    findings = found(wave(), timing=timing, **rules)
    assert [(one.cause, one.measure, one.detail) for one in findings] == ([] if expected is None else [expected])


def test_checks_of_time_that_are_off_have_no_limits() -> None:
    off = limits(config.Quality(clock_ahead=None, clock_behind=None, rate_factor=None), 2.0)
    assert (off.fast, off.slow, off.ahead, off.behind) == (0.0, inf, inf, inf)
    usual = limits(config.Quality(), 2.0)
    assert (usual.fast, usual.slow, usual.ahead, usual.behind) == (0.5, 8.0, 60.0, inf)
    assert limits(config.Quality(), 0.0).slow == inf  # training had one event a stream


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.1, 1.0, 1.0, 20.0, 20.0]), st.sampled_from([0.0, 0.0, 90.0, -90.0]), st.booleans()
        ),
        max_size=40,
    ),
    st.integers(1, 4),
    st.lists(st.integers(0, 40), max_size=4),
)
def test_a_streak_is_what_counting_back_within_the_run_gives(
    events: list[tuple[float, float, bool]], window: int, cuts: list[int]
) -> None:
    bounds = limits(config.Quality(clock_behind=60), 2.0)
    signs = [
        (0 if opens else (interval > 8) - (interval < 0.5), (ahead > 60) - (ahead < -60))
        for interval, ahead, opens in events
    ]

    def backwards(place: int, which: int, most: int) -> int:
        sign, length = signs[place][which], 0
        while place - length >= 0 and signs[place - length][which] == sign != 0:
            length += 1
            if events[place - length + 1][2]:
                break
        return sign * min(length, most)

    expected = [[backwards(place, 0, window - 1), backwards(place, 1, window)] for place in range(len(events))]
    stored, made = np.zeros((1, 2), np.int32), []
    for start, stop in pairwise(sorted({0, len(events), *(cut % (len(events) + 1) for cut in cuts)})):
        part = events[start:stop]
        interval, ahead, opens = (np.array(column) for column in zip(*part, strict=True))
        first = np.arange(len(part)) == 0
        got = streaks(bounds, window, interval, ahead, first, opens, np.repeat(stored, len(part), axis=0))
        stored = got[-1:]
        made += got.tolist()
    assert made == expected


# What becomes of them on their way through the pipeline.


def told(alerts: Sequence[Alert]) -> list[tuple[str | None, str, int]]:
    return [(alert.cause, alert.status, alert.evidence.last_offset) for alert in alerts if alert.status != "updated"]


def levels(values: Sequence[float | None], step: float = 1.0) -> list[Any]:
    """Events of one stream; the second feature is lively and normal."""
    return [
        record(0, i, "s", START + step * i, (nan if value is None else value, 0.3 + 0.01 * (i * 7 % 13)))
        for i, value in enumerate(values)
    ]


def lively(events: int) -> list[float]:
    return [0.5 + 0.01 * (i * 5 % 13) for i in range(events)]


def test_a_stuck_sensor_is_one_incident_and_no_anomaly_however_large_its_error() -> None:
    values = [*lively(6), *[4.0] * 8, *lively(6)]
    alerts = pipeline(Careful(), quality={"stuck_after": 2, "gap": False}).process(levels(values)).alerts
    assert told(alerts) == [("stuck", "opened", 7), ("stuck", "closed", 16)]  # when three events were lively again
    opened, closed = (alert for alert in alerts if alert.status != "updated")
    assert (opened.kind, opened.severity, opened.score) == ("data_quality", "warning", 1.0)
    assert (closed.duration, closed.reason) == (6.0, "recovered")
    assert [feature.unit for feature in closed.features] == ["bar"]


def test_an_anomaly_of_another_feature_is_told_beside_a_fault() -> None:
    values = [(0.4, 0.3 + 0.01 * (i * 7 % 13)) for i in range(6)] + [(0.4, 3.0 + i) for i in range(4)]
    records = [record(0, i, "s", START + i, value) for i, value in enumerate(values)]
    line = pipeline(Careful(), quality={"stuck_after": 3, "unit_jump": False})
    kinds = [(alert.kind, [feature.name for feature in alert.features]) for alert in line.process(records).alerts]
    assert ("data_quality", [FEATURES[0]]) in kinds
    assert ("anomaly", [FEATURES[1]]) in kinds


def test_a_gap_is_opened_and_closed_by_the_event_that_ends_it() -> None:
    records = [*levels(lively(5)), record(0, 5, "s", START + 50, (0.5, 0.5))]
    opened, closed = pipeline(Careful(), quality={}).process(records).alerts
    assert told([opened, closed]) == [("gap", "opened", 5), ("gap", "closed", 5)]
    assert (opened.incident, opened.duration, opened.threshold) == (closed.incident, 46.0, 30.0)
    assert closed.summary == "s: no events for 46 s, 2023-11-14 22:13:24 to 22:14:10 UTC"
    assert pipeline(Careful(), quality={"gap": False}).process(records).alerts == []


def test_a_change_of_unit_is_no_anomaly_and_goes_on_until_it_is_taken_back() -> None:
    values = [*lively(10), *(1000 * value for value in lively(30)), *lively(12)]
    rules = {"open_after": 3, "open_window": 5, "close_after": 2}
    alerts = pipeline(Careful(8), quality={"unit_jump": True}, incidents=rules).process(levels(values)).alerts
    assert told(alerts) == [("unit_jump", "opened", 12), ("unit_jump", "closed", 47)]
    assert "looks like another unit (x 1000): temperature 600 bar" in alerts[0].summary


def test_a_fault_of_one_more_feature_is_told_at_once() -> None:
    values = [(0.4, lively(9)[i] if i < 4 else 0.3) for i in range(9)]
    records = [record(0, i, "s", START + i, value) for i, value in enumerate(values)]
    rules = {"open_after": 2, "open_window": 3, "close_after": 2, "update_every": 1000}
    alerts = pipeline(Careful(), quality={"stuck_after": 3}, incidents=rules).process(records).alerts
    assert [(alert.status, [feature.name for feature in alert.features]) for alert in alerts] == [
        ("opened", [FEATURES[0]]),
        ("updated", list(FEATURES)),
    ]


runs = st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from("xxyz"), st.integers(1, 9)), max_size=20)


@settings(max_examples=60, deadline=None)
@given(runs, st.lists(st.integers(0, 200), max_size=8), st.sampled_from([3, 8]), st.sampled_from([2, 1000]))
def test_no_cut_changes_what_is_told_of_faulty_data(
    drawn: list[tuple[str, str, int]], cuts: list[int], window: int, cap: int
) -> None:
    records = faulty(0, drawn)
    rules = sections(windows={"max_gap": 30, "idle_timeout": 60, "max_streams": cap})
    whole = calls(pipeline(Careful(window), **rules), records)
    apart = calls(pipeline(Careful(window), **rules), records, cuts)
    one_by_one = calls(pipeline(Careful(window), **rules), records, range(200))
    assert by_partition(apart) == by_partition(one_by_one) == by_partition(whole)
    assert totals(apart) == totals(one_by_one) == totals(whole)
    assert _gated(apart) == _gated(one_by_one) == _gated(whole)


def _gated(outcomes: Sequence[Any]) -> dict[str, int]:
    names = {name for outcome in outcomes for name in outcome.gated}
    sums = {name: sum(outcome.gated.get(name, 0) for outcome in outcomes) for name in names}
    return {name: number for name, number in sums.items() if number}


@settings(max_examples=60, deadline=None)
@given(
    runs,
    st.lists(st.integers(0, 120), max_size=6),
    st.integers(1, 25),
    st.sampled_from([3, 8]),
    st.sampled_from([2, 1000]),
    st.integers(1, 2),
)
def test_no_takeover_changes_what_is_told_of_faulty_data(
    drawn: list[tuple[str, str, int]], stops: list[int], batch: int, window: int, cap: int, stride: int
) -> None:
    rules = sections(windows={"max_gap": 30, "idle_timeout": 60, "max_streams": cap, "stride": stride})
    log = Log(faulty(0, drawn))
    line, at = pipeline(Careful(window), **rules), 0
    with mock.patch.object(resume, "_SPACING", 1), mock.patch.object(resume, "_LOOK_EVERY", 1):
        for stop in [*sorted(stop for stop in stops if stop < len(log.records)), len(log.records)]:
            while at < stop:
                end = min(stop, at + batch)
                log.publish(line.process(log.records[at:end]))
                log.commit = line.checkpoints({0: end})[0]
                assert log.commit.loud == len(log.states)
                at = end
            line = pipeline(Careful(window), **rules)
            place = checkpoint.decode(log.commit.offset, log.commit.encode())
            assert log.take_over(line) == place.offset
    undisturbed = pipeline(Careful(window), **rules).process(log.records).alerts
    assert [alert.to_bytes() for alert in log.alerts] == [alert.to_bytes() for alert in undisturbed]


def test_another_model_closes_the_faults_that_are_open() -> None:
    log = Log(levels([*lively(6), *[0.4] * 5]))
    first = pipeline(Careful(), quality={"stuck_after": 3})
    log.publish(first.process(log.records))
    log.commit = first.checkpoints({0: 11})[0]
    second = pipeline(Careful(), quality={"stuck_after": 2})
    log.take_over(second)
    second.reach(0)
    (closed,) = second.process([]).alerts
    assert (closed.cause, closed.status, closed.reason) == ("stuck", "closed", "settings_changed")
    assert (closed.incident, closed.evidence.config) == (log.alerts[0].incident, log.alerts[0].evidence.config)


def test_a_fault_survives_its_bytes() -> None:
    finding = Finding("unit_jump", (Reading("flow", 1.1, 2.2),), 3.3, 1.0, 4.4, "x 1000")
    trouble = Trouble(Point(-1, 1.0, 2), finding, Point(-1, 3.0, 4), Point(-1, 5.0, 6), 7.0, 3)
    ones = np.ones(2, np.float32)
    peak = Peak(2.0, 1.0, ones, ones, ones, 9.5)
    incident = Incident(Point(-1, 1.0, 2), peak, Point(-1, 3.0, 4), Point(-1, 5.0, 6), 7.0, "major")
    value = to_bytes(Loud(incident=incident, troubles={"unit_jump": trouble}), Maker("m", "c"))
    loud, maker, _ = from_bytes(value)
    assert loud.troubles == {"unit_jump": trouble}
    assert loud.incident is not None
    assert loud.incident.peak.time == 9.5
    assert to_bytes(loud, maker) == value


def test_stuck_after_more_than_a_window_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"quality.stuck_after \(4\) must not exceed the model's window \(3 events\)"):
        pipeline(Careful(), quality={"stuck_after": 4})
