"""Alert budget against what comes: calibrate on the past, count incidents on normal data never seen.

Scores are deliberately plain (PCA error and max |z|, each a trailing mean), so that the table is about the threshold
and not about a model. Synthetic streams have trend and season; SMD, SKAB and BATADAL are read from the folder that
MONITOR_BENCHMARK_DATA names, and left out where it is not set. Labels say which unseen rows are normal, nothing else:
fitting and threshold see the training part alone.

    python -m benchmarks.budget [--seeds 10] [--no-data] [--plain]

The 95 % range is the sampling error of the unseen count alone. A small count may hide one incident that does not end:
the share of unseen windows within an incident stands beside it.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monitor.batch import Float64
from monitor.calibration.budget import Threshold, realised_rate, threshold_for
from monitor.calibration.incident_count import Stretch, incidents, lay
from monitor.config import Incidents

BUDGETS = (1.0, 10.0, 100.0)
SMOOTHING = 8
"""Windows an error is the trailing mean of."""
INTERVAL = 10.0
"""Seconds between two rows of a synthetic stream."""
DAY = int(86_400 / INTERVAL)
SEASON, TREND = 3.0, 0.03
"""Amplitude, and growth a day, of what the channels share, in standard deviations of their noise."""
LEAK = 0.02
"""The same of a trend that a model of the first days knows nothing of."""
FITTED, UNSEEN = 2, 20
CALIBRATED = (0.5, 2.0, 7.0)
RULES = Incidents()

Score = Callable[[Float64], Float64]
"""(n, F) -> (n,)"""


@dataclass(frozen=True, slots=True)
class Case:
    """Normal errors to calibrate on, and normal errors that come later."""

    calibration: Sequence[Stretch]
    unseen: Sequence[Stretch]
    interval: float


def white(rng: np.random.Generator, rows: int) -> Float64:
    return rng.normal(size=(rows, 6))


def autoregressive(rng: np.random.Generator, rows: int) -> Float64:
    found: Float64 = _filtered(white(rng, rows), 0.9) * np.sqrt(1 - 0.81)
    return found


def heavy(rng: np.random.Generator, rows: int) -> Float64:
    return rng.standard_t(4, size=(rows, 6))


def seasonal(rng: np.random.Generator, rows: int) -> Float64:
    """Noise that is half as strong again by day."""
    level = 1 + 0.5 * np.sin(2 * np.pi * np.arange(rows) / DAY)
    return white(rng, rows) * level[:, None]


def uneven(rng: np.random.Generator, rows: int) -> Float64:
    """Noise whose strength differs by a tenth or so from day to day."""
    level = np.exp(0.1 * rng.normal(size=rows // DAY + 1))
    return white(rng, rows) * level[np.arange(rows) // DAY][:, None]


def growing(rng: np.random.Generator, rows: int) -> Float64:
    """Noise that grows by a hundredth a day: what no fixed threshold can hold for long."""
    return white(rng, rows) * (1 + 0.01 * np.arange(rows) / DAY)[:, None]


def leaking(rng: np.random.Generator, rows: int) -> Float64:
    """A trend of its own in every channel, which the components of the first days do not follow."""
    return white(rng, rows) + LEAK * np.arange(rows)[:, None] / DAY * rng.normal(size=6)


NOISES = (white, autoregressive, heavy, seasonal, uneven, growing, leaking)


def synthetic(noise: Callable[[np.random.Generator, int], Float64], seed: int, calibrated: float) -> Case:
    """Six channels that share a daily season and a trend, with noise of one kind on top."""
    rng = np.random.default_rng(seed)
    fitted, known = FITTED * DAY, FITTED * DAY + int(calibrated * DAY)
    rows = known + UNSEEN * DAY
    day = np.arange(rows) / DAY
    common = np.stack([np.sin(2 * np.pi * day), np.cos(2 * np.pi * day)], axis=1) * SEASON + TREND * day[:, None]
    values = common @ rng.normal(size=(2, 6)) + noise(rng, rows)
    error = trailing(pca(values[:fitted], components=2)(values))
    return Case([stretch("", error[fitted:known], INTERVAL)], [stretch("", error[known:], INTERVAL)], INTERVAL)


def pca(rows: Float64, components: int | None = None) -> Score:
    """Mean squared error of what these components leave, or those of 90 % of the variance."""
    mean, scale = rows.mean(axis=0), _scale(rows)
    _, strength, axes = np.linalg.svd((rows - mean) / scale, full_matrices=False)
    share = np.cumsum(strength**2) / np.sum(strength**2)
    kept = axes[: components or max(1, min(int(np.searchsorted(share, 0.9)) + 1, len(axes) - 1))]  # (k, F)

    def score(values: Float64) -> Float64:
        scaled = (values - mean) / scale
        error: Float64 = ((scaled - scaled @ kept.T @ kept) ** 2).mean(axis=1)
        return error

    return score


def largest_z(rows: Float64) -> Score:
    mean, scale = rows.mean(axis=0), _scale(rows)
    return lambda values: np.abs((values - mean) / scale).max(axis=1)


def trailing(error: Float64) -> Float64:
    total = np.cumsum(np.concatenate([np.zeros(SMOOTHING), error]))
    count = np.minimum(np.arange(1, len(error) + 1), SMOOTHING)
    mean: Float64 = (total[SMOOTHING:] - total[:-SMOOTHING]) / count
    return np.maximum(mean, 0)


def stretch(stream: str, error: Float64, interval: float) -> Stretch:
    return Stretch(stream, np.arange(len(error), dtype=np.float64) * interval, error)


def smd(folder: Path, method: Callable[[Float64], Score], name: str) -> Case:
    train, test = table(folder / f"{name}_train.csv.gz"), table(folder / f"{name}_test.csv.gz")
    label = table(folder / f"{name}_label.csv.gz")[:, -1]
    return _split(train, test, label, method, 60.0, name)


def batadal(folder: Path, method: Callable[[Float64], Score]) -> Case:
    train, test = table(folder / "dataset03.csv.gz", first=1), table(folder / "dataset04.csv.gz", first=1)
    return _split(train[:, :-1], test[:, :-1], test[:, -1], method, 3600.0, "batadal")


def skab(folder: Path, method: Callable[[Float64], Score]) -> Case:
    """33 runs as 33 streams, a model each: rows 0-249 fit, 250-399 calibrate, in units of the run's own error."""
    calibration: list[Stretch] = []
    unseen: list[Stretch] = []
    for path in sorted(folder.glob("*/*.csv.gz")):
        if path.parent.name == "anomaly-free" or (path.parent.name, path.name) == ("other", "2.csv.gz"):
            continue  # the one run with labelled faults in its training rows
        rows = table(path, first=1, delimiter=";")
        run = f"{path.parent.name}/{path.name}"
        error = trailing(method(rows[:250, :8])(rows[:, :8]))
        error /= np.median(error[SMOOTHING:250])
        calibration.append(stretch(run, error[250:400], 1.0))
        unseen += normal(run, error[400:], rows[400:, 8], 1.0)
    return Case(calibration, unseen, 1.0)


