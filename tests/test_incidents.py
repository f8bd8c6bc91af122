"""Incidents against a plain model of their rules, score by score, and the laws an operator relies on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import config
from monitor.alerts import SEVERITIES, Alert
from monitor.batch import Batch, Departure, Scores, Windows
from monitor.incident_state import Peak
from monitor.incidents import Incidents, Told
from monitor.telling import Meaning, Origin

THRESHOLD = 0.5
FEATURES = ("a", "b", "c")
ORIGIN = Origin("events", "model digest", "config digest")


@dataclass(frozen=True)
class Step:
    """One scored event of a stream, or its departure (`score` is None then)."""

    partition: int
    stream: str
    time: float
    score: float | None
    reason: str = "idle"


_SLOTS: dict[tuple[int, str], int] = {}


def slot_of(step: Step) -> int:
    """As the window store does it: every stream has a slot of its own."""
    return _SLOTS.setdefault((step.partition, step.stream), len(_SLOTS))


def shares(offset: int) -> list[float]:
    """Feature errors of an event, told apart by its offset; their mean is 1."""
    first = (offset % 7 + 1) / 10
    return [3 * first, 3 * (1 - first) / 4, 9 * (1 - first) / 4]


def made(rules: config.Incidents, origin: Origin = ORIGIN) -> Incidents:
    return Incidents(rules, FEATURES, THRESHOLD, origin)


def feed(incidents: Incidents, steps: Sequence[Step], first_offset: int = 0) -> list[Told]:
    """The steps as one batch. A batch has its departures before its scores, so it is cut where they are."""
    told: list[Told] = []
    begin = 0
    for end in range(1, len(steps) + 1):
        if end == len(steps) or (steps[end].score is None and steps[end - 1].score is not None):
            told.extend(_update(incidents, steps[begin:end], first_offset + begin))
            begin = end
    return told


def _update(incidents: Incidents, steps: Sequence[Step], first_offset: int) -> list[Told]:
    left = [
        Departure(row, step.partition, step.stream, step.reason) for row, step in enumerate(steps) if step.score is None
    ]
    row = np.array([row for row, step in enumerate(steps) if step.score is not None], np.int64)
    offset = np.arange(first_offset, first_offset + len(steps))
    score = np.array([step.score for step in steps if step.score is not None], np.float64)
    observed = np.repeat(offset[row, None, None], len(FEATURES), axis=2).astype(np.float32)
    slot = np.array([slot_of(steps[r]) for r in row.tolist()], np.int64)
    feature_error = np.array([shares(n) for n in offset[row]], np.float32).reshape(-1, len(FEATURES))
    batch = Batch(
        [step.stream for step in steps],
        np.array([step.time for step in steps], np.float64),
        np.array([step.time for step in steps], np.float64),
        np.zeros((len(steps), len(FEATURES)), np.float32),
        np.array([step.partition for step in steps], np.int64),
        offset,
    )
    # The higher the score the further from what was expected; whole numbers, so that equal scores are equally far.
    expected = (observed[:, 0] - np.round(1000 * score[:, None])).astype(np.float32)
    scores = Scores(
        (score * THRESHOLD).astype(np.float32), feature_error, expected, np.zeros((len(score), 1), np.float32)
    )
    return incidents.update(batch, Windows(observed, row, slot), scores, score, left).told


def run(incidents: Incidents, steps: Sequence[Step], cuts: Sequence[int] = ()) -> list[Alert]:
    edges = sorted({0, len(steps), *(cut % (len(steps) + 1) for cut in cuts)})
    return [told.alert for start, stop in pairwise(edges) for told in feed(incidents, steps[start:stop], start)]


def single(scores: Sequence[float], interval: float = 1.0, stream: str = "s") -> list[Step]:
    return [Step(0, stream, 1000 + interval * i, score) for i, score in enumerate(scores)]


def rules(**changes: Any) -> config.Incidents:
    return config.Incidents.model_validate({"open_after": 2, "open_window": 3, "close_after": 2} | changes)


# The rules of incidents.py, written the slow way: the whole history of a stream, looked at anew for each score.


@dataclass
class History:
    scored: list[tuple[int, Step]] = field(default_factory=list)  # offset and step, since the last closing
    opened: int | None = None  # place in `scored` of the first message
    since: int = 0  # place of the first anomalous event of the incident
    told_at: float = 0
    told_band: int = 0
    cooling_until: float = -inf


def band(score: float, limits: config.Severity) -> int:
    return sum(score >= limit for limit in (limits.major, limits.critical))


def model(steps: Sequence[Step], rules: config.Incidents) -> list[tuple[Any, ...]]:
    """(stream, status, reason, offset, first offset, peak offset, severity, started, ended) of each message."""
    told: list[tuple[Any, ...]] = []
    histories: defaultdict[tuple[int, str], History] = defaultdict(History)

    def bad(entry: tuple[int, Step]) -> bool:
        return (entry[1].score or 0) > 1

    def tell(history: History, status: str, reason: str | None) -> None:
        incident = history.scored[history.since :]
        peak = max(filter(bad, incident), key=lambda entry: entry[1].score or 0)
        last_bad = list(filter(bad, incident))[-1]
        ended = last_bad[1].time if status == "closed" else None
        severity = SEVERITIES[band(peak[1].score or 0, rules.severity)]
        offset, step = incident[-1]
        history.told_at, history.told_band = step.time, band(peak[1].score or 0, rules.severity)
        facts = (offset, incident[0][0], peak[0], severity, incident[0][1].time, ended)
        told.append((step.partition, step.stream, status, reason, *facts))

    def since(scored: list[tuple[int, Step]]) -> int | None:
        """Place of the first event of the unbroken time in which k of n hold, up to now."""
        start = None
        for end in range(len(scored)):
            recent = range(max(0, end - rules.open_window + 1), end + 1)
            anomalous = [place for place in recent if bad(scored[place])]
            if len(anomalous) < rules.open_after:
                start = None
            elif start is None:
                start = anomalous[0]
        return start

    for offset, step in enumerate(steps):
        key = (step.partition, step.stream)
        history = histories[key]
        if step.score is None:
            if history.opened is not None:
                tell(history, "closed", step.reason)
            del histories[key]
            continue
        history.scored.append((offset, step))
        if history.opened is None:
            begin = since(history.scored)
            if begin is None or not bad((offset, step)) or step.time < history.cooling_until:
                continue
            worst = max(entry[1].score or 0 for entry in history.scored[begin:])
            if step.time - history.scored[begin][1].time >= rules.min_duration and worst >= rules.severity.warning:
                history.opened, history.since = len(history.scored) - 1, begin
                tell(history, "opened", None)
            continue
        tail = history.scored[history.opened + 1 :][-rules.close_after :]
        if len(tail) == rules.close_after and not any(map(bad, tail)):
            tell(history, "closed", "recovered")
            histories[key] = History(cooling_until=step.time + rules.cooldown)
            continue
        peak = max(entry[1].score or 0 for entry in history.scored[history.since :])
        if band(peak, rules.severity) > history.told_band or step.time - history.told_at >= rules.update_every:
            tell(history, "updated", None)
    return told


def as_told(alert: Alert, peak: int) -> tuple[Any, ...]:
    facts = (alert.evidence.last_offset, alert.evidence.first_offset, peak, alert.severity)
    times = (alert.started_at.timestamp(), alert.ended_at.timestamp() if alert.ended_at else None)
    return (alert.evidence.partition, alert.stream, alert.status, alert.reason, *facts, *times)


@st.composite
def sequences(draw: st.DrawFn) -> list[Step]:
    """Scores of some streams, interleaved; calm and troubled times; now and then a stream leaves."""
    kinds = st.sampled_from([0.0, 0.5, 1.0, 1.1, 1.1, 1.4, 3.0, 3.0, 9.0, None])
    runs = st.tuples(st.sampled_from([0, 0, 0, 1]), st.sampled_from("xxxyz"), kinds, st.integers(1, 5))
    drawn = draw(st.one_of(st.lists(runs, max_size=20), st.lists(runs, min_size=30, max_size=60)))
    entries = [run[:3] for run in drawn for _ in range(run[3])]
    clock = 1000.0
    steps: list[Step] = []
    seen: set[tuple[int, str]] = set()
    for partition, stream, score in entries:
        clock += 1
        if score is not None or (partition, stream) in seen:
            seen.add((partition, stream))
            steps.append(Step(partition, stream, clock, score, "evicted" if len(steps) % 2 else "idle"))
    return steps


settings_of_rules = st.builds(
    lambda k, more, m, duration, cooldown, every, warning: config.Incidents(
        open_after=k,
        open_window=k + more,
        close_after=m,
        min_duration=duration,
        cooldown=cooldown,
        update_every=every,
        features=3,
        severity=config.Severity(warning=warning),
    ),
    st.integers(1, 4),
    st.integers(0, 3),
    st.integers(1, 4),
    st.sampled_from([0, 0, 5, 12]),
    st.sampled_from([0, 0, 10, 30]),
    st.sampled_from([1, 7, 300]),
    st.sampled_from([1.0, 1.0, 1.3]),
)


@settings(max_examples=300, deadline=None)
@given(sequences(), settings_of_rules)
def test_the_messages_are_what_the_rules_say(steps: list[Step], rules: config.Incidents) -> None:
    alerts = run(made(rules), steps)
    # `observed` carries the offset of the event it was taken from: the peak.
    assert [as_told(alert, int(alert.features[0].observed)) for alert in alerts] == model(steps, rules)


@settings(max_examples=200, deadline=None)
@given(sequences(), settings_of_rules, st.lists(st.integers(0, 200), max_size=8))
def test_any_cut_into_batches_gives_the_same_bytes(steps: list[Step], rules: config.Incidents, cuts: list[int]) -> None:
    whole = [alert.to_bytes() for alert in run(made(rules), steps)]
    assert [alert.to_bytes() for alert in run(made(rules), steps, cuts)] == whole
    assert [alert.to_bytes() for alert in run(made(rules), steps, range(len(steps)))] == whole


@settings(max_examples=200, deadline=None)
@given(sequences(), settings_of_rules)
def test_a_stream_s_messages_are_opened_then_updated_then_closed(steps: list[Step], rules: config.Incidents) -> None:
    alerts = run(made(rules), steps)
    assert len({alert.id for alert in alerts}) == len(alerts)
    current: dict[tuple[int, str], Alert] = {}
    for alert in alerts:
        key = (alert.evidence.partition, alert.stream)
        before = current.get(key)
        if alert.status == "opened":
            assert before is None
        else:
            assert before is not None
            assert (alert.incident, alert.started_at) == (before.incident, before.started_at)
            assert SEVERITIES.index(alert.severity) >= SEVERITIES.index(before.severity)
            assert alert.score >= before.score
            assert alert.evidence.last_offset >= before.evidence.last_offset
        assert alert.score > 1
        assert alert.started_at <= alert.time
        assert (alert.status == "closed") == (alert.reason is not None) == (alert.ended_at is not None)
        assert sum(feature.contribution for feature in alert.features) == pytest.approx(1)
        assert [f.contribution for f in alert.features] == sorted(
            (f.contribution for f in alert.features), reverse=True
        )
        if alert.status == "closed":
            del current[key]
        else:
            current[key] = alert


@settings(max_examples=100, deadline=None)
@given(sequences(), settings_of_rules)
def test_a_stream_s_messages_do_not_depend_on_the_other_streams(steps: list[Step], rules: config.Incidents) -> None:
    together = Counter((alert.stream, alert.status, alert.time, alert.score) for alert in run(made(rules), steps))
    alone: Counter[tuple[Any, ...]] = Counter()
    for partition in (0, 1):
        for stream in "xyz":
            mine = [step for step in steps if (step.partition, step.stream) == (partition, stream)]
            alone.update((alert.stream, alert.status, alert.time, alert.score) for alert in run(made(rules), mine))
    assert together == alone


@settings(max_examples=100, deadline=None)
@given(sequences(), settings_of_rules)
def test_quiet_streams_take_no_memory(steps: list[Step], rules: config.Incidents) -> None:
    incidents = made(rules)
    run(incidents, steps)
    calm = max((step.time for step in steps), default=0)
    rest = [Step(p, s, calm + 100 + 10 * i, 0.1) for i in range(12) for p in (0, 1) for s in "xyz"]
    feed(incidents, rest, len(steps))
    assert len(incidents._loud) == 0
    assert list(incidents.open()) == []


def statuses(alerts: Sequence[Alert]) -> list[str]:
    return [alert.status for alert in alerts]


def test_an_event_of_a_hundred_rows_is_one_incident_of_two_messages() -> None:
    alerts = run(made(config.Incidents()), single([0.2] * 20 + [1.5] * 100 + [0.2] * 20))
    assert statuses(alerts) == ["opened", "closed"]
    opened, closed = alerts
    assert (opened.evidence.first_offset, opened.evidence.last_offset) == (20, 22)
    assert closed.ended_at is not None
    assert (closed.ended_at.timestamp(), closed.evidence.last_offset) == (1119, 129)


@pytest.mark.parametrize(
    ("scores", "opens"),
    [
        ([2, 0, 2], True),
        ([2, 0, 0, 2], False),
        ([2, 2], True),
        ([1, 1, 1, 1], False),  # 1.0 is the line, and not above it
        ([2, 0, 0, 2, 0, 0, 2], False),
    ],
)
def test_it_opens_after_k_of_the_last_n(scores: list[float], opens: bool) -> None:
    assert statuses(run(made(rules()), single(scores))) == (["opened"] if opens else [])


@pytest.mark.parametrize("wanted", [1, 2, 5])
def test_it_closes_after_exactly_m_normal_scores_in_a_row(wanted: int) -> None:
    almost = [2.0, 2.0] + [0.0] * (wanted - 1) + [2.0]
    alerts = run(made(rules(close_after=wanted)), single(almost + [0.0] * (wanted + 3)))
    assert statuses(alerts) == ["opened", "closed"]
    assert alerts[1].evidence.last_offset == len(almost) + wanted - 1
    assert alerts[1].reason == "recovered"


def test_a_short_burst_does_not_reach_the_minimum_duration() -> None:
    assert run(made(rules(min_duration=10)), single([2] * 10 + [0] * 5)) == []
    (opened,) = run(made(rules(min_duration=10)), single([2] * 11))
    assert (opened.time - opened.started_at).total_seconds() == 10


def test_the_peak_is_not_forgotten_while_the_minimum_duration_passes() -> None:
    (opened,) = run(made(rules(min_duration=10)), single([1.5, 9.0] + [1.5] * 9))
    assert (opened.score, opened.severity, opened.features[0].observed) == (9.0, "critical", 1.0)


def test_nothing_opens_during_the_cooldown_and_what_lasts_opens_after_it() -> None:
    burst = [2.0, 2.0, 0.0, 0.0]
    alerts = run(made(rules(cooldown=10)), single(burst + [2.0] * 12))
    assert statuses(alerts) == ["opened", "closed", "opened"]
    assert (alerts[2].time - alerts[1].time).total_seconds() == 10
    assert alerts[2].incident != alerts[0].incident


def test_an_incident_begins_after_the_one_before_it() -> None:
    at_once = rules(open_after=1, open_window=1, close_after=1, cooldown=5)
    alerts = run(made(at_once), single([2, 0] + [2] * 6))
    assert [(alert.status, alert.evidence.first_offset) for alert in alerts] == [
        ("opened", 0),
        ("closed", 0),
        ("opened", 2),
    ]


def test_what_opened_one_incident_does_not_count_for_the_next() -> None:
    assert statuses(run(made(rules(close_after=1)), single([2, 2, 0, 2]))) == ["opened", "closed"]


def test_updates_come_in_their_interval_and_at_once_for_a_higher_severity() -> None:
    alerts = run(made(rules(update_every=10)), single([1.5] * 15 + [3.0] + [1.5] * 5 + [9.0]))
    assert [(alert.status, alert.severity, alert.evidence.last_offset) for alert in alerts] == [
        ("opened", "warning", 1),
        ("updated", "warning", 11),
        ("updated", "major", 15),
        ("updated", "critical", 21),
    ]


def test_what_stays_below_the_lowest_band_is_not_told() -> None:
    higher = rules(severity={"warning": 1.5})
    assert run(made(higher), single([1.4] * 20)) == []
    (opened,) = run(made(higher), single([1.4] * 20 + [1.6]))
    assert opened.evidence.first_offset == 0


def test_the_features_are_those_of_the_peak_largest_first_and_no_more_than_asked() -> None:
    alerts = run(made(rules(features=2)), single([2.0, 9.0, 3.0, 0.0, 0.0]))
    for alert in alerts:
        share = shares(1)
        assert [feature.name for feature in alert.features] == ["c", "a"]
        assert [feature.contribution for feature in alert.features] == pytest.approx([share[2] / 3, share[0] / 3])
        assert {(feature.observed, feature.expected) for feature in alert.features} == {(1.0, 1.0 - 9000)}


def test_a_feature_whose_meaning_is_known_is_told_with_it_and_with_what_is_usual() -> None:
    words = {"c": Meaning("packets sent a second", 0.25)}
    alert = run(Incidents(rules(), FEATURES, THRESHOLD, ORIGIN, meanings=words), single([2.0, 9.0, 3.0, 0.0]))[0]
    assert {one.name: (one.meaning, one.usual) for one in alert.features} == {
        "a": ("", None), "b": ("", None), "c": ("packets sent a second", 0.25),
    }  # fmt: skip
    assert "packets sent a second 4 x the usual" in alert.summary


def test_each_feature_is_shown_where_it_was_furthest_from_what_was_expected() -> None:
    empty = np.zeros(2, np.float32)
    early = Peak(2.0, 4.0, empty, np.array([9.0, 1.0], np.float32), np.array([0.0, 1.0], np.float32), 7.0)
    late = Peak(5.0, 10.0, empty + 1, np.array([1.0, -3e38], np.float32), np.array([0.0, 3e38], np.float32), 8.0)
    both = early.joined(late)
    assert (both.score, both.error, both.feature_error.tolist(), both.time) == (5.0, 10.0, [1.0, 1.0], 8.0)
    assert both.observed.tolist() == [9.0, late.observed[1]]
    assert both.expected.tolist() == [0.0, late.expected[1]]
    assert late.joined(early).score == 5.0


@pytest.mark.parametrize("reason", ["idle", "evicted"])
def test_a_departure_closes_before_anything_new_of_that_stream(reason: str) -> None:
    steps = [*single([2.0] * 3), Step(0, "other", 5000, None, reason), Step(0, "s", 5000, None, reason)]
    told = feed(made(rules()), [*steps, *(Step(0, "s", 5001 + i, 3.0) for i in range(2))])
    assert [(one.alert.status, one.alert.reason) for one in told] == [
        ("opened", None),
        ("closed", reason),
        ("opened", None),
    ]
    closed, reopened = told[1].alert, told[2].alert
    assert closed.evidence.last_offset == 2  # its own last event, not the one that pushed it out
    assert closed.time == closed.ended_at
    assert reopened.incident != closed.incident


def test_a_dropped_partition_is_forgotten_silently_and_the_others_stay() -> None:
    incidents = made(rules())
    both = [Step(partition, "s", 1000.0 + i, 2.0) for i in range(2) for partition in (0, 1)]
    assert len(feed(incidents, both)) == 2
    incidents.drop(0)
    assert [(partition, stream) for partition, stream, *_ in incidents.open()] == [(1, "s")]
    assert feed(incidents, [Step(0, "s", 1010, 0), Step(0, "s", 1011, 0), Step(1, "s", 1012, 0)], 10) == []


def test_each_message_names_the_row_that_caused_it() -> None:
    told = feed(made(rules()), single([0, 0, 2, 2, 0, 0, 0]))
    assert [(one.alert.status, one.row) for one in told] == [("opened", 3), ("closed", 5)]


BASE = {"stream": "s", "offset": 0, "partition": 0, "topic": "events", "model": "m", "config": "c"}


def told_of(stream: str, offset: int, partition: int, topic: str, model: str, config: str) -> Alert:
    incidents = made(rules(), Origin(topic, model, config))
    steps = [Step(partition, stream, 1000.0 + i, 2.0) for i in range(2)]
    return feed(incidents, steps, offset)[0].alert


def test_the_same_content_has_the_same_ids() -> None:
    first, again = told_of(**BASE), told_of(**BASE)  # type: ignore[arg-type]  # by name
    assert (first.id, first.incident) == (again.id, again.incident)
    assert len(first.id) == len(first.incident) == 32


@pytest.mark.parametrize(
    ("name", "other", "same_incident"),
    [
        ("stream", "t", False),
        ("stream", "s\x1fm", False),
        ("offset", 1, False),
        ("partition", 1, False),
        ("topic", "other", False),
        ("model", "other", False),
        ("config", "other", True),  # the same incident, told by other settings
    ],
)
def test_other_content_has_other_ids(name: str, other: object, same_incident: bool) -> None:
    first, second = told_of(**BASE), told_of(**BASE | {name: other})  # type: ignore[arg-type]  # by name
    assert first.id != second.id
    assert (first.incident == second.incident) == same_incident
