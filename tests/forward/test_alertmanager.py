"""`monitor forward` to a real Alertmanager: what it shows, what it notifies of, and what it knows after a restart."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from monitor.alerts import Alert
from tests.forward.hook import Hook
from tests.forward.made import alert, courses
from tests.forward.test_delivery import QUICK, publish
from tests.integration.conftest import MakeDeployment, deploy, deployment, model  # noqa: F401  fixtures
from tests.integration.running import Deployment, Monitor, records, rows, until
from tests.watching.alertmanager import PROGRAM, Alertmanager

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Alertmanager: apt-get install prometheus-alertmanager")


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as listening:
        yield listening


@pytest.fixture
def alertmanager(tmp_path: Path, hook: Hook) -> Iterator[Alertmanager]:
    with Alertmanager(tmp_path / "alertmanager", hook.url, group_by="incident") as running:
        yield running


def forward(where: Deployment, to: Alertmanager, **settings: Any) -> Monitor:
    where.write(forward={"url": to.url, "longest_wait": 1, "resend_every": 1, **settings}, kafka=QUICK)
    return where.start("forward")


def now(told: Alert) -> Alert:
    return told.model_copy(update={"started_at": datetime.now(UTC), "time": datetime.now(UTC)})


def statuses(hook: Hook) -> list[str]:
    """Of what Alertmanager notified of, in its order, repeats left out."""
    return list(dict.fromkeys(str(posted.json["status"]) for posted in hook.taken))


def test_an_incident_is_one_alert_from_opened_to_closed(
    deployment: Deployment,  # noqa: F811
    alertmanager: Alertmanager,
    hook: Hook,
) -> None:
    opened, updated, closed = (now(told) for told in courses(["pump 7"]))
    forward(deployment, alertmanager, labels={"team": "x"})
    publish(deployment, [opened])
    (first,) = until(alertmanager.alerts, alertmanager.tail, "the alert")
    assert first["labels"] == {
        "alertname": "MonitorAnomaly",
        "incident": opened.incident,
        "kind": "anomaly",
        "stream": "pump 7",
        "team": "x",
        "topic": "events",
    }
    assert first["annotations"]["summary"] == opened.summary
    assert first["annotations"]["severity"] == "warning"
    publish(deployment, [updated])
    (second,) = until(
        lambda: [told for told in alertmanager.alerts() if told["annotations"]["severity"] == "major"],
        alertmanager.tail,
        "the update",
    )
    assert second["fingerprint"] == first["fingerprint"]
    assert second["startsAt"] == first["startsAt"]
    publish(deployment, [closed])
    until(lambda: "resolved" in statuses(hook), alertmanager.tail, "the end")
    assert statuses(hook) == ["firing", "resolved"]
    assert {posted.json["alerts"][0]["fingerprint"] for posted in hook.taken} == {first["fingerprint"]}
    until(lambda: not alertmanager.alerts(), alertmanager.tail, "its absence")


def test_an_open_incident_is_told_again_to_an_alertmanager_that_forgot_it(
    deployment: Deployment,  # noqa: F811
    alertmanager: Alertmanager,
) -> None:
    member = forward(deployment, alertmanager)
    publish(deployment, [now(alert("a")), now(alert("b")), now(alert("b", status="closed"))])
    (first,) = until(alertmanager.alerts, alertmanager.tail, "the alert")
    alertmanager.stop()
    member.until(lambda: not member.ready(), "readiness lost")
    alertmanager.start()
    (again,) = until(alertmanager.alerts, alertmanager.tail, "the alert, again")
    assert again["fingerprint"] == first["fingerprint"]
    assert member.metric("monitor_forward_open_incidents") == 1


def test_whoever_comes_next_knows_what_is_open(deployment: Deployment, alertmanager: Alertmanager) -> None:  # noqa: F811
    """Also where it is killed, and all that is new comes from other incidents."""
    member = forward(deployment, alertmanager)
    publish(deployment, [now(alert("a")), now(alert("a", status="updated"))])
    publish(deployment, [now(told) for told in courses(["b", "c"])])
    until(lambda: len(alertmanager.alerts()) == 1, alertmanager.tail, "the alert")
    member.until(lambda: member.metric("monitor_forward_lag_records") == 0, "the end of the topic")
    time.sleep(0.5)  # for the commit
    member.signal(signal.SIGKILL)
    member.ends()
    alertmanager.stop()
    alertmanager.start()
    assert alertmanager.alerts() == []
    again = forward(deployment, alertmanager)
    (known,) = until(alertmanager.alerts, again.tail, "the alert, from who was told nothing new")
    assert (known["labels"]["stream"], known["annotations"]["status"]) == ("a", "updated")
    assert again.metric("monitor_forward_alerts_total", result="delivered") == 0


def test_what_was_over_before_it_is_told_is_over_in_alertmanager(
    deployment: Deployment,  # noqa: F811
    alertmanager: Alertmanager,
    hook: Hook,
) -> None:
    """History, and what came while the receiver was away: neither alarms anybody."""
    publish(deployment, courses(["a", "b"], incidents=20))
    member = forward(deployment, alertmanager, batch=7)
    member.until(lambda: member.metric("monitor_forward_alerts_total", result="delivered") == 40, "all incidents")
    assert member.metric("monitor_forward_alerts_total", result="superseded") == 80
    assert alertmanager.alerts() == []
    publish(deployment, [now(alert("c"))])
    until(lambda: hook.taken, alertmanager.tail, "a notification")
    assert [posted.json["commonLabels"]["stream"] for posted in hook.taken] == ["c"]


def test_a_stream_of_any_name_is_taken(deployment: Deployment, alertmanager: Alertmanager) -> None:  # noqa: F811
    names = sorted(["pump\n7", 'a"b\\c', "\u00fcber \u6d41", "x" * 250])
    forward(deployment, alertmanager)
    publish(deployment, [now(alert(name)) for name in names])
    found = until(lambda: len(told := alertmanager.alerts()) == 4 and told, alertmanager.tail, "the alerts")
    assert sorted(told["labels"]["stream"] for told in found) == names


def test_what_the_service_finds_is_an_alert_in_alertmanager_and_ends_there(
    deploy: MakeDeployment,  # noqa: F811
    alertmanager: Alertmanager,
    hook: Hook,
) -> None:
    """The whole way: events, service, alert topic, Alertmanager, and who it notifies."""
    where = deploy()
    where.create_topics()
    service = where.serve()
    member = forward(where, alertmanager)
    where.put(records("s", rows(66, (60,))))
    found = until(alertmanager.alerts, member.tail, "the alert")
    assert found[0]["labels"]["stream"] == "s"
    until(lambda: "firing" in statuses(hook), member.tail, "the notification")
    assert alertmanager.alerts()[0]["annotations"]["status"] in {"opened", "updated"}
    where.put(records("s", rows(120, ())[66:], first=66))
    until(lambda: "resolved" in statuses(hook), service.tail, "the end")
    labels = {json.dumps(told["labels"]) for posted in hook.taken for told in posted.json["alerts"]}
    assert len(labels) == 1
    (opened, *_, closed) = where.alerts()
    assert (opened["status"], closed["status"]) == ("opened", "closed")
    assert json.loads(labels.pop())["incident"] == opened["incident"]
