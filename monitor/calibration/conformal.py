"""How unusual an error is among normal ones: lines and p-values that hold for any distribution (split conformal).

Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World", 2005. Exchangeable are not windows, which overlap
and depend on each other in time, but blocks that are longer than this dependence: a p-value here counts blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, inf

import numpy as np

from monitor.batch import Float64
from monitor.calibration.incident_count import Stretch
from monitor.errors import MonitorError

MOST_BLOCKS = 200
WINDOWS_APART = 2
"""A block has at least so many windows for each event of one: less than half of it shares rows with the next."""


def line(calibration: Float64, share: float) -> float:
    """The ceil((n + 1) share)-th smallest of n errors (n,): a further one is at most this with probability >= share.

    Infinite where n is below `fewest(share)`. `share` is within (0, 1).
    """
    ordered = np.sort(_finite(calibration))
    rank = max(1, _ceil((len(ordered) + 1) * share))
    return float(ordered[rank - 1]) if rank <= len(ordered) else inf


def fewest(share: float) -> int:
    """Calibration errors from which `line` is finite."""
    return _ceil(share / (1 - share))


def p_values(calibration: Float64, scores: Float64) -> Float64:
    """(W,) (1 + how many of n calibration scores are at least this) / (n + 1), where all of them are exchangeable.

    So the smallest there is is 1 / (n + 1), however high a score.
    """
    ordered = np.sort(_finite(calibration))  # (n,)
    at_least = len(ordered) - np.searchsorted(ordered, scores, side="left")  # (W,)
    found: Float64 = (1 + at_least) / (len(ordered) + 1)
    return found


def block_maxima(stretches: Sequence[Stretch], window: int) -> tuple[int, Float64]:
    """Windows in a block, and the largest error of each of at most `MOST_BLOCKS` blocks (B,), ascending.

    The p-value of a peak among them is that of the block it lies in, of as many windows of one stream. Blocks are as
    long as makes few of them, so that no high error is left out, unless stretches are too short for that: then they
    are shorter, and so many of them are taken evenly.
    """
    total = sum(len(one.error) for one in stretches)
    shortest = WINDOWS_APART * window
    length = max(shortest, -(-total // MOST_BLOCKS))
    while length > shortest and 2 * length * _whole(stretches, length) < total:
        length = max(shortest, length // 2)
    maxima = np.concatenate(
        [
            np.empty(0),
            *(one.error[: len(one.error) // length * length].reshape(-1, length).max(axis=1) for one in stretches),
        ]
    )
    if len(maxima) > MOST_BLOCKS:
        maxima = maxima[np.arange(MOST_BLOCKS) * len(maxima) // MOST_BLOCKS]
    return length, np.sort(maxima)


def _whole(stretches: Sequence[Stretch], length: int) -> int:
    return sum(len(one.error) // length for one in stretches)


def _ceil(value: float) -> int:
    """`ceil`, forgiving the last bits: 0.9 / (1 - 0.9) is 9, not 10."""
    return ceil(value - 1e-9 * max(1.0, abs(value)))


def _finite(errors: Float64) -> Float64:
    if not len(errors) or not np.isfinite(errors).all():
        raise MonitorError(
            "the calibration windows have no finite errors", "Look for extreme values in the last part of the rows."
        )
    return errors
