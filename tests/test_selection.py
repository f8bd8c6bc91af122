"""Which detector is taken: the one that finds more injected faults, and of equals the simplest."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from monitor.batch import Float32, Float64
from monitor.model.baselines import KINDS, OVER_FEATURES, estimate
from monitor.model.dataset import Split
from monitor.model.ensemble import Ensemble
from monitor.model.reconstructor import Reconstructor
from monitor.model.scorer import Scorer
from monitor.model.selection import (
    BLOCKS,
    MOST_WINDOWS,
    average_precision,
    held_out,
    jackknife,
    parameters,
    select,
    too_short,
)
from tests.baselines.made import scorer, split


def clock() -> Callable[[], float]:
    """A second a look."""
    return map(float, itertools.count()).__next__


def weighed(model: Reconstructor, of: Split, over_features: str = "mean") -> Scorer:
    """In units of each channel's own error on the validation windows."""
    plain = scorer(model, of.features, of.window)
    with torch.inference_mode():
        z = plain.front(torch.from_numpy(of.take(of.validation)))
        own = model.error(z, model.reconstruct(z)).mean(dim=(0, 1)).clamp(min=1e-6)
    return scorer(model, of.features, of.window, own.tolist(), "max" if over_features == "max" else "mean")


def baselines(of: Split) -> dict[str, Scorer]:
    return {kind: weighed(estimate(kind, of), of, OVER_FEATURES[kind]) for kind in KINDS}


class Swing(Reconstructor):
    """Knows the time: of a sine, an event follows from the two before, x(t) = 2 cos(w) x(t-1) - x(t-2)."""

    def __init__(self, window: int, step: float) -> None:
        super().__init__()
        matrix = np.eye(window)
        for row in range(2, window):
            matrix[row] = 0
            matrix[row, [row - 1, row - 2]] = 2 * np.cos(step), -1
        self.matrix: Tensor
        self.register_buffer("matrix", torch.from_numpy(matrix).float())

    def encode(self, z: Tensor) -> Tensor:
        return z[:, -1]

    def reconstruct(self, z: Tensor) -> Tensor:
        return torch.einsum("st,btg->bsg", self.matrix, z)

    def error(self, z: Tensor, reconstruction: Tensor) -> Tensor:
        return (reconstruction - z) ** 2


def test_where_channels_are_tied_together_the_detector_that_knows_it_is_taken_even_of_few_rows() -> None:
    rng = np.random.default_rng(0)
    tied = rng.normal(size=(300, 2)) @ rng.normal(size=(2, 8)) + 0.05 * rng.normal(size=(300, 8))
    of = split(tied.astype(np.float32), 4)
    assert too_short(of)
    found = select(baselines(of), of.take(held_out(of)), 0, clock())
    assert found.chosen in ("pca", "mahalanobis")
    score = {one.name: one.score for one in found.candidates}
    assert score["pca"] > score["max_z"] + 0.1


def test_where_only_the_order_of_events_tells_the_detector_that_sees_time_is_taken() -> None:
    """A point on a circle: single rows are all alike, so nothing but a jump off the circle can be seen in one."""
    rng = np.random.default_rng(0)
    phase = 0.4 * np.arange(2000)
    rows = np.column_stack([np.sin(phase), np.sin(phase + rng.normal())]) + 0.02 * rng.normal(size=(2000, 2))
    of = split(rows.astype(np.float32), 16)
    assert not too_short(of)
    several = baselines(of) | {"swing": weighed(Swing(16, 0.4), of)}
    found = select(several, of.take(held_out(of)), 0, clock())
    assert found.chosen == "swing"
    by_kind = {one.name: one.by_kind for one in found.candidates}
    assert max(by_kind[kind]["reversed"] for kind in KINDS) < 0.2 < 0.8 < by_kind["swing"]["stuck"]


def waves(rows: int = 800) -> Float32:
    rng = np.random.default_rng(0)
    phase = np.arange(rows)[:, None] / 9 + np.arange(3)
    return (np.sin(phase) + 0.1 * rng.normal(size=(rows, 3))).astype(np.float32)


def test_of_equals_the_one_with_the_fewest_parameters_is_taken() -> None:
    of = split(waves(), 8)
    pca = weighed(estimate("pca", of), of)
    found = select({"two": weighed(Ensemble.of([pca, pca]), of), "one": pca}, of.take(held_out(of)), 0, clock())
    assert found.chosen == "one"
    assert [one.name for one in found.candidates] == ["one", "two"]
    assert [one.behind for one in found.candidates] == pytest.approx([0.0, 0.0], abs=1e-3)


def test_the_same_seed_gives_the_same_selection() -> None:
    of = split(waves(), 8)
    windows = of.take(held_out(of))
    one, again = (select(baselines(of), windows, 5, clock()) for _ in range(2))
    assert one == again
    assert select(baselines(of), windows, 6, clock()).metrics != one.metrics


