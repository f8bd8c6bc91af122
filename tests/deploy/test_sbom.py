"""The bill of materials: what the listing finds on this very system, and what becomes of it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import pytest

from tests.deploy import sbom


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", sbom.LISTING], capture_output=True, text=True, check=True)
    return sbom.document("here", json.loads(done.stdout))


def test_it_names_what_is_installed_with_its_version_and_licence(bill: dict[str, Any]) -> None:
    (numpy,) = (one for one in bill["components"] if one["purl"].startswith("pkg:pypi/numpy@"))
    assert numpy["version"] == version("numpy")
    assert "BSD" in numpy["licenses"][0]["license"]["name"]


def test_every_component_is_named_once_by_a_package_url(bill: dict[str, Any]) -> None:
    names = [one["purl"] for one in bill["components"]]
    assert len(names) == len(set(names)) > 20
    assert all(name.startswith(("pkg:pypi/", "pkg:deb/debian/")) for name in names)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")


def test_a_version_with_an_epoch_is_encoded() -> None:
    one = {"kind": "deb", "name": "zlib1g", "version": "1:1.2.13+b1", "arch": "amd64"}
    assert sbom.purl(one) == "pkg:deb/debian/zlib1g@1%3A1.2.13%2Bb1?arch=amd64"
