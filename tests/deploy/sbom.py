"""What is in an image, as a software bill of materials: CycloneDX 1.6, Python's packages and Debian's.

`python -m tests.deploy.sbom IMAGE` asks the image itself, with its own Python, and prints the document.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

LISTING = r"""
import importlib.metadata, json, pathlib, re
found = []
for one in importlib.metadata.distributions():
    facts = one.metadata
    licence = facts.get("License-Expression") or next(
        (c.rpartition(" :: ")[2] for c in facts.get_all("Classifier", ()) if c.startswith("License ::")), None
    ) or (facts.get("License") or "").split("\n")[0]
    name = re.sub(r"[-_.]+", "-", facts["Name"]).lower()
    found.append({"kind": "pypi", "name": name, "version": facts["Version"], "licence": licence})
status = pathlib.Path("/var/lib/dpkg/status")
for stanza in status.read_text(errors="replace").split("\n\n") if status.exists() else ():
    facts = dict(line.split(": ", 1) for line in stanza.splitlines() if re.match(r"[A-Z][A-Za-z-]*: ", line))
    if facts.get("Status", "").endswith(" installed"):
        found.append({"kind": "deb", "name": facts["Package"], "version": facts["Version"],
                      "arch": facts["Architecture"], "licence": ""})
print(json.dumps(found))
"""
"""A program that prints what the system it runs on holds: needs nothing but Python."""


def document(image: str, found: Iterable[Mapping[str, str]]) -> dict[str, Any]:
    """The bill of an image; what is installed twice (a venv beside a system's Python) is named once."""
    components = {purl(one): _component(one) for one in found}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": image}},
        "components": [components[name] for name in sorted(components)],
    }


def purl(one: Mapping[str, str]) -> str:
    """The package's URL: `pkg:pypi/kafka-python@3.0.12`."""
    version = quote(one["version"], safe="")
    if one["kind"] == "deb":
        return f"pkg:deb/debian/{one['name']}@{version}?arch={one['arch']}"
    return f"pkg:pypi/{one['name']}@{version}"


def _component(one: Mapping[str, str]) -> dict[str, Any]:
    name = purl(one)
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": name,
        "name": one["name"],
        "version": one["version"],
        "purl": name,
    }
    if one["licence"]:
        found["licenses"] = [{"license": {"name": one["licence"]}}]
    return found


def of_image(image: str) -> dict[str, Any]:
    """Runs the image's own Python, without network and rights."""
    command = ["docker", "run", "--rm", "--network", "none", "--read-only", "--entrypoint", "python", image]
    done = subprocess.run([*command, "-c", LISTING], check=True, stdout=subprocess.PIPE, text=True)
    return document(image, json.loads(done.stdout))


if __name__ == "__main__":
    print(json.dumps(of_image(sys.argv[1]), indent=1))
