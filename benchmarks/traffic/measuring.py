"""Figures of one method on the laboratory's captures: time to detection, AUC, alerts on normal traffic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.detection.method import Figures, Method, Series, relative
from benchmarks.traffic.laboratory import Label, read_labels
from benchmarks.traffic.vectors import Kind, attacked, read
from monitor.batch import Float64
from monitor.evaluation.ranking import roc_auc

APART = 60.0
"""s: rows above the threshold in one stream that are nearer to each other than this are one alert."""
ALERTS = "alerts/day"


@dataclass(frozen=True, slots=True)
class Laboratory:
    """The captures as rows of one kind."""

    normal: tuple[Series, ...]
    calm: tuple[Series, ...]
    attacks: tuple[Series, ...]
    labels: tuple[Label, ...]
    kind: Kind

    @classmethod
    def load(cls, folder: Path, kind: Kind) -> Laboratory:
        normal, calm, attacks = (read(folder / f"{part}.pcap", kind) for part in ("normal", "calm", "attacks"))
        return cls(normal, calm, attacks, read_labels(folder / "labels.csv"), kind)

    def __call__(self, method: Method, seed: int) -> Figures:
        """`AUC` and `delay` (s, NaN: never flagged) of each attack, and `ALERTS` of the whole network in the calm."""
        fitted = method.fit(self.normal, seed)
        calm = [relative(fitted, fitted.score(one.values, one.time)) for one in self.calm]
        tested = [relative(fitted, fitted.score(one.values, one.time)) for one in self.attacks]
        quiet = _seen(np.concatenate(calm))
        figures: dict[str, float] = {}
        for part in attacked(self.attacks, self.labels, self.kind):
            name = part.label.attack
            score = np.concatenate([one[rows] for one, rows in zip(tested, part.rows, strict=True)])
            time = np.concatenate([one.time[rows] for one, rows in zip(self.attacks, part.rows, strict=True)])
            flagged = time[score > 1]
            seen = _seen(score)
            both = np.concatenate([quiet, seen])
            truth = np.concatenate([np.zeros(len(quiet)), np.ones(len(seen))])
            figures[f"{name}: AUC"] = roc_auc(both, truth) if len(seen) else float("nan")
            figures[f"{name}: delay"] = float(flagged.min()) - part.label.begin if len(flagged) else float("nan")
        span = max(one.time.max() for one in self.calm) - min(one.time.min() for one in self.calm)
        count = sum(alerts(one.time[score > 1]) for one, score in zip(self.calm, calm, strict=True))
        return figures | {ALERTS: count * 86_400 / float(span)}


def alerts(flagged: Float64) -> int:
    """Times (n,) of a stream's rows above the threshold, ascending -> how many alerts they are."""
    return int(len(flagged) > 0) + int(np.count_nonzero(np.diff(flagged) > APART))


def _seen(score: Float64) -> Float64:
    """Without rows that have no score: a window that is not whole yet."""
    return score[~np.isnan(score)]


def names(figures: Sequence[str]) -> list[str]:
    """The attacks, in their order."""
    return [name.removesuffix(": AUC") for name in figures if name.endswith(": AUC")]
