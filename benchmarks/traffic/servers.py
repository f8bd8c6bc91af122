"""The servers of the laboratory: nginx, dnsmasq, Redis and OpenSSH as Debian has them, each on a host of its own."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

from benchmarks.traffic.network import HOSTS, Network
from monitor.errors import MonitorError

PAGES = 40
ZONE = "lab"
_WAIT = 10.0  # s until a server answers

_NGINX = """\
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/nginx-body;
  server {{ listen 80; root {folder}/pages; keepalive_timeout 15; }}
}}
"""
_SSHD = """\
HostKey {folder}/host_key
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/key.pub
PermitRootLogin yes
PasswordAuthentication yes
PermitEmptyPasswords no
StrictModes no
UsePAM no
MaxStartups 100
MaxAuthTries 6
"""


def start(network: Network, folder: Path, chance: random.Random) -> None:
    """Starts all four with files in `folder`, and returns when they answer."""
    folder.chmod(0o755)
    pages = folder / "pages"
    pages.mkdir()
    for number in range(PAGES):
        (pages / f"{number}.html").write_bytes(chance.randbytes(int(chance.lognormvariate(9.5, 1.2))))
    (pages / "index.html").write_bytes(chance.randbytes(8000))
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder), encoding="utf-8")
    network.start("web", "nginx", "-c", str(folder / "nginx.conf"))

    records = [f"--address=/{host}.{ZONE}/{address}" for host, address in HOSTS.items()]
    network.start(
        "names", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
        "--user=root", f"--pid-file={folder}/dnsmasq.pid", f"--local=/{ZONE}/", *records,
    )  # fmt: skip
    network.start(
        "database", "redis-server", "--bind", HOSTS["database"], "--protected-mode", "no", "--save", "",
        "--dir", str(folder),
    )  # fmt: skip

    for name in ("host_key", "key"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    (folder / "sshd.conf").write_text(_SSHD.format(folder=folder), encoding="utf-8")
    Path("/run/sshd").mkdir(exist_ok=True)
    network.start("files", "/usr/sbin/sshd", "-D", "-f", str(folder / "sshd.conf"))

    _answers(network, "web", 80)
    _answers(network, "database", 6379)
    _answers(network, "files", 22)
    deadline = time.monotonic() + _WAIT
    while network.run("client1", "dig", f"@{HOSTS['names']}", "+short", f"web.{ZONE}", seconds=2).returncode:
        if time.monotonic() > deadline:
            raise MonitorError("dnsmasq does not answer")


def _answers(network: Network, host: str, port: int) -> None:
    probe = f"import socket; socket.create_connection(({HOSTS[host]!r}, {port}), 1)"
    deadline = time.monotonic() + _WAIT
    while network.run("client1", "python3", "-c", probe, seconds=3).returncode:
        if time.monotonic() > deadline:
            raise MonitorError(f"nothing answers on port {port} of {host}")
        time.sleep(0.1)
