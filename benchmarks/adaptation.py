"""Alert budget with and without adaptation, on the synthetic streams of `benchmarks.budget`.

They are judged by the service's own incidents, levels and adaptation, with their defaults.

Calibrated on two days; then so many days of normal data that were never seen. Some change slowly (noise that grows by a
hundredth a day, a trend that the model knows nothing of) and most do not: there adaptation should cost nothing.

    python -m benchmarks.adaptation [--seeds 3] [--days 20] [--half-life 259200] [--only growing]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.budget import BUDGETS, DAY, FITTED, INTERVAL, NOISES, SEASON, SMOOTHING, TREND, stretch, trailing
from monitor import config
from monitor.adaptation import Adaptation, Pace, Part
from monitor.batch import Batch, Float32, Float64, Scores, Timing, Windows
from monitor.calibration.budget import threshold_for
from monitor.incidents import Incidents
from monitor.levels import Levels, Prior
from monitor.model.typical import apart, calm, typical
from monitor.telling import Origin
from monitor.windows import Step

KNOWN = 2 * DAY
"""Rows that the threshold is calibrated on."""
CHANNELS = 6
RULES = config.Incidents()


@dataclass(frozen=True, slots=True)
class Errors:
    """Of one stream, channel by channel, in units of the channel's own in the calibration rows."""

    known: Float64  # (n, 6)
    unseen: Float64  # (m, 6)


def made(noise: int, seed: int, days: int) -> Errors:
    """As `benchmarks.budget.synthetic` makes them, but channel by channel."""
    rng = np.random.default_rng(seed)
    fitted = FITTED * DAY
    rows = fitted + KNOWN + days * DAY
    day = np.arange(rows) / DAY
    common = np.stack([np.sin(2 * np.pi * day), np.cos(2 * np.pi * day)], axis=1) * SEASON + TREND * day[:, None]
    values = common @ rng.normal(size=(2, CHANNELS)) + NOISES[noise](rng, rows)
    mean, scale = values[:fitted].mean(axis=0), values[:fitted].std(axis=0)
    scaled = (values - mean) / scale
    axes = np.linalg.svd(scaled[:fitted], full_matrices=False)[2][:2]
    squared = (scaled - scaled @ axes.T @ axes) ** 2
    errors = np.stack([trailing(squared[:, channel]) for channel in range(CHANNELS)], axis=1)
    errors /= errors[fitted : fitted + KNOWN].mean(axis=0)
    return Errors(errors[fitted : fitted + KNOWN], errors[fitted + KNOWN :])


def opened(errors: Errors, threshold: float, rules: config.Adaptation) -> tuple[int, float]:
    """Anomalies that the unseen errors make, and the share of windows within one."""
    known = errors.known.astype(np.float32)
    quiet = calm(errors.known.mean(axis=1), threshold, SMOOTHING + RULES.close_after)
    first = apart(np.flatnonzero(quiet), SMOOTHING)
    usual = typical(known[first], np.zeros(len(first), np.int64))
    prior = Prior(
        np.array(usual.log_error), 10.0, rules.limit, float(np.sqrt(usual.within)), np.ones(CHANNELS, np.bool_)
    )
    levels = Levels(prior if rules.enabled else None)
    names = [f"f{channel}" for channel in range(CHANNELS)]
    incidents = Incidents(RULES, names, threshold, Origin("events", "", ""), levels=levels)
    everywhere = np.full(CHANNELS, np.inf)
    pace = Pace(SMOOTHING, INTERVAL, 1)
    adaptation = Adaptation(
        rules, prior, levels, incidents, pace, threshold, -everywhere, everywhere, RULES.update_every
    )
    came, inside, since = 0, 0.0, None
    size = 4096
    for start in range(0, len(errors.unseen), size):
        part = errors.unseen[start : start + size].astype(np.float32)
        batch, step = _step(start, part)
        scores = Scores(part.mean(axis=1), part, part, part)
        parts = adaptation.parts(batch, step, scores, np.full(1, 0.3)) if rules.enabled else [Part(step, scores, ())]
        for one in parts:
            windows = one.step.windows
            adapted = levels.adapted(one.scores, windows.slot)
            score = adapted.error.astype(np.float64) / threshold
            told = incidents.update(batch, windows, adapted, score, ()).told
            told += adaptation.learn(batch, one, ()) if one.due else []
            for each in (one.alert for one in told if one.alert.kind == "anomaly"):
                now = each.time.timestamp()
                came += each.status == "opened"
                since = now if each.status == "opened" else since
                inside += now - since if each.status == "closed" and since is not None else 0.0
    return came, inside / INTERVAL / len(errors.unseen)


def _step(start: int, part: Float32) -> tuple[Batch, Step]:
    rows = np.arange(len(part))
    time = ((start + rows) * INTERVAL).astype(np.float64)
    batch = Batch(["s"] * len(part), time, time, part, np.zeros(len(part), np.int64), start + rows)
    nothing = np.zeros(len(part), np.int64)
    timing = Timing(np.full(len(part), INTERVAL), np.zeros(len(part)), nothing, nothing)
    return batch, Step(Windows(part[:, None], rows, nothing, timing=timing), (), (), 0, 0, 0, 0, 0, 0)


def row(name: str, several: Sequence[Errors], budget: float, half_life: float) -> str:
    days = sum(len(errors.unseen) for errors in several) / DAY
    cells = []
    thresholds = [
        threshold_for([stretch("", errors.known.mean(axis=1), INTERVAL)], RULES, budget, INTERVAL).threshold
        for errors in several
    ]
    for enabled in (False, True):
        rules = config.Adaptation(enabled=enabled, half_life=half_life)
        found = [opened(errors, threshold, rules) for errors, threshold in zip(several, thresholds, strict=True)]
        came = sum(number for number, _ in found)
        loud = sum(share for _, share in found) / len(found)
        cells.append(f"{came} | {came / days / budget:.2f} | {loud:.1%}")
    return f"| {name} | {budget:g} | {days:g} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="synthetic streams of each kind")
    parser.add_argument("--only", help="one kind of normal data")
    parser.add_argument("--half-life", type=float, default=config.Adaptation().half_life, help="s")
    parser.add_argument("--days", type=int, default=20, help="unseen days of each")
    options = parser.parse_args()
    heads = ["incidents", "realised / budget", "in incident"]
    adapted = [f"{head}, adapted" for head in heads]
    print(f"| {' | '.join(['normal data', 'budget / day', 'unseen, days', *heads, *adapted])} |")
    print("|---|---|---|---|---|---|---|---|---|")
    for noise, kind in enumerate(NOISES):
        if options.only not in (None, kind.__name__):
            continue
        several = [made(noise, seed, options.days) for seed in range(options.seeds)]
        for budget in BUDGETS:
            print(row(kind.__name__, several, budget, options.half_life), flush=True)


if __name__ == "__main__":
    main()
