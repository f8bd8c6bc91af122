"""What a scenario is: one function with a one-line name. Importing `tests.e2e.scenarios` fills `SCENARIOS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.e2e.stage import Stage

Play = Callable[[Stage], str]


class Skipped(Exception):  # noqa: N818  not an error
    """The cluster lacks what this scenario needs; says what."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`play` returns what was seen, in some words; it raises where something is wrong."""

    name: str
    title: str
    play: Play


@dataclass(frozen=True, slots=True)
class Played:
    """`word` is ok, FAILED or SKIP; `told` what was seen, or what was wrong."""

    scenario: Scenario
    word: str
    told: str
    seconds: float


SCENARIOS: list[Scenario] = []


def scenario(title: str) -> Callable[[Play], Play]:
    """`title` says in one line what is done, and what must come of it."""

    def register(play: Play) -> Play:
        SCENARIOS.append(Scenario(play.__name__.replace("_", "-"), title, play))
        return play

    return register
