"""One installed release with topics of its own: what is fed, what is done to it, and whether its alerts are right."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.deploy.rendering import CHART
from tests.e2e.cluster import CommandError
from tests.e2e.stage import MODEL, Stage
from tests.e2e.waiting import SLOWNESS, until
from tests.faults.deployment import Deployment
from tests.faults.feeder import Feeder
from tests.faults.judge import judge
from tests.faults.plan import Plan
from tests.faults.stream import Shape, record
from tests.faults.world import committed

PORT = 9108
ROWS = 400  # s of event time; some 11,000 records
_LONGEST_FEED = 150.0 * SLOWNESS  # s; whatever is done to the release is over before
_DRAINED = 120.0  # s
_SESSION = min(6 * SLOWNESS, 60)  # s; kafka.session_timeout: a pod that is replaced at once keeps its partitions
_READY = round(120 * SLOWNESS)


class Release:
    """`changes` are of the configuration, by section; `values` of the chart's own values, by key."""

    def __init__(
        self,
        stage: Stage,
        name: str,
        *,
        replicas: int = 2,
        changes: dict[str, dict[str, Any]] | None = None,
        values: dict[str, Any] | None = None,
    ) -> None:
        self.stage = stage
        self.cluster = stage.cluster
        self.name = name
        self.folder = stage.folder / name
        self.folder.mkdir(parents=True, exist_ok=True)
        kafka = {"session_timeout": _SESSION, **(changes or {}).get("kafka", {})}
        plan = Plan(
            kind=name,
            seed=0,
            shape=Shape(seed=7, rows=ROWS),
            static=False,
            changes={**(changes or {}), "kafka": kafka},
        )
        self._plan = plan
        self._records = record(plan.shape)
        self.deployment = Deployment(
            plan, f"{name}-{secrets.token_hex(3)}", self.folder, stage.kafka.bootstrap, stage.model
        )
        self.feeder = Feeder(
            stage.kafka.bootstrap, self.deployment.topics["input"], self._records, seconds=_LONGEST_FEED
        )
        self.values = self._values(replicas) | (values or {})
        self.full = f"{name}-monitor"

    def _values(self, replicas: int) -> dict[str, Any]:
        config = json.loads(self.deployment.file(0, self.stage.for_pods).read_text())
        del config["model"], config["web"]["host"], config["web"]["port"]  # the chart's own; defaults that are for pods
        repository, _, tag = self.stage.given.image.rpartition(":")
        items = [{"key": path.name, "path": f"model/{path.name}"} for path in self.stage.model.iterdir()]
        return {
            "image": {"repository": repository, "tag": tag},
            "config": config,
            "model": {"path": "model", "volume": {"configMap": {"name": MODEL, "items": items}}},
            "replicas": replicas,
            "topics": {"create": True},
            "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            "hookResources": {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}},
            "startupProbe": {"periodSeconds": 1, "failureThreshold": 120},
            "readinessProbe": {"periodSeconds": 1},
        }

    def _helm(self, verb: str, *arguments: str) -> str:
        file = self.folder / "values.json"
        file.write_text(json.dumps(self.values, indent=1))
        return self.cluster.helm(verb, self.name, str(CHART), "--values", str(file), *arguments)

    def install(self, *arguments: str) -> None:
        self._helm("install", "--wait", f"--timeout={_READY}s", *arguments)

    def upgrade(self, *arguments: str, wait: int = _READY, **values: Any) -> None:
        """To the values it has with `values` instead of theirs. Returns when all pods are replaced and ready."""
        self.values = self.values | values
        self._helm("upgrade", "--wait", f"--timeout={wait:.0f}s", *arguments)

    def refused(self, *arguments: str, wait: int = _READY, **values: Any) -> str:
        """An upgrade that must fail: what was said. The values stay as they were."""
        before = self.values
        try:
            self.upgrade(*arguments, wait=wait, **values)
        except CommandError as error:
            return error.said
        finally:
            self.values = before
        raise AssertionError(f"an upgrade to {values} was not refused")

    def rollback(self) -> None:
        self.cluster.helm("rollback", self.name, "--wait", f"--timeout={_READY}s")

    def uninstall(self) -> None:
        self.cluster.helm("uninstall", self.name, "--wait", f"--timeout={_READY}s")

    @property
    def selector(self) -> str:
        return f"app.kubernetes.io/instance={self.name},app.kubernetes.io/component=serve"

    def pods(self) -> list[Any]:
        """By name."""
        found = self.cluster.get("pods", "-l", self.selector)["items"]
        return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))

    def pod(self, number: int) -> Any:
        return self.cluster.get("pod", f"{self.full}-{number}")

    def restarts(self) -> dict[str, int]:
        """Of the one container of each pod."""
        return {
            pod["metadata"]["name"]: sum(one["restartCount"] for one in pod["status"].get("containerStatuses", []))
            for pod in self.pods()
        }

    def uids(self) -> dict[str, str]:
        return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in self.pods()}

    def ready(self) -> int:
        return sum(is_ready(pod) for pod in self.pods())

    def wait_ready(self, count: int, seconds: float = 120) -> None:
        until(lambda: self.ready() == count == len(self.pods()), seconds, f"{count} ready pods of {self.name}")

    def http(self, number: int, path: str) -> str:
        """What a pod answers, through the API server."""
        base = f"/api/v1/namespaces/{self.stage.namespace}/pods/{self.full}-{number}:{PORT}/proxy"
        return self.cluster.kubectl("get", "--raw", base + path)

    def log(self, number: int, *arguments: str) -> str:
        return self.cluster.kubectl("logs", f"{self.full}-{number}", *arguments)

    def consumed(self) -> int:
        """Records of the input that are committed."""
        return sum(committed(self.deployment.bootstrap, self.deployment.name).values())

    def under_load(self, disturb: Callable[[], str]) -> str:
        """Does it while the recording is fed, and compares what was published with the undisturbed run."""
        self.feeder.start()
        until(lambda: self.consumed() > len(self._records) // 50, 60, "the first records to be committed")
        before = self.consumed()
        told = disturb()
        if self.feeder.done:
            raise AssertionError(f"the load was over before it was done: {self.feeder.error or 'all is fed'}")
        meanwhile = self.consumed() - before
        compared = self.finish()
        return "; ".join(filter(None, (told, f"{meanwhile} records committed meanwhile", compared)))

    def finish(self) -> str:
        """What is left is fed at once; all of it is committed; the topics hold what they should."""
        self.feeder.hurry()
        until(lambda: self.feeder.done, _DRAINED, "all records to be fed")
        if self.feeder.error is not None:
            raise self.feeder.error
        # Asked of the brokers where the producer, over an outage, may have sent a record twice.
        ends = self.feeder.ends if self.feeder.as_intended else self.deployment.ends("input")
        until(
            lambda: committed(self.deployment.bootstrap, self.deployment.name) == ends,
            _DRAINED,
            f"all input to be committed: {ends}",
        )
        verdict = judge(self._plan, self.deployment, self._records, as_intended=self.feeder.as_intended)
        if verdict.faults:
            raise AssertionError("; ".join(verdict.faults))
        return f"{verdict.alerts} alerts and {verdict.dead_letters} dead letters, all equal"

    def keep(self) -> None:
        """Writes down what a person would ask for who has to find out why."""
        for name, arguments in (
            ("pods.txt", ("describe", "pods")),
            ("events.txt", ("get", "events", "--sort-by=.lastTimestamp")),
            ("objects.yaml", ("get", "all,configmaps", "-o", "yaml")),
            *((f"{name}.log", ("logs", name, "--all-containers", "--prefix")) for name in self._names()),
            *((f"{name}.before.log", ("logs", name, "--previous")) for name in self._names()),
        ):
            with suppress(CommandError):
                (self.folder / name).write_text(self.cluster.kubectl(*arguments))

    def _names(self) -> list[str]:
        with suppress(CommandError):
            return [pod["metadata"]["name"] for pod in self.cluster.get("pods")["items"]]
        return []


def is_ready(pod: Any) -> bool:
    conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


@contextmanager
def released(stage: Stage, name: str, **arguments: Any) -> Iterator[Release]:
    """Installed and ready; gone afterwards. Where something went wrong, what is known of it stays in its folder."""
    release = Release(stage, name, **arguments)
    try:
        release.install()
        yield release
    except BaseException as error:
        release.keep()
        error.add_note(f"what the cluster said of it: {release.folder}")
        raise
    finally:
        release.feeder.hurry()
        with suppress(CommandError):
            release.uninstall()
