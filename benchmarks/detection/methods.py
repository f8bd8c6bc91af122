"""The rows of the tables: trivial methods, a plain LSTM autoencoder, and the product's own detectors."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.detection.adapting import Adapting
from benchmarks.detection.baselines import FlagAll, MaxZ, PcaError, Random, Rule
from benchmarks.detection.method import Method
from benchmarks.detection.online import Online
from benchmarks.detection.ours import ENSEMBLE, NETWORK, PLAIN, RECIPE, Ours, PlainAutoencoder
from monitor.config import Training

OURS = "ours"


@dataclass(frozen=True, slots=True)
class Entry:
    method: Method
    drawn: bool
    """Whether a seed changes anything; what draws nothing is run once."""


def entries(rule: Rule, *, univariate: bool = False) -> tuple[Entry, ...]:
    """In the order of the page; the last is what the goals are measured by."""
    return (
        Entry(FlagAll(), drawn=False),
        Entry(Random(), drawn=True),
        Entry(MaxZ(rule), drawn=False),
        Entry(PcaError(rule), drawn=False),
        Entry(PlainAutoencoder(rule), drawn=True),
        Entry(Ours(NETWORK, "our LSTM alone"), drawn=True),
        Entry(Ours(ENSEMBLE, "ours and our LSTM"), drawn=True),
        *([Entry(Online(rule), drawn=False)] if univariate else []),
        Entry(Adapting(), drawn=False),
        Entry(Ours(RECIPE, OURS), drawn=True),  # it draws nothing: the seeds show it
    )


EXPLAINERS: dict[str, Training] = {
    "max z": Training(detector="max_z", window=PLAIN.window, score_units="one"),
    "PCA error": Training(detector="pca", window=PLAIN.window, score_units="one"),
    "plain LSTM-AE": PLAIN,
    OURS: RECIPE,
}
"""Whose features are ranked against the causes."""
SERVED: dict[str, Training] = {
    "plain LSTM-AE": PLAIN,
    "the default LSTM, window 32": Training(),
    "ours and our LSTM": ENSEMBLE,
    OURS: RECIPE,
}
"""Whose graphs are timed."""
