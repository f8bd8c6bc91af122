"""VUS-PR: volume under the range-based precision-recall surface, over all widths of tolerance around the labels.

After Paparrizos et al., "Volume under the surface: a new accuracy evaluation measure for time-series anomaly detection"
(VLDB 2022), with the details that the published tables of TSB-AD-M rest on (Liu and Paparrizos, "The elephant in the
room: towards a reliable time-series anomaly detection benchmark", NeurIPS 2024).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Float64, Int64
from monitor.evaluation.events import intervals
from monitor.evaluation.values import Bool, ranked

THRESHOLDS = 250
DEFAULT_WINDOW = 100
"""Rows; where nothing is said of the series."""
NO_PERIOD = 125
"""Window of a series without a usable period."""
FIRST_LAG, LAST_LAG, LONGEST_OFFSET, ROWS = 3, 400, 300, 20_000


def vus_pr(score: Float64, label: Bool, window: int = DEFAULT_WINDOW) -> float:
    """Mean over the tolerances w = 0..window (rows) of the area under the range-based precision-recall curve.

    Scores (n,), NaN as the lowest; labels (n,). NaN without anomalous rows. Time O(n log n + window x rows near an
    anomaly), memory O(n).

    For each of 250 thresholds (scores at evenly spaced ranks), with P anomalous rows and S the sum of the soft labels
    of flagged rows around them: true positives TP = flagged anomalous rows + S; recall = min(1, TP / (P + S / 2)) x
    share of widened anomalies that hold a flagged row; precision = TP / flagged rows.
    """
    anomalies = intervals(label)
    if not len(anomalies):
        return np.nan
    ordered = ranked(score)
    thresholds = np.sort(ordered)[::-1][np.linspace(0, len(ordered) - 1, THRESHOLDS).astype(np.int64)]
    level = _first_level(thresholds, ordered)  # (n,) the first threshold that flags the row
    flagged = np.cumsum(np.bincount(level, minlength=THRESHOLDS))  # (250,) rows
    hits = np.cumsum(np.bincount(level[label], minlength=THRESHOLDS))
    positives = int(np.count_nonzero(label))
    total = 0.0
    for width in range(window + 1):
        rows, soft = _soft(anomalies, label, width)
        gained = np.cumsum(np.bincount(level[rows], soft, THRESHOLDS))
        holds = _holding(level, _widened(anomalies, width // 2, len(label)))
        recall = np.minimum(1.0, (hits + gained) / (positives + gained / 2)) * holds
        total += float(np.dot(np.diff(recall, prepend=0.0), (hits + gained) / flagged))
    return total / (window + 1)


def window_of(column: NDArray[np.floating]) -> int:
    """The window for `vus_pr` by the rule of TSB-AD: the period of a column (n,), in rows.

    The lag of the highest local maximum of the autocorrelation at lags 3..400 of the first 20 000 rows; 125 where there
    is none, or it lies fewer than 3 or more than 300 lags after the third.
    """
    given = np.asarray(column[:ROWS], np.float64)
    centred = given - given.mean() if len(given) else given
    size = 1 << (2 * len(centred)).bit_length()  # padded, or the end would correlate with the beginning
    spectrum = np.fft.rfft(centred, size)
    correlation = np.fft.irfft(spectrum * spectrum.conj(), size)[FIRST_LAG : min(LAST_LAG + 1, len(centred))]
    inner = correlation[1:-1]
    peaks = np.flatnonzero((inner > correlation[:-2]) & (inner > correlation[2:])) + 1
    if not len(peaks) or not np.any(centred):
        return NO_PERIOD
    offset = int(peaks[np.argmax(correlation[peaks])])
    return offset + FIRST_LAG if FIRST_LAG <= offset <= LONGEST_OFFSET else NO_PERIOD


def _first_level(thresholds: Float64, score: Float64) -> Int64:
    """Index of the first of the descending thresholds that is at most the score: the lowest score has one too."""
    return np.searchsorted(-thresholds, -score, "left").astype(np.int64)


def _soft(anomalies: Int64, label: Bool, width: int) -> tuple[Int64, Float64]:
    """Normal rows around the anomalies and their labels in (0, 1], which fall as sqrt(1 - distance / width).

    A row near two anomalies has the sum of both, at most 1.
    """
    distance = np.arange(1, width // 2 + 1)
    weight = np.sqrt(1 - distance / width) if width else np.empty(0)
    after = (anomalies[:, 1:] - 1 + distance).ravel()
    before = (anomalies[:, :1] - distance).ravel()
    near = np.concatenate([after, before])
    weights = np.tile(weight, 2 * len(anomalies))
    inside = (near >= 0) & (near < len(label))
    near, weights = near[inside], weights[inside]
    outside = ~label[near]
    rows, back = np.unique(near[outside], return_inverse=True)
    return rows, np.minimum(1.0, np.bincount(back, weights[outside], len(rows)))


def _widened(anomalies: Int64, by: int, rows: int) -> list[tuple[int, int]]:
    """The anomalies `by` rows longer at both ends, as one where they overlap; those that only touch stay two."""
    merged: list[tuple[int, int]] = []
    for start, end in anomalies.tolist():
        begin, stop = max(0, start - by), min(rows, end + by)
        if merged and begin < merged[-1][1]:
            merged[-1] = (merged[-1][0], stop)
        else:
            merged.append((begin, stop))
    return merged


def _holding(level: Int64, segments: list[tuple[int, int]]) -> Float64:
    """(250,) share of the segments that hold a flagged row, by threshold."""
    first = [int(level[start:stop].min()) for start, stop in segments]
    return np.cumsum(np.bincount(first, minlength=THRESHOLDS)) / len(segments)
