"""Damped incremental statistics of packets: what the traffic of a host, a channel and a socket was like lately.

After Mirsky, Doitshman, Elovici and Shabtai, "Kitsune", NDSS 2018, section IV (AfterImage). With decay rate a (1/s) and
packets at t_1 .. t_n of values x_1 .. x_n, at the time t of the newest:

    w = sum 2^(-a (t - t_i))      LS = sum 2^(-a (t - t_i)) x_i      SS = sum 2^(-a (t - t_i)) x_i^2
    mean = LS / w                 deviation = sqrt(SS / w - mean^2)

and of the two directions i, j of a channel or socket, with r_i the residual x - mean of a direction's newest packet:

    SR = sum 2^(-a (t - t_k)) r_i r_j           magnitude = sqrt(mean_i^2 + mean_j^2)
    covariance = SR / (w_i + w_j)               radius = sqrt(dev_i^4 + dev_j^4)
    correlation = covariance / (dev_i dev_j)

Instead of decaying what is there at each packet, each packet is counted in with a weight that grows: 2^(a (t_i - T)),
for a T common to all packets of an era. Then nothing needs touching between packets, a batch is a running sum per key,
and at the end of an era what is there is multiplied by a power of two, which is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ldexp

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Float32, Float64, Int64
from monitor.feeds.grouping import Groups, Rows, latest, running_sums
from monitor.feeds.packets import Packets

ERA = 512
"""Doublings of the weight in one era; from 2^-256 to 2^256 they leave room for squares of sizes on both sides."""
FORGOTTEN = 2.0**-60
"""A direction whose weight is less than this counts as never seen: its mean, deviation and residual are 0."""
ROUNDING = 1e-11
"""A variance that is less than this share of the mean square is what rounding leaves of 0."""
GROUPS = ("host", "channel", "jitter", "socket")
ONE = ("weight", "mean", "deviation")
TWO = ("magnitude", "radius", "covariance", "correlation")
PARTS = tuple(
    (group, statistic) for group in GROUPS for statistic in (ONE + TWO if group in ("channel", "socket") else ONE)
)
"""Of a vector, each for every decay rate."""

_OWN, _OTHER = 0, 1


def names(decays: Sequence[float]) -> tuple[str, ...]:
    """Names of the features, in the order of a vector: `host.mean@5` is of the decay rate 5/s."""
    return tuple(f"{group}.{statistic}@{decay:g}" for decay in decays for group, statistic in PARTS)


@dataclass(slots=True)
class _Table:
    """Sums per row, L decay rates each: those of every direction, and what only pairs have."""

    rows: Rows
    sums: Float64  # (R, D, 3 or 6, L) weights, linear and square sums of sizes, and of gaps
    era: Int64  # (R, L)
    products: Float64  # (R, L) sums of residual products
    residual: Float64  # (R, D, L) of each direction's newest packet
    newest: Int64  # (R, D) its time, ns; -1: none

    @staticmethod
    def empty(most: int, directions: int, quantities: int, rates: int) -> _Table:
        return _Table(
            Rows(most),
            np.zeros((0, directions, 3 * quantities, rates)),
            np.zeros((0, rates), np.int64),
            np.zeros((0, rates)),
            np.zeros((0, directions, rates)),
            np.zeros((0, directions), np.int64),
        )

    def place(self, keys: Sequence[bytes]) -> Int64:
        """(n,) the row of each key; new ones are empty."""
        found, fresh = self.rows.of(keys)
        missing = self.rows.capacity - len(self.era)
        if missing > 0:
            more = max(missing, len(self.era) // 2, 256)
            for name in ("sums", "era", "products", "residual", "newest"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate((old, np.zeros((more, *old.shape[1:]), old.dtype))))
        self.sums[fresh] = 0.0
        self.products[fresh] = 0.0
        self.residual[fresh] = 0.0
        self.newest[fresh] = -1
        return found

    def enter(self, rows: Int64, era: Int64) -> None:
        """Rows (g,) into an era (L,): what they hold from an earlier one is scaled to its weights."""
        passed = era - self.era[rows]
        old = (passed > 0).any(axis=1)
        if old.any():
            factor = np.array([1.0, ldexp(1.0, -ERA), ldexp(1.0, -2 * ERA), 0.0])[np.minimum(passed[old], 3)]
            self.sums[rows[old]] *= factor[:, None, None, :]
            self.products[rows[old]] *= factor
        self.era[rows] = era


class Damped:
    """The statistics of all keys; `update` takes packets in order and gives the vector of each."""

    def __init__(self, decays: Sequence[float], most: int) -> None:
        """Decay rates in 1/s; at most so many hosts, channels and sockets are remembered, each."""
        self.decays = np.array(decays, np.float64)
        self.names = names(decays)
        # whole ns, so that all arithmetic of times is exact
        self._era = np.array([round(ERA * 1e9 / decay) for decay in decays], np.int64)
        rates = len(decays)
        self._hosts = _Table.empty(most, 1, 1, rates)
        self._channels = _Table.empty(most, 2, 2, rates)
        self._sockets = _Table.empty(most, 2, 1, rates)

    @property
    def evicted(self) -> int:
        """How often a host, channel or socket was forgotten for lack of room."""
        return sum(table.rows.evicted for table in (self._hosts, self._channels, self._sockets))

    def update(self, packets: Packets) -> Float32:
        """(N, F) the vectors of packets whose times do not fall, neither here nor since the last call."""
        out = np.empty((len(packets), len(self.decays), len(PARTS)), np.float32)
        keys = packets.keys()
        hosts = self._hosts.place(keys.host)
        channels = self._channels.place(keys.channel)
        sockets = self._sockets.place(keys.socket)
        era = packets.time[:, None] // self._era
        size = packets.size.astype(np.float64)
        cuts = [0, *(np.flatnonzero((np.diff(era, axis=0) != 0).any(axis=1)) + 1).tolist(), len(packets)]
        for begin, end in pairwise(cuts):
            if begin == end:
                continue
            span = slice(begin, end)
            since = packets.time[span, None] - era[begin] * self._era
            weight = np.exp2(since * (self.decays * 1e-9) - ERA / 2)
            self._host(out[span, :, :3], era[begin], hosts[span], weight, size[span])
            for table, rows, forward, columns in (
                (self._channels, channels, keys.forward, slice(3, 13)),
                (self._sockets, sockets, keys.socket_forward, slice(13, 20)),
            ):
                direction = np.where(forward[span], 0, 1)
                self._pair(
                    out[span, :, columns], table, era[begin], rows[span], direction, weight, size[span],
                    packets.time[span],
                )  # fmt: skip
        return out.reshape(len(packets), len(self.names))

    def _host(self, out: Float32, era: Int64, rows: Int64, weight: Float64, size: Float64) -> None:
        groups = Groups.of(rows)
        self._hosts.enter(groups.rows, era)
        weight, size = weight[groups.order], size[groups.order]
        terms = _terms(weight, size)
        sums = running_sums(terms, self._hosts.sums[groups.rows, 0], groups)
        self._hosts.sums[groups.rows, 0] = sums[groups.ends - 1]
        mean, variance = _moments(sums)
        out[groups.order] = np.stack((sums[:, 0] / weight, mean, np.sqrt(variance)), axis=-1)

    def _pair(
        self,
        out: Float32,
        table: _Table,
        era: Int64,
        rows: Int64,
        direction: Int64,
        weight: Float64,
        size: Float64,
        time: Int64,
    ) -> None:
        groups = Groups.of(rows)
        order, last = groups.order, groups.ends - 1
        table.enter(groups.rows, era)
        weight, size, time, own = weight[order], size[order], time[order], direction[order]
        n, here, other = len(order), np.arange(len(order)), 1 - own
        at = np.repeat(groups.rows, groups.ends - groups.starts)
        upto = np.stack((latest(own == 0, groups), latest(own == 1, groups)))  # (2, n)
        terms = np.zeros((n, *table.sums.shape[1:]))
        terms[here, own, :3] = _terms(weight, size)
        if terms.shape[2] > 3:
            gap, has = _gaps(upto, own, groups, time, table.newest[at, own])
            terms[here, own, 3:] = _terms(np.where(has[:, None], weight, 0.0), gap)
        sums = running_sums(terms, table.sums[groups.rows], groups)
        table.sums[groups.rows] = sums[last]
        mine, theirs = sums[here, own], sums[here, other]
        seen = theirs[:, 0] >= FORGOTTEN * weight
        mean, variance = _moments(mine[:, :3])
        far_mean, far_variance = (np.where(seen, found, 0.0) for found in _moments(theirs[:, :3]))
        residual = size[:, None] - mean
        from_before = table.residual[at, other]
        opposite = upto[other, here]
        facing = np.where((opposite >= 0)[:, None], residual[opposite], from_before)
        products = running_sums(np.where(seen, residual * facing, 0.0) * weight, table.products[groups.rows], groups)
        table.products[groups.rows] = products[last]
        for way in (0, 1):
            newest = upto[way, last]
            met = newest >= 0
            table.residual[groups.rows[met], way] = residual[newest[met]]
            table.newest[groups.rows[met], way] = time[newest[met]]
        covariance = products / (mine[:, 0] + theirs[:, 0])
        deviation = np.sqrt(variance)
        spread = deviation * np.sqrt(far_variance)
        correlation = np.divide(covariance, spread, out=np.zeros_like(spread), where=spread > 0)
        jitter = []
        if terms.shape[2] > 3:
            gap_mean, gap_variance = _moments(mine[:, 3:])
            jitter = [mine[:, 3] / weight, gap_mean, np.sqrt(gap_variance)]
        columns = (
            mine[:, 0] / weight,
            mean,
            deviation,
            np.hypot(mean, far_mean),
            np.hypot(variance, far_variance),
            covariance,
            # each residual meets the newest of the other direction, so that the estimate can leave this range
            np.clip(correlation, -1.0, 1.0),
            *jitter,
        )
        out[order] = np.stack(columns, axis=-1)


def _terms(weight: Float64, value: Float64) -> Float64:
    """(n, 3, L) what packets of these weights (n, L) and values (n,) add to w, LS and SS."""
    linear = weight * value[:, None]
    return np.stack((weight, linear, linear * value[:, None]), axis=1)


def _moments(sums: Float64) -> tuple[Float64, Float64]:
    """Mean and variance, (n, L) each, from (n, 3, L); 0 of nothing."""
    weight = sums[:, 0]
    some = weight > 0
    mean = np.divide(sums[:, 1], weight, out=np.zeros_like(weight), where=some)
    square = np.divide(sums[:, 2], weight, out=np.zeros_like(weight), where=some)
    variance = square - mean * mean
    return mean, np.where(variance > ROUNDING * square, variance, 0.0)


def _gaps(upto: Int64, own: Int64, groups: Groups, time: Int64, newest: Int64) -> tuple[Float64, NDArray[np.bool_]]:
    """(n,) seconds since the packet before in the same direction, and whether there was one."""
    here = np.arange(len(time))
    before = np.where(here > groups.first, upto[own, here - 1], -1)
    earlier = np.where(before >= 0, time[before], newest)
    has = earlier >= 0
    return np.where(has, (time - earlier) * 1e-9, 0.0), has
