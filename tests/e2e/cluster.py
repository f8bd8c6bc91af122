"""A cluster, by its kubeconfig: kubectl and helm as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.deploy.rendering import CHART
from tests.e2e.waiting import SLOWNESS

_PATIENCE = 240.0 * SLOWNESS  # s; nothing that is asked takes longer, unless it hangs
Object = dict[str, Any]


class CommandError(Exception):
    """A command that failed, with all that it said."""

    def __init__(self, command: Iterable[str], code: int, said: str) -> None:
        super().__init__(f"{' '.join(command)}: exit code {code}\n{said.strip()}")
        self.said = said


class Cluster:
    """Commands raise `CommandError`; they return what was written to standard output. Logs go to `scratch`."""

    def __init__(self, kubeconfig: Path, kubectl: Path, helm: Path, namespace: str, scratch: Path) -> None:
        self._environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        self._kubectl = str(kubectl)
        self._helm = str(helm)
        self.namespace = namespace
        self.scratch = scratch

    def kubectl(self, *arguments: str, stdin: str | None = None, namespace: str = "") -> str:
        return self._run([self._kubectl, "-n", namespace or self.namespace, *arguments], stdin)

    def helm(self, *arguments: str) -> str:
        return self._run([self._helm, "-n", self.namespace, *arguments], None)

    def start(self, log: Path, *arguments: str) -> subprocess.Popen[bytes]:
        """A kubectl that goes on by itself and writes to `log`."""
        with log.open("wb") as file:
            return subprocess.Popen(
                [self._kubectl, "-n", self.namespace, *arguments], stdout=file, stderr=file, env=self._environment
            )

    def get(self, *arguments: str, namespace: str = "") -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json", namespace=namespace))

    def apply(self, *objects: Object, namespace: str = "") -> None:
        """Of the harness's own; kubectl does not ask for the whole schema first, which takes a busy server long."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        arguments = ("apply", "--server-side", "--validate=false", "-f", "-")
        self.kubectl(*arguments, stdin=json.dumps(listed), namespace=namespace)

    def rendered(self, values: Path, *arguments: str) -> str:
        """The chart's manifests, as Helm knows this cluster."""
        return self.helm("template", "pumps", str(CHART), "--values", str(values), "--dry-run=server", *arguments)

    def _run(self, command: list[str], stdin: str | None) -> str:
        done = subprocess.run(
            command,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            check=False,
            env=self._environment,
            timeout=_PATIENCE,
        )
        if done.returncode:
            raise CommandError(command, done.returncode, done.stdout + done.stderr)
        return done.stdout
