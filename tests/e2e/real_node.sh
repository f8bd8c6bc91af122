#!/usr/bin/env bash
# Plays the scenarios on a Kubernetes node of this machine: API server, kubelet and containerd in namespaces of their own,
# without an image registry. As root, on Linux.
#   MONITOR_KUBERNETES         the folder with build-kube.sh, real-node.sh, insb.sh and stop-real-node.sh
#   MONITOR_KUBERNETES_CACHE   where its binaries are, or are built (minutes, once)
#   MONITOR_E2E_IMAGE          the service's image; its docker-archive is MONITOR_E2E_IMAGE_TAR, or is asked of a Docker engine
# Arguments go to python -m tests.e2e.
set -euo pipefail
cd "$(dirname "$0")/../.."

kubernetes=$(cd "$MONITOR_KUBERNETES" && pwd)
binaries=${MONITOR_KUBERNETES_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/monitor/kubernetes}
image=${MONITOR_E2E_IMAGE:-monitor-test/serve:ci}
python=$PWD/.venv/bin/python
run=$(mktemp -d)

finish() {
    if [[ -e $run/node/sandbox.pid ]]; then bash "$kubernetes/stop-real-node.sh" "$run/node" || true; fi
    rm -rf "$run"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '%s\n' "$*" >&2; }

if ((EUID != 0)); then say "a node needs root; on a cluster of your own: python -m tests.e2e --help"; exit 2; fi
missing=()
for program in containerd runc ctr; do command -v "$program" >/dev/null || missing+=("$program"); done
if [[ ! -x /usr/lib/cni/bridge ]]; then missing+=("the CNI plug-in bridge"); fi
if ((${#missing[@]})); then
    say "missing: ${missing[*]}: apt-get install containerd runc containernetworking-plugins"
    exit 2
fi

# Whatever comes from a registry comes now: on the node's network there is none.
"$python" -m tests.deploy.tools
"$python" -c 'from monitor.local_kafka import fetch; fetch()'
bash "$kubernetes/build-kube.sh" "$binaries"
archive=${MONITOR_E2E_IMAGE_TAR:-}
if [[ -z $archive ]]; then
    archive=$run/service.tar
    docker save "$image" -o "$archive"
fi
mkdir -p "$run/pause"
gcc -Os -static -s -o "$run/pause/pause" "$kubernetes/pause.c"
python3 "$kubernetes/mkimage.py" "$run/pause" localhost/pause:1 "$run/pause.tar" >/dev/null

KWOK=0 bash "$kubernetes/real-node.sh" "$binaries" "$run/node" "$run/pause.tar" "$archive" >&2 || { tail -n 20 "$run"/node/logs/*.log >&2; exit 1; }
code=0
bash "$kubernetes/insb.sh" "$run/node" env OMP_NUM_THREADS=1 "$python" -m tests.e2e \
    --kubeconfig "$run/node/kubeconfig" --image "$image" --kafka-host 10.244.0.1 "$@" || code=$?
exit "$code"
