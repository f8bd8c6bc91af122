"""Snapshots on a real disk: whatever happens to a file or its writer, it is used whole or not at all."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from math import inf, nan
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monitor import config
from monitor.batch import Batch
from monitor.checkpoint import Checkpoint
from monitor.errors import ConfigError
from monitor.snapshots import Identity, Misfit, Snapshots, Unfit
from monitor.windows import Image, WindowStore

ROOT = Path(__file__).parents[1]
MINE = Identity("events", "Wc4cYrJwQ6", "monitor", "f" * 64, window=4, width=3)
COLUMNS = ("count", "last_time", "last_offset", "last_clock", "marks", "streaks", "values")
INTEGERS = ("count", "last_offset")
TIMES = ("last_time", "last_clock")


def image(streams: int = 2, offset: int = 100, partition: int = 0, identity: Identity = MINE) -> Image:
    """Windows that are full of their own offset: a mixture of two would show."""
    return Image(
        partition,
        offset,
        clock=float(offset),
        names=[f"pump-{number}" for number in range(streams)],
        count=np.full(streams, offset, np.int64),
        last_time=np.full(streams, offset, np.float64),
        last_offset=np.full(streams, offset, np.int64),
        last_clock=np.full(streams, offset, np.float64),
        marks=np.full((streams, 2), offset, np.int64),
        streaks=np.arange(2 * streams, dtype=np.int32).reshape(-1, 2),
        values=np.full((streams, identity.window, identity.width), offset, np.float32),
    )


def bits(of: Image) -> dict[str, Any]:
    """An image in comparable form, NaN and all."""
    arrays = {name: getattr(of, name) for name in COLUMNS}
    plain = {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in arrays.items()}
    return plain | {"place": (of.partition, of.offset, struct.pack("d", of.clock)), "names": list(of.names)}


def at(offset: int, **other: Any) -> Checkpoint:
    """A commit that leaves it to the snapshot, unless told otherwise."""
    return Checkpoint(offset, replay_from=other.pop("replay_from", 0), live=1, **other)


@contextmanager
def opened(folder: Path, identity: Identity = MINE, max_replay: int = 1000) -> Iterator[Snapshots]:
    snapshots = Snapshots(folder, identity, max_replay)
    try:
        yield snapshots
    finally:
        snapshots.close()


def saved(folder: Path, *images: Image, identity: Identity = MINE) -> Path:
    """The file of the first of some images that were saved."""
    snapshots = Snapshots(folder, identity, 1000)
    for one in images:
        snapshots.save(one)
    snapshots.close()
    assert snapshots.problems() == ()
    return folder / f"{images[0].partition}.windows"


def loaded(folder: Path, identity: Identity = MINE, partition: int = 0, commit: int = 100) -> Image | Unfit:
    with opened(folder, identity) as snapshots:
        return snapshots.load(partition, at(commit), log_start=0)


def misfit(found: Image | Unfit) -> Misfit:
    assert isinstance(found, Unfit), found
    assert found.detail
    return found.reason


def contents(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@st.composite
def images(draw: st.DrawFn) -> Image:
    names = draw(st.lists(st.text(st.characters(exclude_categories=())), max_size=4, unique=True))
    s = len(names)
    whole = hnp.arrays(np.int64, s)
    real = hnp.arrays(np.float64, s, elements=st.floats())
    return Image(
        partition=draw(st.integers(0, 9)),
        offset=draw(st.integers(0, 2**63 - 1)),
        clock=draw(st.floats()),
        names=names,
        **{name: draw(whole) for name in INTEGERS},
        **{name: draw(real) for name in TIMES},
        marks=draw(hnp.arrays(np.int64, (s, 2))),
        streaks=draw(hnp.arrays(np.int32, (s, 2))),
        values=draw(hnp.arrays(np.float32, (s, MINE.window, MINE.width), elements=st.floats(width=32))),
    )


@settings(max_examples=60, deadline=None)
@given(images())
@example(replace(image(0), clock=-inf))
@example(replace(image(3), names=["\ud800", "\udc00", ""], clock=nan))
def test_what_is_loaded_is_what_was_saved_to_the_bit(one: Image) -> None:
    with TemporaryDirectory() as folder:
        saved(Path(folder), one)
        found = loaded(Path(folder), partition=one.partition, commit=one.offset)
        assert isinstance(found, Image)
        assert bits(found) == bits(one)


def test_loaded_arrays_can_be_written_to(tmp_path: Path) -> None:
    saved(tmp_path, image())
    found = loaded(tmp_path)
    assert isinstance(found, Image)
    assert all(getattr(found, name).flags.writeable for name in COLUMNS)


def fed(store: WindowStore, begin: int, end: int) -> list[tuple[list[int], bytes]]:
    """Pushes 40 streams' records from one offset to another; the windows they close."""
    offset = np.arange(begin, end)
    values = np.random.default_rng(7).random((1000, 2), np.float32)[begin:end]
    values[values < 0.1] = nan
    names = [f"pump-{number}" for number in (offset * 7 % 40).tolist()]
    time = offset.astype(np.float64)
    steps = list(store.push(Batch(names, time, time, values, np.zeros(len(offset), np.int64), offset)))
    return [(step.windows.row.tolist(), step.windows.values.tobytes()) for step in steps]


