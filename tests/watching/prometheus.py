"""A real Prometheus, for a test: scrapes, evaluates rules, tells an Alertmanager."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from monitor.local_kafka import free_ports

PROGRAM = shutil.which("prometheus")


class Prometheus:
    """Scrapes `targets` (host:port by the name of their job) and evaluates `rules` each second."""

    def __init__(
        self, folder: Path, targets: Mapping[str, str], rules: Iterable[Path] = (), alertmanager: str = ""
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        configured: dict[str, Any] = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(path) for path in rules],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()
            ],
        }
        if alertmanager:
            address = urllib.parse.urlsplit(alertmanager).netloc
            configured["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [address]}]}]}
        file = folder / "prometheus.json"
        file.write_text(json.dumps(configured))
        self._log = folder / "prometheus.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    str(PROGRAM),
                    f"--config.file={file}",
                    f"--storage.tsdb.path={folder / 'tsdb'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def ask(self, path: str, **parameters: str) -> Any:
        """The data that an endpoint of the API answers with; an empty result where it answers with an error."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except OSError as error:  # not up yet, or a query that is wrong
            return {"result": [], "error": f"{error}"}

    def query(self, expression: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def tail(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
