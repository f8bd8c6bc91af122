"""SMD (Su et al., "Robust anomaly detection for multivariate time series through stochastic recurrent neural network",
KDD 2019), six machines, by two protocols; the mean over the machines is reported, and nothing is concatenated.

- TSB-AD-M: fit on the first `train_rows` of the test file, score all of it, VUS-PR with the listed window.
- Train file: fit on the train file, score the test file.

Rows without a score count as rows that rank below all others and are not flagged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.detection.baselines import Rule
from benchmarks.detection.data import SmdMachine
from benchmarks.detection.method import Figures, Method, Published, flags
from monitor.evaluation.confusion import Confusion
from monitor.evaluation.ranking import average_precision, best_f1, roc_auc
from monitor.evaluation.vus import DEFAULT_WINDOW, vus_pr

RULE = Rule(quantile=0.999, floor=1e-3)
"""Features are scaled to [0, 1], and many are constant in training: a thousandth of the range is taken for noise."""
PUBLISHED_TSB = (  # means over the six machines, of the table beside the data
    Published("TranAD", {"VUS-PR": 0.474}),
    Published("PCA", {"VUS-PR": 0.462}),
    Published("AutoEncoder", {"VUS-PR": 0.409}),
    Published("LSTMAD", {"VUS-PR": 0.380}),
)


def run_tsb(machines: Sequence[SmdMachine], method: Method, seed: int) -> Figures:
    """Mean VUS-PR, and that of each machine."""
    each = {}
    for machine in machines:
        fitted = method.fit([machine.test[: machine.train_rows]], seed)
        score = fitted.score(machine.test.values, machine.test.time)
        each[machine.test.name] = vus_pr(score, machine.label, machine.vus_window)
    return {"VUS-PR": float(np.mean(list(each.values())))} | each


def run_train(machines: Sequence[SmdMachine], method: Method, seed: int) -> Figures:
    """Means over the machines; F1 of rows at the method's own threshold is label-free, the best F1 is an oracle's."""
    each = [_train_file(machine, method, seed) for machine in machines]
    return {name: float(np.mean([figures[name] for figures in each])) for name in each[0]}


def _train_file(machine: SmdMachine, method: Method, seed: int) -> Figures:
    fitted = method.fit([machine.train], seed)
    score = fitted.score(machine.test.values, machine.test.time)
    points = Confusion.of(flags(fitted, score), machine.label)
    return {
        "AP": average_precision(score, machine.label),
        "ROC-AUC": roc_auc(score, machine.label),
        "F1": points.f1,
        "FAR": points.far,
        "best F1": best_f1(score, machine.label).f1,
        "VUS-PR": vus_pr(score, machine.label, DEFAULT_WINDOW),
    }
