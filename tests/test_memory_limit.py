"""The memory limit is what the control group says, in either version; "none" and nonsense are no limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor import memory_limit


@pytest.mark.parametrize(
    ("text", "limit"),
    [("536870912\n", 536870912), ("max\n", None), ("9223372036854771712\n", None), ("", None), ("no number", None)],
)
def test_the_limit_is_read(tmp_path: Path, text: str, limit: int | None) -> None:
    file = tmp_path / "memory.max"
    file.write_text(text)
    assert memory_limit.read((tmp_path / "absent", file)) == limit
