"""Kinds of fault, and from a kind and a seed the plan of a run. Pure: the same plan on every machine.

Why what is bounded as it is: a run is some seconds, so that hundreds can be made; faults fall into the time in which
records are fed; a frozen member outlasts the session time-out (`SESSION`), a frozen broker the clients' patience.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from tests.faults.plan import Arrow, Plan, Step
from tests.faults.stream import Shape

SESSION = 3.0  # s; kafka.session_timeout of the members
STOP_WITHIN = 5.0  # s; a member that is told to stop has left by then
ARROWS: tuple[tuple[str, str], ...] = (
    ("poll", "after"),
    ("process", "after"),
    ("send", "before"),
    ("send", "after"),
    ("offsets", "before"),
    ("offsets", "after"),
    ("commit", "before"),
    ("commit", "after"),
)
ARROWS_AT_LEAST_ONCE: tuple[tuple[str, str], ...] = (
    ("poll", "after"),
    ("process", "after"),
    ("send", "before"),
    ("send", "after"),
    ("group commit", "before"),
    ("group commit", "after"),
)
DAMAGES = ("truncated", "flipped", "other", "full")
LINKS = ("cut", "delay", "black hole")


def _shape(random: Random, rows: int = 200, mix: float = 0.02) -> Shape:
    return Shape(random.randrange(2**31), rows=rows, mix=mix)


def _kills(random: Random, seed: int) -> Plan:
    """From outside, at any time."""
    members = random.choice((1, 1, 2, 3))
    static = members == 1 or random.random() < 0.7
    kills = sorted(random.uniform(0.2, 6.0) for _ in range(random.randint(2, 4)))
    steps = tuple(Step(at, "kill", random.randrange(members)) for at in kills)
    return Plan("kill", seed, _shape(random), members, static=static, feed_seconds=6, steps=steps)


def _arrows(random: Random, seed: int) -> Plan:
    """By the member itself, at the arrow that is the seed's turn, and then at any others."""
    members = random.choice((1, 1, 2, 3))
    first = ARROWS[seed % len(ARROWS)]
    return Plan(
        "kill-at-arrow",
        seed,
        _shape(random),
        members,
        feed_seconds=5,
        arrows=_knives(random, members, first, ARROWS),
    )


def _at_least_once(random: Random, seed: int) -> Plan:
    members = random.choice((1, 1, 2))
    first = ARROWS_AT_LEAST_ONCE[seed % len(ARROWS_AT_LEAST_ONCE)]
    knives = _knives(random, members, first, ARROWS_AT_LEAST_ONCE)
    return Plan("kill-at-least-once", seed, _shape(random), members, "at_least_once", feed_seconds=5, arrows=knives)


def _knives(
    random: Random, members: int, first: tuple[str, str], arrows: tuple[tuple[str, str], ...]
) -> tuple[tuple[Arrow, ...], ...]:
    """At the first life of each member `first`, then any other: three lives in all, of the members together."""

    def knife(place: tuple[str, str], last: int) -> Arrow:
        point, side = place
        return Arrow(point, "before" if side == "before" else "after", random.randint(1, last))

    lives = [[knife(first, 8)] for _ in range(members)]
    for _ in range(3 - members):  # early in the next life, which begins with a backlog: few batches, all of them large
        lives[random.randrange(members)].append(knife(random.choice(arrows), 3))
    return tuple(map(tuple, lives))


def _zombie(random: Random, seed: int) -> Plan:
    """Frozen past its session, in the middle of a transaction or anywhere; its place is taken; then it wakes."""
    members = random.choice((2, 3))
    how = ("arrow", "any time", "replaced")[seed % 3]
    if how == "arrow":
        point, side = random.choice([place for place in ARROWS if place[0] not in ("poll",)])
        knife = Arrow(point, "before" if side == "before" else "after", random.randint(1, 8), "freeze")
        return Plan("zombie", seed, _shape(random), members, feed_seconds=7, arrows=((knife,),))
    what = "freeze" if how == "any time" else "replace"
    step = Step(random.uniform(0.3, 2.5), what, random.randrange(members), SESSION + random.uniform(1, 2))
    return Plan("zombie", seed, _shape(random), members, feed_seconds=7, steps=(step,))


def _churn(random: Random, seed: int, seconds: float = 300) -> Plan:
    """A member joins or leaves each second."""
    steps = []
    here = {0, 1}
    for second in range(1, int(seconds)):
        free = [index for index in range(4) if index not in here]
        if free and (len(here) < 2 or (len(here) < 4 and random.random() < 0.5)):
            index = random.choice(free)
            here.add(index)
            steps.append(Step(second, "join", index))
        else:
            index = random.choice(sorted(here))
            here.discard(index)
            steps.append(Step(second, "leave", index))
    shape = _shape(random, rows=max(200, round(10 * seconds)))
    return Plan("churn", seed, shape, 2, static=False, feed_seconds=seconds, steps=tuple(steps))


def _broker_kill(random: Random, seed: int) -> Plan:
    step = Step(random.uniform(0.3, 4), "broker kill", seconds=random.uniform(0, 3))
    return Plan("broker-kill", seed, _shape(random), random.choice((1, 2)), feed_seconds=5, steps=(step,))


def _broker_kill_at_commit(random: Random, seed: int) -> Plan:
    """When a commit has just begun: whether it is done nobody can say, or it is, and not everywhere yet."""
    arrow = Arrow(
        "commit",
        "before",
        random.randint(1, 4),
        "kill broker",
        after=random.uniform(0, 0.012),
        lasts=random.choice((0.0, random.uniform(0, 3))),
    )
    return Plan("broker-kill-at-commit", seed, _shape(random), feed_seconds=5, arrows=((arrow,),))


