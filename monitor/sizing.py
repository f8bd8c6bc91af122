"""How many members some streams need, with which CPU and memory: formulas with measured constants. Pure.

The constants are of one core of the machine in docs/performance.md (JSON, exactly once, ONNX Runtime). `READ`,
`OPERATION` and `LINEAR` are fitted to three rows of its table: every window scored, one in eight, without a network.
`FEATURE` and `CELL` were timed in one process that had company. Another processor has others: measure it with
`make bench PART=cost`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Network = Literal["lstm", "linear"]

READ = 11.0
"""Microseconds of CPU of an event: the client, the window's bookkeeping, incidents, its share of the publish."""
FEATURE = 0.13
"""Microseconds for each feature: decoding."""
CELL = 0.0016
"""Microseconds for each value of a scored window: copying it to where the model reads it."""
OPERATION = 1.55e-5
"""Microseconds for each operation of the LSTM's forward pass, in batches."""
LINEAR = 6.5
"""Microseconds of a window in the detector without a network."""
PROCESS = 150 * 2**20
"""Bytes of a member without streams: Python, libraries, model."""
STREAM = 330
"""Bytes of a stream beside its window: name, bookkeeping."""
SLACK = 1.25
"""What the windows' buffer may have beyond the live streams: it grows by a quarter at a time."""
REPLAY = 60_000
"""Records a second of one member when it rebuilds windows from the topic."""
CODE = 16
LOAD = 0.5
"""Share of its core that a member is planned to use: the rest is for bursts and for catching up."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What is scored. `stride` of k: every k-th event of a stream."""

    features: int
    window: int
    hidden: int = 64
    network: Network = "lstm"
    stride: int = 1

    @property
    def operations(self) -> float:
        """Of a window's forward pass: an LSTM layer does 8 H (I + H) in a step, a linear one 2 I O."""
        f, h = self.features, self.hidden
        return self.window * (8 * h * (f + h) + 8 * h * (CODE + h) + 2 * h * f) + 2 * h * CODE

    @property
    def event(self) -> float:
        """Microseconds of CPU of an event."""
        forward = OPERATION * self.operations if self.network == "lstm" else LINEAR
        return READ + FEATURE * self.features + (CELL * self.features * self.window + forward) / self.stride

    @property
    def stream(self) -> float:
        """Bytes of a live stream."""
        return SLACK * 4 * self.features * self.window + STREAM


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask for. Sizes in bytes, rates in events a second."""

    rate: float  # of all streams
    capacity: float  # events a second that one core can take
    members: int
    core: float  # share of a core that each member uses
    request: int  # memory of each with its own streams
    limit: int  # memory of each when one of the members is away, and buffers are as large as they can be
    volume: int  # of each, for snapshots of the windows
    replay: float  # s until a member has its windows back without snapshots


def plan(streams: int, rate: float, shape: Shape, load: float = LOAD) -> Plan:
    """For `streams` live streams that each send `rate` events a second; `load` is the share of a core to plan with."""
    total = streams * rate
    capacity = 1e6 / shape.event
    members = max(1, math.ceil(total / (capacity * load)))
    own = streams / members
    # Another member's streams come along when it is away, and buffers do not shrink afterwards.
    most = streams / (members - 1) if members > 1 else streams
    return Plan(
        rate=total,
        capacity=capacity,
        members=members,
        core=total / members / capacity,
        request=_mebibytes(PROCESS + own * shape.stream),
        limit=_mebibytes(1.25 * (PROCESS + most * shape.stream) + 64 * 2**20),
        volume=_mebibytes(3 * most * 4 * shape.features * shape.window + 64 * 2**20),
        replay=own * shape.window / REPLAY,
    )


def _mebibytes(size: float) -> int:
    """The next whole multiple of 16 MiB, in bytes."""
    step = 16 * 2**20
    return math.ceil(size / step) * step
