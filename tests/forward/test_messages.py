"""What is sent: labels that stay, times that Alertmanager takes, headers of a CloudEvent; and what is remembered."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.alerts import Alert
from monitor.batch import RawRecord
from monitor.config.forwarding import OWN_LABELS
from monitor.forward import alertmanager, webhook
from monitor.forward.item import Item
from monitor.forward.open_incidents import OpenIncidents
from monitor.repeats import Repeats
from tests.forward.made import BEGUN, COURSE, alert

NOW = BEGUN + timedelta(minutes=5)
KEEP_OPEN = 900.0


def item(told: Alert, offset: int = 0, partition: int = 0, timestamp: int = 0) -> Item:
    return Item(told, RawRecord("alerts", partition, offset, timestamp, None, told.to_bytes()))


def test_the_labels_of_an_incident_stay_as_they_are_whatever_changes() -> None:
    told = [alertmanager.alert_of(alert("a", status=status), {"team": "x"}, NOW, KEEP_OPEN) for status in COURSE]
    assert told[0]["labels"] == told[1]["labels"] == told[2]["labels"]
    assert len({each["annotations"]["score"] for each in told}) == 3
    assert {each["annotations"]["severity"] for each in told} == {"warning", "major"}


def test_two_incidents_of_a_stream_have_different_labels() -> None:
    assert alertmanager.labels(alert("a", 0), {}) != alertmanager.labels(alert("a", 1), {})


def test_labels_name_what_it_is_and_take_those_of_the_settings() -> None:
    fault = alert("a", kind="data_quality", cause="gap")
    found = alertmanager.labels(fault, {"team": "x"})
    assert found["alertname"] == "MonitorDataQuality"
    assert (found["team"], found["cause"], found["stream"], found["kind"]) == ("x", "gap", "a", "data_quality")
    assert set(found) - {"team"} == set(OWN_LABELS)  # none of which the settings may name


def test_an_open_incident_ends_after_keep_open_and_a_closed_one_when_it_ended() -> None:
    opened = alertmanager.alert_of(alert("a"), {}, NOW, KEEP_OPEN)
    assert (opened["startsAt"], opened["endsAt"]) == ("2026-03-01T12:00:00.000Z", "2026-03-01T12:20:00.000Z")
    closed = alertmanager.alert_of(alert("a", status="closed"), {}, NOW, KEEP_OPEN)
    assert (closed["startsAt"], closed["endsAt"]) == ("2026-03-01T12:00:00.000Z", "2026-03-01T12:01:00.000Z")


def test_a_clock_that_is_ahead_neither_keeps_a_closed_incident_open_nor_ends_it_before_it_began() -> None:
    early = BEGUN - timedelta(minutes=3)
    closed = alertmanager.alert_of(alert("a", status="closed"), {}, early, KEEP_OPEN)
    assert closed["startsAt"] == closed["endsAt"] == "2026-03-01T11:57:00.000Z"


@given(st.text(min_size=1, max_size=40).filter(lambda text: text.encode("utf-8", "ignore").decode() == text))
def test_headers_carry_any_name_of_a_stream(stream: str) -> None:
    found = webhook.headers(alert(stream))
    assert all(re.fullmatch(r"[\x21-\x7e]+", value) for value in found.values())
    assert unquote(found["ce-subject"]) == stream


def test_headers_are_those_of_a_cloudevent_in_binary_mode() -> None:
    told = alert("pump 7")
    found = webhook.headers(told)
    assert found["Content-Type"] == "application/json"
    assert found["ce-specversion"] == "1.0"
    assert found["ce-id"] == told.id
    assert found["ce-type"] == "monitor.alert.v1"
    assert found["ce-subject"] == "pump%207"


def test_what_is_open_is_the_newest_message_of_each_incident_without_those_that_closed() -> None:
    incidents = OpenIncidents(10, 3600)
    for told in (alert("a"), alert("b"), alert("a", status="updated"), alert("b", status="closed")):
        incidents.note(item(told))
    (left,) = incidents.current(0)
    assert (left.alert.stream, left.alert.status) == ("a", "updated")


def test_whoever_comes_next_reads_from_the_oldest_message_that_is_still_the_newest_of_an_open_incident() -> None:
    incidents = OpenIncidents(10, 3600)
    for offset, told in enumerate((alert("a"), alert("b"), alert("a", status="updated"))):
        incidents.note(item(told, offset=offset))
    incidents.note(item(alert("c"), offset=70, partition=1))
    assert incidents.begins() == {0: 1, 1: 70}
    incidents.note(item(alert("b", status="closed"), offset=3))
    assert incidents.begins() == {0: 2, 1: 70}
    incidents.forget([1])
    assert incidents.begins() == {0: 2}


def test_more_open_incidents_than_may_be_lets_go_of_those_not_heard_of_for_longest() -> None:
    incidents = OpenIncidents(2, 3600)
    for told in (alert("a"), alert("b"), alert("a", status="updated"), alert("c")):
        incidents.note(item(told))
    assert {each.alert.stream for each in incidents.current(0)} == {"a", "c"}
    assert incidents.dropped == 1


def test_an_open_incident_that_nobody_speaks_of_any_more_is_let_go() -> None:
    incidents = OpenIncidents(10, 3600)
    incidents.note(item(alert("a"), timestamp=1_000_000))
    incidents.note(item(alert("b"), timestamp=-1))  # of a broker without times
    assert len(incidents.current(1000 + 3600)) == 2
    assert [each.alert.stream for each in incidents.current(1000 + 3601)] == ["b"]
    assert incidents.dropped == 1


def test_repeats_are_remembered_up_to_a_number() -> None:
    repeats = Repeats(kept=2)
    assert [repeats.new(name) for name in "aabca"] == [True, False, True, True, True]
    assert "b" not in repeats


@pytest.mark.parametrize("status", COURSE)
def test_what_alertmanager_gets_is_text_alone(status: str) -> None:
    told = alertmanager.alert_of(alert("a", status=status), {}, NOW, KEEP_OPEN)  # type: ignore[arg-type]
    for part in ("labels", "annotations"):
        assert all(isinstance(value, str) and value for value in told[part].values())
    json.dumps(told)
