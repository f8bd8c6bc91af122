"""What all scenarios share: the cluster, a Kafka that pods can reach, the artefact, and namespaces of their own."""

from __future__ import annotations

import base64
import secrets
import socket
import subprocess
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from monitor.local_kafka import LocalKafka, free_ports
from tests.e2e.cluster import Cluster, CommandError, Object
from tests.e2e.hand import Hand
from tests.e2e.waiting import SLOWNESS
from tests.models import tiny_artefact

MODEL = "model"  # the ConfigMap that holds the artefact
PASSWORD = "secret-of-stranger"  # of the user `stranger`
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
_HOST = "127.0.0.1"
_SETTINGS = {
    # It is stopped in order or not at all; and on a busy machine it must not be taken for dead by itself.
    "broker.session.timeout.ms": "60000",
    "group.min.session.timeout.ms": "1000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
}


@dataclass(frozen=True, slots=True)
class Given:
    """All that is known of where this runs."""

    kubeconfig: Path
    image: str
    kafka_host: str  # an address of this machine, as pods see it
    kubectl: Path
    helm: Path
    load: str = ""  # a command that brings the image to the nodes; {image} stands for its name


class Stage:
    """Made when entered, removed when left. Brokers are children of the main thread: use it there."""

    def __init__(self, given: Given, folder: Path) -> None:
        self.given = given
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.namespace = f"monitor-e2e-{secrets.token_hex(3)}"
        self._outside = f"{self.namespace}-hand"
        self.cluster = Cluster(given.kubeconfig, given.kubectl, given.helm, self.namespace, folder)
        self.hand = Hand(self.cluster, self._outside, given.image)
        self._open = ExitStack()

    @cached_property
    def model(self) -> Path:
        return tiny_artefact(self.folder / "model")

    def __enter__(self) -> Self:
        try:
            if self.given.load:
                subprocess.run(self.given.load.format(image=self.given.image), shell=True, check=True)
            self.kafka = self._kafka()
            self._namespaces()
            self.hand.deploy()
            self.cluster.apply(artefact(MODEL, self.model))
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def _kafka(self) -> LocalKafka:
        port, pods, strangers, controller = free_ports(4)
        bind = _bindable(self.given.kafka_host)
        self.for_pods = f"{self.given.kafka_host}:{pods}"
        self.for_strangers = f"{self.given.kafka_host}:{strangers}"  # who come by it have a password and no rights
        own = f"PLAINTEXT://{_HOST}:{port}"
        node = LocalKafka(
            self.folder / "kafka",
            port,
            controller_port=controller,
            settings={
                **_SETTINGS,
                "listeners": f"{own},CONTROLLER://{_HOST}:{controller},PODS://{bind}:{pods},STRANGERS://{bind}:{strangers}",
                "advertised.listeners": f"{own},PODS://{self.for_pods},STRANGERS://{self.for_strangers}",
                "listener.security.protocol.map": (
                    "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PODS:PLAINTEXT,STRANGERS:SASL_PLAINTEXT"
                ),
                "inter.broker.listener.name": "PLAINTEXT",
                "sasl.enabled.mechanisms": "PLAIN",
                "listener.name.strangers.plain.sasl.jaas.config": f'{_PLAIN} required user_stranger="{PASSWORD}";',
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": "User:ANONYMOUS",
            },
        )
        self._open.callback(node.kill)  # in no order: what it holds is of no use to anybody
        node.start(60 * SLOWNESS)
        return node

    def _namespaces(self) -> None:
        for name, level in ((self.namespace, "restricted"), (self._outside, "privileged")):
            labels = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "warn")}
            space: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
            self._open.callback(self._forget, name)
            self.cluster.apply(space)

    def _forget(self, namespace: str) -> None:
        with suppress(CommandError):
            self.cluster.kubectl(
                "delete", "namespace", namespace, "--ignore-not-found", f"--timeout={60 * SLOWNESS:.0f}s"
            )


def artefact(name: str, folder: Path, damage: bytes = b"") -> Object:
    """The files of a model as a ConfigMap; `damage` is put behind the weights."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files["weights.safetensors"] += damage
    data = {key: base64.b64encode(content).decode() for key, content in files.items()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "binaryData": data}


def _bindable(host: str) -> str:
    """The address itself where it is this machine's; else all (it is then known to the pods by another way)."""
    with socket.socket() as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return "0.0.0.0"
    return host
