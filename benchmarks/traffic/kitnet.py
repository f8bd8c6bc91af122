"""KitNET, an ensemble of small autoencoders, as a baseline (Mirsky et al., "Kitsune", NDSS 2018, section V).

Features that go together are grouped: by the correlation distance on the first part of the normal rows, hierarchical
clustering, groups of at most `GROUP` (section V-C). Each group has an autoencoder of one hidden layer; their root mean
square errors, scaled to 0 .. 1, are the input of one more, whose error is the score (V-D). All learn online, each row
once, by plain gradient steps (V-B). What the paper leaves open is as in its authors' program: tied weights, a step in
the direction of the residual itself, single linkage, weights drawn from -1/n .. 1/n, inputs scaled by the smallest and
largest value so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.method import Fitted, Series
from monitor.batch import Float64, Int64

GROUP = 10
"""m, the most inputs of an autoencoder."""
HIDDEN = 0.75
"""beta, hidden nodes for each input."""
RATE = 0.1
"""Size of a gradient step."""
MAPPED = 0.1
"""Share of the fitted rows that the grouping is learned from."""
_TINY = 1e-16


def groups(rows: Float64, most: int = GROUP) -> list[Int64]:
    """Columns of rows (n, F) in groups of at most `most`, by their correlation; constant columns are like no other."""
    return _cut(np.arange(rows.shape[1]), _distance(rows), most)


def _distance(rows: Float64) -> Float64:
    """(F, F) 1 - the correlation of two columns; of a constant one, 1 to all others."""
    residual = rows - rows.mean(axis=0)
    length = np.sqrt((residual**2).sum(axis=0))
    moving = length > _TINY
    unit = np.divide(residual, length, out=np.zeros_like(residual), where=moving)
    found = np.clip(1 - unit.T @ unit, 0, 2)
    np.fill_diagonal(found, 0)
    return np.asarray(found, np.float64)


def _cut(members: Int64, distance: Float64, most: int) -> list[Int64]:
    """The dendrogram of single linkage, cut from the top until each group is small enough.

    Its links are the edges of the minimum spanning tree: the largest one parts the two groups that were joined last.
    """
    if len(members) <= most:
        return [members]
    edges = _spanning_tree(distance[np.ix_(members, members)])
    edges.sort(key=lambda edge: edge[2])
    side = _reached(edges[:-1], edges[-1][0], len(members))
    return _cut(members[side], distance, most) + _cut(members[~side], distance, most)


def _spanning_tree(distance: Float64) -> list[tuple[int, int, float]]:
    """Prim's: n - 1 edges (from, to, length)."""
    n = len(distance)
    nearest, source = distance[0].copy(), np.zeros(n, np.int64)
    out = np.ones(n, np.bool_)
    out[0] = False
    edges = []
    for _ in range(n - 1):
        new = int(np.where(out, nearest, np.inf).argmin())
        edges.append((int(source[new]), new, float(nearest[new])))
        out[new] = False
        closer = distance[new] < nearest
        nearest[closer], source[closer] = distance[new][closer], new
    return edges


def _reached(edges: Sequence[tuple[int, int, float]], start: int, n: int) -> NDArray[np.bool_]:
    """(n,) which are joined to `start`."""
    side = np.zeros(n, np.bool_)
    side[start] = True
    for _ in range(n):
        before = side.sum()
        for one, other, _length in edges:
            side[one] = side[other] = side[one] | side[other]
        if side.sum() == before:
            break
    return side


