"""Counting incidents at a threshold, against the state machine that opens them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.calibration.incident_count import Curve, Stretch, critical_levels, curve, incidents, lay
from monitor.config import Incidents, Severity
from monitor.errors import MonitorError
from tests.test_incidents import Step, feed, made

Errors = list[list[float]]


@st.composite
def any_rules(draw: st.DrawFn) -> Incidents:
    open_window = draw(st.integers(1, 6))
    return Incidents(
        open_after=draw(st.integers(1, open_window)),
        open_window=open_window,
        close_after=draw(st.integers(1, 6)),
        min_duration=draw(st.sampled_from([0, 0, 3, 7.5])),
        cooldown=draw(st.sampled_from([0, 0, 4, 20])),
        severity=Severity(warning=draw(st.sampled_from([1, 1, 1.5]))),
    )


blocks = st.lists(st.lists(st.integers(0, 4).map(float), min_size=1, max_size=60), min_size=1, max_size=3)


def stretches(errors: Errors, interval: float = 1.5) -> list[Stretch]:
    return [Stretch(f"s{n}", np.arange(len(e), dtype=np.float64) * interval, np.array(e)) for n, e in enumerate(errors)]


def opened(errors: Errors, threshold: float, rules: Incidents) -> list[int]:
    """Rows at which the service's own state machine opens an incident, counted through all stretches."""
    found, first = [], 0
    for one in stretches(errors):
        steps = [
            Step(0, one.stream, t, e / threshold) for t, e in zip(one.time.tolist(), one.error.tolist(), strict=True)
        ]
        found += [first + told.row for told in feed(made(rules), steps) if told.alert.status == "opened"]
        first += len(steps)
    return found


@given(blocks, any_rules(), st.sampled_from([0.5, 1.0, 2.0, 3.0]))
def test_incidents_open_where_the_service_would_open_them(errors: Errors, rules: Incidents, threshold: float) -> None:
    assert incidents(lay(stretches(errors)), threshold, rules)[:, 0].tolist() == opened(errors, threshold, rules)


@given(blocks, st.integers(1, 5), st.integers(1, 8))
def test_counting_runs_gives_what_walking_gives(errors: Errors, k: int, close_after: int) -> None:
    """A duration too short to matter takes the walk instead of the short cut."""
    short = Incidents(open_after=k, open_window=5, close_after=close_after)
    walk = short.model_copy(update={"min_duration": 1e-300 if k > 1 else 0.0, "cooldown": 1e-300})
    rows = lay(stretches(errors))
    assert incidents(rows, 1.0, short).tolist() == incidents(rows, 1.0, walk).tolist()


def test_an_incident_ends_with_its_last_anomalous_row() -> None:
    errors = [0.0, 2, 2, 2, 0, 0, 2, 0, 0, 0, 2, 0]
    rules = Incidents(open_after=2, open_window=3, close_after=3)
    assert incidents(lay(stretches([errors])), 1.0, rules).tolist() == [[2, 6]]


@given(blocks, any_rules())
def test_a_curve_counts_what_its_levels_make(errors: Errors, rules: Incidents) -> None:
    rows = lay(stretches(errors), folds=3)
    found = curve(rows, rules)
    assert (np.diff(found.level) < 0).all()
    assert found.total().tolist() == [len(incidents(rows, level, rules)) for level in found.level.tolist()]


def test_a_curve_of_few_rows_has_a_level_for_every_error_above_the_median() -> None:
    error = np.random.default_rng(0).permutation(np.arange(1.0, 151.0))
    found = curve(lay([Stretch("", np.arange(150.0), error)]), Incidents())
    assert found.level.tolist() == np.arange(150.0, 74.0, -1).tolist()


def test_a_curve_stops_once_there_are_too_many() -> None:
    rows = lay([Stretch("", np.arange(5000.0), np.random.default_rng(0).random(5000))])
    found = curve(rows, Incidents(), most=20)
    assert found.total()[-1] > 20
    assert (found.total()[:-1] <= 20).all()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_a_lower_budget_never_gives_a_lower_threshold(counts: list[int]) -> None:
    made_up = Curve(-np.arange(len(counts), dtype=np.float64), np.array(counts)[:, None])
    indices = [made_up.lowest(most) for most in range(10)]
    assert indices == sorted(indices)
    for most, index in enumerate(indices):
        assert max(counts[: index + 1], default=0) <= most
        assert index + 1 == len(counts) or counts[index + 1] > most


@given(blocks, any_rules(), st.sampled_from([0.5, 1.0, 2.0]))
def test_an_incident_opens_below_its_critical_level_and_not_at_it(
    errors: Errors, rules: Incidents, level: float
) -> None:
    rules = rules.model_copy(update={"cooldown": 0.0, "severity": Severity()})
    rows = lay(stretches(errors))
    peaks = critical_levels(rows, level, rules)
    assert len(peaks) == len(incidents(rows, level, rules))
    assert (peaks > level).all()
    if len(peaks):
        assert len(incidents(rows, float(peaks.max()), rules)) == 0
        assert len(incidents(rows, float(np.nextafter(peaks.max(), 0)), rules)) > 0


def test_the_peak_of_k_of_n_is_the_kth_highest_error_of_n() -> None:
    rules = Incidents(open_after=3, open_window=5, close_after=10)
    error = np.random.default_rng(3).lognormal(size=40)
    kth = [np.sort(error[max(0, row - 4) : row + 1])[-3] for row in range(2, 40)]
    assert critical_levels(lay([Stretch("", np.arange(40.0), error)]), 0.01, rules).tolist() == [max(kth)]


def test_folds_cut_each_stream_at_the_same_share_of_its_own_time() -> None:
    """Stretches of one stream go on where the one before them ended."""
    parts = [("a", 5), ("b", 20), ("a", 15)]
    rows = lay([Stretch(name, np.arange(float(n)), np.ones(n)) for name, n in parts], folds=4)
    assert rows.fold.tolist() == [0] * 5 + np.repeat(range(4), 5).tolist() + np.repeat(range(1, 4), 5).tolist()


@pytest.mark.parametrize("errors", [[], [[]], [[1.0, np.inf]], [[np.nan]], [[1.0], [-np.inf]]])
def test_errors_that_are_no_numbers_are_refused(errors: Errors) -> None:
    with pytest.raises(MonitorError, match="no finite errors"):
        lay(stretches(errors))


def test_time_and_error_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="must both be"):
        Stretch("", np.zeros(3), np.zeros(2))
