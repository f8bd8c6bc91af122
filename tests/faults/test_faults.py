"""The slice of `make faults` that every test run makes; that the harness sees what is broken; and its own parts."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.local_kafka import free_ports
from tests.faults.__main__ import line
from tests.faults.compare import Difference, by_stream, compare, compare_counted
from tests.faults.plan import Arrow, Plan, Step
from tests.faults.proxy import HOST, Link
from tests.faults.report import write
from tests.faults.results import append, load
from tests.faults.run import Result, run
from tests.faults.schedule import ARROWS, KINDS, SESSION, plan
from tests.faults.stream import Shape, record
from tests.faults.world import World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Brokers of these tests' own, to kill and to freeze; a run needs their process ids and an address by proxy."""
    with World(tmp_path_factory.mktemp("faults")) as made:
        yield made


def made(plan: Plan, world: World, folder: Path) -> Result:
    result = run(plan, world, folder)
    print(line(result, folder))
    return result


def proven(plan: Plan, world: World, folder: Path) -> None:
    result = made(plan, world, folder)
    assert result.ok, line(result, folder)
    assert result.alerts > 20


def short(kind: str, seed: int, rows: int = 120, feed: float = 3.0) -> Plan:
    """The plan of a kind and a seed on a shorter recording."""
    found = plan(kind, seed)
    return replace(found, shape=replace(found.shape, rows=rows), feed_seconds=feed)


# --- the slice


@pytest.mark.parametrize("half", [0, 1])
def test_a_member_killed_at_each_arrow_of_the_flow_costs_and_doubles_nothing(
    half: int, world: World, tmp_path: Path
) -> None:
    """Each life of two members ends at another arrow; the two tests together have all of them."""
    knives = [Arrow(point, "before" if side == "before" else "after", 2) for point, side in ARROWS[half::2]]
    one = replace(plan("kill-at-arrow", half), members=2, arrows=(tuple(knives[::2]), tuple(knives[1::2])))
    proven(one, world, tmp_path / "run")


@pytest.mark.parametrize(
    ("kind", "seed"),
    [
        ("kill", 1),
        ("kill-at-least-once", 3),
        ("zombie", 0),
        ("zombie", 2),
        ("broker-kill", 1),
        ("link-cut", 1),
        ("link-delay", 1),
        ("link-blackhole", 1),
        ("mix", 19),
        ("snapshot-truncated", 1),
        ("snapshot-flipped", 1),
        ("snapshot-other", 1),
        ("snapshot-full", 1),
        ("sigterm", 1),
        ("leader-kill", 1),
        ("coordinator-kill", 1),
    ],
)
def test_a_fault_of_each_kind_costs_and_doubles_nothing(kind: str, seed: int, world: World, tmp_path: Path) -> None:
    proven(short(kind, seed), world, tmp_path / "run")


def test_a_broker_that_hangs_for_a_while_costs_and_doubles_nothing(world: World, tmp_path: Path) -> None:
    found = short("broker-freeze", 1)
    proven(replace(found, steps=(Step(1.0, "broker freeze", seconds=4),)), world, tmp_path / "run")


def test_members_that_join_and_leave_each_second_cost_and_double_nothing(world: World, tmp_path: Path) -> None:
    found = plan("churn", 1)
    steps = tuple(step for step in found.steps if step.at <= 10)
    shape = replace(found.shape, rows=200)
    proven(replace(found, shape=shape, feed_seconds=12, steps=steps), world, tmp_path / "run")


# --- the harness can fail


def test_the_harness_catches_offsets_that_are_committed_before_their_alerts(world: World, tmp_path: Path) -> None:
    """The second life begins with a backlog, so its first batch has many alerts; it ends between the two."""
    knives = (Arrow("send", "before", 3), Arrow("send", "before", 1))
    broken = replace(plan("kill-at-arrow", 1), members=1, arrows=(knives,), broken="offsets first")
    result = made(broken, world, tmp_path / "run")
    assert result.difference.lost > 0
    assert result.difference.doubled == 0
    assert f"--only kill-at-arrow --seed {broken.seed}" in line(result, tmp_path / "run")


def test_the_harness_catches_memory_that_is_kept_after_an_abort(world: World, tmp_path: Path) -> None:
    """Put out of its group with a batch in hand, a lone member has to read that batch as if for the first time."""
    knives = (Arrow("send", "after", 3), Arrow("send", "after", 1, "freeze"))
    broken = replace(plan("kill-at-arrow", 1), members=1, arrows=(knives,), broken="memory kept")
    result = made(broken, world, tmp_path / "run")
    assert result.difference.lost > 0
    assert result.difference.doubled == 0


def test_the_harness_catches_an_alert_that_is_published_twice(world: World, tmp_path: Path) -> None:
    """At-least-once delivery, killed between alerts and offsets, and judged as if it had promised exactly once."""
    knives = (Arrow("send", "after", 3), Arrow("send", "after", 1))
    once = replace(plan("kill-at-least-once", 3), members=1, arrows=(knives,), strict=True)
    result = made(once, world, tmp_path / "run")
    assert result.difference.doubled > 0
    assert result.difference.lost == 0


# --- its parts


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


def test_the_page_tells_what_was_measured_and_what_failed(tmp_path: Path) -> None:
    file = tmp_path / "build" / "faults.jsonl"
    append(result(1), "code1", file)
    append(result(2, "old"), "code1", file)
    append(result(2), "code1", file)  # the newest result of a run stands
    append(result(7, "alerts: 1 lost", lost=1), "code1", file)
    page = tmp_path / "docs" / "page.md"
    table = write(load(file), "2030-01-02", SESSION, page)
    row = next(line for line in table.splitlines() if "(`kill`)" in line)
    assert row.split(" | ")[1:] == ["3", "3", "1-2, 7", "15", "1", "0", "0", "0", "1", "4.0 s", "9.0 s |"]
    text = page.read_text()
    assert "- `kill`, seed 7: alerts: 1 lost" in text
    assert "2030-01-02" in text
    assert "code code1" in text


def test_a_failed_run_is_told_with_the_command_that_repeats_it(tmp_path: Path) -> None:
    told = line(result(7, "alerts: 1 lost", lost=1), tmp_path)
    assert "make faults ARGS='--only kill --seed 7 --runs 1 --again'" in told
    assert str(tmp_path) in told
    assert "kill member 0" in told
