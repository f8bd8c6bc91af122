"""How unusual the peaks of incidents are among the held-out normal rows that the artefact remembers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from monitor.calibration.conformal import p_values
from monitor.evaluation.backtest import Backtest
from monitor.evaluation.words import lasting
from monitor.web.markup import number, plural


@dataclass(frozen=True, slots=True)
class Rarity:
    p: Mapping[str, float]  # by incident; of anomalies
    told: str  # what p is, for people


def among_blocks(backtest: Backtest) -> Rarity | None:
    """The p-value of each anomaly's peak; None where the artefact has no blocks of held-out errors."""
    blocks = backtest.manifest.calibration.blocks
    if blocks is None:
        return None
    fired, n = backtest.anomalies, len(blocks.largest)
    peaks = np.array([one.score for one in fired]) * backtest.threshold  # (M,) unit of the error
    found = p_values(np.array(blocks.largest), peaks)  # (M,)
    lasts = lasting(blocks.windows * backtest.manifest.training.interval)
    told = (
        f"p is how likely {plural(blocks.windows, 'event')} in a row of normal data ({lasts}) have a peak at least as "
        f"high, as long as normal data stay as they were: (1 + how many of {plural(n, 'such block')} of held-out "
        f"normal rows do) / {number(n + 1)}. So it is never below {1 / (n + 1):.2g}."
    )
    return Rarity(dict(zip((one.incident for one in fired), found.tolist(), strict=True)), told)
