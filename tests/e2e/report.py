"""docs/kubernetes.md from what was played. The words are here, the results are seen."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from monitor.local_kafka import KAFKA_VERSION
from tests.deploy.rendering import ROOT
from tests.e2e.cluster import Cluster
from tests.e2e.release import ROWS
from tests.e2e.scenario import Played

FILE = ROOT / "docs" / "kubernetes.md"

_HEAD = f"""\
# On a real Kubernetes

The chart, the image and the service, installed, rolled, drained, killed and starved on a real node. `make e2e` plays
it and, with `ARGS=--write`, writes this page; do not edit it by hand.

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
failed one leaves (logs, events, objects, the alerts that differ) is under `build/e2e`. CI plays them on a node that
`tests/e2e/real_node.sh` starts, where `MONITOR_KUBERNETES` names the folder with the tools for it.

## Results

"""


def versions(cluster: Cluster) -> str:
    server = json.loads(cluster.kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"]
    runtime = cluster.get("nodes")["items"][0]["status"]["nodeInfo"]["containerRuntimeVersion"]
    helm = cluster.helm("version", "--short").partition("+")[0]
    return f"Kubernetes {server}, {runtime.replace('://', ' ')}, Helm {helm}, Kafka {KAFKA_VERSION}"


def write(played: Sequence[Played], told: str, date: str, command: str, file: Path = FILE) -> None:
    """`told`: the versions."""
    words = [one.word for one in played]
    cores = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    minutes = sum(one.seconds for one in played) / 60
    summary = (
        f"{date}, `{command}`: {words.count('ok')} ok, {words.count('FAILED')} failed, {words.count('SKIP')} skipped, "
        f"{minutes:.0f} minutes on {cores} (load {os.getloadavg()[2]:.0f}). {told}."
    )
    rows = [f"| {one.scenario.title} | {one.word} | {one.seconds:.0f} s | {_cell(one)} |" for one in played]
    table = ["| what | result | took | seen |", "|---|---|---:|---|", *rows]
    file.write_text(_HEAD + summary + "\n\n" + "\n".join(table) + "\n")


def _cell(one: Played) -> str:
    """Of what failed, the last line."""
    told = one.told.strip().splitlines()[-1] if one.word == "FAILED" else " ".join(one.told.split())
    return told.replace("|", "\\|")
