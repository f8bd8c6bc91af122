"""The detection benchmark's own parts: methods that score as the service would, results that are kept, the page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.detection import hits, page
from benchmarks.detection.__main__ import main
from benchmarks.detection.baselines import FlagAll, Rule
from benchmarks.detection.method import Goal, Series
from benchmarks.detection.methods import OURS
from benchmarks.detection.ours import RECIPE, Ours, PlainAutoencoder
from benchmarks.detection.registry import BENCHMARKS
from benchmarks.detection.results import Result, Store, digest, run
from monitor.batch import Float64
from tests.models import waves

torch.set_num_threads(1)


def made(rows: int, *, ordered: bool = True, gap_at: int | None = None) -> Series:
    time = np.arange(rows, dtype=np.float64)
    if gap_at is not None:
        time[gap_at:] += 3600
    return Series("s", time, waves(rows, 3).astype(np.float64), ("a", "b", "c"), ordered)


def scores(method: Ours | PlainAutoencoder, fitted_on: Series, of: Series) -> Float64:
    return method.fit([fitted_on], 0).score(of.values, of.time)


def test_a_score_depends_on_the_rows_before_it_only() -> None:
    fitted = Ours().fit([made(400)], 0)
    whole, part = made(200), made(200)[:120]
    assert np.array_equal(
        fitted.score(whole.values, whole.time)[:120], fitted.score(part.values, part.time), equal_nan=True
    )


def test_there_is_no_score_until_a_window_is_whole_at_the_beginning_and_after_a_gap() -> None:
    missing = np.isnan(scores(Ours(), made(400), made(100, gap_at=50)))
    warming = RECIPE.window - 1
    assert np.flatnonzero(missing).tolist() == [*range(warming), *range(50, 50 + warming)]


def test_rows_without_an_order_are_judged_alone() -> None:
    flows = made(400, ordered=False)
    turned = Series("s", flows.time, flows.values[::-1], flows.features, ordered=False)
    fitted = Ours().fit([flows], 0)
    assert np.allclose(
        fitted.score(flows.values, flows.time), fitted.score(turned.values, turned.time)[::-1], rtol=1e-5
    )


def test_the_plain_autoencoder_has_the_quantile_of_the_rows_it_was_given() -> None:
    quick = PlainAutoencoder(Rule(0.9)).settings.model_copy(update={"epochs": 1})
    normal = made(600)
    fitted = PlainAutoencoder(Rule(0.9), quick).fit([normal], 0)
    above = fitted.score(normal.values, normal.time) > fitted.threshold
    assert above.mean() == pytest.approx(0.1, abs=0.02)


def test_a_result_is_kept_for_its_code_and_settings(tmp_path: Path) -> None:
    store, one = Store(tmp_path), Ours()
    other = Ours(RECIPE.model_copy(update={"quantile": 0.98}))
    assert digest(one) == digest(Ours())
    assert digest(one) != digest(other)
    result = Result({"AUC": 0.9}, 2.0, 1.0, 34, 80.5)
    store.put("skab", "ours", digest(one), 0, result)
    assert store.get("skab", "ours", digest(one), 0) == result
    assert store.get("skab", "ours", digest(other), 0) is None
    store.put("skab", "ours", digest(one), 2, result)
    assert store.seeds("skab", "ours", digest(one)) == [result], "seed 1 is missing, so 2 does not count yet"


def test_a_run_counts_fits_and_parameters() -> None:
    def benchmark(method: object, seed: int) -> dict[str, float]:
        for _ in range(3):
            method.fit([made(300)], seed)  # type: ignore[attr-defined]  # it is a method
        return {"F1": 0.5}

    found = run(benchmark, Ours(), 0)
    assert (found.figures, found.models) == ({"F1": 0.5}, 3)
    assert found.parameters > 0
    assert found.seconds >= found.fit_seconds > 0
    assert run(benchmark, FlagAll(), 0).parameters == 0


def test_the_page_is_written_from_what_there_is(tmp_path: Path) -> None:
    empty = page.text(Store(tmp_path))
    assert "{{" not in empty
    assert empty.count("Not measured yet.") == len(BENCHMARKS) + 2
    store = Store(tmp_path / "results")
    ours = BENCHMARKS["batadal"].entries[-1].method
    assert ours.name == OURS
    store.put("batadal", OURS, digest(ours), 0, Result({"F1": 0.8, "S": 0.7, "found": 7.0}, 1.0, 1.0, 1, 9))
    written = page.text(store)
    assert "| BATADAL dataset04 | F1 | >= 0.78 | 0.8000 | reached |" in written
    assert "| BATADAL dataset04 | S | >= 0.9 | 0.7000 | **not reached** |" in written
    assert main(["--page-only", "--results", str(tmp_path / "results"), "--page", str(tmp_path / "page.md")]) == 0
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == written


def test_every_goal_names_a_figure_that_is_shown() -> None:
    for benchmark in BENCHMARKS.values():
        assert not benchmark.shown or {goal.figure for goal in benchmark.goals} <= set(benchmark.shown)
    assert Goal("FAR", 0.2, most=True).reached({"FAR": 0.2})
    assert not Goal("J", 0.58).reached({"J": 0.579})


def test_interpretation_labels_count_rows_from_0_and_dimensions_from_1(tmp_path: Path) -> None:
    path = tmp_path / "m_interpretation.txt"
    path.write_text("837-858:1,6\n2959-4174:38\n")
    assert hits.interpretation(path) == [(837, 858, (0, 5)), (2959, 4174, (37,))]
