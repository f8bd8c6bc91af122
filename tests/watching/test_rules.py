"""Rules: silent while all is well, each alert fires on its fault and not before, and each has its runbook."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from ruamel.yaml import YAML

from monitor import config
from monitor.collectors import Families
from monitor.forward.metrics import PREFIX, ForwardMetrics
from monitor.metrics import Metrics
from tests import status_example as example
from tests.watching.faults import ALIVE, FAULTS, Fault

ROOT = Path(__file__).parents[2]
RULES = ROOT / "helm/monitor/files/rules"
HEALTHY = Path(__file__).parent / "healthy.test.yaml"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="no promtool: apt-get install prometheus")


def rules() -> list[dict[str, Any]]:
    files = [YAML(typ="safe").load(file.read_text(encoding="utf-8")) for file in sorted(RULES.glob("*.yaml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


ALERTS = [rule for rule in rules() if "alert" in rule]


def promtool(*arguments: str | Path) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_reads_the_rules() -> None:
    promtool("check", "rules", *sorted(RULES.glob("*.yaml")))


@needs_promtool
def test_four_healthy_days_are_silent(tmp_path: Path) -> None:
    file = tmp_path / "healthy.yaml"
    file.write_text(HEALTHY.read_text(encoding="utf-8").replace("RULES", str(RULES)), encoding="utf-8")
    promtool("test", "rules", file)


@needs_promtool
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.alert)
def test_an_alert_fires_on_its_fault_and_not_before(fault: Fault, tmp_path: Path) -> None:
    alive = {} if fault.alert in {"MonitorDown", "MonitorAbsent"} else ALIVE
    count = f'count(ALERTS{{alertname="{fault.alert}",alertstate="firing"}})'
    test = {
        "rule_files": [str(RULES / "recording.yaml"), str(RULES / "alerts.yaml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": s, "values": v} for s, v in {**alive, **fault.series}.items()],
                "promql_expr_test": [
                    {"expr": count, "eval_time": fault.quiet_until, "exp_samples": []},
                    {"expr": count, "eval_time": fault.fires_by, "exp_samples": [{"labels": "{}", "value": 1}]},
                ],
            }
        ],
    }
    file = tmp_path / "fault.yaml"
    file.write_text(json.dumps(test), encoding="utf-8")
    promtool("test", "rules", file)


def test_every_alert_has_a_fault_that_it_fires_on() -> None:
    assert {fault.alert for fault in FAULTS} == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_every_alert_says_how_bad_it_is_and_has_a_runbook(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    notes = rule["annotations"]
    assert notes["summary"]
    assert notes["description"]
    assert notes["runbook_url"] == f"docs/operating.md#{rule['alert'].lower()}"
    page = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
    _, found, rest = page.partition(f"\n### {rule['alert']}\n")
    assert found, "no runbook"
    runbook = re.split(r"\n##+ ", rest)[0]
    assert [word for word in ("Meaning", "Impact", "First look", "Fix") if f"**{word}**" not in runbook] == []


def test_rules_ask_for_no_metric_that_the_service_does_not_have() -> None:
    made = Metrics(CollectorRegistry(), example.manifest(), config.Settings())
    forwarding = ForwardMetrics(Families(PREFIX, CollectorRegistry()))
    have = {family.name for family in (*made.families, *forwarding.families)}
    asked = {name for rule in rules() for name in re.findall(r"(?<![:\w])monitor_\w+(?![:\w])", rule["expr"])}
    assert asked
    assert {name for name in asked if name.removesuffix("_bucket") not in have} == set()
