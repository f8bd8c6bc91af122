"""One run: a plan carried out, and what became of the alerts."""

from __future__ import annotations

import json
import shutil
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from math import inf
from pathlib import Path
from random import Random
from typing import Any

from monitor.incident_state import from_bytes
from tests.faults.compare import Difference, Stream, by_stream, compare, compare_counted
from tests.faults.damage import SMALLEST, damage
from tests.faults.deployment import Deployment
from tests.faults.feeder import Feeder
from tests.faults.members import Members
from tests.faults.plan import Plan, Step
from tests.faults.proxy import Mode
from tests.faults.schedule import SESSION
from tests.faults.stream import record
from tests.faults.undisturbed import expect
from tests.faults.world import World, committed, delete_topics, leader, settled, transaction_coordinator

DRAINED_WITHIN = 90.0  # s after the last record and the last fault
_TICK = 0.02  # s
_ASK_EVERY = 0.25  # s
_LINKS: dict[str, Mode] = {"cut": "cut", "delay": "delay", "black hole": "black hole"}


@dataclass(frozen=True, slots=True)
class Result:
    """Of one run. `faults` is empty where nothing is wrong with it."""

    kind: str
    seed: int
    delivery: str
    members: int
    injected: list[str]
    records: int
    alerts: int  # that should have been published
    difference: Difference
    dead_letters: int
    dead_letter_difference: Difference
    states: Difference
    recovery: list[float]  # s, of each fault: see `_recoveries`
    exits: list[float]  # s from SIGTERM to the end of the process
    seconds: float
    faults: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.faults

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def run(plan: Plan, world: World, folder: Path) -> Result:
    """Carries it out. Logs and configuration stay in `folder` where something was wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    attempt = _Run(plan, world, folder)
    try:
        result = attempt.carry_out(begun)
    except Exception:  # a run that breaks down is a failed run, with all that is known of it
        result = attempt.broken(begun, traceback.format_exc(limit=-4))
        attempt.close()
        world.close()
    finally:
        attempt.close()
    if result.ok:
        shutil.rmtree(folder, ignore_errors=True)
    return result


class _Run:
    def __init__(self, plan: Plan, world: World, folder: Path) -> None:
        self.plan = plan
        self.world = world
        bootstrap = world.bootstrap(plan.nodes)
        # Not the seed alone: the same run may be made again on the same broker.
        name = f"{plan.kind}-{plan.seed}-{uuid.uuid4().hex[:6]}"
        self.deployment = Deployment(plan, name, folder, bootstrap, world.model)
        linked = [world.links[index].bootstrap for index in range(plan.members)] if plan.linked else []
        self.members = Members(
            self.deployment, linked, SESSION + 1.5, [list(arrows) for arrows in plan.arrows], plan.broken
        )
        self.records = record(plan.shape)
        self.until: list[tuple[float, Any]] = []  # what to undo, and when
        self.random = Random(plan.seed)

    def close(self) -> None:
        self.members.kill_all()
        while self.until:
            self.until.pop()[1]()

    def carry_out(self, begun: float) -> Result:
        plan, deployment, members = self.plan, self.deployment, self.members
        deployment.create_topics()
        for member in range(plan.members):
            members.start(member)
        self._wait(lambda: len(list(members.told("connected"))) >= plan.members, 60, "the members to connect")
        feeder = Feeder(deployment.bootstrap, deployment.topics["input"], self.records, plan.feed_seconds)
        feeder.start()
        start = time.monotonic()
        steps = list(plan.steps)
        while steps or not feeder.done or self.until or members.frozen:
            self._tend()
            while steps and time.monotonic() - start >= steps[0].at:
                self._do(steps.pop(0))
        if feeder.error is not None:
            raise feeder.error
        settled(self.world.brokers(plan.nodes))
        self._drain(feeder.ends)
        members.stop()
        return self._judge(begun)

    def broken(self, begun: float, why: str) -> Result:
        nothing = Difference()
        return self._result(begun, 0, nothing, 0, nothing, nothing, [*self.members.failures, why])

    def _tend(self) -> None:
        self.members.tend()
        now = time.monotonic()
        for entry in [entry for entry in self.until if now >= entry[0]]:
            self.until.remove(entry)
            entry[1]()
        time.sleep(_TICK)

    def _wait(self, condition: Any, seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not in {seconds:g} s: {what}")
            self._tend()

    def _drain(self, ends: dict[int, int]) -> None:
        """Until all input is committed."""
        asked, found = 0.0, dict[int, int]()

        def drained() -> bool:
            nonlocal asked, found
            if time.monotonic() - asked < _ASK_EVERY:
                return False
            found = committed(self.deployment.bootstrap, self.deployment.name)
            asked = time.monotonic()
            return found == ends

        try:
            self._wait(drained, DRAINED_WITHIN, "all input to be committed")
        except TimeoutError as error:
            self.members.ask_where_they_stand()
            raise TimeoutError(f"{error}: {found}, not {ends}") from None
        self._wait(lambda: not self.members.frozen and not self.members.starting, 30, "the members to be there")

    def _do(self, step: Step) -> None:
        members, world, target = self.members, self.world, step.target
        match step.what:
            case "kill":
                members.kill(target)
            case "freeze" | "replace":
                members.freeze(target, step.seconds, replace=step.what == "replace")
            case "terminate":
                if members.terminate(target, back=True):
                    members.note(f"terminate member {target}")
            case "join":
                members.note(f"join member {target}")
                members.start(target)
            case "leave":
                if members.terminate(target, back=False):
                    members.note(f"leave member {target}")
            case "damage":
                self._damage(step)
            case "broker freeze":
                members.note("broker freeze")
                world.node.pause()
                self._later(step.seconds, world.node.resume)
            case "cut" | "delay" | "black hole":
                link = world.links[target]
                members.note(f"{step.what} the connection of member {target}")
                link.set(_LINKS[step.what], float(step.detail))
                self._later(step.seconds, lambda: link.set("open"))
            case _:
                self._kill_broker(step)

    def _kill_broker(self, step: Step) -> None:
        world, deployment = self.world, self.deployment
        nodes = world.brokers(self.plan.nodes)
        number = 1
        if step.what == "leader kill":
            number = leader(deployment.bootstrap, deployment.topics["input"], step.target)
        elif step.what == "coordinator kill":
            number = transaction_coordinator(deployment.bootstrap, deployment.name)
            assert number, "no transaction of this group is known to the brokers"
        node = nodes[number - 1]
        self.members.note(f"{step.what} ({number})")
        node.kill()
        self._later(step.seconds, node.launch)

    def _damage(self, step: Step) -> None:
        members = self.members
        if not members.kill(step.target):
            return
        life = members.of(step.target)
        assert life is not None
        life.process.wait()
        found = damage(self.deployment.state_dir(step.target), step.detail, self.random)
        members.injected.pop()
        if found:
            members.note(f"snapshot {step.detail}")
        members.file_limit = SMALLEST if step.detail == "full" else 0

    def _later(self, seconds: float, undo: Any) -> None:
        self.until.append((time.monotonic() + seconds, undo))

    def _judge(self, begun: float) -> Result:
        plan, deployment = self.plan, self.deployment
        expected = expect(self.records, deployment.settings)
        repeats = plan.delivery == "at_least_once" and not plan.strict
        got = by_stream(record.value for record in deployment.read("alerts"))
        difference = compare(expected.alerts, got, repeats=repeats)
        dead = compare_counted(expected.dead_letters, _dead_letters(deployment.read("dead_letters")), repeats=repeats)
        # At least once, a stream that is quiet again is said to be so, and forgotten later: some may still stand there.
        states = _compare_states(expected.states, deployment.read("state"), quiet_may_stand=repeats)
        faults = list(self.members.failures)
        for what, found in (("alerts", difference), ("dead letters", dead), ("incident states", states)):
            if found:
                faults.append(f"{what}: {found}")
        if not self.members.injected and plan.injections:
            faults.append("no fault was injected: the run shows nothing")
        if not expected.alerts:
            faults.append("the recording leads to no alert: the run shows nothing")
        if faults:
            _keep(deployment.folder, expected.alerts, got)
        else:
            delete_topics(deployment.bootstrap, list(deployment.topics.values()))
        alerts = sum(map(len, expected.alerts.values()))
        return self._result(begun, alerts, difference, expected.dead_letters.total(), dead, states, faults)

    def _result(
        self,
        begun: float,
        alerts: int,
        difference: Difference,
        dead_letters: int,
        dead: Difference,
        states: Difference,
        faults: list[str],
    ) -> Result:
        plan, members = self.plan, self.members
        return Result(
            kind=plan.kind,
            seed=plan.seed,
            delivery=plan.delivery,
            members=plan.members,
            injected=[what for _, what in members.injected],
            records=len(self.records),
            alerts=alerts,
            difference=difference,
            dead_letters=dead_letters,
            dead_letter_difference=dead,
            states=states,
            recovery=_recoveries([at for at, _ in members.injected], list(members.told("scored"))),
            exits=[round(seconds, 3) for seconds in members.exits],
            seconds=round(time.monotonic() - begun, 2),
            faults=faults,
        )


def _dead_letters(records: Iterable[Any]) -> Counter[Hashable]:
    found: Counter[Hashable] = Counter()
    for entry in records:
        told = {name: (value or b"").decode() for name, value in entry.headers if name.startswith("monitor-")}
        found[(int(told["monitor-partition"]), int(told["monitor-offset"]), told["monitor-reason"])] += 1
    return found


def _compare_states(expected: dict[Stream, bytes], records: Iterable[Any], *, quiet_may_stand: bool) -> Difference:
    """What a successor would find, against what the undisturbed run would leave: open where open, gone where closed."""
    found: dict[Stream, bytes] = {}
    for entry in records:
        _, partition, stream = json.loads(entry.key)  # the group comes first
        key = (int(partition), str(stream))
        if entry.value:
            found[key] = entry.value
        else:
            found.pop(key, None)
    if quiet_may_stand:
        found = {key: value for key, value in found.items() if not _says_quiet(value)}
    return Difference(
        lost=len(expected.keys() - found.keys()),
        doubled=len(found.keys() - expected.keys()),
        different=sum(found[key] != expected[key] for key in expected.keys() & found.keys()),
    )


def _says_quiet(value: bytes) -> bool:
    loud, _ = from_bytes(value)
    return not loud.recent and loud.held is None and loud.incident is None and loud.cooling_until == -inf


def _recoveries(faults: Sequence[float], scored: Sequence[dict[str, Any]]) -> list[float]:
    """Of each fault: from it to the end of the longest silence that began after it and before the next one.

    A partition is silent while no window of it is scored, by whichever member; the worst partition counts. A fault
    after which nothing was left to score has no recovery.
    """
    times: dict[int, list[float]] = {}
    for line in scored:
        for partition in line["partitions"]:
            times.setdefault(partition, []).append(line["at"])
    found = []
    for number, at in enumerate(faults):
        following = faults[number + 1] if number + 1 < len(faults) else inf
        worst: tuple[float, float] | None = None  # the silence, and its end
        for moments in times.values():
            after = [at, *sorted(moment for moment in moments if moment > at)]
            for before, then in pairwise(after):
                if before < following and (worst is None or then - before > worst[0]):
                    worst = (then - before, then)
        if worst is not None:
            found.append(round(worst[1] - at, 3))
    return found


def _keep(folder: Path, expected: dict[Stream, list[bytes]], got: dict[Stream, list[bytes]]) -> None:
    for name, alerts in (("expected", expected), ("published", got)):
        lines = [value for stream in sorted(alerts) for value in alerts[stream]]
        (folder / f"{name}.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
