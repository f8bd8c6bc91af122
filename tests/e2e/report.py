"""docs/kubernetes.md from what was played. The words are here, the results are seen."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill

from monitor.local_kafka import KAFKA_VERSION
from tests.deploy.rendering import ROOT
from tests.e2e.cluster import Cluster
from tests.e2e.release import ROWS
from tests.e2e.results import Result
from tests.e2e.scenario import SCENARIOS, Scenario

FILE = ROOT / "docs" / "kubernetes.md"
WIDTH = 120

_HEAD = f"""\
# On a real Kubernetes

What becomes of the chart, the image and the service when they are installed, rolled, drained, killed and starved on a
real node, as far as it has been played. `make e2e` plays it and, with `ARGS=--write`, adds its results to this page; do
not edit it by hand.

## How it is played

Each scenario installs a release of its own with topics of its own, by `helm install --wait`, in a namespace that
enforces Pod Security `restricted`. *Under load* means: a recording of {ROWS} seconds of 27 streams (three partitions,
with incidents, gaps, late, doubled and unreadable events, made as for [reliability](reliability.md)) is produced to a
real Apache Kafka while it happens, and its producer must not be done before it is over. Afterwards all input must be
committed, and what a reader of the alert topic sees (`read_committed`) is compared with what the scoring pipeline alone
makes of the same records: stream by stream, in order, **as bytes**. So are the dead letters and the incident states.
Pods are killed and frozen from outside, by a privileged pod in another namespace. The probes of some scenarios wait
for less long than the chart's defaults.

On a cluster of your own, one to test on (nodes are drained and uncordoned):

```
docker build --target serve -t monitor-test/serve:ci .
kind create cluster
python -m tests.deploy.tools       # helm, kubectl and the definitions of custom resources, into ~/.cache/monitor
export KUBECONFIG=~/.kube/config MONITOR_E2E_IMAGE=monitor-test/serve:ci MONITOR_E2E_KAFKA_HOST=172.18.0.1
export MONITOR_E2E_LOAD='kind load docker-image {{image}}'
make e2e
```

`MONITOR_E2E_KAFKA_HOST` is an address of your machine that pods can reach: with kind the gateway of its network
(`docker network inspect kind`). `make e2e ARGS=--list` names the scenarios, `ARGS='--only kill'` plays one. What a
failed one leaves (logs, events, objects, the alerts that differ) is under `build/e2e`. On a machine that is busy with
other work `MONITOR_E2E_SLOWNESS=4` gives everything four times as long (outages last as much longer). Where
`MONITOR_KUBERNETES` names a folder with the tools for it, `make e2e` plays them, as root, on a node that
`tests/e2e/real_node.sh` starts on this machine.

## Results

"""


def versions(cluster: Cluster) -> str:
    server = json.loads(cluster.kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"]
    runtime = cluster.get("nodes")["items"][0]["status"]["nodeInfo"]["containerRuntimeVersion"]
    helm = cluster.helm("version", "--short").partition("+")[0]
    return f"Kubernetes {server}, {runtime.replace('://', ' ')}, Helm {helm}, Kafka {KAFKA_VERSION}"


def write(results: Mapping[str, Result], file: Path = FILE) -> None:
    """The page, with a line for each scenario, played or not."""
    words = [result.word for result in results.values()]
    cores = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    on = "; ".join(sorted({result.on for result in results.values()}))
    summary = (
        f"{len(SCENARIOS)} scenarios on {cores}: {words.count('ok')} ok, {words.count('FAILED')} failed, "
        f"{words.count('SKIP')} skipped, {len(SCENARIOS) - len(words)} not played yet. *Load* is how many processes "
        f"wanted a core, over five minutes: with more than {os.cpu_count()} everything takes longer. {on}"
    )
    table = ["| what | result | took | load | when | seen |", "|---|---|---:|---:|---|---|"]
    table += [_row(one, results.get(one.name)) for one in SCENARIOS]
    file.write_text(_HEAD + fill(summary.strip(), WIDTH) + "\n\n" + "\n".join(table) + "\n")


def _row(one: Scenario, result: Result | None) -> str:
    if result is None:
        return f"| {one.title} | not played yet | | | | |"
    told = result.told.replace("|", "\\|")
    return f"| {one.title} | {result.word} | {result.seconds} s | {result.load} | {result.date} | {told} |"
