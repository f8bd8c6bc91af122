"""What the service says over HTTP: readiness, status, metrics."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from typing import Any

from monitor.errors import MonitorError

HOST = "127.0.0.1"
_TIMEOUT = 5.0  # s of one request
_LOOK_EVERY = 0.2  # s


class Watch:
    """The service's HTTP server on loopback; asked directly, whatever proxy the environment names."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.url = f"http://{HOST}:{port}"

    def wait_ready(self, timeout: float, running: Callable[[], None]) -> float:
        """Seconds until /readyz said yes. `running` raises when the service has ended."""
        begun = time.monotonic()
        said = "nothing"
        while (waited := time.monotonic() - begun) < timeout:
            running()
            try:
                code, body = self._get("/readyz")
            except OSError:  # it does not listen yet
                code, body = 0, b""
            if code == http.client.OK:
                return waited
            said = body.decode() or said
            time.sleep(_LOOK_EVERY)
        raise MonitorError(f"the service was not ready after {timeout:g} s; {self.url}/readyz said: {said.strip()}")

    def metrics(self) -> Metrics:
        """One scrape."""
        return Metrics(self._ok("/metrics").decode())

    def status(self) -> dict[str, Any]:
        """/status.json, the facts of the status page."""
        facts: dict[str, Any] = json.loads(self._ok("/status.json"))
        return facts

    def _ok(self, path: str) -> bytes:
        code, body = self._get(path)
        if code != http.client.OK:
            raise MonitorError(f"{self.url}{path} answered {code}: {body.decode(errors='replace')[:200]}")
        return body

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=_TIMEOUT)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


class Metrics:
    """The samples of one scrape in Prometheus' text format."""

    def __init__(self, text: str) -> None:
        self.size = len(text)
        self._samples: list[tuple[str, str, float]] = []  # name, labels as they stand, value
        for line in text.splitlines():
            if line and not line.startswith("#"):
                series, _, value = line.rpartition(" ")
                name, _, labels = series.partition("{")
                self._samples.append((name, labels.rstrip("}"), float(value)))

    def total(self, name: str, *labels: str) -> float:
        """The sum over all series of this name that have these labels (`status="opened"`)."""
        return sum(
            value for known, has, value in self._samples if known == name and all(each in has for each in labels)
        )

    def within(self, histogram: str) -> float:
        """The smallest bucket bound that no observation exceeded; infinite where the largest was not enough."""
        count = self.total(f"{histogram}_count")
        bounds = [
            float(labels.split('le="')[1].split('"')[0])
            for name, labels, value in self._samples
            if name == f"{histogram}_bucket" and value >= count
        ]
        return min(bounds, default=float("inf"))
