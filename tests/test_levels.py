"""What is usual of a stream: the mean that learns and forgets, what of it is believed, and its bytes."""

from __future__ import annotations

import json
from dataclasses import replace
from math import exp, log

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.batch import Float64, Scores
from monitor.incident_state import Point, UnreadableStateError
from monitor.level import LEAST, SPREADS, STEP, Course, Running, ratios
from monitor.level_state import Drift, Farthest, Level, Shift, pack, unpack
from monitor.levels import Levels, Prior
from monitor.model.manifest import Manifest
from monitor.model.typical import FEW, apart, calm, typical
from tests import models, status_example
from tests.models import tiny_trained

small = st.floats(-1, 1, width=32)


def prior(features: int, *, largest: bool = False, counts: tuple[bool, ...] = ()) -> Prior:
    counted = np.array(counts or (True,) * features)
    return Prior(np.zeros(features), 10.0, 30.0, 0.5, counted, largest)


@settings(max_examples=100, deadline=None)
@given(st.lists(small, min_size=1, max_size=40), st.floats(0.5, 1), st.floats(0.5, 50))
def test_what_is_believed_is_the_weighted_mean_drawn_to_the_fleet(
    given_ratios: list[float], keep: float, count: float
) -> None:
    """Against the sum itself, where no step is bounded."""
    running = Running.empty(1)
    within: list[float] = []
    for ratio in given_ratios:
        mean = float(running.mean[0])
        within.append(min(max(ratio, mean - STEP), mean + STEP))
        running.learn(np.array([ratio]), np.array([True]), keep)
    weights = keep ** np.arange(len(within) - 1, -1, -1)
    mean, weight = float(np.average(within, weights=weights)), float(weights.sum())
    assert running.mean[0] == pytest.approx(mean, abs=1e-5)
    assert running.weight[0] == pytest.approx(weight, rel=1e-5)
    assert running.shrunk(count, 30.0)[0] == pytest.approx(weight / (weight + count) * mean, abs=1e-5)


def test_one_window_moves_a_mean_by_no_more_than_a_step_and_a_level_stays_within_its_limit() -> None:
    running = Running.empty(2)
    running.learn(np.array([50.0, -50.0]), np.array([True, True]), 1.0)
    assert running.mean.tolist() == pytest.approx([STEP, -STEP])
    for _ in range(200):
        running.learn(np.array([50.0, -50.0]), np.array([True, True]), 1.0)
    assert running.shrunk(1.0, 4.0).tolist() == pytest.approx([log(4), -log(4)])


def test_a_feature_that_does_not_enter_is_as_it_was_and_forgets_nothing() -> None:
    running = Running.empty(2)
    running.learn(np.array([0.5, 0.5]), np.array([True, True]), 1.0)
    running.learn(np.array([0.7, 0.7]), np.array([True, False]), 0.5)
    assert running.weight.tolist() == [1.5, 1.0]
    assert running.mean[1] == 0.5


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=40))
def test_the_course_of_an_anomaly_is_the_mean_and_the_spread_of_its_windows(values: list[float]) -> None:
    course = Course.empty(3, 1)
    for value in values:
        course.follow(np.array([value]), 1.0)
    assert course.errors.mean[0] == pytest.approx(np.mean(values), abs=1e-3)
    assert course.variance[0] == pytest.approx(np.var(values), rel=1e-3, abs=1e-3)
    assert course.margin(1.0)[0] == pytest.approx(SPREADS * max(0.0, float(np.std(values)) - 1), abs=1e-2)


def test_an_error_of_nothing_is_no_ratio() -> None:
    nothing = np.zeros(1, np.float32)
    assert ratios(nothing, np.array([log(LEAST)]))[0] == pytest.approx(0)


# In units of a stream's own errors.


def learned(levels: Levels, key: tuple[int, str], slot: int, log_level: Float64) -> None:
    """A level that is believed whole."""
    own = Running(log_level.astype(np.float32), np.full(len(log_level), 1e9, np.float32))
    levels.made(key).own = own
    levels.put(key, slot)


@pytest.mark.parametrize("largest", [False, True])
def test_adapted_errors_are_divided_by_the_level_and_have_the_same_bits_in_any_batch(largest: bool) -> None:
    rng = np.random.default_rng(3)
    features = 38
    levels = Levels(prior(features, largest=largest))
    level = rng.normal(size=features) * 0.5
    learned(levels, (0, "a"), 2, level)
    errors = rng.lognormal(size=(40, features)).astype(np.float32)
    total = (errors.max(axis=1) if largest else errors.mean(axis=1)).astype(np.float32)
    scores = Scores(total, errors, errors, errors)
    slot = rng.integers(0, 4, 40)
    adapted = levels.adapted(scores, slot)
    for i in range(40):
        alone = levels.adapted(scores[i : i + 1], slot[i : i + 1])
        assert alone.error.tobytes() == adapted.error[i : i + 1].tobytes()
        assert alone.feature_error.tobytes() == adapted.feature_error[i : i + 1].tobytes()
        if slot[i] != 2:
            assert adapted.feature_error[i].tobytes() == errors[i].tobytes()
            assert adapted.error[i] == total[i]
    own = slot == 2
    assert own.any()
    part = errors[own] / np.exp(level)
    assert adapted.feature_error[own] == pytest.approx(part, rel=1e-5)
    assert adapted.error[own] == pytest.approx(part.max(axis=1) if largest else part.mean(axis=1), rel=1e-5)


def test_the_largest_errors_stay_finite() -> None:
    levels = Levels(prior(2))
    learned(levels, (0, "a"), 0, np.full(2, -3.0))
    most = np.full((1, 2), 3e38, np.float32)
    adapted = levels.adapted(Scores(most[:, 0], most, most, most), np.array([0]))
    assert np.isfinite(adapted.error).all()
    assert np.isfinite(adapted.feature_error).all()


