"""Adaptation: what is learned of a stream and what is not, a shift that is absorbed, a drift that is told."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import config
from monitor.assembly import assemble
from monitor.batch import Outcome, RawRecord
from monitor.incident_state import from_bytes
from monitor.level_state import Level, unpack
from monitor.model.manifest import Typical
from monitor.pipeline import Pipeline
from tests.test_pipeline import CARELESS, Last, by_partition, feeds, interleaved, totals
from tests.test_recovery import Log

USUAL = 0.2
"""What an error of `Learning` is in training."""
DAY = 86_400.0
RULES = {
    "enabled": True,
    "half_life": 30,
    "prior_windows": 1,
    "absorb_after": 8,
    "drift_factor": 1.5,
}
"""As quick as feeds of a hundred events need it."""


class Learning(Last):
    """An event a second, windows of three, and an error that is the mean square of the last event."""

    def __init__(self, interval: float = 1.0, threshold: float = 1.0, typical: Typical | None = None) -> None:
        super().__init__()
        card = self._manifest
        usual = typical or Typical(log_error=(float(np.log(USUAL + 0.1)),) * 2, within=0.1)
        self._manifest = card.model_copy(
            update={
                "features": tuple(
                    feature.model_copy(update={"minimum": -2.0, "maximum": 2.0}) for feature in card.features
                ),
                "training": card.training.model_copy(update={"interval": interval}),
                "calibration": card.calibration.model_copy(update={"threshold": threshold, "typical": usual}),
            }
        )


def learning(model: Last | None = None, **sections: dict[str, Any]) -> Pipeline:
    incidents = {"open_after": 2, "open_window": 3, "close_after": 2, "update_every": 5}
    given_sections = {"incidents": incidents, "windows": {"max_gap": 30, "idle_timeout": 60}, "adaptation": RULES}
    return assemble(
        config.Settings.model_validate({"quality": CARELESS} | given_sections | sections), model or Learning()
    )


def level_of(outcomes: Sequence[Outcome], stream: str = "s") -> Level | None:
    """As the changelog has it."""
    for outcome in reversed(outcomes):
        change = outcome.states.get((0, stream))
        if change is not None:
            packed = from_bytes(change.value)[2]
            return None if packed is None else unpack(packed)
    return None


def cut(line: Pipeline, records: Sequence[RawRecord], cuts: Sequence[int]) -> list[Outcome]:
    edges = sorted({0, len(records), *(at % (len(records) + 1) for at in cuts)})
    return [line.process(records[start:stop]) for start, stop in pairwise(edges)]


def kept(outcomes: Sequence[Outcome]) -> dict[tuple[int, str], bytes]:
    """What the changelog holds in the end."""
    found: dict[tuple[int, str], bytes] = {}
    for outcome in outcomes:
        for key, change in outcome.states.items():
            if change.quiet:
                found.pop(key, None)
            else:
                found[key] = change.value
    return found


# No batch, no crash, no move changes anything.


@settings(max_examples=200, deadline=None)
@given(
    feeds(),
    st.lists(st.integers(0, 2), max_size=180),
    st.lists(st.integers(0, 200), max_size=8),
    st.sampled_from([2, 3, 1000]),
    st.integers(1, 3),
)
def test_no_cut_and_no_interleaving_changes_an_alert_or_what_is_learned(
    partitions: list[list[RawRecord]], order: list[int], cuts: list[int], cap: int, stride: int
) -> None:
    windows = {"max_gap": 30, "idle_timeout": 60, "max_streams": cap, "stride": stride}
    apart = [outcome for records in partitions for outcome in cut(learning(windows=windows), records, ())]
    together = cut(learning(windows=windows), interleaved(partitions, order), cuts)
    one_by_one = cut(learning(windows=windows), interleaved(partitions, order), range(200))
    assert by_partition(together) == by_partition(one_by_one) == by_partition(apart)
    assert kept(together) == kept(one_by_one) == kept(apart)
    assert totals(together) == totals(one_by_one) == totals(apart)
    scores = [np.concatenate([np.empty(0), *(one.score for one in outcomes)]) for outcomes in (together, one_by_one)]
    assert scores[0].tobytes() == scores[1].tobytes()


@settings(max_examples=200, deadline=None)
@given(feeds(), st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=12), st.booleans())
def test_whoever_takes_over_goes_on_to_the_byte(
    partitions: list[list[RawRecord]], turns: list[tuple[int, bool]], at_once: bool
) -> None:
    """In a transaction with the offsets; or before them, in which case messages come twice, with the same bytes."""
    records = partitions[0]
    log, line, at = Log(records), learning(), 0
    for size, dies in [*turns, *[(30, False)] * 8]:
        end = min(len(records), at + size)
        log.publish(line.process(records[at:end]), quietly=at_once)
        if at_once or not dies:
            log.commit = line.checkpoints({0: end}).get(0, log.commit)
            at = end
        if dies:
            line = learning()
            at = log.take_over(line)
    undisturbed = learning().process(records)
    expected = [alert.to_bytes() for alert in undisturbed.alerts]
    told = [alert.to_bytes() for alert in log.alerts]
    assert (told if at_once else list(dict.fromkeys(told))) == expected
    if at_once:
        assert log.states == {stream: value for (_, stream), value in kept([undisturbed]).items()}
        assert log.commit.loud == len(log.states) or not records
