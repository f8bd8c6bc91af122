"""The CPU limit of this process, as its control groups have it: how many cores' time a container gets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def read(root: Path = _ROOT, own: Path = _OWN) -> float | None:
    """Cores, the least of any group around this process; None where there is no limit, or none that can be read.

    `root` is where the groups are mounted, `own` says in which of them this process is. Both versions are looked at: a
    system may have version 2 mounted beside version 1, with the CPU in either.
    """
    found = [cores for folder in _folders(root, own) if (cores := _limit(folder)) is not None]
    return min(found, default=None)


def threads(limit: float | None = None) -> int:
    """Threads that one forward pass may have: the whole cores of the limit, 1 without one.

    Without a limit the cores are others' too: a member is one loop, and more members are what uses more of them.
    """
    limit = read() if limit is None else limit
    return 1 if limit is None else max(1, min(int(limit), len(os.sched_getaffinity(0)) or 1))


def _folders(root: Path, own: Path) -> Iterator[Path]:
    """The groups of this process and those around them. In a container its own group is often mounted as the root."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    paths = {"": "/", "cpu": "/"}
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers or "cpu" in controllers.split(","):
            paths["cpu" if controllers else ""] = path
    mounts = {"": (root, root / "unified"), "cpu": (root / "cpu", root / "cpu,cpuacct")}
    for version, path in paths.items():
        for mount in mounts[version]:
            folder = mount / path.strip("/")
            yield from (one for one in (folder, *folder.parents) if one == mount or mount in one.parents)


def _limit(folder: Path) -> float | None:
    """Cores: of `cpu.max` ("quota period", version 2), or of version 1's two files; both in microseconds."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    # "max" and -1 mean no limit.
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None
