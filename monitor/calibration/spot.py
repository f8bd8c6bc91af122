"""A threshold that follows one stream: the tail of its own values, refitted at every new peak (SPOT and DSPOT).

Siffer, Fouque, Termier & Largouet, "Anomaly Detection in Streams with Extreme Value Theory", KDD 2017, with three
differences. The tail is fitted as everywhere here (`tail.fit`). Only the newest peaks are kept, so that memory is
bounded. And what the line cuts off is made up for: flagged values never enter, but a share of them is normal, and
without those the tail looks shorter, the line falls, and cuts off more (as published, exponential noise is flagged
five to nine times as often as asked after 10^5 values). So for every 1 / risk normal values one peak enters that the
tail itself expects above the line; it owes nothing to the values that were flagged.
Values, not incidents, are counted; neighbouring values should not depend on each other much.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import expm1, isfinite, log

import msgspec
import numpy as np

from monitor.batch import Float64
from monitor.calibration.tail import FEWEST_PEAKS, TINY, fit
from monitor.errors import MonitorError

_VERSION = 1
_STRATA = 16
"""Peaks above the line that are made up have heights in so many equal parts of the tail there, in turn."""
_TURNS = tuple(int(f"{turn:04b}"[::-1], 2) for turn in range(_STRATA))
MOST_RISK = 0.25
"""Of the share of values that are peaks: above it the tail would be fitted to what it made up."""


class Spot(msgspec.Struct, array_like=True):
    """The state of one stream. The same values in the same order give the same state to the bit."""

    version: int
    risk: float  # q: the share of normal values that may be above the threshold
    depth: int  # d: normal values the local mean is taken over; 0 for none (SPOT)
    memory: int  # most peaks that are kept
    level: float  # t: what a peak is above, relative to the local mean
    threshold: float  # z_q, relative to the local mean
    seen: int  # n: normal values so far
    exceeded: int  # N_t: of these, above `level`
    excess: list[float]  # the newest peaks less `level`
    recent: list[float]  # the newest `depth` normal values
    made_up: int = 0  # peaks above the line that normal values must have had
    owed: float = 0.0  # the part of the next one

    @property
    def line(self) -> float:
        """What the next value must be above to be anomalous, in its own unit."""
        return self.threshold + self._mean()

    def step(self, value: float) -> bool:
        """Whether the next value is anomalous. One that is enters neither the tail, nor the mean, nor the count."""
        if not isfinite(value):
            raise ValueError(f"{value} is no value")
        apart = value - self._mean()
        if apart > self.threshold:
            return True
        self.seen += 1
        if self.depth:
            self.recent.append(value)
            del self.recent[: -self.depth]
        if apart > self.level:
            self._enter(apart - self.level)
        self.owed += self.risk / (1 - self.risk)
        if self.owed >= 1:
            self.owed -= 1
            part = (_TURNS[self.made_up % _STRATA] + 0.5) / _STRATA
            self.made_up += 1
            self.seen += 1
            self._enter(self._beyond(self.risk * part))
        return False

    def _enter(self, excess: float) -> None:
        self.exceeded += 1
        self.excess.append(excess)
        del self.excess[: -self.memory]
        self.threshold = self.level + self._beyond(self.risk)

    def _mean(self) -> float:
        return sum(self.recent) / len(self.recent) if self.recent else 0.0

    def _beyond(self, share: float) -> float:
        """How far above `level` this share of normal values is."""
        shape, scale = fit(np.array(self.excess))
        far = max(0.0, log(self.exceeded / (share * self.seen)))
        return scale * (far if abs(shape) < TINY else expm1(shape * far) / shape)


def begin(values: Float64, risk: float, *, quantile: float = 0.98, depth: int = 0, memory: int = 500) -> Spot:
    """The state after normal values (n,). With `depth` the mean of so many values before each is taken off (DSPOT).

    Raises MonitorError where they are too few, or too much alike, for a tail above their quantile.
    """
    if not (0 < risk <= MOST_RISK * (1 - quantile) < 1 and memory >= FEWEST_PEAKS and depth >= 0):
        raise ValueError(f"risk {risk}, quantile {quantile}, depth {depth} and memory {memory} do not go together")
    if not np.isfinite(values).all():
        raise MonitorError("the first values of a stream are not all finite", "Leave out what is no number.")
    apart = values[depth:]  # (m,)
    if depth and len(apart):
        total = np.cumsum(np.concatenate([[0.0], values]))
        apart = apart - (total[depth:-1] - total[: -depth - 1]) / depth
    level = float(np.quantile(apart, quantile)) if len(apart) else 0.0
    peaks = apart[apart > level]
    if len(peaks) < FEWEST_PEAKS:
        raise MonitorError(
            f"{len(values)} values have {len(peaks)} above their {quantile:g} quantile, too few for a tail",
            f"About {depth + int(np.ceil(FEWEST_PEAKS / (1 - quantile)))} values that differ are needed.",
        )
    state = Spot(
        version=_VERSION,
        risk=risk,
        depth=depth,
        memory=memory,
        level=level,
        threshold=level,
        seen=len(apart),
        exceeded=len(peaks),
        excess=(peaks - level)[-memory:].tolist(),
        recent=values[len(values) - depth :].tolist(),
    )
    state.threshold += state._beyond(risk)
    return state


def flags(state: Spot, values: Iterable[float]) -> list[bool]:
    """Which of the next values are anomalous, in order; the state goes on."""
    return [state.step(value) for value in values]


def to_bytes(state: Spot) -> bytes:
    """MessagePack, every float to the bit."""
    return msgspec.msgpack.encode(state)


def from_bytes(value: bytes) -> Spot:
    """What `to_bytes` wrote. Raises MonitorError where it is damaged, or of another version."""
    try:
        state = msgspec.msgpack.decode(value, type=Spot)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise MonitorError(f"a stream's threshold cannot be read: {error}", "Begin it again.") from error
    sane = len(state.excess) <= state.memory and len(state.recent) == state.depth and state.exceeded <= state.seen
    if state.version != _VERSION or not sane:
        raise MonitorError("a stream's threshold is damaged, or of another version", "Begin it again.")
    return state
