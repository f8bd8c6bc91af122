"""One run of the laboratory: normal traffic all the time, captured in parts, with the attacks in the last of them."""

from __future__ import annotations

import csv
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from benchmarks.traffic import servers
from benchmarks.traffic.attacks import Attack
from benchmarks.traffic.clients import Clients
from benchmarks.traffic.network import HOSTS, Network
from monitor.errors import MonitorError

SNAP = 54
"""Bytes of a packet that are kept: tcpdump's own header, IP's, TCP's up to its flags. Sizes are those on the wire."""
_SETTLE = 5.0  # s of traffic before anything is captured

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Label:
    """An attack in a capture: when, in s since the Unix epoch, by whom and on whom, as addresses."""

    attack: str
    begin: float
    end: float
    attacker: str
    victim: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Seconds of each part; of `attacks`, the calm before each of them."""

    normal: float
    calm: float
    gap: float
    attacks: Sequence[Attack]

    @property
    def longest(self) -> float:
        """Seconds after which it is over, whatever happens."""
        return self.normal + self.calm + sum(self.gap + attack.longest for attack in self.attacks) + self.gap + 90


def run(plan: Plan, out: Path, seed: int, say: Say) -> None:
    """Writes normal.pcap, calm.pcap, attacks.pcap and labels.csv into `out`. Only within `network.enter`."""
    chance = random.Random(seed)  # noqa: S311  made traffic
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="laboratory-") as name:
        folder = Path(name)
        network = Network(folder)
        servers.start(network, folder, chance)
        clients = Clients(network, folder, seed)
        time.sleep(_SETTLE)
        for part, seconds in (("normal", plan.normal), ("calm", plan.calm)):
            if seconds:
                say(f"{part}: {seconds:.0f} s")
                with _captured(out / f"{part}.pcap"):
                    time.sleep(seconds)
        labels = []
        if plan.attacks:
            with _captured(out / "attacks.pcap"):
                for attack in plan.attacks:
                    time.sleep(plan.gap)
                    attacker = chance.choice([host for host in HOSTS if host.startswith("client")])
                    begin = time.time()
                    attack.run(network, folder, chance, attacker, attack.longest)
                    label = Label(attack.name, begin, time.time(), HOSTS[attacker], HOSTS[attack.victim])
                    labels.append(label)
                    say(f"{label.attack}: {label.end - label.begin:.0f} s, {label.attacker} on {label.victim}")
                time.sleep(plan.gap)
            write_labels(out / "labels.csv", labels)
        clients.stop()
        say(f"{clients.actions:,} actions of {len(HOSTS)} hosts")


def write_labels(path: Path, labels: Sequence[Label]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow([field.name for field in fields(Label)])
        out.writerows(
            [label.attack, f"{label.begin:.3f}", f"{label.end:.3f}", label.attacker, label.victim] for label in labels
        )


def read_labels(path: Path) -> tuple[Label, ...]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return tuple(
        Label(row["attack"], float(row["begin"]), float(row["end"]), row["attacker"], row["victim"]) for row in rows
    )


@contextmanager
def _captured(path: Path) -> Iterator[None]:
    """What enters the switch while the block runs: each packet once, where its sender put it on the wire."""
    command = [
        "tcpdump", "-i", "any", "-Q", "in", "-s", str(SNAP), "-B", "16384", "-Z", "root", "-w", str(path),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    time.sleep(1)
    if process.poll() is not None:
        raise MonitorError(f"tcpdump: {process.stderr.read().decode().strip() if process.stderr else ''}")
    try:
        yield
    finally:
        process.terminate()
        _, said = process.communicate(timeout=10)
    lost = next((line for line in said.decode().splitlines() if "dropped by kernel" in line), "")
    if lost and not lost.startswith("0 "):
        raise MonitorError(f"{path.name} is not whole: {lost}")
