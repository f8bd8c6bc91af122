"""Dashboards: the files are what is written in one place, every panel is explained, no metric is made up.

Whether each query answers with data is asked of a real Prometheus beside a real service, where there is one.
"""

from __future__ import annotations

import json
import re
import time
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from monitor import config
from monitor.metrics import Metrics
from tests import status_example as example
from tests.integration.conftest import deploy, deployment, model  # noqa: F401  fixtures
from tests.integration.running import Deployment, records, rows, until
from tests.watching import dashboards
from tests.watching.prometheus import PROGRAM, Prometheus

EMPTY = {"overview / Budget burn"}  # the tiny model's quantile is 1: it has no budget, so the ratio is absent
NAMES = sorted(dashboards.BOARDS)


def panels(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((dashboards.FOLDER / f"{name}.json").read_text(encoding="utf-8"))["panels"]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_what_is_written(name: str) -> None:
    file = dashboards.FOLDER / f"{name}.json"
    hint = "run python -m tests.watching.dashboards"
    assert file.read_text(encoding="utf-8") == dashboards.text(name), hint
    assert sorted(path.stem for path in dashboards.FOLDER.iterdir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_has_unit_description_and_metrics_that_exist(name: str) -> None:
    families = {family.name for family in Metrics(CollectorRegistry(), example.manifest(), config.Settings()).families}
    for panel in panels(name):
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            asked = set(re.findall(r"monitor_\w+", target["expr"]))
            assert {m for m in asked if m not in families and re.sub("_(bucket|sum)$", "", m) not in families} == set()
            assert "rate(" not in target["expr"] or "[$__rate_interval]" in target["expr"]


@pytest.mark.skipif(PROGRAM is None, reason="no prometheus: apt-get install prometheus")
def test_every_query_answers_with_data_beside_a_service_with_faults(deployment: Deployment, tmp_path: Path) -> None:  # noqa: F811
    service = deployment.serve()
    target = urllib.parse.urlsplit(service.url).netloc
    prometheus = Prometheus(tmp_path / "prometheus", {"monitor": target})
    ask = prometheus.ask

    def empty() -> list[str]:
        found = []
        for name in NAMES:
            for panel in panels(name):
                for query in panel["targets"]:
                    expr = query["expr"].replace("$__rate_interval", "1m").replace("$__range", "1m")
                    expr = re.sub(r"\$(job|stream)", ".*", expr)
                    result = ask("query", query=expr)["result"]
                    if f"{name} / {panel['title']}" not in EMPTY and not any(
                        sample["value"][1] != "NaN" for sample in result
                    ):
                        found.append(f"{name} / {panel['title']}: {expr}")
        return found

    try:
        until(lambda: ask("query", query="monitor_records_total")["result"], lambda: "no scrape", "the first scrape")
        time.sleep(2)  # two scrapes of zeros, so that a rate sees what comes
        deployment.put(records("a", rows(200, (60, 120))))
        deployment.put([(0, b"a", b"no event")])
        until(lambda: service.metric("monitor_alerts_total", status="opened"), service.tail, "an incident")
        until(lambda: not empty(), lambda: "\n".join(empty()), "data in every panel")
        for label, metric in (("job", "monitor_build_info"), ("stream", "monitor_stream_score")):
            assert ask(f"label/{label}/values", **{"match[]": metric}), label
    finally:
        prometheus.close()
