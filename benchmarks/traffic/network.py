"""Hosts as network namespaces on one switch, which nothing outside can reach and which end with their process.

`enter` starts the program again in namespaces of its own (network, mounts, processes). It is process 1 there: when it
ends, however it ends, the kernel ends every program that was started within and takes the interfaces with them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from monitor.errors import MonitorError, UsageError

NETWORK = "10.77.0."
HOSTS = {
    "web": NETWORK + "10",
    "names": NETWORK + "11",
    "database": NETWORK + "12",
    "files": NETWORK + "13",
    **{f"client{number}": f"{NETWORK}{20 + number}" for number in range(1, 6)},
}
"""Four servers and five clients."""
PROGRAMS = {
    "ip": "iproute2", "ethtool": "ethtool", "unshare": "util-linux", "tcpdump": "tcpdump", "nginx": "nginx-light",
    "dnsmasq": "dnsmasq-base", "dig": "bind9-dnsutils", "redis-server": "redis-server", "redis-cli": "redis-tools",
    "sshd": "openssh-server", "ssh": "openssh-client", "rsync": "rsync", "curl": "curl", "nmap": "nmap",
    "hping3": "hping3", "slowhttptest": "slowhttptest", "hydra": "hydra", "arpspoof": "dsniff",
}  # fmt: skip
"""What is run, and the Debian package that has it."""
_MARK = "MONITOR_LABORATORY"
_NAMES = Path("/run/netns")
_SBIN = "/usr/sbin:/sbin"


def check() -> None:
    """Raises UsageError without root's rights, or where a program is missing."""
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:{_SBIN}"
    if os.geteuid() != 0:
        raise UsageError("network namespaces need root", "Run it with sudo.")
    missing = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
    if missing:
        raise UsageError(
            f"programs are missing: {', '.join(missing)}",
            f"apt-get install --no-install-recommends {' '.join(missing)}",
        )


def inside() -> bool:
    """Whether this is the process that `enter` started."""
    return _MARK in os.environ and os.getpid() == 1


def enter(arguments: Sequence[str], seconds: float) -> int:
    """Runs this program again in namespaces of its own, for at most so many seconds; its exit code."""
    command = [
        "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc",
        sys.executable, "-m", "benchmarks.traffic", *arguments,
    ]  # fmt: skip
    try:
        return subprocess.run(command, env={**os.environ, _MARK: "1"}, timeout=seconds, check=False).returncode
    except subprocess.TimeoutExpired as error:  # `run` has killed it, and so everything within
        raise MonitorError(f"the laboratory was still running after {seconds:.0f} s, and was ended") from error


class Network:
    """The hosts, each with one interface `eth0` on a switch that is this namespace's."""

    def __init__(self, folder: Path) -> None:
        """Only within `enter`. The names of the namespaces are on a file system of its own: nothing is left of them.

        What programs leave where they were started lands in `folder`.
        """
        self._folder = folder
        _NAMES.mkdir(exist_ok=True)
        self._do("mount", "-t", "tmpfs", "laboratory", str(_NAMES))
        self._do("ip", "link", "add", "switch", "type", "bridge")
        self._quiet([])
        self._do("ip", "link", "set", "switch", "up")
        for number, (host, address) in enumerate(HOSTS.items(), 1):
            port = f"port{number}"
            self._do("ip", "netns", "add", host)
            self._do("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host)
            # frames as on a wire: no segments of 64 KB that no network card would send
            plain = ["tso", "off", "gso", "off", "gro", "off", "tx", "off"]
            self._do("ethtool", "-K", port, *plain)
            inner = self.within(host)
            self._do(*inner, "ethtool", "-K", "eth0", *plain)
            self._quiet(inner)
            self._do("ip", "link", "set", port, "master", "switch", "up")
            self._do(*inner, "ip", "link", "set", "lo", "up")
            self._do(*inner, "ip", "address", "add", f"{address}/24", "dev", "eth0")
            self._do(*inner, "ip", "link", "set", "eth0", "up")

    def within(self, host: str) -> list[str]:
        """What a command line begins with to run on a host."""
        return ["ip", "netns", "exec", host]

    def start(self, host: str, *command: str) -> subprocess.Popen[bytes]:
        """A program on a host, which goes on."""
        return subprocess.Popen(
            [*self.within(host), *command],
            cwd=self._folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def run(self, host: str, *command: str, seconds: float, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """A program on a host until it ends, or is ended after so many seconds."""
        line = [*self.within(host), "timeout", "--kill-after=2", f"{seconds:g}", *command]
        return subprocess.run(line, cwd=self._folder, input=text, capture_output=True, check=False)

    def _quiet(self, inner: Sequence[str]) -> None:
        """IPv4 only: a laboratory of seconds would be all neighbour discovery."""
        self._do(*inner, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")

    def _do(self, *command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MonitorError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
