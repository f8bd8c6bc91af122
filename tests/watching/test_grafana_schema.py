"""Dashboards against what Grafana says it reads: its own types as a strict schema. Skips where those are not."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.deploy.tools import CACHE, GRAFANA
from tests.watching import dashboards

NODE = shutil.which("node")
MODULES = CACHE / "grafana" / "node_modules"
PROVISIONING = Path(__file__).parents[2] / "deploy/grafana/provisioning"
DATASOURCE = {"name", "uid", "type", "access", "url", "isDefault", "jsonData"}
PROVIDER = {"name", "folder", "type", "options"}


def check(*files: Path) -> list[str]:
    """The faults of dashboards, a line each."""
    if NODE is None or not MODULES.is_dir():
        pytest.skip("no node, or no types of Grafana: python -m tests.deploy.tools")
    for name in ("check.mjs", "types.ts", "tsconfig.json"):  # those of today, beside the modules they import
        shutil.copyfile(GRAFANA / name, CACHE / "grafana" / name)
    command = [NODE, str(CACHE / "grafana" / "check.mjs"), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr
    assert not done.stderr, done.stderr
    assert (done.returncode == 1) == bool(done.stdout), done.stdout
    return done.stdout.splitlines()


def test_every_dashboard_is_what_grafanas_own_types_describe() -> None:
    assert check(*sorted(dashboards.FOLDER.glob("*.json"))) == []


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a key of the dashboard": (lambda board: board.update(refersh="10s"), "refersh"),
    "a key of a panel": (lambda board: board["panels"][0].update(titel="x"), "titel"),
    "a number as text": (lambda board: board["panels"][0]["gridPos"].update(w="12"), "/gridPos/w"),
    "an option of a panel": (lambda board: board["panels"][0].update(options={"colourMode": "value"}), "colourMode"),
    "an option's value": (lambda board: board["panels"][0].update(options={"colorMode": "loud"}), "/colorMode"),
    "a type of panel": (lambda board: board["panels"][0].update(type="graf"), "graf"),
    "a key of a query": (lambda board: board["panels"][0]["targets"][0].update(exprs="1"), "exprs"),
    "a variable": (lambda board: board["templating"]["list"][0].update(labell="x"), "labell"),
    "a unit that is none": (lambda board: board["panels"][0]["fieldConfig"]["defaults"].update(unit=3), "/unit"),
}


def test_each_kind_of_fault_is_found(tmp_path: Path) -> None:
    """Of a file with one fault, and named where it is."""
    files = []
    for number, (spoil, _) in enumerate(FAULTS.values()):
        board = json.loads((dashboards.FOLDER / "overview.json").read_text(encoding="utf-8"))
        spoil(board)
        files.append(tmp_path / f"fault{number}.json")
        files[-1].write_text(json.dumps(board), encoding="utf-8")
    lines = check(*files)
    missed = [
        name
        for number, (name, (_, said)) in enumerate(FAULTS.items())
        if not any(line.startswith(f"fault{number}.json") and said in line for line in lines)
    ]
    assert missed == [], lines


def test_the_provisioning_files_name_what_is_there() -> None:
    """Their keys are those of Grafana's documentation; there is no schema of them to be had."""
    read = YAML(typ="safe").load
    sources = read((PROVISIONING / "datasources/prometheus.yaml").read_text(encoding="utf-8"))
    providers = read((PROVISIONING / "dashboards/monitor.yaml").read_text(encoding="utf-8"))
    assert sources["apiVersion"] == providers["apiVersion"] == 1
    (source,), (provider,) = sources["datasources"], providers["providers"]
    assert set(source) <= DATASOURCE
    assert set(provider) <= PROVIDER
    assert source["type"] == dashboards.SOURCE["type"]
    assert provider["type"] == "file"
