"""The files of Apache Kafka: 46 jars pinned by SHA-256 in `jars.lock`, fetched once into a cache folder.

The lock holds one line per jar, `SHA-256 path-in-a-Maven-repository`. To move to a newer Kafka, resolve
`org.apache.kafka:kafka_2.13:VERSION` and `org.apache.logging.log4j:log4j-slf4j-impl` (without a binding Kafka logs
nothing) with any Maven resolver and write the hashes of what it gives.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Final, NamedTuple

from monitor.errors import MonitorError, install_hint

KAFKA_VERSION: Final = "4.2.2"  # not 4.3 or 4.4 before KAFKA-20734 is mended there: docs/reliability.md
LOCK: Final = Path(__file__).with_name("jars.lock")
ALTERNATIVES: Final = (
    "Name a running broker with KAFKA_BOOTSTRAP=host:port, or start one with Docker "
    f"(docker run --rm -p 9092:9092 apache/kafka:{KAFKA_VERSION}, then KAFKA_BOOTSTRAP=localhost:9092) or in a clone "
    "with Docker Compose "
    "(docker compose -f deploy/compose.yaml up -d --wait, then KAFKA_BOOTSTRAP=localhost:9092), "
    f"or try again with a network and the extra that brings Java. {install_hint('demo')}"
)
_THREADS = 8
_ATTEMPTS = 4
_TIMEOUT = 60.0
_SERVER_ERRORS = 500  # below it the server has understood and refused: asking again gives the same answer

Progress = Callable[[int, int], None]
"""Called with (jars ready, jars in all), in the thread that called `fetch`."""


class Jar(NamedTuple):
    sha256: str
    path: str

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


def jars() -> list[Jar]:
    """What the lock pins, in its order."""
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    return [Jar(*line.split()) for line in lines if line and not line.startswith("#")]


def jar_folder() -> Path:
    """Where the jars lie, under `$MONITOR_CACHE` or `~/.cache/monitor`; another lock has another folder."""
    cache = Path(os.environ.get("MONITOR_CACHE") or Path.home() / ".cache" / "monitor")
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    return cache / f"kafka-{KAFKA_VERSION}-{digest[:12]}"


def fetch(progress: Progress | None = None) -> Path:
    """Make sure that every jar lies in the cache folder with the bytes the lock names; returns the folder.

    Jars that are there are hashed (0.1 s), a damaged one is fetched again. The repository is `$MAVEN_REPO_URL` (a
    mirror; `file:` works too), else the public one. Safe to run from several processes at once.

    Raises MonitorError when a jar cannot be had or the repository gives other bytes than the lock names.
    """
    wanted = jars()
    folder = jar_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MonitorError(
            f"cannot make the cache folder {folder}: {error.strerror}", "Set MONITOR_CACHE to a writable folder."
        ) from error
    with ThreadPoolExecutor(_THREADS, "kafka-jars") as pool:
        futures = [pool.submit(_ensure, jar, folder) for jar in wanted]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                if progress is not None:
                    progress(done, len(wanted))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return folder


def _ensure(jar: Jar, folder: Path) -> None:
    target = folder / jar.name
    try:
        if _sha256(target.read_bytes()) == jar.sha256:
            return
    except FileNotFoundError:
        pass
    data = _download(jar)
    if (found := _sha256(data)) != jar.sha256:
        raise MonitorError(
            f"{jar.name}: the repository gave SHA-256 {found[:16]}..., but {LOCK.name} pins {jar.sha256[:16]}...; "
            "it was not stored",
            "A proxy or a mirror may have changed it: check MAVEN_REPO_URL. " + ALTERNATIVES,
        )
    # Renamed into place whole, so a killed or a second process never sees half a jar.
    part = target.with_name(f"{jar.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        part.write_bytes(data)
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise MonitorError(
            f"cannot write {target}: {error.strerror}", "Set MONITOR_CACHE to a writable folder."
        ) from error


def _download(jar: Jar) -> bytes:
    url = f"{_repository().rstrip('/')}/{jar.path}"
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:  # noqa: S310 - a mirror may be a folder (file:)
                data: bytes = response.read()
                return data
        except (OSError, http.client.HTTPException, ValueError) as error:
            refused = isinstance(error, urllib.error.HTTPError) and error.code < _SERVER_ERRORS
            if refused or isinstance(error, ValueError) or attempt == _ATTEMPTS:
                # Other errors may quote the address, and a mirror's may hold a password.
                reason = str(error) if isinstance(error, OSError) else type(error).__name__
                tries = "1 try" if attempt == 1 else f"{attempt} tries"
                raise MonitorError(
                    f"cannot fetch {jar.name}, a part of Apache Kafka, after {tries}: {reason}", ALTERNATIVES
                ) from None
        time.sleep(0.5 * 2**attempt)
    raise AssertionError  # the last attempt returns or raises


def _repository() -> str:
    if mirror := os.environ.get("MAVEN_REPO_URL"):
        return mirror
    try:
        constants = importlib.import_module("jgo.constants")
    except ImportError:
        raise MonitorError(
            "no Maven repository is known: the package jgo is not installed and MAVEN_REPO_URL is not set", ALTERNATIVES
        ) from None
    return str(constants.MAVEN_CENTRAL_URL)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
