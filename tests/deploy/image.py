"""Builds the image that serves: `python -m tests.deploy.image [TAG]`. Needs a Docker engine.

The base is the Dockerfile's own where it is there or can be pulled. Where not (no image registry answers) it is a
stand-in: Debian 12 with its Python 3.11, by debootstrap, as root; it is kept in the cache, and takes a minute once.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import docker
from docker.errors import APIError, ImageNotFound

from tests.deploy.rendering import ROOT
from tests.deploy.tools import CACHE

TAG = "monitor-test/serve:ci"
STAND_IN = "monitor-test/python:3.11-slim"
TARBALL = "python-3.11-slim.tar"
INCLUDE = "python3,python3-venv,python3-pip,ca-certificates"
NEEDLESS = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "var/cache/apt",
    "var/lib/apt/lists",
)
MACHINE = ("etc/pip.conf", "etc/ssl/certs/ca-certificates.crt")
"""What pip needs on this machine to reach its registry; the real base has its own."""


def base(engine: docker.DockerClient) -> str:
    """Name of an image with Python 3.11."""
    (name,) = re.findall(r"^ARG BASE=(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    try:
        engine.images.get(name)
    except ImageNotFound:
        try:
            engine.images.pull(name)
        except (APIError, ImageNotFound) as error:
            print(f"{name} cannot be pulled ({str(error)[:80]}...): a stand-in from Debian's packages")
            return stand_in(engine)
    return str(name)


def stand_in(engine: docker.DockerClient) -> str:
    tarball = CACHE / TARBALL
    if not tarball.exists():
        _debootstrap(tarball)
    repository, _, tag = STAND_IN.rpartition(":")
    engine.api.import_image(str(tarball), repository=repository, tag=tag)
    engine.images.get(STAND_IN)
    return STAND_IN


def _debootstrap(tarball: Path) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        command = ["debootstrap", "--variant=minbase", f"--include={INCLUDE}", "bookworm", str(root)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for name in NEEDLESS:
            shutil.rmtree(root / name, ignore_errors=True)
        for name in MACHINE:
            if (Path("/") / name).exists():
                shutil.copyfile(Path("/") / name, root / name)
        part = tarball.with_suffix(".part")
        subprocess.run(["tar", "-C", str(root), "-cf", str(part), "."], check=True)
        part.replace(tarball)


def build(tag: str) -> None:
    """Builds target `serve`, and says how large it is."""
    engine = docker.from_env(timeout=300)
    started = time.monotonic()
    on = base(engine)
    ready = time.monotonic()
    command = ["docker", "build", "--network", "host", "--target", "serve", "--build-arg", f"BASE={on}", "-t", tag, "."]
    # Without the plug-in the client has only the classic builder, and must be told so.
    plugin = subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False).returncode == 0
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "DOCKER_BUILDKIT": "1" if plugin else "0"})
    size = engine.images.get(tag).attrs["Size"] / 1e6
    bare = engine.images.get(on).attrs["Size"] / 1e6
    took = time.monotonic() - ready
    print(f"{tag}: {size:.0f} MB, of it {bare:.0f} MB {on}; built in {took:.0f} s, base {ready - started:.0f} s")
    engine.close()


if __name__ == "__main__":
    build(sys.argv[1] if len(sys.argv) > 1 else TAG)