def _split(
    train: Float64, test: Float64, label: Float64, method: Callable[[Float64], Score], interval: float, name: str
) -> Case:
    """The first 60 % of the training rows are fitted, the others calibrate; test rows without a label are unseen."""
    border = int(0.6 * len(train))
    score = method(train[:border])
    known = trailing(score(train))[border:]
    return Case([stretch(name, known, interval)], normal(name, trailing(score(test)), label, interval), interval)


def normal(stream: str, error: Float64, label: Float64, interval: float) -> list[Stretch]:
    """The stretches of windows without an anomalous row."""
    touched = np.convolve(label > 0, np.ones(SMOOTHING), mode="full")[: len(label)] > 0  # (n,)
    edges = np.flatnonzero(np.diff(np.concatenate([[1], touched, [1]])))  # where normal begins, ends, begins, ...
    return [
        stretch(stream, error[a:b], interval) for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    ]


def table(path: Path, first: int = 0, delimiter: str = ",") -> Float64:
    with gzip.open(path, "rt") as file:
        lines = csv.reader(file, delimiter=delimiter)
        next(lines)
        return np.array([[float(cell) for cell in line[first:]] for line in lines])


def _filtered(noise: Float64, keep: float) -> Float64:
    found = noise.copy()
    for row in range(1, len(found)):
        found[row] += keep * found[row - 1]
    return found


