"""What a run does, as values: everything follows from the kind and the seed. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tests.faults.stream import Shape

Delivery = Literal["exactly_once", "at_least_once"]


@dataclass(frozen=True, slots=True)
class Arrow:
    """A place in the flow of one member, and what the member does there: to itself, or to its one broker."""

    point: str
    side: Literal["before", "after"]
    call: int  # counted from the start of the process, and only where there is something to do
    action: Literal["kill", "freeze", "kill broker"] = "kill"
    after: float = 0.0  # s until it happens, while the member goes on
    lasts: float = 0.0  # s until the broker is started again

    def __str__(self) -> str:
        return f"{self.action} {self.side} {self.point}"


@dataclass(frozen=True, slots=True)
class Step:
    """Something done from outside, `at` seconds after the first record was fed."""

    at: float
    what: str
    target: int = 0  # a member
    seconds: float = 0.0  # how long it lasts
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    kind: str
    seed: int
    shape: Shape
    members: int = 1
    delivery: Delivery = "exactly_once"
    nodes: Literal[1, 3] = 1
    static: bool = True  # the members have names of their own that outlive them
    linked: bool = False  # each reaches the broker through a proxy
    snapshots: bool = False
    feed_seconds: float = 4.0
    arrows: tuple[tuple[Arrow, ...], ...] = ()  # of each member, for one of its lives after the other
    steps: tuple[Step, ...] = ()
    strict: bool = False  # judged as exactly once, whatever the delivery
    broken: str = ""  # see member.BROKEN
    stutter: int = 0  # see Feeder
    changes: dict[str, dict[str, object]] = field(default_factory=dict)  # of the configuration, by section

    @property
    def injections(self) -> int:
        return sum(map(len, self.arrows)) + len(self.steps)
