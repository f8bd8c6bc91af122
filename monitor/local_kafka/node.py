"""A real Apache Kafka (KRaft) on loopback as a child process, for the demo and the tests. Needs Python only.

Java comes from `java.find_java`, Kafka itself from `jars.fetch`. Linux and macOS. It is Kafka as released:
groups, transactions and its log on disk are genuine; only memory and start time are tuned for one machine.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from monitor.errors import MonitorError
from monitor.local_kafka.jars import fetch, jars
from monitor.local_kafka.java import find_java
from monitor.tied import tied

HOST: Final = "127.0.0.1"
FAST_FAILOVER: Final[Mapping[str, str]] = {"broker.session.timeout.ms": "1500", "broker.heartbeat.interval.ms": "300"}
"""Settings for fault tests: a killed broker is replaced or back in 3 s, not in the 11 s of the default 9 s session."""

_CLUSTER_ID = "YW5vbWFseS1tb25pdG9yMQ"  # fixed: one that begins with "-" would be taken for an option by the formatter
_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 15.0
_LOG_TAIL = 2000
# Below the ports the system hands out to clients: a client that retries a killed broker's port from that range can be
# given the very port it dials, connect to itself, and keep the broker from coming back.
_PORTS = range(20_000, 32_000)

_LOG4J = """\
status=error
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %c{1} %m%n
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
"""


def free_ports(count: int) -> list[int]:
    """`count` different TCP ports on which nothing listens on loopback now."""
    picked = random.sample(_PORTS, k=len(_PORTS))
    free = [port for _, port in zip(range(count), (port for port in picked if _is_free(port)), strict=False)]
    if len(free) < count:
        raise MonitorError(f"fewer than {count} free ports between {_PORTS.start} and {_PORTS.stop}")
    return free


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the broker binds: connections of a predecessor that linger do not count, a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


class LocalKafka:
    """One node, broker and controller in one; with `voters`, one node of a cluster (see `LocalCluster`).

    `data_dir` keeps its configuration, its log on disk and `broker.log`; a node started again on it has its topics.
    `port` 0 picks a free one, kept over restarts. `settings` are Kafka's own, and override the ones chosen here.
    Topics are not created by use. On Linux the node ends with the *thread* that started it: start it from the main one.
    """

    def __init__(
        self,
        data_dir: Path,
        port: int = 0,
        *,
        node_id: int = 1,
        controller_port: int = 0,
        voters: str = "",
        replicas: int = 1,
        heap_mib: int = 256,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        picked = free_ports(2)
        self.data_dir = Path(data_dir)
        self.port = port or picked[0]
        self.controller_port = controller_port or picked[1]
        self.bootstrap = f"{HOST}:{self.port}"
        self.log = self.data_dir / "broker.log"
        self._heap_mib = heap_mib
        self._process: subprocess.Popen[bytes] | None = None
        in_sync = str(min(2, replicas))
        self._settings = {
            "process.roles": "broker,controller",
            "node.id": str(node_id),
            "controller.quorum.voters": voters or f"{node_id}@{HOST}:{self.controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{HOST}:{self.port},CONTROLLER://{HOST}:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "log.dirs": (self.data_dir / "data").as_posix(),
            "auto.create.topics.enable": "false",
            "num.partitions": "3",
            "default.replication.factor": str(replicas),
            "min.insync.replicas": in_sync,
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": str(replicas),
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.replication.factor": str(replicas),
            "transaction.state.log.min.isr": in_sync,
            "share.coordinator.state.topic.replication.factor": str(replicas),
            "share.coordinator.state.topic.min.isr": in_sync,
            "group.initial.rebalance.delay.ms": "0",
            "log.cleaner.dedupe.buffer.size": str(2 * 1024**2),  # the default, 128 MiB, is most of the node's memory
            "log.segment.bytes": str(64 * 1024**2),
        } | dict(settings or {})

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the broker. Raises MonitorError when it does not run."""
        if self._process is None or self._process.poll() is not None:
            raise MonitorError(f"the local Kafka of {self.data_dir} is not running")
        return self._process.pid

    def start(self, timeout: float = _START_TIMEOUT) -> Self:
        """Start the node and wait (`timeout`, s) until it takes clients.

        Raises MonitorError when Java, the jars or the port cannot be had, or the broker ends or is not up in time.
        """
        try:
            self.launch()
            self.wait(timeout)
        except BaseException:
            self.kill()
            raise
        return self

    def launch(self) -> None:
        """Start the process without waiting; `wait` does. Does nothing when it runs."""
        if self.running:
            return
        java, folder = find_java(), fetch()
        for port in (self.port, self.controller_port):  # else `wait` would take another program's listener for Kafka
            if not _is_free(port):
                raise MonitorError(
                    f"port {port} on {HOST} is in use by another program, so Kafka cannot listen there",
                    "Stop that program or choose another port (0 picks a free one). If it is a Kafka broker, "
                    f"use it: KAFKA_BOOTSTRAP={HOST}:{port}.",
                )
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            (self.data_dir / "log4j2.properties").write_text(_LOG4J, encoding="utf-8")
            properties = self.data_dir / "server.properties"
            properties.write_text(
                "".join(f"{key}={value}\n" for key, value in self._settings.items()), encoding="utf-8"
            )
        except OSError as error:
            raise MonitorError(f"cannot write Kafka's configuration into {self.data_dir}: {error.strerror}") from error
        command = self._command(java, folder)
        if not (self.data_dir / "data" / "meta.properties").exists():
            formatter = ["kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", str(properties)]
            done = subprocess.run([*command, *formatter], capture_output=True, text=True, check=False)
            if done.returncode:
                raise MonitorError(f"Kafka cannot format {self.data_dir}: {(done.stdout + done.stderr)[-_LOG_TAIL:]}")
        command = [*command, "kafka.Kafka", str(properties)]
        command = tied(command)
        with self.log.open("ab") as log:
            # A session of its own: Ctrl+C at the terminal is for the program, which then stops the broker in order.
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def _command(self, java: str, folder: Path) -> list[str]:
        # The simple compiler and collector halve the start time and memory; 76,000 records/s still go in. Only the
        # pinned jars are on the class path, whatever else lies in the folder.
        return [
            java,
            "-Xms64m",
            f"-Xmx{self._heap_mib}m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:-UsePerfData",  # it would leave a file in the system's temporary folder
            f"-Dlog4j2.configurationFile={(self.data_dir / 'log4j2.properties').as_posix()}",
            "-cp",
            os.pathsep.join(str(folder / jar.name) for jar in jars()),
        ]

    def wait(self, timeout: float = _START_TIMEOUT) -> None:
        """Wait until the broker's port answers; it opens when the broker is registered and unfenced."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                code = self._process.returncode if self._process else None
                raise MonitorError(f"the local Kafka ended while it started (code {code})", self._tail())
            try:
                socket.create_connection((HOST, self.port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise MonitorError(f"the local Kafka on {self.bootstrap} was not up after {timeout:g} s", self._tail())

    def _tail(self) -> str:
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return f"The end of {self.log}:\n{text[-_LOG_TAIL:]}"

    def stop(self, timeout: float = _STOP_TIMEOUT) -> None:
        """End it in order (SIGTERM), or by force after `timeout` s. Does nothing when it does not run."""
        if not self.running or self._process is None:
            return
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL: a crash. Returns when the process is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """SIGSTOP: a hang. The port still takes connections and nothing answers until `resume`."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def restart(self, timeout: float = _START_TIMEOUT) -> Self:
        """Stop (if it runs) and start on the same port and data."""
        self.stop()
        return self.start(timeout)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class LocalCluster:
    """`n` nodes, each broker and controller; replication factor n, two in-sync replicas needed to acknowledge."""

    def __init__(self, data_dir: Path, n: int = 3, *, settings: Mapping[str, str] | None = None) -> None:
        ports = free_ports(2 * n)
        broker_ports, controller_ports = ports[:n], ports[n:]
        voters = ",".join(f"{node_id}@{HOST}:{port}" for node_id, port in enumerate(controller_ports, 1))
        self.nodes = [
            LocalKafka(
                Path(data_dir) / str(node_id),
                broker_port,
                node_id=node_id,
                controller_port=controller_port,
                voters=voters,
                replicas=n,
                settings=settings,
            )
            for node_id, (broker_port, controller_port) in enumerate(
                zip(broker_ports, controller_ports, strict=True), 1
            )
        ]
        self.bootstrap = ",".join(node.bootstrap for node in self.nodes)

    def start(self, timeout: float = _START_TIMEOUT) -> Self:
        """Start all nodes and wait (`timeout`, s, for each) until they take clients. Raises as `LocalKafka.start`."""
        try:
            for node in self.nodes:  # none is up before a majority of the controllers runs
                node.launch()
            for node in self.nodes:
                node.wait(timeout)
        except BaseException:
            for node in self.nodes:
                node.kill()
            raise
        return self

    def stop(self) -> None:
        """Stop all nodes at once."""
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(LocalKafka.stop, self.nodes))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
