"""Laws of splitting and of learning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.batch import Float32
from monitor.errors import MonitorError
from monitor.model.dataset import Split
from monitor.model.fitting import choose_device
from monitor.model.training import Progress, Series, Trained, fit, prepare, train
from tests.models import FEATURES, START, series, tiny_settings, tiny_trained, waves

torch.set_num_threads(1)


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    return dict(trained.scorer.model.state_dict())


def same(left: Trained, right: Trained) -> bool:
    return all(torch.equal(value, weights(right)[name]) for name, value in weights(left).items())


def spans(split: Split) -> list[tuple[str, int, int]]:
    """(part, first row, last row) of every window."""
    parts = {"fit": split.fit, "validation": split.validation, "calibration": split.calibration}
    return [(name, row, row + split.window - 1) for name, first in parts.items() for row in first.tolist()]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.sampled_from([1.0, 1.0, 1.0, 2.0, 50.0]), min_size=60, max_size=150), min_size=1, max_size=3),
    st.integers(1, 6),
)
def test_no_window_spans_a_gap_two_parts_or_two_streams(steps: list[list[float]], window: int) -> None:
    several = [Series(f"s{i}", START + np.cumsum(one), waves(len(one), 2)) for i, one in enumerate(steps)]
    try:
        split = prepare(several, ("a", "b"), tiny_settings(window=window), max_gap=10)
    except MonitorError:
        return  # so many gaps that a part has no window at all: another test's law
    time = np.concatenate([one.time for one in several])
    stream = np.repeat(np.arange(len(several)), [len(one.time) for one in several])
    part_of: dict[int, str] = {}
    for part, first, last in spans(split):
        assert stream[first] == stream[last]
        assert (np.diff(time[first : last + 1]) <= 10).all()
        assert all(part_of.setdefault(row, part) == part for row in range(first, last + 1))


def test_every_row_of_an_unbroken_stream_is_in_a_window_and_the_parts_are_in_order_of_time() -> None:
    split = prepare([series(400)], FEATURES, tiny_settings(validation=0.1, calibration=0.3))
    assert (split.fit[0], split.fit[-1]) == (0, 240 - 8)
    assert (split.validation[0], split.validation[-1]) == (240, 280 - 8)
    assert (split.calibration[0], split.calibration[-1]) == (280, 400 - 8)
    assert len(split.fit) == 240 - 7


def test_the_scaler_is_that_of_the_fitting_rows_alone() -> None:
    one = series(400)
    split = prepare([one], FEATURES, tiny_settings())
    fitting = one.values[: int(400 * 0.6)].astype(np.float64)
    assert np.allclose(split.mean, fitting.mean(0))
    assert np.allclose([feature.shift for feature in split.features], fitting.mean(0))
    assert np.allclose([feature.scale for feature in split.features], fitting.std(0))
    assert [feature.minimum for feature in split.features] == fitting.min(0).tolist()
    assert [feature.maximum for feature in split.features] == fitting.max(0).tolist()


def test_the_usual_interval_is_the_median_and_a_gap_is_ten_of_them() -> None:
    split = prepare([series(300, interval=30), series(300, stream="t", interval=30)], FEATURES, tiny_settings())
    assert (split.interval, split.max_gap, split.streams) == (30.0, 300.0, 2)
    assert (split.first_time, split.last_time) == (START, START + 299 * 30)


def test_windows_are_gathered_from_rows_held_once() -> None:
    split = prepare([series(400)], FEATURES, tiny_settings())
    assert split.rows.shape == (400, 3)
    assert np.array_equal(split.take(split.fit[5:6])[0], split.rows[5:13])


def test_missing_and_infinite_values_are_imputed_and_do_not_move_the_scaler() -> None:
    one = series(400)
    holed = one.values.copy()
    holed[10, 0], holed[11, 0], holed[0, 1] = np.nan, np.inf, np.nan
    split = prepare([Series("s", one.time, holed)], FEATURES, tiny_settings())
    windows = split.take(split.fit[:4])  # (4, 8, 3): the last ones begin at row 3 and end at row 10
    assert windows[3, 7, 0] == one.values[9, 0]
    assert windows[0, 0, 1] == split.mean[1] == pytest.approx(holed[1:240, 1].mean())
    assert np.isfinite(split.take(split.fit)).all()


def test_rows_that_are_not_later_than_those_before_are_left_out_and_said() -> None:
    one = series(400)
    order = [*range(100), 50, 99, *range(100, 400)]
    split = prepare([Series("s", one.time[order], one.values[order])], FEATURES, tiny_settings())
    assert np.array_equal(split.rows, one.values)
    assert split.warnings == ("2 rows were not later than the row before them in their stream and were left out.",)


def test_a_constant_column_has_scale_one_and_is_said() -> None:
    values = waves(400, 3)
    values[:, 1] = 0.1
    split = prepare([Series("s", series(400).time, values)], FEATURES, tiny_settings())
    assert split.features[1].scale == 1
    assert split.warnings == (
        "Constant in the fitting rows, so any change in them counts in full: b. "
        "Leave out what is no measurement, such as a label.",
    )


def at_the_end_of_float32() -> Series:
    values = waves(400, 3)
    values[:, 0] = np.where(np.arange(400) % 2, 1, -1) * np.finfo(np.float32).max
    return Series("s", series(400).time, values)


def test_values_near_the_end_of_float32_are_said() -> None:
    assert prepare([at_the_end_of_float32()], FEATURES, tiny_settings()).warnings == (
        "Values beyond 3.4e+37, near the largest that a float32 holds (3.4e+38): a. Such a number often stands for a "
        "missing value: leave those empty, or limit the feature by clip in training.features.",
    )


def test_columns_at_the_end_of_float32_have_a_finite_scaler() -> None:
    split = prepare([at_the_end_of_float32()], FEATURES, tiny_settings())
    assert np.isfinite(split.mean).all()
    assert np.isfinite([(feature.shift, feature.scale) for feature in split.features]).all()


def _with(one: Series, values: Float32) -> Series:
    return Series(one.stream, one.time, values)


def test_errors_for_people_name_the_cause_and_what_to_do() -> None:
    one = series(400)
    empty = one.values.copy()
    empty[:, 2] = np.nan
    timeless = one.time.copy()
    timeless[3] = np.nan
    cases: list[tuple[list[Series], tuple[str, ...], str]] = [
        ([], FEATURES, "there are no rows to train on\n  Check the path, the topic or the time range."),
        (
            [one],
            ("a", "b"),
            "stream 's' has 3 columns for 2 features\n  Every stream must have the same features, in the same order.",
        ),
        ([one], (), "there are no features to train on\n  Name at least one column of numbers."),
        ([one], ("a", "b", "a"), "features are named twice: a\n  Give every feature a name of its own."),
        (
            [_with(one, empty)],
            FEATURES,
            "no fitting row has a value for c\n"
            "  Leave these features out (--features names those to learn), or give rows that have them.",
        ),
        (
            [Series("s", timeless, one.values)],
            FEATURES,
            "stream 's' has rows without a time\n  Map the time column, or remove those rows.",
        ),
        (
            [series(50)],
            FEATURES,
            "no whole window of 8 events for validation in 50 rows (streams: 1)\n  One stream needs about 60 rows "
            "without a gap longer than 10 s: give more rows, or lower training.window (--window).",
        ),
    ]
    for given_series, names, message in cases:
        with pytest.raises(MonitorError) as caught:
            prepare(given_series, names, tiny_settings())
        assert str(caught.value) == message


def test_as_many_rows_as_the_message_asks_for_are_enough() -> None:
    prepare([series(60)], FEATURES, tiny_settings())


def test_same_seed_same_weights_and_another_seed_others() -> None:
    first = tiny_trained(epochs=2, dropout=0.2)
    torch.rand(5)  # what others draw from the global generator changes nothing
    assert same(first, tiny_trained(epochs=2, dropout=0.2))
    assert not same(first, tiny_trained(epochs=2, dropout=0.2, seed=1))


def test_training_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    tiny_trained(epochs=1)
    assert torch.equal(before, torch.get_rng_state())


def test_the_calibration_rows_change_nothing_but_the_threshold() -> None:
    one = series(400)
    other = one.values.copy()
    other[300:] *= 3
    first, second = (train([it], FEATURES, {}, tiny_settings(epochs=2), source="s") for it in (one, _with(one, other)))
    assert same(first, second)
    assert second.manifest_draft.calibration.threshold > 10 * first.manifest_draft.calibration.threshold


def test_training_learns_what_is_normal() -> None:
    trained = tiny_trained()
    assert trained.manifest_draft.metrics["validation_error"] < 0.1  # the error of answering the mean is 1
    normal, odd = waves(8, 3), waves(8, 3)
    odd[-1] += 3
    with torch.inference_mode():
        error = trained.scorer(torch.from_numpy(np.stack([normal, odd])))[0].numpy()
    threshold = trained.manifest_draft.calibration.threshold
    assert error[0] < threshold < error[1]


@pytest.mark.parametrize(
    "changes", [{"loss": "mae"}, {"loss": "huber", "optimiser": "adamw"}, {"optimiser": "sgd", "learning_rate": 0.3}]
)
def test_every_loss_and_optimiser_lowers_the_loss(changes: dict[str, object]) -> None:
    seen: list[float] = []
    split = prepare([series(400)], FEATURES, tiny_settings())
    fit(split, tiny_settings(**{"epochs": 5, **changes}), progress=lambda p: seen.append(p.train_loss))
    assert seen[-1] < seen[0]


def test_progress_counts_every_step_and_foretells_the_end() -> None:
    seen: list[Progress] = []
    ticks = iter(range(1000))
    split = prepare([series(400)], FEATURES, tiny_settings())
    fit(split, tiny_settings(epochs=2, batch=100), progress=seen.append, clock=lambda: float(next(ticks)))
    assert [(p.epoch, p.step, p.steps) for p in seen] == [
        (1, 1, 3), (1, 2, 3), (1, 3, 3), (1, 3, 3), (2, 1, 3), (2, 2, 3), (2, 3, 3), (2, 3, 3)
    ]  # fmt: skip
    assert [p.validation_loss is None for p in seen] == [True] * 3 + [False] * 5
    assert (seen[0].eta_seconds, seen[-1].eta_seconds) == (10.0, 0.0)  # one look at the clock more before each epoch
    assert seen[-1].best_epoch in {1, 2}


def test_the_best_epoch_is_kept_and_patience_ends_the_rest() -> None:
    """Validation rows of another kind: fitting better makes them worse at once or soon."""
    one = series(400)
    values = one.values.copy()
    values[240:300] = values[240:300][::-1] * -1
    settings_ = tiny_settings(epochs=40, patience=2, learning_rate=0.05)
    seen: list[Progress] = []
    split = prepare([_with(one, values)], FEATURES, settings_)
    fitted = fit(split, settings_, progress=seen.append)
    by_epoch = {p.epoch: p.validation_loss for p in seen if p.best_epoch is not None and p.step == p.steps}
    assert fitted.epochs == fitted.best_epoch + 2 < 40
    assert fitted.validation_loss == min(loss for loss in by_epoch.values() if loss is not None)
    # The weights returned are those of the best epoch, not of the last: the same run cut there gives them too.
    cut = fit(split, settings_.model_copy(update={"epochs": fitted.best_epoch}))
    assert all(torch.equal(v, cut.model.state_dict()[k]) for k, v in fitted.model.state_dict().items())


def test_stopping_keeps_the_best_epoch_so_far() -> None:
    split = prepare([series(400)], FEATURES, tiny_settings())
    seen: list[Progress] = []
    stopped = fit(
        split,
        tiny_settings(),
        progress=seen.append,
        should_stop=lambda: bool(seen) and (seen[-1].epoch, seen[-1].step) == (3, 4),
    )
    whole = fit(split, tiny_settings(epochs=2))
    assert (stopped.epochs, stopped.best_epoch) == (2, whole.best_epoch)
    assert all(torch.equal(v, whole.model.state_dict()[k]) for k, v in stopped.model.state_dict().items())


def test_stopping_before_an_epoch_ended_is_an_error() -> None:
    with pytest.raises(MonitorError, match="stopped before its first epoch ended"):
        train([series(400)], FEATURES, {}, tiny_settings(), source="s", should_stop=lambda: True)


def test_a_loss_that_is_no_number_says_what_to_lower() -> None:
    split = prepare([series(400)], FEATURES, tiny_settings())
    features = tuple(feature.model_copy(update={"shift": np.nan}) for feature in split.features)
    broken = replace(split, features=features)
    with pytest.raises(MonitorError) as caught:
        fit(broken, tiny_settings())
    assert str(caught.value) == (
        "training diverged: the loss became nan in epoch 1\n  Lower training.learning_rate (now 0.01)."
    )


def test_a_device_that_is_not_there_is_an_error_and_auto_takes_one_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(MonitorError, match=r"training\.device is cuda, but this machine has none"):
        choose_device("cuda")


def test_the_model_card_says_what_was_learned_from() -> None:
    card = tiny_trained(epochs=1).manifest_draft
    assert card.feature_names == FEATURES
    assert {feature.unit for feature in card.features} == {"bar"}
    assert (card.training.rows, card.training.streams, card.training.source) == (800, 2, "tests/models.py")
    assert (card.calibration.windows, card.calibration.windows_per_stream_per_day) == (2 * (100 - 7), 86_400.0)
    assert card.training.device == "cpu"
