"""A real Alertmanager, for a test: it keeps nothing across a restart, and notifies at once."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

from monitor.local_kafka import free_ports
from tests.integration.running import until

PROGRAM = shutil.which("alertmanager") or shutil.which("prometheus-alertmanager")


class Alertmanager:
    """A real one, which keeps nothing; it sends what it notifies of to `receiver`."""

    def __init__(self, folder: Path, receiver: str, group_by: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        (self._port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self._port}"
        route = {"receiver": "hook", "group_by": [group_by], "group_wait": "0s", "group_interval": "1s"}
        hook = {"name": "hook", "webhook_configs": [{"url": receiver, "send_resolved": True}]}
        (folder / "alertmanager.json").write_text(json.dumps({"route": route, "receivers": [hook]}))
        self.start()

    def start(self) -> None:
        with (self._folder / "alertmanager.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(PROGRAM),
                    f"--config.file={self._folder / 'alertmanager.json'}",
                    f"--storage.path={self._folder / f'data-{time.monotonic_ns()}'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                    "--cluster.listen-address=",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        until(lambda: self._get("/-/ready") is not None, self.tail, "Alertmanager")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def alerts(self) -> list[dict[str, Any]]:
        """Those that are not over."""
        found: list[dict[str, Any]] = json.loads(self._get("/api/v2/alerts") or "[]")
        return found

    def tail(self) -> str:
        return (self._folder / "alertmanager.log").read_text()[-2000:]

    def _get(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