def test_a_store_goes_on_from_a_snapshot_as_if_nothing_had_happened(tmp_path: Path) -> None:
    mine = replace(MINE, window=4, width=2)
    mean = np.array([0.5, 0.5], np.float32)
    first, second = (
        WindowStore(4, mean, config.Windows(), interval=40.0, max_gap=400.0, idle_timeout=4000.0) for _ in range(2)
    )
    assert fed(first, 0, 500)
    saved(tmp_path, first.image(0, 500), identity=mine)
    found = loaded(tmp_path, mine, commit=500)
    assert isinstance(found, Image)
    second.load(found)
    assert bits(second.image(0, 500)) == bits(found)
    windows = fed(first, 500, 1000)
    assert sum(len(rows) for rows, _ in windows) == 500
    assert fed(second, 500, 1000) == windows


def test_every_partition_has_its_own(tmp_path: Path) -> None:
    saved(tmp_path, image(partition=0, offset=10), image(partition=7, offset=20))
    found = [loaded(tmp_path, partition=partition) for partition in (0, 7)]
    assert [one.offset for one in found if isinstance(one, Image)] == [10, 20]
    assert misfit(loaded(tmp_path, partition=1)) is Misfit.ABSENT


def test_the_newest_of_many_is_kept(tmp_path: Path) -> None:
    saved(tmp_path, *(image(offset=offset) for offset in range(50)))
    found = loaded(tmp_path)
    assert isinstance(found, Image)
    assert bits(found) == bits(image(offset=49))
    assert contents(tmp_path) == {"0.windows", "lock"}


# Damage


def test_a_file_that_ends_anywhere_too_early_is_damaged(tmp_path: Path) -> None:
    path = saved(tmp_path, image())
    whole = path.read_bytes()
    with opened(tmp_path) as snapshots:
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            assert misfit(snapshots.load(0, at(100), 0)) is Misfit.DAMAGED, length


def test_a_file_with_any_flipped_bit_is_damaged(tmp_path: Path) -> None:
    path = saved(tmp_path, image(streams=1))
    whole = path.read_bytes()
    with opened(tmp_path) as snapshots:
        for bit in range(8 * len(whole)):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            assert misfit(snapshots.load(0, at(100), 0)) is Misfit.DAMAGED, bit
        path.write_bytes(whole)
        assert isinstance(snapshots.load(0, at(100), 0), Image)


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=1, max_size=100))
def test_a_file_with_more_behind_its_end_is_damaged(more: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = saved(Path(folder), image())
        path.write_bytes(path.read_bytes() + more)
        assert misfit(loaded(Path(folder))) is Misfit.DAMAGED


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_other_bytes_are_damaged(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "0.windows").write_bytes(content)
        assert misfit(loaded(Path(folder))) is Misfit.DAMAGED


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "0.windows").mkdir()
    found = loaded(tmp_path)
    assert misfit(found) is Misfit.UNREADABLE
    assert isinstance(found, Unfit)
    assert "Is a directory" in found.detail


def forged(content: bytes, **changes: Any) -> bytes:
    """The file with another header, whose own digest is right, and the digest of the whole as well."""
    length = struct.unpack_from("<I", content, 8)[0]
    header = msgspec.msgpack.decode(content[44 : 44 + length]) | changes
    text = msgspec.msgpack.encode(header)
    body = content[:8] + struct.pack("<I32s", len(text), sha256(text).digest()) + text + content[44 + length : -32]
    return body + sha256(body).digest()


def test_a_forged_file_is_as_good_as_a_real_one(tmp_path: Path) -> None:
    path = saved(tmp_path, image())
    path.write_bytes(forged(path.read_bytes(), offset=99))
    found = loaded(tmp_path)
    assert isinstance(found, Image)
    assert found.offset == 99


