"""What many runs share: the brokers, the proxies in front of them, the artefacts. Made when first needed.

Brokers are children of the thread that starts them (see monitor.tied): use a World from the main thread only.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors

from monitor.local_kafka import FAST_FAILOVER, LocalCluster, LocalKafka, free_ports
from tests.faults.proxy import HOST, Link
from tests.models import tiny_artefact

LINKS = 3
_SETTINGS = {
    **FAST_FAILOVER,
    "group.min.session.timeout.ms": "1000",
    # What a member that never comes back left open is aborted soon after its time-out, not up to 10 s later.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
}


class World:
    """Brokers and artefacts under one folder, closed together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open = ExitStack()
        self._starts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Everything ends; what is needed after it is made anew, so a broker that a fault left ill is replaced."""
        self._open.close()
        for name in ("node", "links", "cluster"):
            self.__dict__.pop(name, None)

    @cached_property
    def model(self) -> Path:
        return tiny_artefact(self.folder / "model")

    @cached_property
    def _ports(self) -> list[int]:
        return free_ports(2 * LINKS)

    @cached_property
    def node(self) -> LocalKafka:
        """One node. Besides its own address it has one for each link, by which clients come through that link only."""
        names = [f"LINK{number}" for number in range(LINKS)]
        inner, outer = self._ports[:LINKS], self._ports[LINKS:]
        port, controller = free_ports(2)
        doors = [f"{name}://{HOST}:{at}" for name, at in zip(names, inner, strict=True)]
        told = [f"{name}://{HOST}:{at}" for name, at in zip(names, outer, strict=True)]
        node = LocalKafka(
            self._folder("node"),
            port,
            controller_port=controller,
            settings={
                **_SETTINGS,
                "listeners": ",".join([f"PLAINTEXT://{HOST}:{port}", f"CONTROLLER://{HOST}:{controller}", *doors]),
                "advertised.listeners": ",".join([f"PLAINTEXT://{HOST}:{port}", *told]),
                "listener.security.protocol.map": ",".join(
                    f"{name}:PLAINTEXT" for name in ("PLAINTEXT", "CONTROLLER", *names)
                ),
                "inter.broker.listener.name": "PLAINTEXT",
            },
        )
        self._open.enter_context(node)
        self._open.callback(node.kill)  # what it holds is of no use to anybody: an orderly end would take seconds
        return node

    @cached_property
    def links(self) -> list[Link]:
        """Proxies in front of the one node."""
        assert self.node.running
        pairs = zip(self._ports[LINKS:], self._ports[:LINKS], strict=True)
        links = [Link(outer, inner) for outer, inner in pairs]
        for link in links:
            self._open.callback(link.close)
        return links

    @cached_property
    def cluster(self) -> LocalCluster:
        """Three nodes, replication factor 3, two in-sync replicas needed."""
        cluster = self._open.enter_context(LocalCluster(self._folder("cluster"), 3, settings=_SETTINGS))
        for node in cluster.nodes:
            self._open.callback(node.kill)
        return cluster

    def _folder(self, name: str) -> Path:
        self._starts += 1
        return self.folder / f"{name}-{self._starts}"

    def brokers(self, nodes: int) -> list[LocalKafka]:
        return [self.node] if nodes == 1 else self.cluster.nodes

    def bootstrap(self, nodes: int) -> str:
        return self.node.bootstrap if nodes == 1 else self.cluster.bootstrap


def leader(bootstrap: str, topic: str, partition: int) -> int:
    """The node that leads the partition."""
    with _admin(bootstrap) as admin:
        found = admin.client.describe_topics([topic])[0]["partitions"]
        return next(int(entry["leader_id"]) for entry in found if entry["partition_index"] == partition)


def transaction_coordinator(bootstrap: str, prefix: str) -> int:
    """The node that keeps the transactions of an id that begins so; 0 while there is none."""
    with _admin(bootstrap) as admin:
        for node, listings in admin.client.list_transactions().items():
            if any(prefix in entry.transactional_id for entry in listings):
                return int(node)
    return 0


def committed(bootstrap: str, group: str) -> dict[int, int]:
    """Offsets of the group by partition; empty while the brokers do not tell."""
    with suppress(kafka_errors.KafkaError), _admin(bootstrap) as admin:
        found = admin.client.list_group_offsets({group: None})[group]
        return {partition.partition: entry.offset for partition, entry in found.items()}
    return {}


class _admin:  # noqa: N801  a context manager by the name of what it gives
    def __init__(self, bootstrap: str) -> None:
        self.client: Any = KafkaAdminClient(bootstrap_servers=bootstrap.split(","), request_timeout_ms=5000)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()


def delete_topics(bootstrap: str, names: list[str]) -> None:
    """Makes room; that it fails is of no interest."""
    with suppress(kafka_errors.KafkaError), _admin(bootstrap) as admin:
        admin.client.delete_topics(names)


def settled(brokers: list[LocalKafka], seconds: float = 60) -> None:
    """All brokers run and take clients."""
    deadline = time.monotonic() + seconds
    for broker in brokers:
        broker.launch()
        broker.wait(max(1.0, deadline - time.monotonic()))
