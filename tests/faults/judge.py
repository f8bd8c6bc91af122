"""What the topics of a run hold against what they should hold."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from monitor.incident_state import from_bytes
from tests.faults.compare import Difference, Stream, by_stream, compare, compare_counted
from tests.faults.deployment import Deployment
from tests.faults.plan import Plan
from tests.faults.stream import Sent
from tests.faults.undisturbed import expect


@dataclass(frozen=True, slots=True)
class Verdict:
    """The numbers are those of `Result`; `faults` says what is wrong."""

    alerts: int = 0
    difference: Difference = field(default_factory=Difference)
    dead_letters: int = 0
    dead_letter_difference: Difference = field(default_factory=Difference)
    states: Difference = field(default_factory=Difference)
    fed_twice: int = 0
    not_fed: int = 0
    faults: list[str] = field(default_factory=list)


def judge(plan: Plan, deployment: Deployment, recording: Sequence[Sent], *, as_intended: bool) -> Verdict:
    """Compares alerts, dead letters and incident states. Keeps the alerts in the run's folder where they differ.

    The law is about what the input topic holds. `as_intended` says that this is the recording; else it is read back.
    """
    held = recording if as_intended else [_sent(record) for record in deployment.read("input")]
    expected = expect(held, deployment.settings)
    repeats = plan.delivery == "at_least_once" and not plan.strict
    got = by_stream(record.value for record in deployment.read("alerts"))
    difference = compare(expected.alerts, got, repeats=repeats)
    dead = compare_counted(expected.dead_letters, _dead_letters(deployment.read("dead_letters")), repeats=repeats)
    # At least once, a stream that is quiet again is said to be so, and forgotten later: some may still stand there.
    states = _compare_states(expected.states, deployment.read("state"), quiet_may_stand=repeats)
    faults = [
        f"{what}: {found}"
        for what, found in (("alerts", difference), ("dead letters", dead), ("incident states", states))
        if found
    ]
    if not expected.alerts:
        faults.append("the recording leads to no alert: the run shows nothing")
    if faults:
        _keep(deployment.folder, expected.alerts, got)
    more, less = fed(recording, held)
    alerts = sum(map(len, expected.alerts.values()))
    return Verdict(alerts, difference, expected.dead_letters.total(), dead, states, more, less, faults)


def fed(recording: Sequence[Sent], held: Sequence[Sent]) -> tuple[int, int]:
    """How many records the topic holds that it should not hold, or not so often; and how many it lacks."""
    wanted, found = Counter(recording), Counter(held)
    return (found - wanted).total(), (wanted - found).total()


def _sent(record: Any) -> Sent:
    headers = tuple((name, value) for name, value in record.headers)
    return Sent(record.partition, record.timestamp, record.key, record.value, headers)


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
    loud, *_ = from_bytes(value)
    return not loud.recent and loud.held is None and loud.incident is None and loud.cooling_until == -inf


def _keep(folder: Path, expected: dict[Stream, list[bytes]], got: dict[Stream, list[bytes]]) -> None:
    for name, alerts in (("expected", expected), ("published", got)):
        lines = [value for stream in sorted(alerts) for value in alerts[stream]]
        (folder / f"{name}.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
