"""The image that serves, on a real engine: what is in it, and a member in it at work. Skips without $MONITOR_IMAGE."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from monitor import __version__
from monitor.local_kafka import LocalKafka
from tests.deploy.rendering import CHART, ROOT
from tests.deploy.tools import tool
from tests.models import tiny_artefact

MOST_MEGABYTES = 350
PATIENCE = 60.0


def test_the_dockerfile_passes_the_linter() -> None:
    done = subprocess.run([tool("hadolint"), ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    if "MONITOR_IMAGE" not in os.environ:
        pytest.skip("MONITOR_IMAGE names no image: python -m tests.deploy.image")
    import docker

    client = docker.from_env(timeout=60)
    yield client
    client.close()


@pytest.fixture(scope="module")
def image(engine: Any) -> Any:
    return engine.images.get(os.environ["MONITOR_IMAGE"])


def test_the_image_is_small(image: Any) -> None:
    assert image.attrs["Size"] / 1e6 <= MOST_MEGABYTES


def test_the_image_says_what_it_is_and_runs_without_rights(image: Any) -> None:
    config = image.attrs["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["monitor"]  # no shell between a signal and the process
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert "ORT_DISABLE_TELEMETRY=1" in config["Env"]
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in config["Labels"].items()}
    assert labels["version"] == __version__
    assert {"title", "description", "licenses", "revision"} <= labels.keys()


def test_there_is_no_torch_in_it(engine: Any, image: Any) -> None:
    code = "import importlib.util as u; print([n for n in ('torch', 'onnx', 'pytest') if u.find_spec(n)])"
    assert engine.containers.run(image.id, ["-c", code], entrypoint="python", remove=True).strip() == b"[]"


@contextmanager
def contained(engine: Any, image: Any, folder: Path, port: int, *command: str) -> Iterator[Any]:
    """A container as a pod has it: no rights, no root to write to, `folder` at /etc/monitor."""
    mounts = {str(folder): {"bind": "/etc/monitor", "mode": "ro"}}
    environment = {"MONITOR_CONFIG": "/etc/monitor/monitor.yaml", "MONITOR_WEB__PORT": str(port)}
    box = engine.containers.run(
        image.id,
        list(command),
        detach=True,
        network_mode="host",
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mem_limit="256m",
        volumes=mounts,
        environment=environment,
    )
    try:
        yield box
    finally:
        box.remove(force=True)


def wait_until_ready(port: int, box: Any) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"not ready after {PATIENCE:.0f} s\n{box.logs().decode()}")


def test_a_member_in_a_container(engine: Any, image: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It makes its topics, checks, serves, reads the event that `helm test` sends, and ends in order at SIGTERM."""
    folder, port = tmp_path / "etc", 19108
    tiny_artefact(folder / "model")
    shutil.copytree(CHART / "files" / "scripts", folder / "scripts")
    with LocalKafka(tmp_path / "kafka") as node:
        (folder / "monitor.yaml").write_text(
            f"kafka: {{bootstrap_servers: '{node.bootstrap}'}}\nmodel: {{path: model}}\n"
        )
        for command in (("topics", "--create"), ("check",)):
            with contained(engine, image, folder, port, *command) as box:
                assert box.wait(timeout=PATIENCE)["StatusCode"] == 0, box.logs().decode()
        started = time.monotonic()
        with contained(engine, image, folder, port, "run") as box:
            wait_until_ready(port, box)
            took = time.monotonic() - started
            probe = image.attrs["Config"]["Healthcheck"]["Test"][1:]
            assert box.exec_run(probe).exit_code == 0
            sent = box.exec_run(
                ["python", "/etc/monitor/scripts/send_event.py", f"http://127.0.0.1:{port}/metrics"],
            )
            assert sent.exit_code == 0, sent.output.decode()
            assert b"Uid:\t10001" in box.exec_run(["cat", "/proc/1/status"]).output
            box.kill("SIGTERM")
            ended = box.wait(timeout=PATIENCE)["StatusCode"]
            log = box.logs().decode()
        assert ended == 0, log
        assert '"stopped"' in log
        assert "elemetry" not in log
    with capsys.disabled():
        print(f"\n{image.tags[0]}: {image.attrs['Size'] / 1e6:.0f} MB, ready {took:.1f} s after `docker run`")
