"""Features <-> channels: the graph against the fitting side, its inverse, its ends, and its export."""

from __future__ import annotations

import warnings
from itertools import pairwise, product
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from monitor.batch import Float32, Float64
from monitor.config import FeatureRule
from monitor.model import scaling
from monitor.model.front import LIMIT, Front
from monitor.model.manifest import Feature

torch.set_num_threads(1)

KINDS: list[dict[str, Any]] = [
    {"log1p": log, "change": change, "clip": clip}
    for log, change, clip in product((False, True), ("none", "difference", "rate"), (None, (-50.0, 400.0)))
    if not (log and change == "rate")
]
END = float(np.finfo(np.float32).max)


def plain(name: str = "x", **changes: Any) -> Feature:
    return Feature.model_validate({"name": name, "mean": 0.0, "minimum": 0.0, "maximum": 1.0} | changes)


def windows_of(columns: Float64, seconds: Float64, front: Front) -> torch.Tensor:
    """One window (1, T, columns) of values (T, F), with the seconds (T,) where they are needed."""
    parts = [columns, seconds[:, None]] if front.timed else [columns]
    return torch.from_numpy(np.concatenate(parts, axis=1).astype(np.float32)[None])


rows = st.lists(
    st.tuples(st.floats(-1000, 1000, width=32), st.floats(0.125, 100, width=32)),
    min_size=2,
    max_size=12,
)


@settings(deadline=None, max_examples=100)
@given(rows, st.sampled_from(KINDS))
def test_the_graph_transforms_as_the_scaler_was_fitted(events: list[tuple[float, float]], kind: dict[str, Any]) -> None:
    values, seconds = np.array(events).T
    front = Front([plain(**kind)])
    opens = np.arange(len(values)) == 0
    wanted = scaling.transformed(values, seconds, opens, FeatureRule(match="*", **kind))
    found = front(windows_of(values[:, None], seconds, front))[0, :, 0].numpy()
    known = ~np.isnan(wanted)
    assert known.sum() >= len(values) - 1
    assert not found[~known].any()  # of the first event no change is known
    np.testing.assert_allclose(found[known], np.clip(wanted[known], -LIMIT, LIMIT), rtol=2e-5, atol=1e-4)


@settings(deadline=None, max_examples=200)
@given(rows, st.sampled_from(KINDS), st.floats(-2, 2), st.sampled_from([0.25, 1.0, 30.0]))
def test_what_is_restored_is_what_was_observed(
    events: list[tuple[float, float]], kind: dict[str, Any], shift: float, scale: float
) -> None:
    values, seconds = np.array(events).T
    front = Front([plain(shift=shift, scale=scale, **kind)])
    windows = windows_of(values[:, None], seconds, front)
    z = front(windows)
    assume(abs(float(z[0, -1, 0])) < LIMIT)  # what was cut off is gone
    restored = float(front.restore(z[:, -1], windows)[0, 0])
    low, high = kind["clip"] or (-END, END)
    assert restored == pytest.approx(min(max(values[-1], low), high), rel=2e-4, abs=2e-2)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 5000), st.floats(0.25, 60, width=32)), min_size=2, max_size=20))
def test_a_rate_counts_as_prometheus_does_when_a_counter_is_reset(events: list[tuple[int, float]]) -> None:
    """The increase over the window is the last value less the first, and what every reset took away."""
    counter = np.array([value for value, _ in events], np.float64)
    seconds = np.array([step for _, step in events])
    front = Front([plain(change="rate")])
    rate = front(windows_of(counter[:, None], seconds, front))[0, :, 0].numpy().astype(np.float64)
    resets = sum(before for before, after in pairwise(counter.tolist()) if after < before)
    assume(np.abs(rate).max() < LIMIT)
    assert (rate * seconds)[1:].sum() == pytest.approx(counter[-1] - counter[0] + resets, rel=1e-5, abs=1e-3)
    assert (rate >= 0).all()


def test_the_seconds_of_the_first_event_are_not_read() -> None:
    front = Front([plain(change="rate"), plain("y", change="difference")])
    values = np.array([[1.0, 5.0], [3.0, 4.0], [7.0, 9.0]])
    one, other = (windows_of(values, np.array([first, 2.0, 4.0]), front) for first in (0.0, 77.0))
    z = front(one)
    assert z[0].tolist() == [[0, 0], [1, -1], [1, 5]]
    assert torch.equal(z, front(other))
    assert torch.equal(front.restore(z[:, -1], one), front.restore(z[:, -1], other))


def mixed() -> Front:
    """One of every kind, categories between numbers."""
    several = [plain(f"x{place}", shift=0.5, scale=3.0, **kind) for place, kind in enumerate(KINDS)]
    several.insert(1, plain("protocol", categories=("icmp", "tcp", "udp")))
    several.append(plain("host", categories=("a",)))
    return Front(several)


extreme = st.sampled_from([0.0, -0.0, END, -END, 1e-45, -1e-45, 1e-38, 1.0, -1.0, 1e30, -1e30, LIMIT])


