"""How unusual an error is among normal ones: p-values that hold for any distribution (split conformal).

Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World", 2005. Exchangeable are not windows, which overlap
and depend on each other in time, but blocks that are longer than this dependence: a p-value here counts blocks.
"""

from __future__ import annotations

from math import ceil

import numpy as np

from monitor.batch import Float64, Int64
from monitor.errors import MonitorError


def smallest(calibration: Float64, share: float) -> float:
    """The ceil((n + 1) (1 - share))-th smallest of n scores (n,): a further one exceeds it with probability <= share.

    Infinite where n is too small for that. `share` is within (0, 1).
    """
    ordered = np.sort(_finite(calibration))
    target = (len(ordered) + 1) * (1 - share)
    rank = ceil(target - 1e-9 * target)  # (1 - 0.9) * 10 is 1, not 2
    return float(ordered[rank - 1]) if rank <= len(ordered) else float("inf")


def p_values(calibration: Float64, scores: Float64) -> Float64:
    """(W,) (1 + how many of n calibration scores are at least this) / (n + 1), where all of them are exchangeable."""
    ordered = np.sort(_finite(calibration))  # (n,)
    at_least = len(ordered) - np.searchsorted(ordered, scores, side="left")  # (W,)
    found: Float64 = (1 + at_least) / (len(ordered) + 1)
    return found


def block_maxima(errors: Float64, length: int) -> Float64:
    """(B,) The largest error of each whole block of `length` windows: what block p-values are taken among."""
    whole = len(errors) // length * length
    found: Float64 = errors[:whole].reshape(-1, length).max(axis=1)
    return found


def window_p_values(errors: Float64, block: Int64, scores: Float64) -> Float64:
    """(W,) p-values of single windows among calibration windows (n,) in B blocks: (1 + sum over blocks of s) / (B + 1),
    where s is the share of the block's windows that are at least as high.

    Valid for a window at random within a new block that is exchangeable with those of the calibration: among all
    windows of the B + 1 blocks its rank is uniform, and the share in its own block, which is not known yet, is at
    most the 1. So dependence costs what it must: no p-value is below 1 / (B + 1), however many windows a block has.
    """
    order = np.argsort(_finite(errors), kind="stable")
    _, member, sizes = np.unique(block[order], return_inverse=True, return_counts=True)
    weight = 1 / sizes[member]  # (n,) a block's windows weigh 1 together
    above = np.concatenate([np.cumsum(weight[::-1])[::-1], [0.0]])  # (n + 1,)
    found: Float64 = (1 + above[np.searchsorted(errors[order], scores, side="left")]) / (len(sizes) + 1)
    return np.minimum(found, 1.0)


def _finite(errors: Float64) -> Float64:
    if not len(errors) or not np.isfinite(errors).all():
        raise MonitorError(
            "the calibration windows have no finite errors", "Look for extreme values in the last part of the rows."
        )
    return errors
