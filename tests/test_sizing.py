"""`monitor size`: what is asked for is enough for the load, and follows it; bad input is told."""

from __future__ import annotations

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from monitor import cli
from monitor.sizing import Shape, plan

shapes = st.builds(
    Shape, st.integers(1, 300), st.integers(1, 300), st.integers(1, 256), st.sampled_from(["lstm", "linear"])
)
streams = st.integers(1, 10**8)
rates = st.floats(1e-5, 100)


def invoke(*args: str) -> Result:
    return CliRunner().invoke(cli.main, ["size", *args], prog_name="monitor", terminal_width=80)


@settings(deadline=None)
@given(streams=streams, rate=rates, shape=shapes, load=st.floats(0.05, 1))
def test_no_member_is_planned_beyond_its_share_of_a_core(streams: int, rate: float, shape: Shape, load: float) -> None:
    found = plan(streams, rate, shape, load)
    assert found.core <= load * (1 + 1e-9)
    assert found.members * found.capacity * load >= streams * rate * (1 - 1e-9)


@settings(deadline=None)
@given(streams=streams, rate=rates, shape=shapes)
def test_one_member_fewer_would_not_do(streams: int, rate: float, shape: Shape) -> None:
    found = plan(streams, rate, shape)
    assert found.members == 1 or (found.members - 1) * found.capacity * 0.5 < streams * rate


@settings(deadline=None)
@given(streams=streams, rate=rates, shape=shapes)
def test_the_memory_asked_for_holds_the_windows_and_the_limit_those_of_a_member_that_is_away(
    streams: int, rate: float, shape: Shape
) -> None:
    found = plan(streams, rate, shape)
    windows = 4 * shape.features * shape.window
    assert found.request >= windows * streams / found.members
    assert found.limit >= windows * streams / max(1, found.members - 1)
    assert found.limit > found.request


@settings(deadline=None)
@given(shape=shapes, stride=st.integers(2, 100))
def test_a_stride_costs_less_and_never_less_than_reading(shape: Shape, stride: int) -> None:
    fewer = Shape(shape.features, shape.window, shape.hidden, shape.network, stride)
    assert Shape(shape.features, shape.window, 1, "linear", 10**9).event < fewer.event < shape.event


def test_a_rate_is_of_one_stream_in_any_unit() -> None:
    shown = [
        invoke("--streams", "600", "--features", "4", "--rate", rate).output for rate in ("1/min", "60/h", "1440/d")
    ]
    assert "events      10/s" in shown[0]
    assert len(set(shown)) == 1


def test_the_values_are_yaml_that_asks_for_what_is_printed() -> None:
    shown = invoke("--streams", "1000000", "--rate", "1/min", "--features", "16").output
    values = YAML(typ="safe").load(shown.partition("values:\n")[2])
    found = plan(1_000_000, 1 / 60, Shape(16, 32))
    assert f"members     {found.members} (" in shown
    assert values["replicas"] == found.members
    assert values["config"]["topics"]["input"]["partitions"] >= found.members
    assert values["resources"]["limits"]["memory"] == f"{found.limit // 2**20}Mi"


@pytest.mark.parametrize("rate", ["fast", "0", "-1", "1/week", "1/", "nan", ""])
def test_a_rate_that_is_none_is_bad_usage(rate: str) -> None:
    result = invoke("--streams", "1", "--features", "1", "--rate", rate)
    assert result.exit_code == 2
    assert "is no rate; say 10/s, 1/min, 4/h or 1/d" in result.output
