"""The slice of `make faults` that every test run makes, and that the harness sees what is broken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from tests.faults.__main__ import line
from tests.faults.plan import Arrow, Plan, Step
from tests.faults.result import Result
from tests.faults.run import run
from tests.faults.schedule import ARROWS, plan
from tests.faults.stream import Shape
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


def proven(plan: Plan, world: World, folder: Path) -> Result:
    result = made(plan, world, folder)
    assert result.ok, line(result, folder)
    assert result.alerts > 20
    return result


def short(found: Plan, *steps: Step, rows: int = 120, feed: float = 3.0) -> Plan:
    """A plan on a shorter recording; with these steps, if any, instead of its own."""
    return replace(found, shape=replace(found.shape, rows=rows), feed_seconds=feed, steps=steps or found.steps)


# --- the slice


def test_members_without_any_fault_publish_what_the_pipeline_alone_makes_of_the_recording(
    world: World, tmp_path: Path
) -> None:
    result = proven(Plan("undisturbed", 0, Shape(1, rows=120), members=2, feed_seconds=3), world, tmp_path / "run")
    assert result.injected == []
    assert result.fed_twice == 0


def test_what_a_producer_fed_twice_is_judged_by_what_the_topic_holds(world: World, tmp_path: Path) -> None:
    found = Plan("undisturbed", 1, Shape(2, rows=60), feed_seconds=0.5, stutter=50)
    result = proven(found, world, tmp_path / "run")
    assert result.fed_twice == -(-result.records // 50)
    assert result.not_fed == 0


def test_a_member_killed_at_each_arrow_of_the_flow_costs_and_doubles_nothing(world: World, tmp_path: Path) -> None:
    """Each of its lives ends at another arrow. It is alone: another one could take its share, and the arrow with it."""
    # After a commit there may be nothing left to end at; after any other arrow what was in hand has to come again.
    places = sorted(ARROWS, key=lambda place: place != ("commit", "after"))
    knives = [Arrow(point, _side(side), 1 if number else 2) for number, (point, side) in enumerate(places)]
    found = replace(plan("kill-at-arrow", 0), members=1, arrows=(tuple(knives),))
    result = proven(short(found), world, tmp_path / "run")
    assert result.injected == [f"{knife}, member 0" for knife in knives]


def _side(side: str) -> Literal["before", "after"]:
    return "before" if side == "before" else "after"


def test_members_killed_at_any_time_with_half_of_the_events_hostile_cost_and_double_nothing(
    world: World, tmp_path: Path
) -> None:
    steps = (Step(0.6, "kill", 0), Step(1.3, "kill", 1), Step(2.5, "kill", 0))
    found = short(replace(plan("mix", 19), members=2), *steps)
    assert found.shape.mix == 0.5
    proven(found, world, tmp_path / "run")


@pytest.mark.parametrize(("kind", "seed"), [("kill-at-least-once", 3), ("zombie", 0), ("broker-kill-at-commit", 1)])
def test_a_fault_of_each_kind_costs_and_doubles_nothing(kind: str, seed: int, world: World, tmp_path: Path) -> None:
    proven(short(plan(kind, seed)), world, tmp_path / "run")


def test_a_broker_that_hangs_and_a_broker_that_is_killed_cost_and_double_nothing(world: World, tmp_path: Path) -> None:
    steps = (Step(0.5, "broker freeze", seconds=4), Step(5.5, "broker kill", seconds=0.5))
    proven(short(plan("broker-kill", 1), *steps, rows=200, feed=6), world, tmp_path / "run")


def test_a_leader_and_a_coordinator_that_are_killed_cost_and_double_nothing(world: World, tmp_path: Path) -> None:
    steps = (Step(0.8, "coordinator kill", seconds=0.5), Step(6, "leader kill", 1, seconds=0.5))
    proven(short(plan("leader-kill", 1), *steps, rows=200, feed=6.5), world, tmp_path / "run")


def test_a_connection_that_is_cut_delayed_and_black_holed_costs_and_doubles_nothing(
    world: World, tmp_path: Path
) -> None:
    steps = (
        Step(0.5, "cut", 0, 0.6),
        Step(1.5, "delay", 0, 1.0, detail="0.20"),
        Step(3.0, "black hole", 0, 1.5),
    )
    proven(short(plan("link-cut", 1), *steps, rows=160, feed=4.5), world, tmp_path / "run")


def test_damaged_and_foreign_snapshots_and_a_full_disk_cost_and_double_nothing(world: World, tmp_path: Path) -> None:
    """There is a snapshot of each of three partitions."""
    steps = (Step(1.5, "damage", detail="truncated+flipped+other"), Step(5.5, "damage", detail="full"))
    result = proven(short(plan("snapshot-flipped", 1), *steps, rows=200, feed=6), world, tmp_path / "run")
    assert result.injected == ["snapshot truncated+flipped+other", "snapshot full"]


def test_members_told_to_stop_under_load_leave_in_time_and_cost_and_double_nothing(
    world: World, tmp_path: Path
) -> None:
    steps = (Step(0.8, "terminate", 0), Step(2.5, "terminate", 0))
    result = proven(short(plan("sigterm", 1), *steps, rows=300, feed=4), world, tmp_path / "run")
    assert len(result.exits) >= 2


def test_members_that_join_and_leave_each_second_cost_and_double_nothing(world: World, tmp_path: Path) -> None:
    found = plan("churn", 1)
    steps = [step for step in found.steps if step.at <= 8]
    proven(short(found, *steps, rows=200, feed=8.5), world, tmp_path / "run")


# --- the harness can fail


def test_the_harness_catches_offsets_that_are_committed_before_their_alerts(world: World, tmp_path: Path) -> None:
    """The second life begins with a backlog, so its first batch has many alerts; it ends between the two."""
    knives = (Arrow("send", "before", 3), Arrow("send", "before", 1))
    broken = replace(plan("kill-at-arrow", 1), members=1, arrows=(knives,), broken="offsets first")
    result = made(short(broken), world, tmp_path / "run")
    assert result.difference.lost > 0
    assert result.difference.doubled == 0
    assert f"--only kill-at-arrow --seed {broken.seed}" in line(result, tmp_path / "run")


def test_the_harness_catches_memory_that_is_kept_after_an_abort(world: World, tmp_path: Path) -> None:
    """Put out of its group with a batch in hand, a lone member has to read that batch as if for the first time."""
    knives = (Arrow("send", "after", 3), Arrow("send", "after", 1, "freeze"))
    broken = replace(plan("kill-at-arrow", 1), members=1, arrows=(knives,), broken="memory kept")
    result = made(short(broken), world, tmp_path / "run")
    assert result.difference.lost > 0
    assert result.difference.doubled == 0


def test_the_harness_catches_an_alert_that_is_published_twice(world: World, tmp_path: Path) -> None:
    """At-least-once delivery, killed between alerts and offsets, and judged as if it had promised exactly once."""
    knives = (Arrow("send", "after", 3), Arrow("send", "after", 1))
    once = replace(plan("kill-at-least-once", 3), members=1, arrows=(knives,), strict=True)
    result = made(short(once), world, tmp_path / "run")
    assert result.difference.doubled > 0
    assert result.difference.lost == 0