def _scale(rows: Float64) -> Float64:
    scale: Float64 = rows.std(axis=0)
    return np.where(scale > 1e-6, scale, 1.0)


@dataclass(frozen=True, slots=True)
class Line:
    """One budget of one set of cases."""

    name: str
    budget: float
    known: float  # stream-days calibrated on, each case
    unseen: float  # stream-days, all cases
    came: int
    ratio: float  # realised / budget, all cases together
    low: float
    high: float
    within: float  # share of cases within a factor of 2, sampling error of the case allowed for
    loud: float  # share of unseen windows within an incident
    methods: str


def measure(name: str, cases: Sequence[Case], budget: float, *, held_out: bool) -> Line:
    found: list[Threshold] = []
    came = 0
    days = 0.0
    within = windows = loud = 0
    for case in cases:
        line = threshold_for(case.calibration, RULES, budget, case.interval, held_out=held_out)
        rate = realised_rate(case.unseen, line.threshold, RULES, case.interval)
        unseen = sum(len(one.error) for one in case.unseen) * case.interval / 86_400
        found.append(line)
        came += round(rate.rate * unseen)
        days += unseen
        rows = lay(case.unseen)
        span = incidents(rows, line.threshold, RULES)
        windows += len(rows)
        loud += int((span[:, 1] - span[:, 0] + 1).sum())
        within += rate.low <= 2 * budget and rate.high >= budget / 2
    counts = np.array([came])
    spread = 1.96 * np.sqrt(counts + 1)
    methods = sorted({one.method for one in found})
    return Line(
        name,
        budget,
        found[0].stream_days,
        days,
        came,
        came / days / budget,
        float(max(0.0, (counts - spread)[0]) / days / budget),
        float((counts + spread)[0] / days / budget),
        within / len(cases),
        loud / windows,
        ", ".join(f"{sum(one.method == method for one in found)} {method}" for method in methods),
    )


def cases(seeds: int, data: Path | None) -> Iterator[tuple[str, list[Case]]]:
    for noise in NOISES:
        for calibrated in CALIBRATED:
            yield (
                f"{noise.__name__}, {calibrated:g} days",
                [synthetic(noise, seed, calibrated) for seed in range(seeds)],
            )
    if data is None:
        return
    machines = sorted(path.name.removesuffix("_train.csv.gz") for path in (data / "smd").glob("*_train.csv.gz"))
    for method in (pca, largest_z):
        label = {"pca": "PCA", "largest_z": "max abs z"}[method.__name__]
        for machine in machines:
            yield f"SMD {machine}, {label}", [smd(data / "smd", method, machine)]
        yield f"SMD, six machines, {label}", [smd(data / "smd", method, machine) for machine in machines]
        yield f"SKAB, 33 runs, {label}", [skab(data / "skab", method)]
        yield f"BATADAL, {label}", [batadal(data / "batadal", method)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="synthetic streams of each kind")
    parser.add_argument("--no-data", action="store_true", help="synthetic streams only")
    parser.add_argument("--plain", action="store_true", help="without held-out inflation")
    options = parser.parse_args()
    folder = os.environ.get("MONITOR_BENCHMARK_DATA")
    data = Path(folder) if folder and not options.no_data else None
    print(
        "| normal data | budget / day | calibrated on, days | unseen, days | incidents | realised / budget | 95 % "
        "| streams within 2 | in incident | by |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, several in cases(options.seeds, data):
        for budget in BUDGETS:
            one = measure(name, several, budget, held_out=not options.plain)
            print(
                f"| {one.name} | {one.budget:g} | {one.known:.3g} | {one.unseen:.3g} | {one.came} | {one.ratio:.2f} "
                f"| {one.low:.2f}-{one.high:.2f} | {one.within:.0%} | {one.loud:.1%} | {one.methods} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
