"""NSL-KDD (Tavallaee et al., 2009) as one class: fit on normal flows, judge every flow of the test file alone.

Flows have no order in time, so a method gets them as `Series` that are not ordered, encoded by what the normal training
flows show: log1p of counts and sizes, one column for each known category, all of it scaled to [0, 1] by minimum and
maximum. An unknown category is all zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.detection.baselines import Rule
from benchmarks.detection.data import FLOW_CATEGORIES, Flows
from benchmarks.detection.method import Figures, Method, Published, Series, flags
from monitor.batch import Float64
from monitor.evaluation.confusion import Confusion
from monitor.evaluation.ranking import average_precision, roc_auc

RULE = Rule(quantile=0.95)
QUANTILES = (0.95, 0.99)
PUBLISHED = (
    Published("autoencoder", {"ROC-AUC": 0.93}, "0.93 to 0.95"),
    Published("AutoIDS", {"accuracy": 0.902}),
)
BINARY = ("land", "logged_in", "root_shell", "su_attempted", "is_host_login", "is_guest_login")


def run(data: tuple[Flows, Flows], method: Method, seed: int) -> Figures:
    """Figures at the method's own threshold, and at two quantiles of its scores of the training rows."""
    train, test = data
    encoder = Encoder.fit(train[~train.attack])
    normal, judged = encoder.encode(train[~train.attack]), encoder.encode(test)
    fitted = method.fit([normal], seed)
    score = fitted.score(judged.values, judged.time)
    own = Confusion.of(flags(fitted, score), test.attack)
    figures = {
        "ROC-AUC": roc_auc(score, test.attack),
        "AP": average_precision(score, test.attack),
        "F1": own.f1,
        "FPR": own.far,
        "TPR": own.recall,
    }
    of_train = fitted.score(normal.values, normal.time)
    for quantile in QUANTILES:
        at = Confusion.of(score > np.nanquantile(of_train, quantile), test.attack)
        name = f"@ q{100 * quantile:.0f}"
        figures |= {f"F1 {name}": at.f1, f"FPR {name}": at.far, f"TPR {name}": at.recall}
    return figures


@dataclass(frozen=True, slots=True)
class Encoder:
    """What normal flows show of their features."""

    categories: tuple[tuple[str, ...], ...]  # (3, known) in alphabetical order
    low: Float64  # (F,) after log1p
    span: Float64  # (F,) 1 for a constant

    @classmethod
    def fit(cls, flows: Flows) -> Encoder:
        """From normal flows."""
        known = tuple(tuple(sorted(set(column))) for column in flows.categories)
        values = _logarithmic(flows)
        low = values.min(axis=0)
        span = values.max(axis=0) - low
        return cls(known, low, np.where(span > 0, span, 1.0))

    def encode(self, flows: Flows) -> Series:
        """Flows -> rows (n, F + known categories); what exceeds the normal range is beyond [0, 1]."""
        parts = [(_logarithmic(flows) - self.low) / self.span]
        names = list(flows.features)
        for name, known, column in zip(FLOW_CATEGORIES, self.categories, flows.categories, strict=True):
            parts.append((np.array(column)[:, None] == np.array(known)).astype(np.float64))
            names.extend(f"{name}={value}" for value in known)
        # No time is told; one apart, they are at least in an order that events can have.
        time = np.arange(len(flows.attack), dtype=np.float64)
        return Series("flows", time, np.concatenate(parts, axis=1), tuple(names), ordered=False)


def _logarithmic(flows: Flows) -> Float64:
    """(n, 38): log1p of what counts or measures a size; rates and 0/1 features as they are."""
    grows = [name not in BINARY and not name.endswith("_rate") for name in flows.features]
    return np.where(grows, np.log1p(flows.values), flows.values)
