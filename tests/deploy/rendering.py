"""The chart, rendered by a real Helm."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "monitor"
VARIANTS = sorted((CHART / "ci").glob("*-values.yaml"))
SMALLEST = CHART / "ci" / "smallest-values.yaml"
KUBE_VERSION = "1.35.0"  # a Helm 3 made by `go install` believes in 1.20 otherwise

Object = dict[str, Any]


class RefusedError(Exception):
    """What Helm said."""


@cache
def render(helm: Path, values: Path, *sets: str, kube_version: str = KUBE_VERSION, chart: Path = CHART) -> str:
    """The manifests as text. Raises `RefusedError`."""
    command = [str(helm), "template", "pumps", str(chart), "--namespace", "plant", "--kube-version", kube_version]
    for one in sets:
        command += ["--set-json", one]
    done = subprocess.run([*command, "--values", str(values)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RefusedError(done.stderr)
    return done.stdout


def objects(text: str) -> list[Object]:
    """As the API server reads them: YAML 1.1 in everything that the chart uses (booleans, numbers) is YAML 1.2."""
    return [one for one in YAML(typ="safe").load_all(text) if one]


def of_kind(found: list[Object], kind: str, suffix: str = "") -> Object:
    """The one object of a kind whose name ends so."""
    (one,) = (each for each in found if each["kind"] == kind and each["metadata"]["name"].endswith(suffix))
    return one


def pods(found: list[Object]) -> Iterator[tuple[Object, Mapping[str, Any]]]:
    """Each object that makes pods, with the pod's spec."""
    for one in found:
        match one["kind"]:
            case "StatefulSet" | "Deployment" | "Job":
                yield one, one["spec"]["template"]["spec"]
            case "CronJob":
                yield one, one["spec"]["jobTemplate"]["spec"]["template"]["spec"]
            case "Pod":
                yield one, one["spec"]
