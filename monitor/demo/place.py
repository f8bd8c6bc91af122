"""The demo's folder, under the project's cache folder, and the configuration in it."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monitor.config import ENV_PREFIX, Settings, loading
from monitor.demo.watch import HOST
from monitor.errors import MonitorError, UsageError
from monitor.local_kafka.jars import jar_folder

_ALLOWED = ("kafka", "training")  # sections the environment may set: how to reach the broker, how to learn
_OURS = (("kafka", "group"), ("kafka", "instance_id"))  # a member of somebody else's group would take its partitions


@contextmanager
def folder(*, keep: bool) -> Iterator[Path]:
    """An empty folder for one run; what an earlier run left is removed first, this one's at the end unless `keep`."""
    cache = jar_folder().parent
    path = cache / "demo"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "demo.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # freed by the kernel, however the demo ends
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
            try:
                yield path
            finally:
                if not keep:
                    shutil.rmtree(path, ignore_errors=True)
    except BlockingIOError as error:
        raise MonitorError(
            f"another demo is running in {path}",
            "Stop that one, or give this one a cache of its own: MONITOR_CACHE=DIR",
        ) from error
    except PermissionError as error:
        raise MonitorError(
            f"cannot write {error.filename}: {error.strerror}", "Set MONITOR_CACHE to a writable folder."
        ) from error


def configuration(bootstrap: str, run: str, model: Path, port: int) -> str:
    """The configuration file of one run; topics and group carry its id, so that runs never meet."""
    return f"""\
# Written by `monitor demo`. What is not said here has its default: monitor schema config --markdown
kafka:
  bootstrap_servers: {json.dumps(bootstrap)}
  group: demo-{run}
topics:
  input: {{name: demo-{run}.events, partitions: 3}}
  alerts: {{name: demo-{run}.alerts, partitions: 3}}
  dead_letters: {{name: demo-{run}.dead, partitions: 1}}
  state: {{name: demo-{run}.state}}
model:
  path: {json.dumps(str(model))}
events:
  max_age: null  # the data tells of 2019
web:
  host: {HOST}
  port: {port}
log:
  format: text
"""


def load(path: Path) -> Settings:
    """The settings the demo's commands will see.

    Raises UsageError where the environment overrides one that is the demo's own: at the end it would delete the topics
    of somebody else.
    """
    loaded = loading.load_with_origins(path)
    for place, origin in loaded.origins.items():
        name = str(origin)
        if name.startswith(ENV_PREFIX) and (place[0] not in _ALLOWED or place[:2] in _OURS):
            raise UsageError(f"{name} is set, but the demo chooses {'.'.join(map(str, place))} itself", f"unset {name}")
    return loaded.settings
