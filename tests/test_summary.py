"""The sentence of an alert: what a person is told, to the letter."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from monitor.alerts import CAUSES, Alert, Evidence, Feature, Reason, moment
from monitor.summary import sentence

FLOW = Feature(name="flow", observed=3.2, expected=1.1, contribution=0.62, unit="l/s")
HEAT = Feature(name="temperature", observed=19.98, expected=25, contribution=0.21, unit="°C")
SPEED = Feature(name="speed", observed=0, expected=0, contribution=0.1)
NOISE = Feature(name="noise", observed=1, expected=0, contribution=0.07)


def alert(**changes: Any) -> Alert:
    facts: dict[str, Any] = {
        "id": "",
        "incident": "",
        "kind": "anomaly",
        "status": "opened",
        "reason": None,
        "stream": "pump-7",
        "time": moment(1712345678.9),
        "started_at": moment(1712318584),
        "ended_at": None,
        "severity": "major",
        "score": 4.2,
        "error": 4.2,
        "threshold": 1.0,
        "features": (FLOW, HEAT, SPEED, NOISE),
        "evidence": Evidence(topic="", partition=0, first_offset=0, last_offset=0, model="", config=""),
        "duration": 4000.0,
    }
    return Alert(**facts | changes)


def test_an_open_anomaly_names_its_largest_features_its_beginning_and_its_peak() -> None:
    assert sentence(alert()) == (
        "pump-7: flow 3.2 l/s above the expected 1.1 (62 % of the error), "
        "temperature 19.98 °C below the expected 25 (21 %), speed 0 as expected (10 %); "
        "since 2024-04-05 12:03:04 UTC, peak 4.2 x threshold"
    )


def test_a_category_is_told_by_its_value() -> None:
    told = []
    for observed, category in ((1, "udp"), (-1, None), (0, "tcp")):
        protocol = Feature(
            name="protocol",
            observed=observed,
            expected=0,
            contribution=1,
            observed_category=category,
            expected_category="tcp",
        )
        told.append(sentence(alert(features=(protocol,))).partition(";")[0])
    assert told == [
        "pump-7: protocol udp instead of the expected tcp (100 % of the error)",
        "pump-7: protocol of an unknown value instead of the expected tcp (100 % of the error)",
        "pump-7: protocol tcp as expected (100 % of the error)",
    ]


PORTS = {"name": "host.target_ports", "expected": 12.0, "contribution": 0.9, "unit": "ports/s"}
WORDS = "distinct destination ports a second; of TCP and UDP, without answers"


@pytest.mark.parametrize(
    ("observed", "usual", "told"),
    [
        (98.4, 2.4, "distinct destination ports a second 41 x the usual"),
        (2160.0, 1.5, "distinct destination ports a second 1,440 x the usual"),
        (3.6, 2.4, "distinct destination ports a second 1.5 x the usual"),
        (0.06, 2.4, "distinct destination ports a second 0.025 x the usual"),
        (98.4, 0.0, "distinct destination ports a second 98.4 ports/s, usually 0"),
        (0.0, 2.4, "distinct destination ports a second 0 ports/s, usually 2.4"),
        (98.4, -2.4, "distinct destination ports a second 98.4 ports/s, usually -2.4"),
    ],
)
def test_where_its_meaning_is_known_it_says_in_words_how_many_times_the_usual(
    observed: float, usual: float, told: str
) -> None:
    ports = Feature(**PORTS, observed=observed, usual=usual, meaning=WORDS)  # type: ignore[arg-type]
    assert sentence(alert(features=(ports,))).partition(";")[0] == f"pump-7: {told} (90 % of the error)"


def test_a_closed_one_says_from_when_to_when_and_why() -> None:
    closed = {"status": "closed", "reason": "recovered", "features": (FLOW,)}
    assert sentence(alert(ended_at=moment(1712318644), **closed)) == (
        "pump-7: flow 3.2 l/s above the expected 1.1 (62 % of the error); "
        "2024-04-05 12:03:04 to 12:04:04 UTC, peak 4.2 x threshold, over"
    )
    assert "2024-04-05 12:03:04 to 2024-04-06 12:03:04 UTC" in sentence(alert(ended_at=moment(1712404984), **closed))


@pytest.mark.parametrize("reason", get_args(Reason))
def test_every_reason_has_its_words(reason: Reason) -> None:
    assert not sentence(alert(reason=reason)).endswith("threshold")


def test_without_features_it_says_what_is_known() -> None:
    assert sentence(alert(features=())).startswith("pump-7: anomalous; since ")


@pytest.mark.parametrize(
    ("cause", "error", "detail", "what"),
    [
        ("stuck", 32.0, "", "stuck for 32 events: flow 3.2 l/s, temperature 19.98 °C"),
        ("unit_jump", 7.0, "x 1000", "looks like another unit (x 1000): flow 3.2 l/s, temperature 19.98 °C"),
        ("missing", 0.75, "", "missing in 75 % of the window: flow, temperature"),
        ("out_of_range", 1.5, "", "outside the valid range: flow 3.2 l/s, temperature 19.98 °C"),
        ("clock_skew", 75.5, "ahead of", "event times are 75.5 s ahead of the records' timestamps"),
        ("sampling_rate", 5.0, "more seldom", "events come 5 times more seldom than usual"),
    ],
)
def test_a_fault_of_the_data_says_which(cause: str, error: float, detail: str, what: str) -> None:
    faulty = alert(kind="data_quality", cause=cause, error=error, features=(FLOW, HEAT))
    assert sentence(faulty, detail) == f"pump-7: {what}; since 2024-04-05 12:03:04 UTC"


def test_a_gap_says_how_long_and_from_when_to_when() -> None:
    gap = alert(kind="data_quality", cause="gap", features=(), time=moment(1712322584), status="closed")
    assert sentence(gap) == "pump-7: no events for 4000 s, 2024-04-05 12:03:04 to 13:09:44 UTC"


def test_a_drift_says_what_is_usual_now_and_what_to_do() -> None:
    usual = Feature(name="flow", observed=3.21, expected=1, contribution=0.9)
    assert sentence(alert(kind="drift", features=(usual,))) == (
        "pump-7: the usual error is not training's any more: flow 3.21 times; retraining is due; "
        "since 2024-04-05 12:03:04 UTC"
    )
    closed = {"status": "closed", "reason": "recovered", "ended_at": moment(1712318644)}
    assert sentence(alert(kind="drift", features=(), **closed)) == (
        "pump-7: the usual error is not training's any more; 2024-04-05 12:03:04 to 12:04:04 UTC, over"
    )


def test_every_cause_has_its_words() -> None:
    assert len({sentence(alert(cause=cause, features=())) for cause in CAUSES}) == len(CAUSES)


def test_what_cannot_be_printed_does_not_reach_the_terminal() -> None:
    assert sentence(alert(stream="a\x1b[2J\nb")).startswith("a\ufffd[2J\ufffdb: flow")