@pytest.mark.parametrize(
    "lie", [{"streams": 2**40}, {"names": 2**40}, {"window": 2**40}, {"streams": 2**63, "width": 2**63}]
)
def test_a_header_that_lies_about_sizes_takes_no_memory(tmp_path: Path, lie: dict[str, int]) -> None:
    path = saved(tmp_path, image())
    path.write_bytes(forged(path.read_bytes(), **lie))
    with opened(tmp_path) as snapshots:
        tracemalloc.start()
        try:
            found = snapshots.load(0, at(100), 0)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert misfit(found) is Misfit.DAMAGED
    assert peak < 2**20


@pytest.mark.parametrize(
    "change",
    [{"streams": -1}, {"streams": "2"}, {"offset": -1}, {"clock": "noon"}, {"names": None}, {"topic": b"\xff"}],
)
def test_a_header_with_a_wrong_value_is_damaged(tmp_path: Path, change: dict[str, Any]) -> None:
    path = saved(tmp_path, image())
    path.write_bytes(forged(path.read_bytes(), **change))
    assert misfit(loaded(tmp_path)) is Misfit.DAMAGED


def with_names(content: bytes, lengths: tuple[int, int], names: bytes) -> bytes:
    """The file of two streams with other names of the same number of bytes."""
    begin = 44 + struct.unpack_from("<I", content, 8)[0]
    body = content[:begin] + struct.pack("=II", *lengths) + names + content[begin + 8 + len(names) : -32]
    return body + sha256(body).digest()


@pytest.mark.parametrize(
    ("lengths", "names"), [((6, 5), b"pump-0pump-1"), ((6, 2**32 - 1), b"pump-0pump-1"), ((6, 6), b"pump-0pump-\xff")]
)
def test_names_that_cannot_be_told_apart_are_damaged(tmp_path: Path, lengths: tuple[int, int], names: bytes) -> None:
    path = saved(tmp_path, image())
    whole = path.read_bytes()
    assert with_names(whole, (6, 6), b"pump-0pump-1") == whole
    path.write_bytes(with_names(whole, lengths, names))
    assert misfit(loaded(tmp_path)) is Misfit.DAMAGED


# Fit


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"topic": "others"}, Misfit.OTHER_TOPIC),
        ({"topic_id": "made-anew"}, Misfit.OTHER_TOPIC),
        ({"group": "others"}, Misfit.OTHER_GROUP),
        ({"features": "e" * 64}, Misfit.OTHER_FEATURES),
        ({"width": 4}, Misfit.OTHER_FEATURES),
        ({"window": 5}, Misfit.OTHER_WINDOW),
    ],
)
def test_windows_of_something_else_are_not_used(tmp_path: Path, change: dict[str, Any], reason: Misfit) -> None:
    saved(tmp_path, image())
    assert misfit(loaded(tmp_path, replace(MINE, **change))) is reason
    assert isinstance(loaded(tmp_path), Image)


def test_a_file_under_another_partitions_name_is_not_used(tmp_path: Path) -> None:
    saved(tmp_path, image(partition=0)).rename(tmp_path / "1.windows")
    assert misfit(loaded(tmp_path, partition=1)) is Misfit.OTHER_TOPIC


@pytest.mark.parametrize(
    "change", [{"version": 1}, {"byteorder": {"little": "big", "big": "little"}[sys.byteorder]}], ids=str
)
def test_a_file_of_another_format_is_not_used(tmp_path: Path, change: dict[str, Any]) -> None:
    path = saved(tmp_path, image())
    path.write_bytes(forged(path.read_bytes(), **change))
    assert misfit(loaded(tmp_path)) is Misfit.OTHER_FORMAT


@pytest.mark.parametrize(
    ("checkpoint", "log_start", "expected"),
    [
        (at(100), 0, None),
        (at(99), 0, Misfit.BEYOND_COMMIT),
        (at(150), 100, None),
        (at(150), 101, Misfit.BEFORE_LOG),
        (at(1100), 0, None),
        (at(1101), 0, Misfit.TOO_FAR_BACK),
        (at(200, replay_from=100), 0, None),
        (at(200, replay_from=101), 0, Misfit.TOO_FAR_BACK),
        (at(200, replay_from=101, short=1), 0, Misfit.TOO_FAR_BACK),
        (Checkpoint(200, 200), 0, None),
    ],
)
def test_a_snapshot_is_used_where_the_records_after_it_are_there_and_few(
    tmp_path: Path, checkpoint: Checkpoint, log_start: int, expected: Misfit | None
) -> None:
    saved(tmp_path, image(offset=100))
    with opened(tmp_path, max_replay=1000) as snapshots:
        found = snapshots.load(0, checkpoint, log_start)
    assert (found.reason if isinstance(found, Unfit) else None) is expected


