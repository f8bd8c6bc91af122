"""Laws of what is served: every network under every objective, in ONNX Runtime as in torch, in any batch."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.batch import Float32
from monitor.model import objectives
from monitor.model.architecture import Architecture
from monitor.model.export import check, to_onnx
from monitor.model.manifest import Feature, Scoring
from monitor.model.scorer import OUTPUTS, Scorer
from tests.networks.made import NETWORKS, OBJECTIVES, card

torch.set_num_threads(1)


def scorer(architecture: Architecture, categories: tuple[str, ...] = ()) -> Scorer:
    """Large random weights: the law is about arithmetic, not about learning. The first feature may be a category."""
    torch.manual_seed(0)
    model = objectives.build(architecture)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2)
    first = [Feature(name="c", categories=categories, mean=0, minimum=0, maximum=len(categories) - 1)]
    numbers = architecture.channels - len(categories)
    features = (first if categories else []) + [
        Feature(name=f"f{i}", mean=0.0, minimum=-9.0, maximum=9.0) for i in range(numbers)
    ]
    units = tuple(np.linspace(0.1, 3, architecture.channels).tolist())
    return Scorer(features, architecture.window, model, Scoring(spans=("window",), units=(units,))).eval()


def session(graph: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def noise(count: int, window: int, features: int, category: bool) -> Float32:
    windows = np.random.default_rng(0).normal(size=(count, window, features)).astype(np.float32)
    if category:
        windows[..., 0] = np.abs(windows[..., 0] * 2).round() - 1  # some of them unknown
    return windows


def holds(architecture: Architecture, threads: int, categories: tuple[str, ...] = ()) -> None:
    """The graph agrees with torch, and a window has the same bits alone, in any place and in any company."""
    one = scorer(architecture, categories)
    windows = noise(64, architecture.window, one.front.inputs, bool(categories))
    graph = to_onnx(one, architecture.window)
    check(one, graph, windows)
    run = session(graph, threads).run
    whole = run(list(OUTPUTS), {"windows": windows})
    for first, size in ((0, 1), (63, 1), (17, 2), (1, 7), (5, 32), (31, 33), (0, 63)):
        part = slice(first, first + size)
        for name, left, right in zip(OUTPUTS, run(list(OUTPUTS), {"windows": windows[part]}), whole, strict=True):
            assert left.tobytes() == right[part].tobytes(), (name, first, size)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_window_has_the_same_scores_in_any_batch(network: str, objective: str) -> None:
    holds(card(network=network, objective=objective, channels=5, window=7, hidden=(13, 9), code=3), 1)


@pytest.mark.parametrize("network", NETWORKS)
@settings(deadline=None, max_examples=2)
@given(
    changes=st.fixed_dictionaries({
        "objective": st.sampled_from(OBJECTIVES),
        "channels": st.sampled_from([1, 2, 16, 38]),
        "window": st.sampled_from([2, 16, 33]),
        "hidden": st.sampled_from([(1,), (64,), (50, 13), (8, 32, 5)]),
        "code": st.sampled_from([1, 8, 17]),
        "kernel": st.sampled_from([1, 2, 5, 40]),
        "distance": st.sampled_from(["squared", "absolute", "huber"]),
    }),
    threads=st.sampled_from([1, 2]),
)  # fmt: skip
def test_whatever_the_sizes(network: str, changes: dict[str, Any], threads: int) -> None:
    changes = changes | {"composite": {"horizon": 1}}
    holds(card(network=network, **changes), threads)


@pytest.mark.parametrize(
    "changes",
    [
        {"network": "lstm", "objective": "variational", "channels": 16, "window": 33, "hidden": (1,), "code": 17},
        {"network": "conv", "objective": "adversarial", "channels": 16, "window": 16, "hidden": (1,), "kernel": 40},
    ],
)
def test_networks_that_round_coarsely_are_held_to_their_own_rounding(changes: dict[str, Any]) -> None:
    """In single precision these differ from double precision by 6e-6 on normal windows, by 5e-6 on extreme ones."""
    holds(card(**changes), 1)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_window_of_one_event(network: str) -> None:
    holds(card(network=network, window=1), 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "bce"},
        {"loss": "kl", "distributions": ((0, 3), (1, 2, 4))},
        {"loss": "kl", "distributions": ((0, 3), (1, 2)), "distance": "absolute", "objective": "composite"},
        {"sparsity": {"penalty": "kl"}},
    ],
)
def test_whatever_the_outputs(changes: dict[str, Any]) -> None:
    holds(card(channels=5, window=7, **changes), 2)


def test_hamming_distances() -> None:
    levels = ({"channel": 4, "low": -0.5, "high": 1.0},)
    changes: dict[str, Any] = {"distance": "hamming", "categories": ((0, 3),), "levels": levels}
    holds(card(channels=5, window=7, **changes), 1, ("a", "b", "c"))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_nothing_is_computed_twice(objective: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is scored, expected and encoded share one pass: the runtime joins what the graph says more than once."""
    path = tmp_path_factory.mktemp("graph") / "optimised.onnx"
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    graph = to_onnx(scorer(card(objective=objective)), 6)
    onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    passes = Counter(node.op_type for node in onnx.load(str(path)).graph.node)["LSTM"]
    assert passes == {"undercomplete": 2, "variational": 2, "composite": 3, "adversarial": 4}[objective]
