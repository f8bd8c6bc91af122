"""Attacks against incidents: which attacks an incident of a host tells of, and in which words. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.demo.truth import Incident


@dataclass(frozen=True, slots=True)
class Attack:
    """As labelled: who attacked whom, as addresses, and when."""

    name: str
    begin: datetime
    end: datetime
    attacker: str
    victim: str


@dataclass(frozen=True, slots=True)
class Found:
    """An attack, and the incidents of its two hosts while it lasted, the earliest first."""

    attack: Attack
    incidents: tuple[Incident, ...]

    @property
    def delay(self) -> timedelta | None:
        """From its beginning to the first message `opened`."""
        return self.incidents[0].opened_at - self.attack.begin if self.incidents else None


@dataclass(frozen=True, slots=True)
class Verdict:
    found: tuple[Found, ...]  # one an attack, in their order
    false: tuple[Incident, ...]  # of no attack


@dataclass(frozen=True, slots=True)
class Promise:
    """What the README says of the demo."""

    words: Mapping[str, str]
    """Of each attack: what an incident of one of its hosts says is so many times the usual."""
    false: int = 4  # at most, incidents: minutes of training say little of how high a threshold must be

    def broken(self, verdict: Verdict) -> list[str]:
        """One sentence for each part that was not kept; none when all was."""
        faults = []
        for found in verdict.found:
            name, words = found.attack.name, self.words[found.attack.name]
            said = [one.summary for one in found.incidents]
            if not said:
                faults.append(f"the {name} led to no incident of {found.attack.attacker} or {found.attack.victim}")
            elif not any(re.search(f"{re.escape(words)} [0-9.,]+ x the usual", one) for one in said):
                faults.append(f"no incident of the {name} says how many times the usual {words!r} was")
        if len(verdict.false) > self.false:
            faults.append(f"{len(verdict.false)} false incidents, promised at most {self.false}")
        return faults


def judge(attacks: Sequence[Attack], found: Sequence[Incident], trail: timedelta) -> Verdict:
    """An incident tells of an attack when it is the attacker's or the victim's, and [started_at, ended_at] overlaps
    [begin, end + trail]; false when it tells of none.
    """

    def tells(incident: Incident, attack: Attack) -> bool:
        return (
            incident.stream in (attack.attacker, attack.victim)
            and incident.started_at <= attack.end + trail
            and incident.ended_at >= attack.begin
        )

    return Verdict(
        tuple(
            Found(attack, tuple(sorted((i for i in found if tells(i, attack)), key=lambda i: i.opened_at)))
            for attack in attacks
        ),
        tuple(incident for incident in found if not any(tells(incident, attack) for attack in attacks)),
    )
