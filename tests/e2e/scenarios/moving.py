"""Members come, go and move from node to node; the configuration changes."""

from __future__ import annotations

import re

from tests.e2e.release import Release, released
from tests.e2e.scenario import Skipped, scenario
from tests.e2e.stage import Stage
from tests.e2e.waiting import SLOWNESS, until


def shares(release: Release, members: int) -> list[int]:
    """How many partitions each member has."""
    pages = [release.http(number, "/metrics") for number in range(members)]
    return [len(re.findall(r"^monitor_consumer_position_offset\{", page, re.MULTILINE)) for page in pages]


@scenario("scale 1 -> 3 -> 1 under load")
def scale(stage: Stage) -> str:
    with released(stage, "scale", replicas=1) as release:

        def out_and_in() -> str:
            release.upgrade(replicas=3)
            release.wait_ready(3)
            until(lambda: shares(release, 3) == [1, 1, 1], 60, "each of three members to have one partition of three")
            release.upgrade(replicas=1)
            release.wait_ready(1)
            until(lambda: shares(release, 1) == [3], 60, "the one that stays to have all partitions")
            return "partitions 3, then 1 + 1 + 1, then 3"

        return release.under_load(out_and_in)


@scenario("a changed configuration under load: the pods are rolled, by the checksum of what they read")
def configuration(stage: Stage) -> str:
    with released(stage, "config") as release:

        def change() -> str:
            before = release.uids()
            config = release.values["config"]
            release.upgrade(config={**config, "log": {"format": "json", "level": "debug"}})
            assert not set(before.values()) & set(release.uids().values()), "a pod was not replaced"
            assert '"level":"debug"' in release.log(0).replace(" ", ""), "the new level is not in effect"
            return "2 pods replaced, log.level is debug"

        return release.under_load(change)


@scenario("node drain under load: the disruption budget lets one go at a time")
def drain(stage: Stage) -> str:
    with released(stage, "drain") as release:

        def empty() -> str:
            before = release.uids()
            node = release.pod(0)["spec"]["nodeName"]
            here = {one["metadata"]["name"] for one in release.pods() if one["spec"]["nodeName"] == node}
            log = release.folder / "drain.log"
            arguments = (
                "--ignore-daemonsets",
                f"--timeout={120 * SLOWNESS:.0f}s",
                f"--pod-selector={release.selector}",
            )
            draining = stage.cluster.start(log, "drain", node, *arguments)
            try:
                # With one node the evicted pod waits for it, and the budget holds the other one back until then.
                until(lambda: "Cannot evict pod" in log.read_text() or draining.poll() is not None, 60, "the budget")
                held = "Cannot evict pod" in log.read_text()
                if held:
                    assert release.ready() == 1, f"{release.ready()} ready while the budget allows one to be away"
            finally:
                stage.cluster.kubectl("uncordon", node)
            until(lambda: draining.poll() is not None, 150, "the drain to end")
            assert draining.returncode == 0, log.read_text()
            release.wait_ready(2)
            after = release.uids()
            assert all(after[name] != before[name] for name in here), "a pod was not evicted"
            return f"{len(here)} pods evicted, {'one held back by the budget' if held else 'other nodes took them'}"

        return release.under_load(empty)


@scenario("autoscaling by CPU: load adds members up to the partitions")
def autoscaling(stage: Stage) -> str:
    if "metrics.k8s.io" not in stage.cluster.kubectl("api-versions"):
        raise Skipped("the cluster has no metrics-server")
    values = {
        "autoscaling": {"kind": "cpu", "minReplicas": 1, "maxReplicas": 3, "cpuUtilization": 50},
        "resources": {"requests": {"cpu": "20m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
    }
    with released(stage, "autoscale", values=values) as release:

        def wait() -> str:
            until(lambda: len(release.pods()) == 3, 140, "three members", tick=2)
            release.wait_ready(3)
            return "1 member, then 3"

        return release.under_load(wait)