@settings(deadline=None, max_examples=100)
@given(st.data(), st.integers(2, 4))
def test_every_finite_input_gives_finite_channels_and_a_finite_expectation(data: st.DataObject, window: int) -> None:
    """Also with no time or a negative one between two events, and whatever the network made of the channels."""
    front = mixed()
    some = st.lists(extreme, min_size=window * front.columns, max_size=window * front.columns)
    windows = torch.tensor(data.draw(some)).reshape(1, window, front.columns)
    z = front(windows)
    assert z.shape == (1, window, front.channels)
    assert z.isfinite().all()
    made = torch.tensor(data.draw(st.lists(extreme, min_size=front.channels, max_size=front.channels)))[None]
    assert front.restore(z[:, -1], windows).isfinite().all()
    assert front.restore(made, windows).isfinite().all()


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.one_of(extreme, st.floats(-END, END, width=32)), min_size=2, max_size=30),
    st.sampled_from(KINDS),
    st.sampled_from(["standard", "robust", "minmax", "none"]),
)
def test_whatever_the_fitting_rows_the_channels_are_finite(column: list[float], kind: dict[str, Any], how: str) -> None:
    values = np.array(column)
    opens = np.arange(len(values)) == 0
    feature, _ = scaling.number("x", "", values, np.ones(len(values)), opens, FeatureRule(match="*", **kind), how)
    front = Front([feature])
    windows = windows_of(values[:, None], np.ones(len(values)), front)
    z = front(windows)
    assert z.isfinite().all()
    assert front.restore(z[:, -1], windows).isfinite().all()


def test_a_category_is_one_channel_a_value_and_an_unknown_one_is_none_of_them() -> None:
    front = Front([plain("a", shift=1.0), plain("b", categories=("icmp", "tcp", "udp")), plain("c")])
    windows = torch.tensor([[[3.0, 1.0, 7.0], [3.0, 2.0, 7.0], [3.0, -1.0, 7.0], [3.0, 0.0, 7.0]]])
    assert front(windows)[0].tolist() == [[2, 0, 1, 0, 7], [2, 0, 0, 1, 7], [2, 0, 0, 0, 7], [2, 1, 0, 0, 7]]
    assert (front.inputs, front.columns, front.channels) == (3, 3, 5)


def test_of_a_category_the_likeliest_is_expected_and_its_error_is_the_mean() -> None:
    front = Front([plain("b", categories=("icmp", "tcp", "udp")), plain("c", shift=1.0, scale=2.0)])
    z = torch.tensor([[0.2, 0.1, 0.7, 3.0], [0.5, -0.1, 0.4, -1.0]])
    assert front.restore(z, torch.zeros(2, 4, 2)).tolist() == [[2, 7], [0, -1]]
    np.testing.assert_allclose(front.per_feature(z), [[1 / 3, 3], [0.8 / 3, -1]], rtol=1e-6)


def test_events_may_be_categories_alone() -> None:
    front = Front([plain("a", categories=("x", "y")), plain("b", categories=("z",))])
    windows = torch.tensor([[[0.0, 0.0], [1.0, -1.0]]])
    assert front(windows)[0].tolist() == [[1, 0, 1], [0, 1, 0]]
    assert front.restore(torch.tensor([[0.0, 1.0, 5.0]]), windows).tolist() == [[1, 0]]


class There(torch.nn.Module):
    """Front and back again, to be exported."""

    def __init__(self, front: Front) -> None:
        super().__init__()
        self.front = front

    def forward(self, windows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z = self.front(windows)
        return z, self.front.restore(z[:, -1], windows)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> onnxruntime.InferenceSession:
    graph = tmp_path_factory.mktemp("front") / "front.onnx"
    front = mixed()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            There(front),
            (torch.zeros(2, 6, front.columns),),
            graph,
            input_names=["windows"],
            output_names=["z", "expected"],
            dynamic_axes={name: {0: "W"} for name in ("windows", "z", "expected")},
            opset_version=17,
            dynamo=False,
        )
    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


def some_windows(count: int, front: Front, seed: int = 0) -> Float32:
    rng = np.random.default_rng(seed)
    size = 10.0 ** rng.uniform(-6, 9, (count, 6, front.columns))
    windows = rng.choice([-1, 1], size.shape) * size
    for place, feature in enumerate(front.features):
        if feature.categories:
            windows[..., place] = rng.integers(-1, len(feature.categories), windows.shape[:2])
    windows[..., -1] = rng.uniform(0.1, 100, windows.shape[:2])
    return windows.astype(np.float32)


def test_the_exported_graph_is_the_same_to_the_bit(session: onnxruntime.InferenceSession) -> None:
    windows = some_windows(500, mixed())
    served, _ = session.run(None, {"windows": windows})
    with torch.inference_mode():
        reference = mixed()(torch.from_numpy(windows)).numpy()
    assert served.tobytes() == reference.tobytes()


def test_what_the_exported_graph_restores_is_what_torch_restores(session: onnxruntime.InferenceSession) -> None:
    windows = some_windows(500, mixed(), 1)
    _, served = session.run(None, {"windows": windows})
    with torch.inference_mode():
        reference = There(mixed())(torch.from_numpy(windows))[1].numpy()
    np.testing.assert_allclose(served, reference, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 13])
def test_a_window_s_channels_are_the_same_bits_in_any_batch(session: onnxruntime.InferenceSession, size: int) -> None:
    windows = some_windows(200, mixed(), 2)
    whole = session.run(None, {"windows": windows})
    for first in range(0, 200, size):
        part = session.run(None, {"windows": windows[first : first + size]})
        for one, all_of_them in zip(part, whole, strict=True):
            assert one.tobytes() == all_of_them[first : first + size].tobytes()
