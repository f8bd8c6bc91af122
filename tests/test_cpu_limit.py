"""The CPU limit is the least that any control group around the process has, in either version; no limit is none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from monitor import cpu_limit

V1 = {"cpu.cfs_quota_us": "150000\n", "cpu.cfs_period_us": "100000\n"}


def groups(folder: Path, own: str, files: Mapping[str, str]) -> float | None:
    """The limit read from a folder that is laid out as /sys/fs/cgroup is."""
    for name, text in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "own").write_text(own)
    return cpu_limit.read(folder / "cgroup", folder / "own")


@pytest.mark.parametrize(
    ("text", "cores"),
    [("200000 100000\n", 2.0), ("50000 100000\n", 0.5), ("max 100000\n", None), ("", None), ("nonsense", None)],
)
def test_version_2_has_quota_and_period_in_one_file(tmp_path: Path, text: str, cores: float | None) -> None:
    assert groups(tmp_path, "0::/\n", {"cpu.max": text}) == cores


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_version_1_has_them_in_two(tmp_path: Path, mount: str) -> None:
    own = "3:cpu,cpuacct:/\n1:name=systemd:/\n"
    assert groups(tmp_path, own, {f"{mount}/{name}": text for name, text in V1.items()}) == 1.5


def test_a_quota_of_minus_one_is_no_limit(tmp_path: Path) -> None:
    assert (
        groups(tmp_path, "1:cpu:/\n", {f"cpu/{name}": "-1\n" if "quota" in name else "100000\n" for name in V1}) is None
    )


def test_the_least_of_the_groups_around_the_process_counts(tmp_path: Path) -> None:
    files = {"pods/cpu.max": "100000 100000", "pods/one/cpu.max": "400000 100000", "other/cpu.max": "1000 100000"}
    assert groups(tmp_path, "0::/pods/one\n", files) == 1.0


def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    assert groups(tmp_path, "0::/kubepods/pod-7/abc\n", {"cpu.max": "300000 100000"}) == 3.0


def test_version_1_counts_where_version_2_is_mounted_beside_it(tmp_path: Path) -> None:
    own = "1:cpu:/job\n0::/\n"
    assert groups(tmp_path, own, {"unified/cgroup.procs": "", **{f"cpu/job/{k}": v for k, v in V1.items()}}) == 1.5


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert cpu_limit.read(tmp_path / "absent", tmp_path / "absent") is None


@pytest.mark.parametrize(("limit", "threads"), [(0.2, 1), (1.9, 1), (2.0, 2), (64.0, 3)])
def test_a_forward_pass_has_the_whole_cores_of_the_limit(
    monkeypatch: pytest.MonkeyPatch, limit: float, threads: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2})
    assert cpu_limit.threads(limit) == threads


def test_without_a_limit_it_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_limit, "read", lambda: None)
    assert cpu_limit.threads() == 1
