"""What of the settings of a model can be combined, and what fits the features of some rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from monitor.config import Training
from monitor.errors import MonitorError
from monitor.model.architecture import Architecture
from monitor.model.dataset import Series, Split, prepare
from monitor.model.shape import architecture
from tests.models import series, tiny_settings

MINMAX = {"scaling": "minmax"}
KL: dict[str, Any] = {"loss": "kl", "distributions": [{"match": "share_*"}]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "bce"}, "loss bce needs values from 0 to 1, so scaling minmax, but scaling is standard"),
        (
            {"loss": "bce", "features": [{"match": "a", "scaling": "robust"}], **MINMAX},
            "loss bce needs values from 0 to 1, so scaling minmax, but the rule a has another",
        ),
        ({"loss": "kl"}, "loss kl needs distributions"),
        ({"distributions": [{"match": "share_*"}]}, "distributions are for loss kl, but loss is mse"),
        ({"objective": "variational", "loss": "mae"}, "Gaussian likelihood: loss must be mse, not mae"),
        ({"objective": "variational", "loss": "bce", **MINMAX}, "loss must be mse, not bce"),
        ({"objective": "variational", **KL}, "loss must be mse, not kl"),
        ({"objective": "variational", "distance": "hamming"}, "leave distance squared, not hamming"),
        ({"objective": "variational", "sparsity": {"penalty": "kl"}}, "sparsity.penalty must be none, not kl"),
        ({"objective": "variational", "scaling": "none"}, "scaling must not be none"),
        ({"objective": "adversarial", "features": [{"match": "a", "scaling": "none"}]}, "scaling must not be none"),
        ({"objective": "adversarial", "loss": "bce", **MINMAX}, "cannot learn by loss bce"),
        ({"objective": "adversarial", **KL}, "cannot learn by loss kl"),
        ({"objective": "composite", "window": 4, "composite": {"horizon": 4}}, r"horizon \(4\) must be less than"),
        ({"hidden": []}, "only a dense network can do without hidden layers, not lstm"),
        ({"hidden": [3, 4], "layers": 3}, "hidden lists 2 layers, but layers is 3"),
    ],
)
def test_a_senseless_combination_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        tiny_settings(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"contraction": {"weight": 0.1}, "dropout": 0.3, "denoising": {"noise": 0.1, "mask": 0.1}},
        {"objective": "variational", "contraction": {"weight": 0.1}, "denoising": {"noise": 0.1}},
        {"objective": "adversarial", "sparsity": {"penalty": "l1"}, "loss": "huber", "distance": "hamming"},
        {"objective": "composite", **KL, "sparsity": {"penalty": "kl"}},
        {"objective": "composite", "loss": "bce", **MINMAX},
        {"network": "dense", "hidden": []},
        {"hidden": [8, 4], "layers": 2},
    ],
)
def test_a_sensible_one_is_not(changes: dict[str, Any]) -> None:
    assert isinstance(tiny_settings(**changes), Training)


@pytest.mark.parametrize(
    ("hidden", "layers", "nodes"), [(7, 1, (7,)), (7, 3, (7, 7, 7)), ([7, 5], 1, (7, 5)), ([7], 2, (7, 7))]
)
def test_nodes_are_one_number_for_all_layers_or_a_list(hidden: object, layers: int, nodes: tuple[int, ...]) -> None:
    assert tiny_settings(hidden=hidden, layers=layers).nodes == nodes


def split(settings: Training, columns: dict[str, list[float]] | None = None) -> Split:
    """Of some columns, repeated over 400 rows; waves where none are given."""
    if columns is None:
        return prepare([series()], ("a", "b", "c"), settings)
    values = np.array(list(columns.values()), np.float32).T
    time = np.arange(400, dtype=np.float64)
    return prepare([Series("s", time, np.resize(values, (400, len(columns))))], tuple(columns), settings)


def shaped(settings: Training, columns: dict[str, list[float]] | None = None) -> Architecture:
    return architecture(split(settings, columns), settings)


def test_a_code_that_compresses_nothing_is_refused_unless_something_else_keeps_it_from_copying() -> None:
    assert shaped(tiny_settings(window=4, code=12)).code == 12
    with pytest.raises(MonitorError) as caught:
        shaped(tiny_settings(window=4, code=13))
    assert str(caught.value) == (
        "training.code is 13, more than the 12 values the network reads (4 events of 3 channels): nothing is "
        "compressed, so it could copy anything\n  Lower training.code, or give denoising, sparsity or contraction."
    )
    with pytest.raises(MonitorError, match="more than the 9 values the network reads"):
        shaped(tiny_settings(window=4, code=10, objective="composite", composite={"horizon": 1}))
    for changes in (
        {"denoising": {"mask": 0.1}},
        {"sparsity": {"penalty": "l1"}},
        {"contraction": {"weight": 0.1}},
        {"objective": "variational"},
    ):
        assert shaped(tiny_settings(window=4, code=13, **changes)).code == 13


SHARES = {"a": [1.0, 2.0, 3.0, 4.0], "share_x": [0.2, 0.3, 0.5, 0.1], "share_y": [0.8, 0.7, 0.5, 0.9]}
UNSCALED = [{"match": "share_*", "scaling": "none"}]


def test_a_distribution_is_the_channels_of_its_features() -> None:
    assert shaped(tiny_settings(**KL, features=UNSCALED), SHARES).distributions == ((1, 2),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": []}, "features of the distribution 'share_\\*' are scaled or transformed: share_x, share_y"),
        ({"features": [{"match": "share_x", "log1p": True}, *UNSCALED]}, "scaled or transformed: share_x"),
        ({"distributions": [{"match": "a"}]}, "1 feature matches 'a' of training.distributions"),
        ({"distributions": [{"match": "b*"}]}, "no feature matches 'b\\*' of training.distributions"),
        ({"distributions": [{"match": "share_*"}, {"match": "share_?"}]}, "in two of training.distributions: share_x"),
    ],
)
def test_a_distribution_that_fits_no_features_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MonitorError, match=message):
        shaped(tiny_settings(**{**KL, "features": UNSCALED, **changes}), SHARES)


def test_features_of_two_values_and_categories_have_hamming_distances() -> None:
    columns = {"two": [5, 9, 9, 9], "many": [1, 2, 3, 4], "same": [1, 1, 1, 1], "kind": [0, 1, 2, 1]}
    rules = [{"match": "kind", "kind": "category"}]
    settings = tiny_settings(distance="hamming", features=rules)
    values = np.resize(np.array(list(columns.values()), np.float32).T, (400, 4))
    values[0, 0] = np.nan  # missing, which is no third value
    values[-1, 0] = 7  # not a fitting row
    one = prepare(
        [Series("s", np.arange(400.0), values)], tuple(columns), settings, categories={"kind": ("x", "y", "z")}
    )
    found = architecture(one, settings)
    assert found.categories == ((3, 3),)
    (levels,) = found.levels
    feature = one.features[0]
    assert levels.channel == 0
    expected = [(value - feature.shift) / feature.scale for value in (5, 9)]
    assert [levels.low, levels.high] == pytest.approx(expected, rel=1e-5)
    plain = architecture(one, tiny_settings(features=rules))
    assert (plain.categories, plain.levels) == ((), ())


@pytest.mark.parametrize(
    "changes",
    [
        {"distributions": ((0, 3),)},
        {"distributions": ((0, 1), (1, 2))},
        {"categories": ((1, 3),)},
        {"levels": ({"channel": 3, "low": 0.0, "high": 1.0},)},
        {"objective": "composite", "composite": {"horizon": 8}},
        {"hidden": ()},
    ],
)
def test_a_manifest_cannot_describe_what_cannot_be_built(changes: dict[str, Any]) -> None:
    good = {"network": "lstm", "channels": 3, "window": 8, "hidden": (4,), "code": 2}
    Architecture.model_validate(good)
    with pytest.raises(ValidationError):
        Architecture.model_validate(good | changes)


def test_an_architecture_is_the_same_after_json() -> None:
    card = shaped(tiny_settings(**KL, features=UNSCALED, hidden=[7, 5], denoising={"noise": 0.5}), SHARES)
    assert Architecture.model_validate_json(card.model_dump_json(), strict=True) == card