def _broker_freeze(random: Random, seed: int) -> Plan:
    step = Step(random.uniform(0.3, 4), "broker freeze", seconds=10)
    return Plan("broker-freeze", seed, _shape(random), random.choice((1, 2)), feed_seconds=5, steps=(step,))


def _leader(random: Random, seed: int) -> Plan:
    step = Step(random.uniform(0.3, 4), "leader kill", random.randrange(3), random.uniform(1, 4))
    return Plan("leader-kill", seed, _shape(random), random.choice((1, 2)), nodes=3, feed_seconds=5, steps=(step,))


def _coordinator(random: Random, seed: int) -> Plan:
    members = random.choice((1, 2))
    step = Step(random.uniform(0.3, 4), "coordinator kill", random.randrange(members), random.uniform(1, 4))
    return Plan("coordinator-kill", seed, _shape(random), members, nodes=3, feed_seconds=5, steps=(step,))


def _link(mode: str) -> Callable[[Random, int], Plan]:
    def plan(random: Random, seed: int) -> Plan:
        members = random.choice((1, 2))
        longest = {"cut": 4.0, "delay": 4.0, "black hole": 2 * SESSION}[mode]
        steps = tuple(
            Step(
                at,
                mode,
                random.randrange(members),
                random.uniform(0.2, longest),
                detail=f"{random.uniform(0.1, 0.5):.2f}",
            )
            for at in sorted(random.uniform(0.3, 5) for _ in range(2))
        )
        return Plan(_kind(mode), seed, _shape(random), members, linked=True, feed_seconds=6, steps=steps)

    return plan


def _mix(random: Random, seed: int) -> Plan:
    """1 % to 50 % of hostile events, over the twenty seeds of a row; and a kill, so that they meet a replay."""
    share = 0.01 + 0.49 * (seed % 20) / 19
    members = random.choice((1, 2))
    step = Step(random.uniform(0.5, 3.5), "kill", random.randrange(members))
    return Plan("mix", seed, _shape(random, mix=share), members, steps=(step,))


def _snapshot(mode: str) -> Callable[[Random, int], Plan]:
    def plan(random: Random, seed: int) -> Plan:
        steps = tuple(Step(at, "damage", 0, detail=mode) for at in (random.uniform(1.5, 2.5), random.uniform(4, 5.5)))
        changes: dict[str, dict[str, object]] = {"recovery": {"snapshot_every": 0.3}}
        return Plan(
            _kind(f"snapshot {mode}"),
            seed,
            _shape(random),
            snapshots=True,
            feed_seconds=6,
            steps=steps,
            changes=changes,
        )

    return plan


def _sigterm(random: Random, seed: int) -> Plan:
    """Several times, with a backlog in front of it: the input comes all at once."""
    members = random.choice((1, 2))
    steps = tuple(
        Step(at, "terminate", random.randrange(members)) for at in sorted(random.uniform(0.1, 8) for _ in range(3))
    )
    shape = _shape(random, rows=900)
    changes: dict[str, dict[str, object]] = {"kafka": {"poll_records": 500}}
    return Plan("sigterm", seed, shape, members, feed_seconds=8, steps=steps, changes=changes)


def _kind(name: str) -> str:
    return {"cut": "link-cut", "delay": "link-delay", "black hole": "link-blackhole"}.get(name, name.replace(" ", "-"))


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the table."""

    title: str
    runs: int
    plan: Callable[[Random, int], Plan]


KINDS: Mapping[str, Kind] = {
    "kill": Kind("`kill -9` of a member at random times", 40, _kills),
    "kill-at-arrow": Kind("`kill -9` of a member at each arrow of the flow", 160, _arrows),
    "kill-at-least-once": Kind(
        "the same, with `delivery: at_least_once` (repeats of an id left out)", 24, _at_least_once
    ),
    "zombie": Kind("`SIGSTOP` of a member past its session time-out, then `SIGCONT`", 20, _zombie),
    "churn": Kind("a member joins or leaves each second, for 5 minutes", 1, _churn),
    "broker-kill": Kind("the broker killed (`kill -9`) and restarted", 20, _broker_kill),
    "broker-kill-at-commit": Kind(
        "the broker killed and restarted, 0 to 12 ms after a commit began", 40, _broker_kill_at_commit
    ),
    "broker-freeze": Kind("the broker stopped (`SIGSTOP`) for 10 s", 20, _broker_freeze),
    "leader-kill": Kind("three nodes: the leader of a partition killed and restarted", 20, _leader),
    "coordinator-kill": Kind("three nodes: the transaction coordinator killed and restarted", 20, _coordinator),
    **{
        _kind(mode): Kind(f"the connection between member and broker: {said}", 20, _link(mode))
        for mode, said in (("cut", "cut"), ("delay", "delayed by 0.1 to 0.5 s"), ("black hole", "swallows all bytes"))
    },
    "mix": Kind("1 % to 50 % poison, late, duplicate and out-of-order events, and a `kill -9`", 20, _mix),
    **{
        _kind(f"snapshot {mode}"): Kind(f"`kill -9`, and its snapshot {said}", 20, _snapshot(mode))
        for mode, said in (
            ("truncated", "truncated"),
            ("flipped", "with a bit flipped"),
            ("other", "that of another artefact"),
            ("full", "cannot be written: the disk is full"),
        )
    },
    "sigterm": Kind("`SIGTERM` under load: exit 0 within 5 s", 20, _sigterm),
}


def plan(kind: str, seed: int) -> Plan:
    return KINDS[kind].plan(Random(f"{kind} {seed}"), seed)


def seeds(kind: str, first: int = 0, runs: int = 0) -> range:
    return range(first, first + (runs or KINDS[kind].runs))