def test_a_snapshot_beyond_the_commit_never_fits_again(tmp_path: Path) -> None:
    saved(tmp_path, image(offset=100))
    assert misfit(loaded(tmp_path, commit=99)) is Misfit.BEYOND_COMMIT
    assert misfit(loaded(tmp_path, commit=101)) is Misfit.ABSENT


# Writing


def hanging(folder: Path, partition: int = 0) -> Path:
    """Makes the writer hang when it opens its file, as a disk may, until somebody reads what this returns."""
    pipe = folder / f"{partition}.windows.tmp"
    os.mkfifo(pipe)
    return pipe


def released(pipe: Path) -> None:
    os.close(os.open(pipe, os.O_RDONLY))


def until(done: Callable[[], bool], step: Callable[[], object] = lambda: None) -> None:
    """Repeats a step; the limit is only there so that what never happens fails and does not hang."""
    limit = monotonic() + 60
    while not done():
        assert monotonic() < limit, "it does not happen"
        step()
        sleep(0.001)


def settled(snapshots: Snapshots) -> None:
    until(lambda: not snapshots.busy)


def test_saving_returns_while_the_disk_hangs_and_what_waits_is_replaced(tmp_path: Path) -> None:
    with opened(tmp_path) as snapshots:
        pipe = hanging(tmp_path)
        snapshots.save(image(5000, offset=0))
        reader = os.open(pipe, os.O_RDONLY)  # returns when the writer is there; it is stuck once the pipe is full
        for offset in range(1, 100):
            snapshots.save(image(offset=offset))
        assert snapshots.busy
        os.close(reader)
        settled(snapshots)
        assert [problem.rpartition(": ")[2] for problem in snapshots.problems()] == ["Broken pipe"]
        found = snapshots.load(0, at(100), 0)
    assert isinstance(found, Image)
    assert found.offset == 99


def test_no_partition_waits_for_one_that_is_saved_again_and_again(tmp_path: Path) -> None:
    with opened(tmp_path) as snapshots:
        snapshots.save(image(partition=1))
        until((tmp_path / "1.windows").exists, lambda: snapshots.save(image(partition=0)))


@pytest.mark.parametrize("after", [0, 0.0002, 0.0005, 0.001, 0.002, 0.005])
def test_what_is_forgotten_does_not_appear_whether_it_waits_or_is_being_written(tmp_path: Path, after: float) -> None:
    with opened(tmp_path) as snapshots:
        for _ in range(20):
            snapshots.save(image(5000))
            sleep(after)
            snapshots.forget(0)
            settled(snapshots)
            assert contents(tmp_path) == {"lock"}
        assert snapshots.problems() == ()


def test_closing_does_not_wait_for_ever_and_leaves_the_folder_taken_while_a_write_hangs(tmp_path: Path) -> None:
    saved(tmp_path, image(offset=1))
    snapshots = Snapshots(tmp_path, MINE, 1000)
    pipe = hanging(tmp_path)
    snapshots.save(image(offset=2))
    snapshots.close(0.01)
    with pytest.raises(ConfigError, match="in use"):
        Snapshots(tmp_path, MINE, 1000)
    released(pipe)
    settled(snapshots)
    assert "before the service stopped" in " ".join(snapshots.problems())
    for thread in threading.enumerate():
        if thread.name == "snapshots":
            thread.join(10)
    found = loaded(tmp_path)  # which takes the folder again
    assert isinstance(found, Image)
    assert found.offset == 1
    assert contents(tmp_path) == {"0.windows", "lock"}


def test_nothing_is_taken_after_closing(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, MINE, 1000)
    snapshots.close()
    with pytest.raises(RuntimeError, match="closed"):
        snapshots.save(image())


def test_windows_of_another_shape_are_refused_at_once(tmp_path: Path) -> None:
    with opened(tmp_path) as snapshots, pytest.raises(ValueError, match="shape"):
        snapshots.save(image(identity=replace(MINE, window=5)))


def test_a_problem_is_told_once_and_the_next_snapshot_is_written(tmp_path: Path) -> None:
    with opened(tmp_path) as snapshots:
        snapshots.save(replace(image(), count=np.array(["no", "number"])))
        settled(snapshots)
        (problem,) = snapshots.problems()
        assert problem.startswith(f"{tmp_path}/0.windows cannot be written: ValueError")
        assert snapshots.problems() == ()
        snapshots.save(image())
        settled(snapshots)
        assert isinstance(snapshots.load(0, at(100), 0), Image)


