"""Which Kafka the demo runs on: one that is named, else a single node of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from monitor.local_kafka import LocalKafka
from monitor.local_kafka.jars import KAFKA_VERSION, fetch

Say = Callable[[str], None]


@contextmanager
def broker(named: str | None, folder: Path, say: Say) -> Iterator[str]:
    """Bootstrap address. A node of its own keeps its data under `folder` and ends with the block."""
    if named:
        say(f"A broker that is running: {named}")
        yield named
        return
    begun = time.monotonic()
    shown = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal shown
        if done < total and time.monotonic() - max(begun, shown) > 2.0:
            shown = time.monotonic()
            say(f"fetching Apache Kafka {KAFKA_VERSION}: {done} of {total} files (once)")

    jars = fetch(progress)
    node = LocalKafka(folder)
    node.start()
    try:
        say(f"A real Apache Kafka {KAFKA_VERSION} on {node.bootstrap}, up after {time.monotonic() - begun:.1f} s")
        say(f"program: {short(jars)}   data: {short(node.data_dir)}   process {node.pid}")
        yield node.bootstrap
    finally:
        try:
            node.stop()
        except BaseException:  # a second Ctrl+C: at once
            node.kill()
            raise


def short(path: Path) -> str:
    """As a person would type it: from here, or from home."""
    path = near(path)
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)


def near(path: Path) -> Path:
    """The path from here where it lies below, else as it is."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
