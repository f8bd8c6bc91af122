"""A real Apache Kafka for the tests: one named by $KAFKA_BOOTSTRAP, else a container, else a local node; never none.

$KAFKA_TEST_BROKER = auto | docker | local forces a leg; $KAFKA_IMAGE is an image with apache/kafka's contract.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.errors import MonitorError
from monitor.local_kafka import FAST_FAILOVER, KAFKA_VERSION, LocalKafka
from tests.brokers import IMAGE, LEG, LEGS, Topics, docker_problem, kafka_container, unreachable

BROKERS_USED = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[BROKERS_USED] = []
    if LEG not in LEGS:
        raise pytest.UsageError(f"KAFKA_TEST_BROKER={LEG} is not one of {', '.join(LEGS)}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[BROKERS_USED]:
        terminalreporter.write_line(f"broker: {line}")


@pytest.fixture(scope="session")
def docker_kafka(pytestconfig: pytest.Config) -> Iterator[str]:
    """Bootstrap address of a broker in a container. Skips without one, except where KAFKA_TEST_BROKER=docker: fails."""
    if problem := "KAFKA_TEST_BROKER=local" if LEG == "local" else docker_problem():
        if LEG == "docker":
            pytest.fail(f"KAFKA_TEST_BROKER=docker, but {problem}", pytrace=False)
        pytest.skip(f"no container: {problem}")
    with kafka_container() as bootstrap:
        pytestconfig.stash[BROKERS_USED].append(f"{IMAGE} in Docker at {bootstrap}")
        yield bootstrap


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap address of a real broker that all tests share."""
    used = request.config.stash[BROKERS_USED]
    if named := os.environ.get("KAFKA_BOOTSTRAP"):
        if problem := unreachable(named):
            pytest.fail(f"KAFKA_BOOTSTRAP names a broker that does not answer: {problem}", pytrace=False)
        used.append(f"{named}, named by KAFKA_BOOTSTRAP")
        yield named
        return
    problem = "asked for by KAFKA_TEST_BROKER" if LEG == "local" else "" if LEG == "docker" else docker_problem()
    if not problem:
        yield request.getfixturevalue("docker_kafka")
        return
    node = LocalKafka(tmp_path_factory.mktemp("kafka"))
    try:
        node.start()
    except MonitorError as error:
        pytest.fail(f"no Apache Kafka for the tests: {problem}; {error}", pytrace=False)
    used.append(f"local Apache Kafka {KAFKA_VERSION} at {node.bootstrap} ({problem})")
    try:
        yield node.bootstrap
    finally:
        node.stop()


@pytest.fixture
def local_kafka(tmp_path: Path) -> Iterator[LocalKafka]:
    """A node of the test's own, to kill, pause and restart; it is back 3 s after a kill."""
    with LocalKafka(tmp_path / "kafka", settings=FAST_FAILOVER) as node:
        yield node


@pytest.fixture
def topics(kafka: str) -> Topics:
    """Topic names of the test's own on the shared broker."""
    return Topics(kafka)
