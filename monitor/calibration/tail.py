"""The tail of the peaks: how often a level is exceeded that few incidents have reached, or none (peaks over threshold).

Excesses over a high level follow a generalised Pareto distribution (Pickands 1975; Coles, "An Introduction to
Statistical Modeling of Extreme Values", 2001, chapter 4). The peaks must be independent: one for each incident.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from monitor.batch import Float64

FEWEST_PEAKS = 20
"""Fewer say little of a shape: its standard deviation is about (1 + shape) / sqrt(peaks)."""
PEAKS = (200, 100, 50, 25)
"""Numbers of peaks that are tried, the most first: more peaks, less noise, as long as the distribution fits them."""
SHAPES = (-0.5, 0.9)
"""Below, the likelihood is not regular and a level hangs on the largest peak; above, hardly a mean exists."""
TINY = 1e-9
"""A shape this close to 0 is exponential."""
_CRITICAL = {-0.5: 0.837, -0.25: 0.792, 0.0: 0.747, 0.25: 0.699, 0.5: 0.666, 0.75: 0.645, 1.0: 0.633}
"""By shape: what the Anderson-Darling statistic of 50 peaks exceeds once in ten where the distribution is the right one
and both parameters are estimated as here (40,000 simulated samples each; 25 to 200 peaks differ by less than 0.06)."""


@dataclass(frozen=True, slots=True)
class Tail:
    """A generalised Pareto distribution above `level`, and how often peaks come."""

    level: float  # u, unit of the error
    shape: float  # xi; > 0 heavy, < 0 with an end
    scale: float  # sigma, unit of the error
    peaks: int
    rate: float  # peaks a day above `level`

    def rate_above(self, threshold: float) -> float:
        """Peaks a day above a threshold that is not below `level`."""
        return float(self.rate * np.exp(-_log_odds(np.array([threshold - self.level]), self.shape, self.scale)[0]))

    def threshold_at(self, rate: float) -> float:
        """The threshold with `rate` peaks a day above it; the inverse of `rate_above` for rates up to `self.rate`."""
        far = float(np.log(self.rate / rate))
        return self.level + self.scale * (
            far if abs(self.shape) < TINY else float(np.expm1(self.shape * far)) / self.shape
        )

    def spread(self, threshold: float) -> float:
        """Standard deviation of the logarithm of `rate_above`: of the number of peaks, and of shape and scale.

        Delta method on the asymptotic covariance of the maximum-likelihood estimates (Smith, Biometrika 72, 1985).
        """
        y = (threshold - self.level) / self.scale
        a, n = 1 + self.shape, self.peaks
        if abs(self.shape) < 1e-6:
            by_shape, by_scale = y * y / 2, y
        else:
            inside = 1 + self.shape * y
            by_shape = float(np.log(inside)) / self.shape**2 - y / (self.shape * inside)
            by_scale = y / inside  # times scale
        variance = (a * a * by_shape**2 - 2 * a * by_shape * by_scale + 2 * a * by_scale**2 + 1) / n
        return float(np.sqrt(variance))


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why there is no tail to trust."""

    reason: str  # a clause for people


def fit(excess: Float64) -> tuple[float, float]:
    """Shape and scale of a generalised Pareto distribution from n >= 2 excesses (n,), all > 0.

    Zhang & Stephens, "A New and Efficient Estimation Method for the Generalized Pareto Distribution", Technometrics
    51(3), 2009: the profile likelihood that Grimshaw's method (as in SPOT) maximises is averaged instead. It needs no
    root finding, always has an answer with all excesses inside the support (probability-weighted moments have not),
    is as efficient as maximum likelihood with many peaks and better with few.
    """
    x = np.sort(excess)  # (n,)
    n, top = len(x), float(x[-1])
    grid = 20 + int(np.sqrt(n))
    j = np.arange(1, grid + 1)
    theta = 1 / top + (1 - np.sqrt(grid / (j - 0.5))) / (3 * x[max(0, int(n / 4 + 0.5) - 1)])  # (grid,)
    theta[np.abs(theta) * top < 1e-9] = 1e-9 / top  # at 0 the distribution is exponential, and the formula 0 / 0
    shape = np.log1p(-theta[:, None] * x).mean(axis=1)  # (grid,)
    likelihood = n * (np.log(-theta / shape) - shape - 1)
    weight = np.exp(likelihood - likelihood.max())
    best = float(theta @ weight / weight.sum())
    if abs(best) * top < 1e-9:
        best = 1e-9 / top
    found = float(np.log1p(-best * x).mean())
    return found, -found / best


def anderson_darling(excess: Float64, shape: float, scale: float) -> float:
    """A^2 of excesses (n,) against the distribution (Choulakian & Stephens, Technometrics 43(4), 2001)."""
    beyond = _log_odds(np.sort(excess), shape, scale)  # (n,) -log of the share above
    n = len(beyond)
    below = np.log(-np.expm1(-beyond))
    return float(-n - np.mean((2 * np.arange(1, n + 1) - 1) * (below - beyond[::-1])))


def trusted(peaks: Float64, level: float, days: float) -> Tail | Doubt:
    """The tail of peaks (n,), all above `level`, seen in `days` stream-days; or why it is not to be used."""
    if len(peaks) < FEWEST_PEAKS:
        return Doubt(f"{len(peaks)} incidents that stand out are too few to fit a tail, which needs {FEWEST_PEAKS}")
    excess = peaks - level
    if len(np.unique(excess)) < len(excess) / 2:
        return Doubt("most peaks have the same height as another")
    shape, scale = fit(excess)
    if not SHAPES[0] <= shape <= SHAPES[1]:
        return Doubt(f"the shape of the tail, {shape:.2f}, is outside {SHAPES[0]:g} to {SHAPES[1]:g}")
    distance = anderson_darling(excess, shape, scale)
    limit = float(np.interp(shape, list(_CRITICAL), list(_CRITICAL.values())))
    if not distance <= limit:
        return Doubt(f"the peaks do not follow a generalised Pareto distribution (A^2 {distance:.2f} > {limit:.2f})")
    return Tail(level, shape, scale, len(peaks), len(peaks) / days)


def first_trusted(candidates: Iterable[tuple[Float64, float]], days: float) -> Tail | Doubt:
    """The tail of the first candidate (peaks, level) that fits, lowest level first; else the doubt of the last.

    Bader, Yan & Zhang, "Automated threshold selection for extreme value analysis via ordered goodness-of-fit tests",
    Annals of Applied Statistics 12(1), 2018, without their correction for several tests: a tail is given up sooner.
    """
    found: Tail | Doubt = Doubt(f"there are fewer than {FEWEST_PEAKS} incidents to fit a tail")
    for peaks, level in candidates:
        found = trusted(peaks, level, days)
        if isinstance(found, Tail):
            break
    return found


def _log_odds(excess: Float64, shape: float, scale: float) -> Float64:
    """(n,) -log P(excess is larger); infinite beyond the end of a distribution that has one."""
    if abs(shape) < TINY:
        return excess / scale
    with np.errstate(divide="ignore"):
        found: Float64 = np.log1p(np.maximum(shape * excess / scale, -1.0)) / shape
    return found
