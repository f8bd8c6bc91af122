"""Where the tests' Apache Kafka comes from, and small helpers on top of it."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from monitor.local_kafka import KAFKA_VERSION, free_ports

IMAGE = os.environ.get("KAFKA_IMAGE") or f"apache/kafka:{KAFKA_VERSION}"
LEG = os.environ.get("KAFKA_TEST_BROKER") or "auto"
LEGS = ("auto", "docker", "local")


def end(producer: Any) -> None:
    """Ends a producer whatever has become of its brokers.

    close() alone waits for what is queued, and where that fails it leaves a thread behind that asks for the brokers for
    ever: in every test that follows.
    """
    producer._sender.force_close()
    producer._sender.join(1)
    with suppress(KafkaError):
        producer.close(timeout=0)


def docker_problem() -> str:
    """Why no container of IMAGE can be had ('' when it can): an engine must answer and have or pull the image."""
    try:
        engine = docker.from_env(timeout=5)
    except DockerException as error:
        return f"no Docker engine answers ({_short(error)})"
    try:
        engine.ping()
        try:
            engine.images.get(IMAGE)
        except ImageNotFound:
            puller = docker.from_env(timeout=300)
            try:
                puller.images.pull(IMAGE)
            finally:
                puller.close()
    except (APIError, OSError) as error:
        return f"the Docker engine cannot give {IMAGE} ({_short(error)})"
    finally:
        engine.close()
    return ""


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


@contextmanager
def kafka_container() -> Iterator[str]:
    """Bootstrap address of a new container of IMAGE, which has the `KAFKA_*` contract of apache/kafka."""
    # The broker tells its clients its address, so the host's port is chosen before the start and bound as it is.
    port, controller = free_ports(2)
    container = DockerContainer(IMAGE)
    host = container.get_docker_client().host()
    if host == "localhost":
        host = "127.0.0.1"
    # with_bind_ports cannot give an address; the engine can, and a broker without a password stays on this machine.
    binding: dict[str, Any] = container.ports
    binding[f"{port}/tcp"] = ("127.0.0.1" if host == "127.0.0.1" else "0.0.0.0", port)
    contract = {
        "CLUSTER_ID": "YW5vbWFseS1tb25pdG9yMQ",
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": f"1@localhost:{controller}",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://localhost:{controller}",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{host}:{port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_NUM_PARTITIONS": "3",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    }
    for key, value in contract.items():
        container.with_env(key, value)
    container.waiting_for(LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(90))
    try:
        with container:
            yield f"{host}:{port}"
    finally:
        container.get_docker_client().client.close()


def unreachable(bootstrap: str) -> str:
    """Why none of the `host:port,...` takes a connection ('' when one does)."""
    reasons = []
    for address in bootstrap.split(","):
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except (OSError, ValueError) as error:
            reasons.append(f"{address}: {error}")
        else:
            return ""
    return "; ".join(reasons)


class Topics:
    """Topic names that no other test or run uses: `topics("events")`, and `topics.create("events", partitions=3)`."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def __call__(self, name: str = "topic") -> str:
        return f"{name}-{uuid.uuid4().hex[:12]}"

    def create(self, name: str = "topic", *, partitions: int = 1, replicas: int = 1) -> str:
        unique = self(name)
        create_topic(self.bootstrap, unique, partitions=partitions, replicas=replicas)
        return unique


def create_topic(bootstrap: str, name: str, *, partitions: int = 1, replicas: int = 1) -> None:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        admin.create_topics([NewTopic(name, partitions, replicas)], wait_for_metadata=True)
    finally:
        admin.close()
