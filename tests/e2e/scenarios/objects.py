"""What the chart puts into the cluster: taken by the API server, without rights, and gone when it is uninstalled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.deploy.rendering import VARIANTS
from tests.deploy.tools import CACHE
from tests.e2e.cluster import CommandError
from tests.e2e.release import released
from tests.e2e.scenario import Skipped, scenario
from tests.e2e.scenarios.serving import metric
from tests.e2e.stage import Stage
from tests.e2e.waiting import SLOWNESS

# Asked from within the container: who it is, and what it may do.
_WHO = """
import json, os
told = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
def writes(path):
    try:
        open(path, "w").close()
    except OSError as error:
        return os.strerror(error.errno)
    return "written"
print(json.dumps({
    "uid": os.getuid(), "gid": os.getgid(), "capabilities": int(told["CapEff"], 16) | int(told["CapBnd"], 16),
    "seccomp": told["Seccomp"].strip(), "no_new_privileges": told["NoNewPrivs"].strip(), "root": writes("/x"),
    "token": os.path.exists("/var/run/secrets/kubernetes.io/serviceaccount/token"),
}))
"""
_AS_IT_SHOULD_BE = {
    "uid": 10001,
    "gid": 10001,
    "capabilities": 0,
    "seccomp": "2",
    "no_new_privileges": "1",
    "root": "Read-only file system",
    "token": False,
}


@scenario("pod security: admitted where `restricted` is enforced, and without rights in fact")
def pod_security(stage: Stage) -> str:
    privileged = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "refused"},
        "spec": {"containers": [{"name": "x", "image": "x", "securityContext": {"privileged": True}}]},
    }
    try:
        stage.cluster.apply(privileged)
    except CommandError as error:
        assert "violates PodSecurity" in error.said, error.said  # noqa: PT017  what is wrong otherwise is another error
    else:
        raise AssertionError("a privileged pod was let in: `restricted` is not enforced, and this shows nothing")
    with released(stage, "security", replicas=1) as release:
        seen = json.loads(stage.cluster.kubectl("exec", f"{release.full}-0", "--", "python", "-c", _WHO))
        assert seen == _AS_IT_SHOULD_BE, seen
    return "user 10001, no capabilities, seccomp, no new privileges, read-only root, no token"


@scenario("helm test: an event is sent and counted")
def helm_test(stage: Stage) -> str:
    with released(stage, "tested") as release:
        members = f"{release.full}-members.{stage.namespace}.svc"
        code = f"import socket; socket.getaddrinfo({members!r}, 9108)"
        try:
            stage.cluster.kubectl("exec", f"{release.full}-0", "--", "python", "-c", code)
        except CommandError as error:
            raise Skipped(f"the cluster has no DNS: {error.said.strip().splitlines()[-2]}") from None
        stage.cluster.helm(
            "test", release.name, f"--timeout={120 * SLOWNESS:.0f}s"
        )  # ends with an error where nobody read it
        counted = sum(metric(release.http(number, "/metrics"), "monitor_records_total") for number in range(2))
        assert counted == 1, counted
    return "sent, and counted"


@scenario("uninstall leaves nothing")
def uninstall(stage: Stage) -> str:
    with released(
        stage, "gone", values={"state": {"enabled": False}, "podDisruptionBudget": {"enabled": True}}
    ) as release:
        mine = f"app.kubernetes.io/instance={release.name}"
        had = _objects(stage, mine)
        assert {"StatefulSet", "Pod", "Service", "ConfigMap", "ServiceAccount", "PodDisruptionBudget"} <= set(had), had
        release.uninstall()
        left = _objects(stage, mine)
        assert not left, f"still there: {left}"
        secrets = [one["metadata"]["name"] for one in stage.cluster.get("secrets")["items"]]
        assert not any(release.name in name for name in secrets), secrets
    return f"{sum(had.values())} objects of {len(had)} kinds, then none"


def _objects(stage: Stage, selector: str) -> dict[str, int]:
    """How many objects of each kind there are, of all kinds that can be listed. Events are records, not objects."""
    kinds = stage.cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    wanted = [kind for kind in kinds if not kind.startswith("events") and "metrics.k8s.io" not in kind]
    found: dict[str, int] = {}
    for one in stage.cluster.get(",".join(wanted), "-l", selector)["items"]:
        found[one["kind"]] = found.get(one["kind"], 0) + 1
    return found


CRDS = CACHE / "crds"


@scenario("every variant of the chart, strictly checked by the API server, custom resources too (server dry run)")
def dry_run(stage: Stage) -> str:
    added = _custom_resources(stage)
    try:
        told = [_checked(stage, values) for values in VARIANTS]
    finally:
        for file in added:
            stage.cluster.kubectl("delete", "--ignore-not-found", "-f", str(file))
    missing = "" if CRDS.is_dir() else "; custom resources left out: no definitions in the cache"
    return f"{len(told)} variants, {sum(told)} objects{missing}"


def _custom_resources(stage: Stage) -> list[Path]:
    """Definitions that the cluster lacks, made for this scenario."""
    have = stage.cluster.kubectl("get", "crds", "-o", "name")
    added = [file for file in sorted(CRDS.glob("*.yaml")) if f"/{file.stem}\n" not in have]
    for file in added:
        stage.cluster.kubectl("apply", "--server-side", "-f", str(file))
    for file in added:
        stage.cluster.kubectl(
            "wait", "--for=condition=Established", f"crd/{file.stem}", f"--timeout={30 * SLOWNESS:.0f}s"
        )
    return added


def _checked(stage: Stage, values: Path) -> int:
    """How many objects the server would take. Raises where it would not."""
    arguments = ("apply", "--dry-run=server", "--validate=strict", "-f", "-")
    manifests = stage.cluster.rendered(values)
    taken = stage.cluster.kubectl(*arguments, stdin=manifests).splitlines()
    assert all("(server dry run)" in line for line in taken), taken
    broken: Any = manifests.replace("  labels:", "  lables:", 1)
    try:
        stage.cluster.kubectl(*arguments, stdin=broken)
    except CommandError as error:
        assert "lables" in error.said, error.said  # noqa: PT017  what is wrong otherwise is another error
    else:
        raise AssertionError("the server took a misspelt field: it is not strict")
    return len(taken)