def test_confidence_is_of_the_features_that_count_and_unknown_where_nothing_is_learned() -> None:
    levels = Levels(prior(2, counts=(True, False)))
    assert levels.confidence((0, "a")) == 0
    levels.made((0, "a")).own = Running(np.zeros(2, np.float32), np.array([30, 0], np.float32))
    assert levels.confidence((0, "a")) == pytest.approx(0.75)
    assert Levels().confidence((0, "a")) is None


# Its bytes.

POINT = Point(-1, 1.7e9, 12)
RUNNING = Running(np.array([0.5, -0.0], np.float32), np.array([3.5, 0], np.float32))
FULL = Level(
    RUNNING,
    Shift(RUNNING, np.array([0, 0.25], np.float32)),
    1,
    POINT,
    1.7e9,
    1.8e9,
    Course(12, RUNNING, np.array([0, 2], np.float32), 2, 1.6e9),
    Drift(POINT, (0, 1), Farthest(1.5, 1.7e9), POINT, 1.7e9, 3.0),
)


@pytest.mark.parametrize("level", [FULL, Level(RUNNING)])
def test_a_level_is_read_back_to_the_bit(level: Level) -> None:
    value = pack(level)
    assert pack(unpack(value)) == value
    assert unpack(value).changed == level.changed
    assert unpack(value).drift == level.drift


def damaged(place: int, member: object) -> bytes:
    fields = msgspec.msgpack.decode(pack(FULL))
    fields[place] = member
    return msgspec.msgpack.encode(fields)


NAN = np.array([np.nan, 0], "<f4").tobytes()
ZERO = np.zeros(2, "<f4").tobytes()
ONE = np.zeros(1, "<f4").tobytes()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        pack(FULL)[:-1],
        damaged(0, 2),
        damaged(1, [NAN, ZERO]),
        damaged(1, [ZERO, ONE]),
        damaged(1, [ONE, ONE]),
        damaged(1, [ZERO, np.array([-1, 0], "<f4").tobytes()]),
        damaged(2, [[ZERO, ZERO], b"abc"]),
        damaged(3, -1),
        damaged(6, [12, [ZERO, ZERO], np.array([-1, 0], "<f4").tobytes(), 0, 0.0]),
        damaged(7, [[1.7e9, 12], [1, 0], 1.5, 1.7e9, [1.7e9, 12], 1.7e9, 3.0]),
        damaged(7, [[1.7e9, 12], [2], 1.5, 1.7e9, [1.7e9, 12], 1.7e9, 3.0]),
        damaged(7, [[1.7e9, 12], [1], 1.5, 1.7e9, [1.7e9, 12], 1.7e9, 1.0]),
    ],
)
def test_bytes_that_are_no_level_are_told(value: bytes) -> None:
    with pytest.raises(UnreadableStateError):
        unpack(value)


def test_one_record_of_a_model_with_forty_features_is_small() -> None:
    wide = Running(np.zeros(40, np.float32), np.zeros(40, np.float32))
    assert len(pack(replace(FULL, own=wide, shift=None, course=None, drift=None))) < 400


# What training says of it.


def test_the_spread_within_and_between_streams_is_told_apart() -> None:
    """Forty streams whose levels differ by 0.6 (standard deviation of the logarithm), windows by 0.3."""
    rng = np.random.default_rng(8)
    stream = np.repeat(np.arange(40), 200)
    level = rng.normal(scale=0.6, size=40)[stream][:, None]
    errors = np.exp(2 + level + rng.normal(scale=0.3, size=(len(stream), 5))).astype(np.float32)
    found = typical(errors, stream)
    assert found.within == pytest.approx(0.09, rel=0.1)
    assert found.between == pytest.approx(0.36, rel=0.4)
    assert found.log_error == pytest.approx([2 + float(level.mean())] * 5, abs=0.05)
    assert found.prior_windows == 1.0
    assert exp(found.log_error[0]) > 1


def test_streams_that_do_not_differ_and_one_alone() -> None:
    errors = np.random.default_rng(1).lognormal(size=(200, 2)).astype(np.float32)
    same = typical(errors, np.repeat(np.arange(4), 50))
    assert same.between is not None
    assert same.between < 0.05
    assert typical(errors, np.zeros(200, np.int64)).between is None


def test_windows_are_taken_that_share_no_row_unless_they_are_few() -> None:
    first = np.arange(1000)
    assert np.diff(apart(first, 8)).tolist() == [8] * 124
    assert len(apart(np.arange(FEW), 8)) == FEW


def test_an_artefact_says_what_is_usual_and_one_of_before_is_still_read() -> None:
    calibration = tiny_trained().manifest_draft.calibration
    assert calibration.typical is not None
    assert len(calibration.typical.log_error) == len(models.FEATURES)
    assert calibration.typical.between is not None  # there are two streams
    assert all(abs(one) < 0.5 for one in calibration.typical.log_error)  # about 1, as errors are on held-out windows
    written = json.loads(status_example.manifest().to_json())
    assert "typical" not in written["calibration"]  # what is not known is left out
    assert Manifest.model_validate(written).calibration.typical is None


def test_normal_windows_that_may_not_enter_do_not_say_what_is_usual() -> None:
    error = np.ones(100)
    error[40] = 3
    assert np.flatnonzero(~calm(error, 2.0, after=5)).tolist() == [40, 41, 42, 43, 44, 45]
    assert calm(np.full(100, 3.0), 2.0, after=5).all()  # of too few, all
