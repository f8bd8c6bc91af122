"""The threshold that follows a stream."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.batch import Float64
from monitor.calibration.spot import Spot, begin, flags, from_bytes, to_bytes
from monitor.calibration.tail import fit
from monitor.errors import MonitorError


def noise(count: int, seed: int = 0) -> Float64:
    return np.random.default_rng(seed).exponential(size=count)


def by_definition(first: Float64, later: Float64, risk: float, depth: int) -> list[bool]:
    """The paper's algorithms 2 and 3, nothing kept but lists of everything."""
    normal = list(first)
    apart = np.array([first[i] - (first[i - depth : i].mean() if depth else 0) for i in range(depth, len(first))])
    level = np.quantile(apart, 0.98)
    excess = list(apart[apart > level] - level)
    seen = len(apart)

    def line() -> float:
        shape, scale = fit(np.array(excess))
        return float(level + scale / shape * ((risk * seen / len(excess)) ** -shape - 1))

    threshold = line()
    found = []
    for value in later:
        x = value - (np.mean(normal[-depth:]) if depth else 0)
        found.append(bool(x > threshold))
        if found[-1]:
            continue
        seen += 1
        normal.append(value)
        if x > level:
            excess.append(x - level)
            threshold = line()
    return found


@pytest.mark.parametrize("depth", [0, 1, 20])
def test_it_is_the_algorithm_of_the_paper(depth: int) -> None:
    """Until the first peak is made up, which 1 / risk normal values take."""
    first, later = noise(2000), noise(900, 1)
    later[[200, 700]] = 40
    found = flags(begin(first, 1e-3, depth=depth, memory=10_000), later.tolist())
    assert found == by_definition(first, later, 1e-3, depth)
    assert found[200]
    assert found[700]


@pytest.mark.parametrize("risk", [1e-3, 5e-3])
def test_the_share_of_flagged_values_is_the_risk_and_stays_so(risk: float) -> None:
    """Each third of 60,000: what the line cuts off must not make it fall."""
    values = noise(65_000)
    found = flags(begin(values[:5000], risk), values[5000:].tolist())
    assert np.mean(np.reshape(found, (3, -1)), axis=1) / risk == pytest.approx(np.ones(3), abs=0.6)


def test_made_up_peaks_owe_nothing_to_what_was_flagged() -> None:
    values = noise(6000)
    calm, hit = begin(values[:2000], 1e-3), begin(values[:2000], 1e-3)
    flags(calm, values[2000:].tolist())
    for value in values[2000:].tolist():
        hit.step(value)
        hit.step(1e9 * value + 1e9)
    assert hit.made_up == 4
    assert to_bytes(hit) == to_bytes(calm)


def test_with_drift_the_share_holds_where_the_plain_one_is_lost() -> None:
    values = noise(20_000) + np.linspace(0, 50, 20_000)
    plain, drift = begin(values[:2000], 1e-3), begin(values[:2000], 1e-3, depth=50)
    assert np.mean(flags(drift, values[2000:].tolist())) == pytest.approx(1e-3, rel=1)
    assert np.mean(flags(plain, values[2000:].tolist())) > 0.5


@pytest.mark.parametrize("depth", [0, 10])
def test_what_is_flagged_does_not_enter(depth: int) -> None:
    state = begin(noise(2000), 1e-3, depth=depth)
    before = to_bytes(state)
    assert flags(state, [1e6] * 1000) == [True] * 1000
    assert to_bytes(state) == before


@settings(max_examples=25)
@given(st.lists(st.floats(0, 30), max_size=60), st.sampled_from([0, 5]), st.integers(0, 60))
def test_a_restored_state_goes_on_as_it_would_have(values: list[float], depth: int, cut: int) -> None:
    whole = begin(noise(1200), 5e-3, depth=depth, memory=30)
    half = from_bytes(to_bytes(whole))
    expected = flags(whole, values)
    found = flags(half, values[:cut])
    half = from_bytes(to_bytes(half))
    assert found + flags(half, values[cut:]) == expected
    assert to_bytes(half) == to_bytes(whole)


def test_memory_is_bounded() -> None:
    state = begin(noise(2000), 1e-3, depth=10, memory=40)
    flags(state, noise(20_000, 2).tolist())
    assert (len(state.excess), len(state.recent)) == (40, 10)
    assert state.exceeded > 200
    assert len(to_bytes(state)) < 600


def test_the_line_is_what_a_value_must_be_above() -> None:
    state = begin(noise(2000), 1e-3, depth=10)
    assert not from_bytes(to_bytes(state)).step(state.line - 1e-9)
    assert from_bytes(to_bytes(state)).step(state.line + 1e-9)


@pytest.mark.parametrize("values", [np.ones(2000), np.zeros(2000), noise(500), noise(3), np.empty(0)])
@pytest.mark.parametrize("depth", [0, 5])
def test_too_few_values_or_equal_ones_begin_nothing(values: Float64, depth: int) -> None:
    with pytest.raises(MonitorError, match="too few for a tail"):
        begin(values, 1e-3, depth=depth)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(MonitorError, match="not all finite"):
        begin(np.append(noise(2000), value), 1e-3)
    with pytest.raises(ValueError, match="is no value"):
        begin(noise(2000), 1e-3).step(value)


@pytest.mark.parametrize(("risk", "memory"), [(0.0, 500), (0.01, 500), (0.5, 500), (1e-3, 5)])
def test_settings_that_make_no_sense_are_refused(risk: float, memory: int) -> None:
    with pytest.raises(ValueError, match="do not go together"):
        begin(noise(2000), risk, memory=memory)


def damaged(state: Spot, **change: object) -> bytes:
    for name, value in change.items():
        setattr(state, name, value)
    return to_bytes(state)


def test_bytes_that_are_no_state_are_refused() -> None:
    good = to_bytes(begin(noise(2000), 1e-3))
    for bad in (
        b"",
        good[:-1],
        b"\x93\x01\x02\x03",
        damaged(from_bytes(good), version=2),
        damaged(from_bytes(good), recent=[1.0]),
    ):
        with pytest.raises(MonitorError, match="Begin it again"):
            from_bytes(bad)