def test_a_folder_that_goes_away_is_a_problem_and_no_more(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with opened(folder) as snapshots:
        (folder / "lock").unlink()
        folder.rmdir()
        snapshots.save(image())
        settled(snapshots)
        assert [problem.rpartition(": ")[2] for problem in snapshots.problems()] == ["No such file or directory"]
        assert misfit(snapshots.load(0, at(100), 0)) is Misfit.ABSENT


CHILD = """
import resource, sys
from pathlib import Path
from tests.test_snapshots import MINE, Snapshots, at, image, settled
folder = Path(sys.argv[1])
snapshots = Snapshots(folder, MINE, 1000)
"""

DISK_FULL = """
snapshots.save(image(offset=1)); settled(snapshots)
before = folder.joinpath("0.windows").read_bytes()
most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, most))
snapshots.save(image(5000, offset=2)); settled(snapshots)
print(*snapshots.problems())
print(sorted(path.name for path in folder.iterdir()), folder.joinpath("0.windows").read_bytes() == before)
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
snapshots.save(image(5000, offset=3)); settled(snapshots)
print(snapshots.problems(), snapshots.load(0, at(9), 0).offset)
"""


def test_a_file_that_may_not_grow_leaves_the_older_snapshot_and_no_litter(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD + DISK_FULL, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.splitlines() == [
        f"{tmp_path}/0.windows cannot be written: File too large",
        "['0.windows', 'lock'] True",
        "() 3",
    ]


def test_a_full_disk_leaves_the_older_snapshot_and_no_litter(tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount: {mounted.stderr.strip()}")
    try:
        saved(tmp_path, image(offset=1))
        with opened(tmp_path) as snapshots:
            snapshots.save(image(5000, offset=2))
            settled(snapshots)
            assert [problem.rpartition(": ")[2] for problem in snapshots.problems()] == ["No space left on device"]
            assert contents(tmp_path) == {"0.windows", "lock"}
            found = snapshots.load(0, at(100), 0)
        assert isinstance(found, Image)
        assert bits(found) == bits(image(offset=1))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


ENDLESS = """
for offset in range(1, 1_000_000):
    snapshots.save(image(200_000, offset=offset)); settled(snapshots)
    print(offset, flush=True)
"""


@pytest.mark.parametrize("written", [1, 2, 3])
def test_a_process_killed_while_it_writes_leaves_the_older_snapshot(tmp_path: Path, written: int) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD + ENDLESS, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    temporary = tmp_path / "0.windows.tmp"

    def caught() -> bool:
        """In the middle of a write, and stopped there so that it cannot have ended meanwhile."""
        child.send_signal(signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)
        return temporary.exists() and temporary.stat().st_size > 0

    assert child.stdout is not None
    with child:
        try:
            for _ in range(written):
                child.stdout.readline()
            until(caught, lambda: child.send_signal(signal.SIGCONT))
        finally:
            child.kill()
    assert temporary.exists()
    with opened(tmp_path) as snapshots:
        assert contents(tmp_path) == {"0.windows", "lock"}
        found = snapshots.load(0, at(1000), 0)
    assert isinstance(found, Image)
    assert found.offset >= written
    assert bits(found) == bits(image(200_000, offset=found.offset))


# The folder


def test_two_members_cannot_share_a_folder(tmp_path: Path) -> None:
    with opened(tmp_path) as first:
        with pytest.raises(ConfigError, match=r"recovery\.state_dir: .* is in use by another process"):
            Snapshots(tmp_path, MINE, 1000)
        first.save(image())
    assert isinstance(loaded(tmp_path), Image)


def test_a_process_beside_sees_the_lock(tmp_path: Path) -> None:
    with opened(tmp_path):
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(tmp_path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 1
    assert "recovery.state_dir" in done.stderr
    with (tmp_path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # given back by closing


@pytest.mark.parametrize("below", ["file", "file/deeper", "/proc", "/proc/none"])
def test_a_folder_that_cannot_be_used_is_a_configuration_error(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"recovery\.state_dir: .* cannot be used: [A-Z]"):
        Snapshots(tmp_path / below, MINE, 1000)


def test_what_a_killed_process_left_half_written_is_removed_and_nothing_else(tmp_path: Path) -> None:
    saved(tmp_path, image())
    (tmp_path / "0.windows.tmp").write_bytes(b"half")
    (tmp_path / "notes.tmp").write_bytes(b"somebody's")
    with opened(tmp_path):
        assert contents(tmp_path) == {"0.windows", "lock", "notes.tmp"}
