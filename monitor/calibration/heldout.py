"""Whether a threshold keeps its promise at another time: the half of the calibration span that it has not seen."""

from __future__ import annotations

import numpy as np

from monitor.batch import Float64
from monitor.calibration.incident_count import Curve

FEWEST = 20.0
"""Incidents from which an inflation is measured; a rarer budget borrows the inflation of this many."""


def inflation(curve: Curve, days: Float64, incidents: float) -> float:
    """How many times more incidents come than were asked for, measured on held-out normal data; at least 1.

    Level and noise of normal data differ from day to day, so what was counted on some days is exceeded on others. The
    threshold is taken from the first half of every stream's time and its incidents are counted in the second, and the
    other way round (two-fold cross-validation, Stone, JRSS B 36, 1974, in blocks of time). Where halves differ, what
    the louder one has too many outweighs what the quieter one has too few. Leaving out less, one tenth at a time, was
    tried and shows nothing: nine tenths differ too little from ten. It cannot know of a drift that goes on afterwards.

    `days` are the stream-days of each fold (folds,), `incidents` what the budget allows in all of them.
    """
    first = np.arange(len(days)) < len(days) // 2  # (folds,)
    asked = max(incidents, FEWEST)
    share = float(days[first].sum() / days.sum())
    if share in {0.0, 1.0}:
        return 1.0
    found = 0
    for seen, part in ((first, share), (~first, 1 - share)):
        index = Curve(curve.level, curve.count[:, seen]).lowest(asked * part - 1)
        if index < 0:
            return 1.0
        found += int(curve.count[index, ~seen].sum())
    return max(1.0, found / asked)


def dispersion(curve: Curve, days: Float64, index: int) -> float:
    """Variance over mean of the counts of equal folds at a level, at least 1: 1 is a Poisson process."""
    count = curve.count[index][days > 0]  # (folds,)
    if len(count) < 2 or not count.sum():
        return 1.0
    return max(1.0, float(count.var(ddof=1) / count.mean()))
