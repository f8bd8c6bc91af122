"""Normal traffic: what people and programs at the clients do, each action a real program, at random times of a seed."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path

from benchmarks.traffic.network import HOSTS, Network
from benchmarks.traffic.servers import PAGES, ZONE

_SECONDS = 20.0  # an action is ended after that
_SHARES = {"browse": 5, "ask": 4, "query": 5, "copy": 1, "work": 1, "push": 1}
"""How often one does what."""
_THINK = 2.0
"""Mean seconds between two actions of a client, about; each client has a pace of its own."""


class Clients:
    """One thread for each client, until `stop`."""

    def __init__(self, network: Network, folder: Path, seed: int) -> None:
        self._network = network
        self._folder = folder
        self._over = threading.Event()
        self.actions = 0
        self._threads = [
            threading.Thread(target=self._live, args=(host, seed * 100 + number), daemon=True)
            for number, host in enumerate(name for name in HOSTS if name.startswith("client"))
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(_SECONDS + 5)

    def _live(self, host: str, seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311  made traffic
        pace = _THINK * chance.uniform(0.7, 1.6)
        actions: dict[str, Callable[[str, random.Random], None]] = {
            "browse": self._browse, "ask": self._ask, "query": self._query, "copy": self._copy, "work": self._work,
            "push": self._push,
        }  # fmt: skip
        while not self._over.wait(min(chance.expovariate(1 / pace), 8.0)):
            name = chance.choices(list(_SHARES), list(_SHARES.values()))[0]
            actions[name](host, chance)
            self.actions += 1

    def _do(self, host: str, *command: str, text: bytes = b"") -> None:
        self._network.run(host, *command, seconds=_SECONDS, text=text)

    def _ask(self, host: str, chance: random.Random) -> None:
        """Names that are there, and one in eight that is not."""
        known = chance.choice(list(HOSTS))
        name = known if chance.random() > 0.125 else f"printer{chance.randrange(9)}"
        kind = chance.choices(["A", "AAAA", "MX"], [8, 2, 1])[0]
        self._do(host, "dig", f"@{HOSTS['names']}", "+short", "+tries=1", f"{name}.{ZONE}", kind)

    def _browse(self, host: str, chance: random.Random) -> None:
        """The name, a page, and what is on it over the same connection."""
        self._do(host, "dig", f"@{HOSTS['names']}", "+short", "+tries=1", f"web.{ZONE}")
        pages = [f"http://{HOSTS['web']}/{chance.randrange(PAGES)}.html" for _ in range(chance.randrange(1, 6))]
        self._do(host, "curl", "-s", "-o", "/dev/null", f"http://{HOSTS['web']}/", *pages)

    def _query(self, host: str, chance: random.Random) -> None:
        lines = []
        for _ in range(chance.randrange(1, 7)):
            key = f"item:{chance.randrange(500)}"
            lines.append(f"SET {key} {chance.randbytes(chance.randrange(10, 400)).hex()}")
            lines += [f"GET {key}", f"INCR count:{chance.randrange(20)}"]
        self._do(host, "redis-cli", "-h", HOSTS["database"], text="\n".join(lines).encode())

    def _copy(self, host: str, chance: random.Random) -> None:
        """A few of the pages from the file server."""
        which = f"root@{HOSTS['files']}:{self._folder}/pages/{chance.randrange(4)}?.html"
        target = self._folder / f"{host}-copies"
        self._do(host, "rsync", "-q", "--ignore-times", "-e", self._ssh(), which, f"{target}/")

    def _push(self, host: str, chance: random.Random) -> None:
        """A file of some kilobytes to the file server."""
        file = self._folder / f"{host}-report"
        file.write_bytes(chance.randbytes(int(chance.lognormvariate(10, 0.8))))
        self._do(host, "rsync", "-q", "-e", self._ssh(), str(file), f"root@{HOSTS['files']}:{self._folder}/")

    def _work(self, host: str, chance: random.Random) -> None:
        command = chance.choice(["uptime", "ls -la /usr/bin | head -200", "df -h", "ps aux", "cat /etc/services"])
        self._do(host, *self._ssh().split(), f"root@{HOSTS['files']}", command)

    def _ssh(self) -> str:
        options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o BatchMode=yes"
        return f"ssh -i {self._folder}/key {options}"