class Autoencoders:
    """K small autoencoders beside each other, in arrays padded to the widest; what is padding stays 0."""

    def __init__(self, sizes: Sequence[int], chance: np.random.Generator) -> None:
        hidden = [int(np.ceil(HIDDEN * size)) for size in sizes]
        self._inside = _mask(sizes)  # (K, n)
        self._nodes = _mask(hidden)  # (K, h)
        self._sizes = np.array(sizes, np.float64)
        weights = np.zeros((len(sizes), max(sizes), max(hidden)))
        for k, (size, nodes) in enumerate(zip(sizes, hidden, strict=True)):
            weights[k, :size, :nodes] = chance.uniform(-1 / size, 1 / size, (size, nodes))
        self._weights = weights  # tied: the decoder's are the encoder's, transposed
        self._hidden_bias = np.zeros((len(sizes), max(hidden)))
        self._bias = np.zeros((len(sizes), max(sizes)))
        self._least = np.full((len(sizes), max(sizes)), np.inf)
        self._most = np.full((len(sizes), max(sizes)), -np.inf)
        self.parameters = int(sum(s * h + s + h for s, h in zip(sizes, hidden, strict=True)))

    def learn(self, row: Float64) -> Float64:
        """One step from a row (K, n); (K,) the errors before it."""
        self._least = np.minimum(self._least, row)
        self._most = np.maximum(self._most, row)
        x = self._scaled(row[None])[0]
        y = self._encoded(x[None])[0]
        residual = (x - self._decoded(y[None])[0]) * self._inside
        back = np.einsum("kn,knh->kh", residual, self._weights) * y * (1 - y)
        self._weights += RATE * (x[:, :, None] * back[:, None, :] + residual[:, :, None] * y[:, None, :])
        self._hidden_bias += RATE * back
        self._bias += RATE * residual
        return np.asarray(np.sqrt((residual**2).sum(axis=1) / self._sizes), np.float64)

    def errors(self, rows: Float64) -> Float64:
        """Rows (m, K, n) -> (m, K) root mean square errors."""
        x = self._scaled(rows)
        residual = (x - self._decoded(self._encoded(x))) * self._inside
        return np.asarray(np.sqrt((residual**2).sum(axis=2) / self._sizes), np.float64)

    def _scaled(self, rows: Float64) -> Float64:
        span = np.where(self._inside, self._most - self._least + _TINY, 1.0)
        least = np.where(self._inside, self._least, 0.0)
        return np.asarray((rows - least) / span * self._inside, np.float64)

    def _encoded(self, x: Float64) -> Float64:
        y = _sigmoid(np.einsum("mkn,knh->mkh", x, self._weights) + self._hidden_bias)
        return np.asarray(y * self._nodes, np.float64)

    def _decoded(self, y: Float64) -> Float64:
        return _sigmoid(np.einsum("mkh,knh->mkn", y, self._weights) + self._bias)


@dataclass(frozen=True, slots=True)
class Scoring:
    """A fitted ensemble."""

    groups: Int64  # (K, n) columns, padded with the first
    ensemble: Autoencoders
    output: Autoencoders
    threshold: float
    parameters: int

    def score(self, values: Float64, time: Float64) -> Float64:  # noqa: ARG002  each row is judged alone
        found = [self._score(values[start : start + 4096]) for start in range(0, len(values), 4096)]
        return np.concatenate(found) if found else np.zeros(0)

    def _score(self, values: Float64) -> Float64:
        errors = self.ensemble.errors(values[:, self.groups])
        return self.output.errors(errors[:, None, :])[:, 0]


@dataclass(frozen=True, slots=True)
class KitNet:
    """Fitted on the rows in the order of their times, but for the last, whose largest score is the threshold.

    The paper takes the largest score of the training rows themselves; held-out ones are what the other rows of the
    table have.
    """

    held_back: float = 0.25
    quantile: float = 1.0
    name: str = "KitNET"

    def fit(self, series: Sequence[Series], seed: int) -> Fitted:
        cuts = [round(len(one) * (1 - self.held_back)) for one in series]
        rows = np.concatenate([one.values[:cut] for one, cut in zip(series, cuts, strict=True)])
        time = np.concatenate([one.time[:cut] for one, cut in zip(series, cuts, strict=True)])
        fitted = learn(rows[np.argsort(time, kind="stable")], seed)
        kept = [fitted.score(one.values[cut:], one.time[cut:]) for one, cut in zip(series, cuts, strict=True)]
        threshold = float(np.quantile(np.concatenate(kept), self.quantile))
        return Scoring(fitted.groups, fitted.ensemble, fitted.output, threshold, fitted.parameters)


def learn(rows: Float64, seed: int) -> Scoring:
    """From rows (n, F) in order: the first for the grouping, the others for the weights. The threshold is left at 0."""
    begin = max(2, round(MAPPED * len(rows)))
    found = groups(rows[:begin])
    padded = np.array([[*group, *[group[0]] * (max(map(len, found)) - len(group))] for group in found])
    chance = np.random.default_rng(seed)
    ensemble = Autoencoders([len(group) for group in found], chance)
    output = Autoencoders([len(found)], chance)
    for row in rows[begin:]:
        output.learn(ensemble.learn(row[padded])[None])
    return Scoring(padded, ensemble, output, 0.0, ensemble.parameters + output.parameters)


def _mask(sizes: Sequence[int]) -> NDArray[np.bool_]:
    return np.asarray(np.arange(max(sizes)) < np.array(sizes)[:, None], np.bool_)


def _sigmoid(x: Float64) -> Float64:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -500, 500))), np.float64)
