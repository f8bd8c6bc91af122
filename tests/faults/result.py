"""What is known of a run when it is over."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from tests.faults.compare import Difference


@dataclass(frozen=True, slots=True)
class Result:
    """Of one run. `faults` is empty where nothing is wrong with it."""

    kind: str
    seed: int
    delivery: str
    members: int
    injected: list[str]
    records: int  # of the recording
    alerts: int  # that should have been published
    difference: Difference
    dead_letters: int
    dead_letter_difference: Difference
    states: Difference
    recovery: list[float]  # s, of each fault: see `silence.recoveries`
    exits: list[float]  # s from SIGTERM to the end of the process
    seconds: float
    faults: list[str] = field(default_factory=list)
    fed_twice: int = 0  # records that the input topic holds more often than the recording: the harness's producer's
    not_fed: int = 0  # records of the recording that it does not hold

    @property
    def ok(self) -> bool:
        return not self.faults

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
