"""One run: a plan carried out, and what became of the alerts."""

from __future__ import annotations

import shutil
import time
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.damage import SMALLEST, damage
from tests.faults.deployment import Deployment
from tests.faults.feeder import Feeder
from tests.faults.judge import Verdict, judge
from tests.faults.members import Members
from tests.faults.plan import Plan, Step
from tests.faults.proxy import Mode
from tests.faults.result import Result
from tests.faults.schedule import SESSION
from tests.faults.silence import recoveries
from tests.faults.stream import record
from tests.faults.world import World, committed, delete_topics, leader, settled, transaction_coordinator

DRAINED_WITHIN = 90.0  # s after the last record and the last fault
_TICK = 0.02  # s
_ASK_EVERY = 0.25  # s
_LINKS: dict[str, Mode] = {"cut": "cut", "delay": "delay", "black hole": "black hole"}


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
        self.members.broker = world.node.pid if plan.nodes == 1 else 0
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
        # Else one of them might read everything while the others still join, and their faults would hit nothing.
        self._wait(lambda: all(life.has("partition recovered") for life in members.lives), 60, "each to have a share")
        feeder = Feeder(deployment.bootstrap, deployment.topics["input"], self.records, plan.feed_seconds, plan.stutter)
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
        # Asked anew each time where the producer did as it liked: it may have left something on its way.
        self._drain(lambda: feeder.ends if feeder.as_intended else deployment.ends("input"))
        members.stop()
        return self._judge(begun, feeder)

    def broken(self, begun: float, why: str) -> Result:
        return self._result(begun, Verdict(), [why])

    def _tend(self) -> None:
        self.members.tend()
        self._see_broker()
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

    def _drain(self, ends: Callable[[], dict[int, int]]) -> None:
        """Until all input is committed."""
        asked, found, wanted = 0.0, dict[int, int](), dict[int, int]()

        def drained() -> bool:
            nonlocal asked, found, wanted
            if time.monotonic() - asked < _ASK_EVERY:
                return False
            found, wanted = committed(self.deployment.bootstrap, self.deployment.name), ends()
            asked = time.monotonic()
            return found == wanted

        try:
            self._wait(drained, DRAINED_WITHIN, "all input to be committed")
        except TimeoutError as error:
            self.members.ask_where_they_stand()
            raise TimeoutError(f"{error}: {found}, not {wanted}") from None
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
                link.set(_LINKS[step.what], float(step.detail or 0))
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

    def _see_broker(self) -> None:
        """Starts it again where a member has killed it."""
        life = next((life for life in self.members.lives if life.arrow and life.arrow.action == "kill broker"), None)
        if life is not None and life.arrow is not None and not self.world.node.running:
            self.members.note(f"{life.arrow}, member {life.member}")
            self._later(life.arrow.lasts, self.world.node.launch)
            life.arrow = None

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

    def _judge(self, begun: float, feeder: Feeder) -> Result:
        plan, deployment = self.plan, self.deployment
        verdict = judge(plan, deployment, self.records, as_intended=feeder.as_intended)
        faults = []
        if not self.members.injected and plan.injections:
            faults.append("no fault was injected: the run shows nothing")
        result = self._result(begun, verdict, faults)
        if result.ok:
            delete_topics(deployment.bootstrap, list(deployment.topics.values()))
        return result

    def _result(self, begun: float, verdict: Verdict, faults: list[str]) -> Result:
        plan, members = self.plan, self.members
        return Result(
            kind=plan.kind,
            seed=plan.seed,
            delivery=plan.delivery,
            members=plan.members,
            injected=[what for _, what in members.injected],
            records=len(self.records),
            alerts=verdict.alerts,
            difference=verdict.difference,
            dead_letters=verdict.dead_letters,
            dead_letter_difference=verdict.dead_letter_difference,
            states=verdict.states,
            recovery=recoveries([at for at, _ in members.injected], list(members.told("scored"))),
            exits=[round(seconds, 3) for seconds in members.exits],
            seconds=round(time.monotonic() - begun, 2),
            faults=[*members.failures, *verdict.faults, *faults],
            fed_twice=verdict.fed_twice,
            not_fed=verdict.not_fed,
        )
