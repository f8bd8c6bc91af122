"""Gates: which anomalous scores may count, by what a person knows of the features."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monitor import config
from monitor.batch import Float32
from monitor.errors import ConfigError
from monitor.gates import Counted, Gates, fitting
from tests.faulty import Careful, faulty, moment
from tests.test_pipeline import FEATURES, START, episode, pipeline, record

NAMES = ("flow", "temp_in", "temp_out")


def gates(after: float = 0.0, **rules: Any) -> Gates:
    return Gates(config.Gates.model_validate(rules), NAMES, after)


def count(made: Gates, observed: list[float], expected: list[float], errors: list[float], score: float) -> Counted:
    seen, wanted, error = (np.array([row], np.float32) for row in (observed, expected, errors))
    return made.count(seen, wanted, error, np.array([score]))


def test_gates_that_are_not_set_leave_everything_as_it_is() -> None:
    errors, score = np.ones((2, 3), np.float32), np.array([0.5, 3.0])
    counted = gates().count(errors, errors, errors, score)
    assert counted.score is score
    assert counted.feature_error is errors
    assert counted.held == {}


def test_without_the_ignored_features_the_score_is_the_mean_over_the_others() -> None:
    counted = count(gates(ignore=["temp_*"]), [0, 0, 0], [0, 0, 0], [3.0, 6.0, 9.0], score=6.0)  # threshold 1
    assert counted.score.tolist() == [3.0]
    assert counted.feature_error.tolist() == [[3.0, 0.0, 0.0]]
    assert counted.held == {"ignore": 0}
    assert count(gates(ignore=["flow"]), [0, 0, 0], [0, 0, 0], [9.0, 0.0, 0.0], score=3.0).held == {"ignore": 1}


@pytest.mark.parametrize(
    ("rules", "observed", "expected", "counts"),
    [
        ({"min_deviation": {"flow": 0.5}}, 1.5, 1.0, True),
        ({"min_deviation": {"flow": 0.5}}, 0.5, 1.0, True),
        ({"min_deviation": {"flow": 0.5}}, 1.25, 1.0, False),
        ({"min_relative": {"flow": 0.25}}, -10.0, -8.0, True),
        ({"min_relative": {"flow": 0.25}}, -9.5, -8.0, False),
        ({"min_relative": {"flow": 0.25}}, 0.0, 0.0, True),
        ({"min_deviation": {"flow": 1}, "min_relative": {"flow": 0.25}}, 0.5, 0.0, False),  # both must hold
        ({"direction": {"flow": "above"}}, 1.0, 2.0, False),
        ({"direction": {"flow": "above"}}, 3.0, 2.0, True),
        ({"direction": {"flow": "below"}}, 1.0, 2.0, True),
        ({"direction": {"flow": "below"}}, 3.0, 2.0, False),
        ({"direction": {"flow": "both"}}, 3.0, 2.0, True),
        ({"min_deviation": {"temp_*": 100}}, 3.0, 2.0, True),  # another feature's
        ({"min_deviation": {"*": 100, "flow": 0}}, 3.0, 2.0, True),  # the last that fits counts
        ({"min_deviation": {"flow": 0, "*": 100}}, 3.0, 2.0, False),
    ],
)
def test_a_feature_counts_where_it_is_far_enough_on_the_side_that_matters(
    rules: dict[str, Any], observed: float, expected: float, counts: bool
) -> None:
    counted = count(gates(**rules), [observed, 0, 0], [expected, 0, 0], [3.0, 0.0, 0.0], score=2.0)
    assert counted.score.tolist() == [2.0 if counts else 0.0]
    assert sum(counted.held.values()) == (not counts)


def test_what_is_left_when_a_feature_may_not_count_still_counts() -> None:
    counted = count(gates(direction={"flow": "above"}), [1, 5, 5], [2, 0, 0], [6.0, 2.0, 4.0], score=8.0)
    assert counted.score.tolist() == [4.0]
    assert counted.feature_error.tolist() == [[0.0, 2.0, 4.0]]
    assert counted.held == {"direction": 0}


def test_what_is_normal_is_not_looked_at() -> None:
    counted = count(gates(min_deviation={"*": 9}), [0, 0, 0], [0, 0, 0], [1.0, 1.0, 1.0], score=1.0)
    assert counted.score.tolist() == [1.0]


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(np.float32, (40, 3), elements=st.floats(0, 3.0000000054977558e38, width=32)),
    hnp.arrays(np.float64, 40, elements=st.floats(0, 50)),
    st.sampled_from([["flow"], []]),
    st.integers(1, 39),
)
def test_a_score_does_not_depend_on_the_windows_beside_it(
    errors: Float32, score: np.ndarray[Any, np.dtype[np.float64]], ignore: list[str], cut: int
) -> None:
    made = gates(ignore=ignore, min_deviation={"temp_in": 1.0}, direction={"temp_out": "above"})
    observed = errors[::-1].copy()
    whole = made.count(observed, errors, errors, score)
    parts = [made.count(observed[p], errors[p], errors[p], score[p]) for p in (slice(cut), slice(cut, None))]
    assert whole.score.tobytes() == b"".join(part.score.tobytes() for part in parts)
    assert whole.feature_error.tobytes() == b"".join(part.feature_error.tobytes() for part in parts)
    for gate, held in whole.held.items():
        assert held == sum(part.held.get(gate, 0) for part in parts)


def test_a_name_with_the_signs_of_a_pattern_means_itself_too() -> None:
    assert fitting("a[1]", ["a[1]", "a1", "b"]) == [0, 1]


def test_valid_ranges_are_open_where_they_are_not_given() -> None:
    made = gates(valid_range={"temp_*": [None, 90], "temp_in": [0, None]})
    assert made.lowest.tolist() == [-inf, 0.0, -inf]
    assert made.highest.tolist() == [inf, inf, 90.0]


HOUR = 3600.0


@pytest.mark.parametrize(
    ("after", "stream", "paused"),
    [
        (-1.0, "pump-1", False),
        (0.0, "pump-1", True),
        (2 * HOUR - 1, "pump-1", True),
        (2 * HOUR + 29, "pump-1", True),  # the window still holds events of before
        (2 * HOUR + 30, "pump-1", False),
        (HOUR, "fan-1", False),
        (7 * 24 * HOUR + HOUR, "pump-1", True),
        (7 * 24 * HOUR - 1, "pump-1", False),
        (-7 * 24 * HOUR + HOUR, "pump-1", False),  # it begins with the first
    ],
)
def test_a_weekly_maintenance_window_holds_from_its_beginning_until_a_window_after_its_end(
    after: float, stream: str, paused: bool
) -> None:
    window = {"from": "2026-01-04T02:00:00Z", "to": "2026-01-04T05:00:00+01:00", "streams": "pump-*", "weekly": True}
    begin = 1767492000.0
    made = gates(30.0, maintenance=[window])
    assert made.paused([stream], np.array([begin + after])).tolist() == [paused]


def test_nothing_opens_in_maintenance_and_what_is_held_back_is_counted() -> None:
    # The interval of this model is 60 s and its window three events: three minutes more.
    window = {"from": moment(0), "to": moment(1)}
    outcome = pipeline(gates={"maintenance": [window]}).process(episode("s"))
    assert outcome.alerts == []
    assert outcome.gated == {"maintenance": 4}
    assert outcome.score.max() == 1.0
    assert outcome.states == {}


def test_an_open_incident_waits_while_there_is_maintenance() -> None:
    levels = [0.5] * 3 + [2.0] * 3 + [0.5] * 9 + [2.0] + [0.5] * 9
    records = [record(0, i, "s", START + 60 * i, (level, level)) for i, level in enumerate(levels)]
    windows = {"max_gap": 300, "idle_timeout": 6000}
    begin, end = 60 * 6, 60 * 12  # then until 60 * 15
    line = pipeline(windows=windows, gates={"maintenance": [{"from": moment(begin), "to": moment(end)}]})
    alerts = [alert for alert in line.process(records).alerts if alert.status != "updated"]
    assert [(alert.status, alert.evidence.last_offset) for alert in alerts] == [("opened", 4), ("closed", 17)]
    assert alerts[1].ended_at is not None
    assert alerts[1].ended_at.timestamp() == START + 60 * 15  # it went on when the maintenance was over


def test_an_alert_names_no_feature_that_may_not_count() -> None:
    (opened, _) = pipeline(gates={"ignore": [FEATURES[1]]}).process(episode("s")).alerts
    assert [(feature.name, feature.contribution) for feature in opened.features] == [(FEATURES[0], 1.0)]
    assert (opened.score, opened.error) == (4.0, 4.0)


def test_a_value_outside_its_valid_range_is_a_fault_of_the_data_and_no_anomaly() -> None:
    records = faulty(0, [("calm", "s", 6), ("invalid", "s", 4), ("calm", "s", 8)])
    rules = {"valid_range": {FEATURES[0]: [0, 4.9]}}
    alerts = pipeline(Careful(), gates=rules).process(records).alerts
    assert [(alert.kind, alert.cause, alert.status) for alert in alerts if alert.status != "updated"] == [
        ("data_quality", "out_of_range", "opened"),
        ("data_quality", "out_of_range", "closed"),
    ]
    assert [feature.name for feature in alerts[0].features] == [FEATURES[0]]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"ignore": ["flow"]}, r"gates.ignore: 'flow' is none of the model's features"),
        ({"direction": {"x*": "above"}}, r"gates.direction: 'x\*' is none of the model's features"),
        ({"ignore": ["*"]}, "gates.ignore leaves no feature"),
    ],
)
def test_a_gate_that_the_model_cannot_have_is_an_error(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pipeline(gates=rules)
