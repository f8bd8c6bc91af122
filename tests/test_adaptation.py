"""Adaptation: what is learned of a stream and what is not, a shift that is absorbed, a drift that is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import config, detector
from monitor.alerts import Alert
from monitor.assembly import assemble
from monitor.batch import Float32, Outcome, RawRecord
from monitor.detector import OnnxDetector
from monitor.errors import ConfigError
from monitor.evaluation import backtest
from monitor.evaluation.words import other_kinds
from monitor.incident_state import from_bytes
from monitor.level import LEAST
from monitor.level_state import Level, unpack
from monitor.model.manifest import Typical
from monitor.pipeline import Pipeline
from tests import models
from tests.test_pipeline import CARELESS, FEATURES, START, Last, by_partition, feeds, interleaved, record, totals
from tests.test_recovery import Log

USUAL = 0.2
"""What an error of `Learning` is in training."""
DAY = 86_400.0
RULES: dict[str, Any] = {
    "enabled": True,
    "half_life": 30,
    "prior_windows": 1,
    "absorb_after": 8,
    "drift_factor": 1.5,
}
"""As quick as feeds of a hundred events need it."""


class Learning(Last):
    """An event a second, windows of three, and an error that is the mean square of the last event."""

    def __init__(self, interval: float = 1.0, threshold: float = 1.0, typical: Typical | None = None) -> None:
        super().__init__()
        card = self._manifest
        usual = typical or Typical(log_error=(float(np.log(USUAL + 0.1)),) * 2, within=0.1)
        self._manifest = card.model_copy(
            update={
                "features": tuple(
                    feature.model_copy(update={"minimum": -2.0, "maximum": 2.0}) for feature in card.features
                ),
                "training": card.training.model_copy(update={"interval": interval}),
                "calibration": card.calibration.model_copy(update={"threshold": threshold, "typical": usual}),
            }
        )


def learning(model: Last | None = None, **sections: dict[str, Any]) -> Pipeline:
    incidents = {"open_after": 2, "open_window": 3, "close_after": 2, "update_every": 5}
    given_sections = {"incidents": incidents, "windows": {"max_gap": 30, "idle_timeout": 60}, "adaptation": RULES}
    return assemble(
        config.Settings.model_validate({"quality": CARELESS} | given_sections | sections), model or Learning()
    )


def level_of(outcomes: Sequence[Outcome], stream: str = "s") -> Level | None:
    """As the changelog has it."""
    for outcome in reversed(outcomes):
        change = outcome.states.get((0, stream))
        if change is not None:
            packed = from_bytes(change.value)[2]
            return None if packed is None else unpack(packed)
    return None


def cut(line: Pipeline, records: Sequence[RawRecord], cuts: Sequence[int]) -> list[Outcome]:
    edges = sorted({0, len(records), *(at % (len(records) + 1) for at in cuts)})
    return [line.process(records[start:stop]) for start, stop in pairwise(edges)]


def kept(outcomes: Sequence[Outcome]) -> dict[tuple[int, str], bytes]:
    """What the changelog holds in the end."""
    found: dict[tuple[int, str], bytes] = {}
    for outcome in outcomes:
        for key, change in outcome.states.items():
            if change.quiet:
                found.pop(key, None)
            else:
                found[key] = change.value
    return found


# No batch, no crash, no move changes anything.


@settings(max_examples=200, deadline=None)
@given(
    feeds(),
    st.lists(st.integers(0, 2), max_size=180),
    st.lists(st.integers(0, 200), max_size=8),
    st.sampled_from([2, 3, 1000]),
    st.integers(1, 3),
)
def test_no_cut_and_no_interleaving_changes_an_alert_or_what_is_learned(
    partitions: list[list[RawRecord]], order: list[int], cuts: list[int], cap: int, stride: int
) -> None:
    windows = {"max_gap": 30, "idle_timeout": 60, "max_streams": cap, "stride": stride}
    apart = [outcome for records in partitions for outcome in cut(learning(windows=windows), records, ())]
    together = cut(learning(windows=windows), interleaved(partitions, order), cuts)
    one_by_one = cut(learning(windows=windows), interleaved(partitions, order), range(200))
    assert by_partition(together) == by_partition(one_by_one) == by_partition(apart)
    assert kept(together) == kept(one_by_one) == kept(apart)
    assert totals(together) == totals(one_by_one) == totals(apart)
    scores = [np.concatenate([np.empty(0), *(one.score for one in outcomes)]) for outcomes in (together, one_by_one)]
    assert scores[0].tobytes() == scores[1].tobytes()


@settings(max_examples=200, deadline=None)
@given(feeds(), st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=12), st.booleans())
def test_whoever_takes_over_goes_on_to_the_byte(
    partitions: list[list[RawRecord]], turns: list[tuple[int, bool]], at_once: bool
) -> None:
    """In a transaction with the offsets; or before them, in which case messages come twice, with the same bytes."""
    records = partitions[0]
    log, line, at = Log(records), learning(), 0
    for size, dies in [*turns, *[(30, False)] * 8]:
        end = min(len(records), at + size)
        log.publish(line.process(records[at:end]), quietly=at_once)
        if at_once or not dies:
            log.commit = line.checkpoints({0: end}).get(0, log.commit)
            at = end
        if dies:
            line = learning()
            at = log.take_over(line)
    undisturbed = learning().process(records)
    expected = [alert.to_bytes() for alert in undisturbed.alerts]
    told = [alert.to_bytes() for alert in log.alerts]
    assert (told if at_once else list(dict.fromkeys(told))) == expected
    if at_once:
        assert log.states == {stream: value for (_, stream), value in kept([undisturbed]).items()}
        assert log.commit.loud == len(log.states) or not records


# What a shift, a drift and a new stream lead to.

SLOW: dict[str, Any] = {
    "enabled": True,
    "half_life": 3 * DAY,
    "prior_windows": 10,
    "absorb_after": DAY,
    "drift_factor": 3,
}
MINUTE: dict[str, dict[str, Any]] = {
    "windows": {"max_gap": 3600, "idle_timeout": 7200},
    "adaptation": SLOW,
}
"""For events a minute apart, as `Learning(60.0)` knows them."""


def minutes(levels: Sequence[tuple[float, float]], stream: str = "s", seed: int = 1, first: int = 0) -> list[RawRecord]:
    """An event a minute: errors of the two features about as given, with the noise that `Learning` knows."""
    noise = np.random.default_rng(seed).lognormal(sigma=0.15, size=(len(levels), 2))
    values = np.sqrt(np.array(levels) * noise)
    return [record(0, first + i, stream, START + 60 * (first + i), row) for i, row in enumerate(values.tolist())]


def told(outcomes: Sequence[Outcome], kind: str = "anomaly") -> list[Alert]:
    return [alert for outcome in outcomes for alert in outcome.alerts if alert.kind == kind]


def steps(alerts: Sequence[Alert]) -> list[tuple[str, str | None]]:
    return [(alert.status, alert.reason) for alert in alerts if alert.status != "updated"]


NORMAL, SHIFTED = (USUAL, USUAL), (USUAL, 6.0)
A_DAY = 24 * 60


def test_a_level_shift_is_one_incident_and_is_absorbed_after_the_stated_time_and_what_comes_then_is_found() -> None:
    feed = [NORMAL] * 200 + [SHIFTED] * (3 * A_DAY) + [(9.0, 6.0)] * 10 + [SHIFTED] * 200
    alerts = learning(Learning(60.0), **MINUTE).process(minutes(feed)).alerts
    found = [alert for alert in alerts if alert.kind == "anomaly"]
    assert steps(found) == [("opened", None), ("closed", "absorbed"), ("opened", None), ("closed", "recovered")]
    first, absorbed, later = [alert for alert in found if alert.status != "updated"][:3]
    assert DAY <= (absorbed.time - first.started_at).total_seconds() <= DAY + 60 * 2 * 3
    assert later.features[0].name == FEATURES[0]
    assert later.started_at.timestamp() == START + 60 * (200 + 3 * A_DAY)


def test_a_shift_that_goes_on_growing_or_that_may_not_be_absorbed_stays_open() -> None:
    growing = [(USUAL, 6.0 * 1.005**i) for i in range(2 * A_DAY)]
    alerts = learning(Learning(60.0), **MINUTE).process(minutes([NORMAL] * 200 + growing)).alerts
    assert steps(told([Outcome(alerts=alerts)])) == [("opened", None)]
    never = MINUTE | {"adaptation": SLOW | {"absorb_after": None}}
    outcome = learning(Learning(60.0), **never).process(minutes([NORMAL] * 200 + [SHIFTED] * (3 * A_DAY)))
    assert steps(told([outcome])) == [("opened", None)]
    assert told([outcome], "drift") == []


def test_what_was_absorbed_is_forgotten_when_the_stream_is_as_before() -> None:
    feed = [NORMAL] * 200 + [SHIFTED] * (2 * A_DAY) + [NORMAL] * 200 + [SHIFTED] * 20
    outcome = learning(Learning(60.0), **MINUTE).process(minutes(feed))
    assert steps(told([outcome])) == [("opened", None), ("closed", "absorbed"), ("opened", None)]
    drift = told([outcome], "drift")
    assert steps(drift) == [("opened", None), ("closed", "recovered")]
    assert (drift[-1].time.timestamp() - START) / 60 - (200 + 2 * A_DAY) < 6 * 3
    level = level_of([outcome])
    assert level is not None
    assert level.shift is None


def test_without_the_setting_nothing_is_learned_and_nothing_is_different() -> None:
    """Down to the digest of the settings, by which alerts name them."""
    feed = minutes([NORMAL] * 100 + [SHIFTED] * 100 + [NORMAL] * 100)
    off: dict[str, dict[str, Any]] = {"windows": MINUTE["windows"], "adaptation": {"enabled": False, "half_life": 5.0}}
    outcomes = [learning(Learning(60.0), **sections).process(feed) for sections in (off, off | {"adaptation": {}})]
    one, other = ([alert.to_bytes() for alert in outcome.alerts] for outcome in outcomes)
    assert one == other
    assert {alert.confidence for alert in outcomes[0].alerts} == {None}
    assert all(change.quiet for change in outcomes[0].states.values())
    given = config.Settings.model_validate({"adaptation": {"half_life": 5.0}})
    assert given.digest() == config.Settings().digest()
    assert config.Settings.model_validate({"adaptation": {"enabled": True}}).digest() != given.digest()


def test_a_noisier_stream_is_scored_in_its_own_units_once_it_is_known() -> None:
    """Its errors are five times as large as usual, below the threshold; ten times as large they are its anomaly."""
    noisy = (5 * USUAL, 5 * USUAL)
    model = Learning(60.0, threshold=1.5)
    line = learning(model, **MINUTE)
    outcome = line.process(minutes([noisy] * 3000))
    assert np.median(outcome.score[:3]) > 0.5
    own = 5 * USUAL / ((5 * USUAL + LEAST) / (USUAL + LEAST))
    assert np.median(outcome.score[-100:]) == pytest.approx(own / 1.5, rel=0.1)
    assert (outcome.score <= 1).all()
    other = line.process(minutes([NORMAL] * 10, "new", first=3000))
    assert np.median(other.score) == pytest.approx(USUAL / 1.5, rel=0.3)  # the fleet's calibration


def test_a_new_stream_is_scored_from_its_first_window_and_says_how_sure_it_is() -> None:
    line = learning(Learning(60.0), **MINUTE)
    first = line.process(minutes([SHIFTED] * 5))
    assert first.counts.windows == 3
    assert {alert.confidence for alert in first.alerts} == {0.0}
    line.process(minutes([NORMAL] * 300, first=5))
    later = line.process(minutes([SHIFTED] * 5, first=305)).alerts[0]
    assert later.confidence == pytest.approx(0.9, abs=0.02)  # about 95 windows, where 10 weigh as the fleet


def test_a_drift_opens_names_the_features_and_closes_when_it_is_back() -> None:
    far = (USUAL, 5 * USUAL)
    outcome = learning(Learning(60.0, threshold=1.5), **MINUTE).process(
        minutes([NORMAL] * 200 + [far] * (9 * A_DAY) + [NORMAL] * (9 * A_DAY))
    )
    assert told([outcome]) == []
    drift = told([outcome], "drift")
    assert steps(drift) == [("opened", None), ("closed", "recovered")]
    opened, closed = drift[0], drift[-1]
    assert (opened.severity, opened.threshold, opened.cause) == ("warning", 3.0, None)
    (feature,) = opened.features
    assert (feature.name, feature.expected) == (FEATURES[1], 1.0)
    assert feature.observed == pytest.approx(3.0, abs=0.1)
    assert feature.contribution > 0.9
    assert opened.score == pytest.approx(opened.error / opened.threshold, rel=1e-5)
    assert "vibration 3" in opened.summary
    assert "retraining is due" in opened.summary
    assert len({alert.incident for alert in drift}) == 1
    assert closed.ended_at == closed.time


# What never enters.


@pytest.mark.parametrize("worse", [7.0, 20.0])
def test_an_incident_leaves_no_trace_in_what_is_learned(worse: float) -> None:
    """However bad it was: the level afterwards is the same to the bit."""

    def after(bad: float) -> Level | None:
        feed = [NORMAL] * 100 + [(USUAL, bad)] * 40 + [NORMAL] * 100
        return level_of([learning(Learning(60.0), **MINUTE).process(minutes(feed))])

    one, other = after(worse), after(6.0)
    assert one is not None
    assert other is not None
    assert one.own.mean.tobytes() == other.own.mean.tobytes()
    assert one.own.weight.tobytes() == other.own.weight.tobytes()
    assert abs(one.own.mean).max() < 0.1


GUARDED: dict[str, tuple[dict[str, Any], tuple[float, float]]] = {
    "out of the training range": ({}, (USUAL, 9.0)),
    "out of the valid range": ({"gates": {"valid_range": {FEATURES[1]: [None, 1.0]}}}, (USUAL, 2.0)),
    "in maintenance": (
        {"gates": {"maintenance": [{"from": "2023-11-14T22:13:20Z", "to": "2023-12-14T22:13:20Z"}]}},
        (USUAL, 2.0),
    ),
    "held back by a gate": ({"gates": {"min_deviation": {"*": 100.0}}}, (4.0, 4.0)),
}


@pytest.mark.parametrize("why", GUARDED)
def test_what_must_not_enter_does_not(why: str) -> None:
    sections, errors = GUARDED[why]
    threshold = 1.0 if "gate" in why else 100.0
    line = learning(Learning(60.0, threshold=threshold), **(MINUTE | sections))
    level = level_of([line.process(minutes([errors] * 300))])
    weight = 0.0 if level is None else float(level.own.weight[1])
    assert weight == 0.0
    assert "valid" in why or "training" not in why or (level is not None and level.own.weight[0] > 10)  # the other does


def test_an_imputed_value_does_not_enter() -> None:
    feed = minutes([NORMAL] * 300)
    for i in range(1, len(feed), 2):  # of two events in a row one has no second feature
        event = json.loads(feed[i].value or b"")
        del event["features"][FEATURES[1]]
        feed[i] = feed[i]._replace(value=json.dumps(event).encode())
    sections = MINUTE | {"events": {"missing": "impute"}, "quality": CARELESS | {"max_missing": None}}
    level = level_of([learning(Learning(60.0), **sections).process(feed)])
    assert level is not None
    assert level.own.weight[0] > 10
    assert level.own.weight[1] == 0


# Restarts under something else, and what cannot be.


def handed_over(line: Pipeline, model: Last | None = None) -> tuple[Outcome, Log]:
    """A stream in drift, known for days, that `line` takes over; what it says before any new record."""
    log = Log(minutes([(USUAL, 5 * USUAL)] * (5 * A_DAY)))
    first = learning(model or Learning(60.0, threshold=1.5), **MINUTE)
    outcome = first.process(log.records)
    log.publish(outcome)
    log.commit = first.checkpoints({0: len(log.records)})[0]
    assert steps(told([outcome], "drift")) == [("opened", None)]
    log.take_over(line)
    line.reach(0)
    return line.process([]), log


def test_the_same_model_and_settings_go_on_and_say_that_the_drift_is_open() -> None:
    line = learning(Learning(60.0, threshold=1.5), **MINUTE)
    outcome, _ = handed_over(line)
    assert outcome.alerts == []
    assert outcome.states == {}
    assert [(stream, what, severity) for _, stream, what, severity, _ in line.incidents.open()] == [
        ("s", "drift", "warning")
    ]


def test_other_settings_close_the_drift_and_keep_what_was_learned() -> None:
    line = learning(Learning(60.0, threshold=1.5), **(MINUTE | {"incidents": {"close_after": 7}}))
    outcome, log = handed_over(line)
    assert [(alert.kind, alert.reason) for alert in outcome.alerts] == [("drift", "settings_changed")]
    level = level_of([outcome])
    assert level is not None
    assert level.own.weight.min() > 100
    assert level.drift is None
    outcome = line.process(minutes([(USUAL, 5 * USUAL)] * 6, first=len(log.records)))
    assert steps(told([outcome], "drift")) == [("opened", None)]


def test_another_model_and_a_service_that_learns_nothing_forget_it() -> None:
    for line, reason in [
        (learning(Learning(60.0, threshold=1.6), **MINUTE), "model_changed"),
        (learning(Learning(60.0, threshold=1.5), **(MINUTE | {"adaptation": {}})), "settings_changed"),
    ]:
        outcome, _ = handed_over(line)
        assert [(alert.kind, alert.reason) for alert in outcome.alerts] == [("drift", reason)]
        assert [change.quiet for change in outcome.states.values()] == [True]
        assert list(line.incidents.open()) == []


def test_a_stream_that_falls_silent_is_forgotten_and_its_drift_closed() -> None:
    feed = minutes([(USUAL, 5 * USUAL)] * (5 * A_DAY))
    later = [record(0, len(feed) + i, "other", START + 60 * len(feed) + 6000 * i, (0.4, 0.4)) for i in range(1, 4)]
    outcome = learning(Learning(60.0, threshold=1.5), **MINUTE).process([*feed, *later])
    assert steps(told([outcome], "drift")) == [("opened", None), ("closed", "idle")]
    assert outcome.states[0, "s"].quiet


def test_an_artefact_that_does_not_say_what_is_usual_cannot_be_adapted_to() -> None:
    with pytest.raises(ConfigError, match=r"adaptation\.enabled: the artefact does not say"):
        learning(Last())


def test_what_a_few_streams_of_training_say_of_all_is_bounded() -> None:
    def prior(within: float, between: float | None) -> float | None:
        return Typical(log_error=(0.0,), within=within, between=between).prior_windows

    assert [prior(0.2, 0.1), prior(1.0, 0.0), prior(0.0, 1.0), prior(1.0, None)] == [2.0, 100.0, 1.0, None]


def test_a_backtest_learns_as_the_service_does_and_keeps_drifts_apart() -> None:
    settings = config.Settings.model_validate({"quality": CARELESS} | MINUTE)
    feed = minutes([NORMAL] * 200 + [SHIFTED] * (2 * A_DAY))
    found = backtest.run(settings, Learning(60.0), [feed[:700], feed[700:]])
    assert [(one.kind, one.reason, one.open) for one in found.fired] == [
        ("anomaly", "absorbed", False),
        ("drift", None, True),
    ]
    assert [one.kind for one in found.anomalies] == ["anomaly"]
    assert other_kinds(found.fired) == ("1 drift",)
    score = found.series[0].score
    assert np.nanmax(score[-1000:]) <= 1 < np.nanmax(score)


# A real model.


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> OnnxDetector:
    folder = models.tiny_artefact(tmp_path_factory.mktemp("learned") / "model")
    found = detector.load(folder, config.Model(path=folder))
    assert isinstance(found, OnnxDetector)
    return found


def waving(real: OnnxDetector, values: Float32, cuts: Sequence[int] = ()) -> list[Outcome]:
    """What the service says of a stream of such rows, one a second; a shift may last five minutes."""
    sections = {
        "adaptation": {"enabled": True, "half_life": 2000, "absorb_after": 300},
        "quality": {"stuck": False},
        "incidents": {"update_every": 10_000},
    }
    made = []
    for i, row in enumerate(values.tolist()):
        features = dict(zip(models.FEATURES, row, strict=True))
        value = json.dumps({"stream": "s", "time": START + i, "features": features}).encode()
        made.append(RawRecord("events", 0, i, int((START + i) * 1000), b"s", value))
    return cut(assemble(config.Settings.model_validate(sections), real), made, cuts)


@pytest.mark.parametrize("size", [0.4, 2.0, 6.0])
def test_a_shift_of_a_real_model_is_one_incident_whatever_its_size_and_other_features_still_tell(
    real: OnnxDetector, size: float
) -> None:
    """Its errors come and go with a season of 75 s, within which a few windows look steady."""
    values = models.waves(3000, 3, seed=5)
    values[1000:, 1] += size
    values[2200:2230, 0] += 4
    found = waving(real, values)
    assert steps(told(found)) == [("opened", None), ("closed", "absorbed"), ("opened", None), ("closed", "recovered")]
    _, absorbed, later, _ = (alert for alert in told(found) if alert.status != "updated")
    assert 1300 <= absorbed.time.timestamp() - START <= 1320
    assert later.started_at.timestamp() - START in range(2200, 2210)
    assert later.features[0].name == "a"


def test_no_cut_changes_a_bit_of_what_a_real_model_says(real: OnnxDetector) -> None:
    values = models.waves(900, 3, seed=7)
    values[300:, 1] += 1
    one, other = waving(real, values), waving(real, values, [*range(0, 900, 37), 401, 402])
    assert by_partition(one) == by_partition(other)
    assert kept(one) == kept(other)
    scores = [np.concatenate([outcome.score for outcome in outcomes]) for outcomes in (one, other)]
    assert scores[0].tobytes() == scores[1].tobytes()
