"""The memory limit of this process, as its control group has it: what a container is killed for going beyond."""

from __future__ import annotations

from pathlib import Path

_FILES = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))  # versions 2 and 1
_NONE = 1 << 60  # version 1 says "no limit" with a number near 2^63


def read(files: tuple[Path, ...] = _FILES) -> int | None:
    """Bytes; None where there is no limit, or none that can be read."""
    for file in files:
        try:
            text = file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if text.isdigit() and int(text) < _NONE:
            return int(text)
    return None
