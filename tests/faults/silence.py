"""How long a fault kept partitions from being scored. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import inf
from typing import Any


def recoveries(faults: Sequence[float], scored: Sequence[Mapping[str, Any]]) -> list[float]:
    """Of each fault, in s: from it to the end of the longest silence that began after it and before the next one.

    `faults` are the moments of the faults; each of `scored` says `at` which moment windows of which `partitions` were
    scored, by whichever member. The partition that was silent longest counts. A fault after which nothing was left to
    score has no recovery.
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
