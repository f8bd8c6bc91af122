"""A fault of the service is told to people: service, Prometheus with our rules, Alertmanager, webhook; all real."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.local_kafka import free_ports
from tests.forward.hook import Hook
from tests.integration.conftest import deploy, deployment, model  # noqa: F401  fixtures
from tests.integration.running import Deployment, Monitor, until
from tests.watching import alertmanager, prometheus
from tests.watching.test_rules import RULES

pytestmark = pytest.mark.skipif(
    prometheus.PROGRAM is None or alertmanager.PROGRAM is None,
    reason="no Prometheus or Alertmanager: apt-get install prometheus prometheus-alertmanager",
)
PATIENCE = 120.0  # s


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as listening:
        yield listening


def hurried(folder: Path) -> list[Path]:
    """The chart's rules, but that an alert fires at once: how long each waits is tested by promtool."""
    folder.mkdir()
    for file in RULES.glob("*.yaml"):
        text = re.sub(r"for: \d+[mh]\b", "for: 1s", file.read_text(encoding="utf-8"))
        (folder / file.name).write_text(text, encoding="utf-8")
    return sorted(folder.iterdir())


def told(hook: Hook, name: str, status: str) -> list[dict[str, dict[str, str]]]:
    """What the webhook was told of an alert."""
    every = [alert for posted in hook.taken for alert in posted.json["alerts"]]
    return [alert for alert in every if alert["labels"]["alertname"] == name and alert["status"] == status]


def test_a_member_that_dies_is_told_to_people_with_its_runbook_and_so_is_its_return(
    deployment: Deployment,  # noqa: F811
    hook: Hook,
    tmp_path: Path,
) -> None:
    (port,) = free_ports(1)
    service = deployment.serve(MONITOR_WEB__PORT=str(port))
    address = urllib.parse.urlsplit(service.url).netloc
    with (
        alertmanager.Alertmanager(tmp_path / "alertmanager", hook.url, group_by="alertname") as router,
        prometheus.Prometheus(
            tmp_path / "prometheus", {"pumps": address}, hurried(tmp_path / "rules"), router.url
        ) as scraper,
    ):
        until(lambda: scraper.query("monitor_ready == 1"), scraper.tail, "a scrape", PATIENCE)
        assert not told(hook, "MonitorDown", "firing")
        service.kill()
        (fired, *_) = until(lambda: told(hook, "MonitorDown", "firing"), scraper.tail, "the alert", PATIENCE)
        assert fired["labels"]["instance"] == address
        assert fired["labels"]["severity"] == "critical"
        assert fired["annotations"]["summary"] == f"{address} does not answer"
        assert fired["annotations"]["runbook_url"] == "docs/operating.md#monitordown"
        deployment.serve(MONITOR_WEB__PORT=str(port))
        until(lambda: told(hook, "MonitorDown", "resolved"), scraper.tail, "its end", PATIENCE)


def test_brokers_that_are_away_are_told_by_a_member_that_is_alive(
    deployment: Deployment,  # noqa: F811
    hook: Hook,
    tmp_path: Path,
) -> None:
    """Its configuration names a broker that is not there: alive, not ready, and that is what is told."""
    (closed,) = free_ports(1)
    deployment.write(kafka={"bootstrap_servers": f"127.0.0.1:{closed}"})
    service = deployment.start("run")
    address = urllib.parse.urlsplit(service.url).netloc
    with (
        alertmanager.Alertmanager(tmp_path / "alertmanager", hook.url, group_by="alertname") as router,
        prometheus.Prometheus(
            tmp_path / "prometheus", {"pumps": address}, hurried(tmp_path / "rules"), router.url
        ) as scraper,
    ):
        until(lambda: told(hook, "MonitorBrokersAway", "firing"), scraper.tail, "the alert", PATIENCE)
        until(lambda: told(hook, "MonitorNotReady", "firing"), scraper.tail, "the other alert", PATIENCE)
        assert service.get("/livez")[0] == 200
        assert not told(hook, "MonitorDown", "firing")


def test_who_can_forward_no_alerts_is_told_to_people_and_so_is_its_death(hook: Hook, tmp_path: Path) -> None:
    """`monitor forward` without brokers: the way of a fault needs none of them."""
    settings = {"kafka": {"bootstrap_servers": "127.0.0.1:1"}, "web": {"port": 0, "host": "127.0.0.1"}}
    file = tmp_path / "monitor.yaml"
    file.write_text(json.dumps({**settings, "log": {"format": "json"}, "forward": {"url": "http://127.0.0.1:1"}}))
    member = Monitor(tmp_path / "forward.log", "forward", "-c", file)
    try:
        address = urllib.parse.urlsplit(member.url).netloc
        with (
            alertmanager.Alertmanager(tmp_path / "alertmanager", hook.url, group_by="alertname") as router,
            prometheus.Prometheus(
                tmp_path / "prometheus", {"pumps": address}, hurried(tmp_path / "rules"), router.url
            ) as scraper,
        ):
            (fired, *_) = until(
                lambda: told(hook, "MonitorForwardFailing", "firing"), scraper.tail, "the alert", PATIENCE
            )
            assert fired["annotations"]["runbook_url"] == "docs/operating.md#monitorforwardfailing"
            assert not told(hook, "MonitorForwardDown", "firing")
            member.kill()
            until(lambda: told(hook, "MonitorForwardDown", "firing"), scraper.tail, "the other alert", PATIENCE)
    finally:
        member.kill()