def test_the_order_of_the_candidates_plays_no_part() -> None:
    of = split(waves(), 8)
    windows = of.take(held_out(of))
    several = baselines(of)
    turned = dict(reversed(several.items()))
    assert select(several, windows, 0, clock()).metrics == select(turned, windows, 0, clock()).metrics
    assert select(several, windows, 0, clock()).chosen == select(turned, windows, 0, clock()).chosen


def test_what_the_manifest_keeps_does_not_depend_on_the_clock() -> None:
    of = split(waves(), 8)
    windows = of.take(held_out(of))
    found = [select(baselines(of), windows, 0, pace) for pace in (clock(), iter(np.arange(1e3) * 7.5).__next__)]
    assert found[0].metrics == found[1].metrics
    assert set(found[0].metrics) == {f"selection_{kind}" for kind in KINDS}
    assert found[1].candidates[0].microseconds == pytest.approx(7.5 * found[0].candidates[0].microseconds)


def test_the_table_names_every_candidate_and_marks_the_one_that_is_taken() -> None:
    of = split(waves(), 8)
    found = select(baselines(of), of.take(held_out(of)), 0, clock())
    lines = found.table
    assert [line.split()[0] for line in lines[1:]] == [one.name for one in found.candidates]
    assert [line.split()[0] for line in lines if line.endswith("<- taken")] == [found.chosen]


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_of_too_few_windows_to_tell_the_simplest_is_taken(count: int) -> None:
    of = split(waves(), 8)
    found = select(baselines(of), of.take(of.validation[:1].repeat(count)), 0, clock())
    assert found.chosen == "max_z"


def test_constant_rows_are_no_obstacle() -> None:
    of = split(np.full((200, 3), 4, np.float32), 4)
    assert select(baselines(of), of.take(held_out(of)), 0, clock()).chosen in KINDS


def test_a_history_is_too_short_below_thirty_windows_that_do_not_overlap_or_five_hundred_rows() -> None:
    """Six tenths of the rows are fitted."""
    assert [too_short(split(waves(rows), 32)) for rows in (1500, 1700)] == [True, False]
    assert [too_short(split(waves(rows), 1)) for rows in (800, 900)] == [True, False]


def test_gaps_do_not_count_as_rows() -> None:
    """Of the same number of rows, those between gaps shorter than a window are in none."""
    whole = split(waves(2000), 32)
    assert not too_short(whole)
    first = np.concatenate([np.arange(start, start + 4) for start in range(0, 400, 100)])
    assert too_short(Split(**{name: getattr(whole, name) for name in Split.__slots__} | {"fit": first}))


def test_held_out_windows_are_validation_windows_and_bounded() -> None:
    of = split(waves(20_000), 8)
    assert len(held_out(of)) == MOST_WINDOWS
    assert set(held_out(of).tolist()) <= set(of.validation.tolist())
    assert len(held_out(split(waves(400), 8))) < MOST_WINDOWS


errors = st.lists(st.integers(0, 6).map(float), min_size=1, max_size=12).map(np.array)


@given(normal=errors, faulty=errors, prevalence=st.sampled_from([0.05, 0.5, 0.9]))
def test_average_precision_is_that_of_normal_windows_repeated_to_the_prevalence(
    normal: Float64, faulty: Float64, prevalence: float
) -> None:
    weight = (1 - prevalence) / prevalence * len(faulty) / len(normal)  # of a normal window
    before, expected = 0.0, 0.0
    for level in sorted({*normal, *faulty}, reverse=True):
        hits, false = (faulty >= level).sum(), weight * (normal >= level).sum()
        expected += (hits / len(faulty) - before) * hits / (hits + false) if hits else 0.0
        before = hits / len(faulty)
    assert average_precision(normal, faulty, prevalence) == pytest.approx(expected)


def test_a_perfect_ranking_has_precision_one_and_a_blind_one_the_prevalence() -> None:
    assert average_precision(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 1.0
    assert average_precision(np.ones(50), np.ones(70), 0.05) == pytest.approx(0.05)
    assert np.isnan(average_precision(np.ones(3), np.empty(0)))


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=BLOCKS)
    left_out = np.array([np.delete(values, one).mean() for one in range(BLOCKS)])
    assert jackknife(left_out) == pytest.approx(values.std(ddof=1) / np.sqrt(BLOCKS))


def test_parameters_are_the_numbers_of_the_model_without_scaler_and_units() -> None:
    of = split(waves(), 8)
    assert {kind: parameters(one) for kind, one in baselines(of).items()} == {
        "max_z": 3,
        "pca": 3 + 3 * 2,
        "mahalanobis": 3 + 2 * 9,
    }
