"""The parts of the harness: comparison, plans, proxy, results and page."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from monitor.local_kafka import KAFKA_VERSION, free_ports
from tests.faults.__main__ import line
from tests.faults.compare import Difference, by_stream, compare, compare_counted
from tests.faults.damage import damage
from tests.faults.judge import fed
from tests.faults.proxy import HOST, Link
from tests.faults.report import write
from tests.faults.result import Result
from tests.faults.results import append, every, load
from tests.faults.schedule import ARROWS, KINDS, SESSION, plan
from tests.faults.silence import recoveries
from tests.faults.stream import Shape, record
from tests.fuzz.targets import NAMES


def alert(name: str, stream: str = "s", **more: object) -> bytes:
    return json.dumps({"id": name, "stream": stream, "evidence": {"partition": 0}, **more}).encode()


A, B, C = alert("a"), alert("b"), alert("c")


@pytest.mark.parametrize(
    ("got", "difference"),
    [
        ([A, B, C], Difference()),
        ([A, C], Difference(lost=1)),
        ([A, B, B, C], Difference(doubled=1)),
        ([A, C, B], Difference(order=1)),
        ([A, alert("b", score=1), C], Difference(different=1)),
        ([A, B, C, alert("d")], Difference(different=1)),
        ([], Difference(lost=3)),
        ([A, alert("b", score=1), B, C], Difference(doubled=1, different=1)),
        ([C, B, B], Difference(lost=1, doubled=1, order=1)),
    ],
)
def test_each_way_of_being_unequal_has_its_count(got: list[bytes], difference: Difference) -> None:
    assert compare(by_stream([A, B, C]), by_stream(got)) == difference


def test_repeats_are_left_out_where_they_were_promised_and_only_if_they_are_the_same() -> None:
    assert not compare(by_stream([A, B]), by_stream([A, B, A, B]), repeats=True)
    assert compare(by_stream([A, B]), by_stream([A, B, alert("a", x=1)]), repeats=True)


def test_streams_are_compared_apart_from_each_other() -> None:
    other = alert("x", "t")
    assert not compare(by_stream([A, other, B]), by_stream([A, B, other]))
    assert compare(by_stream([A, other]), by_stream([A])) == Difference(lost=1)


def test_counted_things_are_lost_doubled_or_strange() -> None:
    expected: Counter[Hashable] = Counter("aabc")
    assert compare_counted(expected, Counter("aabc")) == Difference()
    assert compare_counted(expected, Counter("abbz")) == Difference(lost=2, doubled=1, different=1)
    assert compare_counted(Counter("a"), Counter("aa"), repeats=True) == Difference()


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_plan_and_its_recording_follow_from_kind_and_seed(kind: str) -> None:
    one, other = plan(kind, 5), plan(kind, 6)
    assert one == plan(kind, 5) != other
    assert one.kind == kind
    assert one.injections > 0
    small = replace(one.shape, rows=40)
    assert record(small) == record(small) != record(replace(other.shape, rows=40))


def test_each_arrow_has_its_turn_within_the_runs_of_its_kind() -> None:
    first = Counter(
        (life[0].point, life[0].side)
        for seed in range(KINDS["kill-at-arrow"].runs)
        for life in plan("kill-at-arrow", seed).arrows
    )
    assert first.keys() == set(ARROWS)
    assert min(first.values()) >= 20


def test_a_recording_has_the_share_of_hostile_events_that_was_asked_for() -> None:
    calm = len(record(Shape(1, mix=0)))
    assert len(record(Shape(1, mix=0.5))) == pytest.approx(1.5 * calm, rel=0.05)


class Echo:
    """A server that sends back what it gets."""

    def __init__(self, port: int) -> None:
        self.server = socket.create_server((HOST, port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            while data := client.recv(100):
                client.sendall(data)


@pytest.fixture
def link() -> Iterator[Link]:
    outer, inner = free_ports(2)
    echo, made = Echo(inner), Link(outer, inner)
    yield made
    made.close()
    echo.server.shutdown(socket.SHUT_RDWR)
    echo.server.close()


def said(link: Link, client: socket.socket, text: bytes) -> bytes:
    client.sendall(text)
    return client.recv(100)


def test_a_link_passes_bytes_both_ways(link: Link) -> None:
    with socket.create_connection((HOST, link.port), 5) as client:
        assert said(link, client, b"hello") == b"hello"


def test_a_cut_link_ends_what_is_open_and_refuses_what_is_new_until_it_is_mended(link: Link) -> None:
    with socket.create_connection((HOST, link.port), 5) as client:
        assert said(link, client, b"hello") == b"hello"
        link.set("cut")
        assert client.recv(100) == b""
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((HOST, link.port), 5)
    link.set("open")
    with socket.create_connection((HOST, link.port), 5) as client:
        assert said(link, client, b"again") == b"again"


def test_a_black_hole_keeps_the_connection_and_the_bytes_until_it_ends(link: Link) -> None:
    with socket.create_connection((HOST, link.port), 5) as client:
        assert said(link, client, b"hello") == b"hello"
        link.set("black hole")
        client.settimeout(0.3)
        client.sendall(b"later")
        with pytest.raises(TimeoutError):
            client.recv(100)
        link.set("open")
        client.settimeout(5)
        assert client.recv(100) == b"later"


def test_a_delayed_link_takes_its_time(link: Link) -> None:
    link.set("delay", 0.2)
    with socket.create_connection((HOST, link.port), 5) as client:
        begun = time.monotonic()
        assert said(link, client, b"hello") == b"hello"
        assert time.monotonic() - begun >= 0.4  # each way


def result(seed: int, *faults: str, lost: int = 0) -> Result:
    return Result(
        kind="kill",
        seed=seed,
        delivery="exactly_once",
        members=2,
        injected=["kill member 0"],
        records=10,
        alerts=5,
        difference=Difference(lost=lost),
        dead_letters=1,
        dead_letter_difference=Difference(),
        states=Difference(),
        recovery=[2.0 + seed],
        exits=[0.3],
        seconds=9,
        faults=list(faults),
    )


@pytest.fixture
def results(tmp_path: Path) -> Path:
    file = tmp_path / "runs.jsonl"
    append(result(1), "code1", file)
    append(result(2, "old"), "code1", file)
    append(result(2), "code1", file)  # the newest result of a run stands
    append(result(7, "alerts: 1 lost", lost=1), "code1", file)
    return file


def page(results: Path, folder: Path) -> tuple[str, str]:
    """The table, and the whole page without what wraps its lines."""
    file = folder / "docs" / "page.md"
    table = write(load(results), "2030-01-02", SESSION, file, folder / "soak.json")
    return table, " ".join(file.read_text().split())


def test_the_page_tells_what_was_measured_and_what_failed(results: Path, tmp_path: Path) -> None:
    table, text = page(results, tmp_path)
    row = next(line for line in table.splitlines() if line.startswith("| `kill` |"))
    assert row.split(" | ")[2:] == ["3 / 40, **1 failed**", "3", "15", "1", "0", "0", "4.0 s", "9.0 s |"]
    assert "- `kill`, seed 7: alerts: 1 lost" in text
    assert "2030-01-02" in text
    assert "`code1`" in text
    assert "`kill` 1-2, 7." in text


def test_a_failed_run_stays_on_the_page_though_it_was_made_again(results: Path, tmp_path: Path) -> None:
    file = tmp_path / "docs" / "page.md"
    write(every(results), "2030-01-02", SESSION, file, tmp_path / "soak.json")
    assert "- `kill`, seed 2: old" in file.read_text()


def test_the_page_says_of_how_many_runs_a_table_is(results: Path, tmp_path: Path) -> None:
    table, _ = page(results, tmp_path)
    planned = sum(kind.runs for kind in KINDS.values())
    assert "`zombie`" not in table
    assert f"| 3 / {planned}, **1 failed** |" in table.splitlines()[-1]


def test_the_page_says_in_which_kafka_exactly_once_cannot_hold(results: Path, tmp_path: Path) -> None:
    text = page(results, tmp_path)[1]
    assert "KAFKA-20734" in text
    assert f"the table is made with {KAFKA_VERSION}" in text
    assert f"Apache Kafka {KAFKA_VERSION}, kafka-python" in text


def test_the_page_has_the_soak_only_where_there_was_one_and_says_that_it_was_short(
    results: Path, tmp_path: Path
) -> None:
    assert "## Soak" not in page(results, tmp_path)[1]
    file = tmp_path / "soak.json"
    file.write_text(json.dumps(SOAK))
    text = page(results, tmp_path)[1]
    assert "## Soak" in text
    assert "5,000 events in 60 s" in text
    assert "**this soak was shorter.**" in text
    file.write_text(json.dumps(SOAK | {"events": 10_000_000}))
    assert "shorter" not in page(results, tmp_path)[1]


def test_the_page_names_every_target_of_the_fuzzer(results: Path, tmp_path: Path) -> None:
    text = page(results, tmp_path)[1]
    assert all(f"| {name} | " in text for name in NAMES)


SOAK: dict[str, object] = {
    "events": 5000,
    "seconds": 60,
    "members": 2,
    "restarts": {"SIGKILL": 1},
    "slope_mib_per_million_events": 0.1,
    "largest_mib": 100.0,
    "largest_series": 300,
    "series_bound": 300,
    "forgotten_idle": 1.0,
    "forgotten_capacity": 1.0,
    "alerts": 10.0,
    "slowest_stop": 0.5,
    "processes": [],
}


def test_what_was_fed_is_told_by_what_the_topic_holds() -> None:
    a, b = record(Shape(1, rows=40))[:2]
    assert fed([a, b], [a, b]) == (0, 0)
    assert fed([a, b], [a, b, b]) == (1, 0)
    assert fed([a, a, b], [b, a]) == (0, 1)


def test_a_recovery_ends_with_the_longest_silence_of_the_partition_that_was_silent_longest() -> None:
    scored = [{"at": at, "partitions": parts} for at, parts in ((1.5, [0, 1]), (3.0, [0]), (6.0, [1]), (6.5, [0]))]
    assert recoveries([1.0], scored) == [5.0]  # partition 1, from 1.5 to 6
    assert recoveries([1.0, 5.0], scored) == [5.0, 1.5]
    assert recoveries([9.0], scored) == []


@pytest.mark.parametrize("how", ["truncated", "flipped", "truncated+flipped"])
def test_each_snapshot_is_damaged(how: str, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.windows").write_bytes(bytes(1000))
    assert damage(tmp_path, how, Random(1)) == 3
    assert all(file.read_bytes() != bytes(1000) for file in tmp_path.iterdir())
    sizes = [len((tmp_path / f"{name}.windows").read_bytes()) == 1000 for name in ("a", "b", "c")]
    assert sizes == {"truncated": [False] * 3, "flipped": [True] * 3}.get(how, [False, True, False])


def test_a_failed_run_is_told_with_the_command_that_repeats_it(tmp_path: Path) -> None:
    told = line(result(7, "alerts: 1 lost", lost=1), tmp_path)
    assert "make faults ARGS='--only kill --seed 7 --runs 1 --again'" in told
    assert str(tmp_path) in told
    assert "kill member 0" in told
