"""A hand on each node that reaches into pods as a kernel or an operator might: signals, and who dies first of memory.

From inside a container its first process cannot be stopped or killed; so a privileged pod of the image itself does it,
in a namespace of its own.
"""

from __future__ import annotations

from typing import Any

from tests.e2e.cluster import Cluster, Object
from tests.e2e.waiting import SLOWNESS, until

# The container's first process: in its control group, and number 1 of the innermost process namespace.
_FIND = """
import os, sys
def first(container):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if container in open(f"/proc/{pid}/cgroup").read():
                if open(f"/proc/{pid}/status").read().split("NSpid:")[1].split("\\n")[0].split()[-1] == "1":
                    return int(pid)
        except (OSError, IndexError):
            pass
    sys.exit("no process of container " + container)
pid = first(sys.argv[1])
"""
_SIGNAL = _FIND + "os.kill(pid, int(sys.argv[2]))"
_FIRST_TO_DIE = _FIND + 'open(f"/proc/{pid}/oom_score_adj", "w").write("1000")'
# One thread alone: attached and stopped, for as long as the tracer lives (SEIZE is 0x4206, INTERRUPT 0x4207).
_HOLD = (
    _FIND
    + """
import ctypes, time
trace = ctypes.CDLL(None, use_errno=True).ptrace
trace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
for request in (0x4206, 0x4207):
    if trace(request, pid, None, None):
        sys.exit(os.strerror(ctypes.get_errno()))
print("held", flush=True)
os.waitpid(pid, 0x40000000)
time.sleep(float(sys.argv[2]))
"""
)


class Hand:
    """`namespace` must allow privileged pods."""

    def __init__(self, cluster: Cluster, namespace: str, image: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._image = image

    def deploy(self) -> None:
        self._cluster.apply(_daemon(self._image), namespace=self._namespace)
        self._cluster.kubectl(
            "rollout", "status", "daemonset/hand", f"--timeout={60 * SLOWNESS:.0f}s", namespace=self._namespace
        )

    def signal(self, pod: Any, number: int) -> None:
        """To the first process of the pod's container."""
        self._do(pod, _SIGNAL, str(number))

    def first_to_die(self, pod: Any) -> None:
        """When the container's memory is gone, the kernel takes the first process before any other."""
        self._do(pod, _FIRST_TO_DIE)

    def hold_loop(self, pod: Any, seconds: float) -> None:
        """The main thread stands still for so long; the other threads go on."""
        log = self._cluster.scratch / "hold.log"
        self._cluster.start(log, *self._exec(pod, _HOLD, str(seconds)))
        until(lambda: "held" in log.read_text(), 30, f"the thread to be held: {log.read_text()}")

    def _do(self, pod: Any, script: str, *arguments: str) -> None:
        self._cluster.kubectl(*self._exec(pod, script, *arguments))

    def _exec(self, pod: Any, script: str, *arguments: str) -> list[str]:
        node = pod["spec"]["nodeName"]
        hands = self._cluster.get("pods", "-l", "app=hand", namespace=self._namespace)["items"]
        (mine,) = (hand["metadata"]["name"] for hand in hands if hand["spec"]["nodeName"] == node)
        container = pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
        # The last -n counts.
        return ["-n", self._namespace, "exec", mine, "--", "python", "-c", script, container, *arguments]


def _daemon(image: str) -> Object:
    container = {
        "name": "hand",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", "import time; time.sleep(1e6)"],
        "securityContext": {"privileged": True, "runAsUser": 0},
    }
    spec = {
        "hostPID": True,
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "tolerations": [{"operator": "Exists"}],
        "containers": [container],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "hand"},
        "spec": {
            "selector": {"matchLabels": {"app": "hand"}},
            "template": {"metadata": {"labels": {"app": "hand"}}, "spec": spec},
        },
    }
