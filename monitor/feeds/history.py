"""The past of a topic as columns per stream, for training: decoded by the rules the service decodes by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor import config
from monitor.batch import Float64, Reason, Record, Reject
from monitor.errors import MonitorError
from monitor.events import Decoder
from monitor.feeds.store import Store, by_stream
from monitor.feeds.table import Table, check_names, never
from monitor.feeds.vocabulary import LearnedCodes

SAMPLE = 1000
"""Good events that are looked at to learn the features' names."""


def series_from_records(
    batches: Iterable[Sequence[Record]],
    features: Sequence[str] | None,
    rules: config.Events,
    source: str = "",
    category: Callable[[str], bool] = never,
) -> Table:
    """Decode records into a table; without `features`, they are those of the first `SAMPLE` good events.

    `category` tells which of them are categories by their names. The notes tell how many records were rejected and
    why. Raises `MonitorError` where none is an event.
    """
    waiting = iter(batches)
    if features is None:
        sample = list(_sample(waiting, category))
        features = feature_names((record.value for batch in sample for record in batch), category)
        waiting = chain(sample, waiting)
        if not features:
            count = sum(map(len, sample))
            what = f"none of its {count} records is an event with numeric features" if count else "no records there"
            raise MonitorError(
                f"{source}: {what}",
                "Check the topic and the range; events are described by: monitor schema event. Text is learned where a "
                "rule says so: training.features: [{match: NAME, kind: category}].",
            )
    check_names(features)
    codes = {name: LearnedCodes() for name in features if category(name)}
    decoder = Decoder(features, rules, codes)
    streams: dict[str, int] = {}
    stream: list[NDArray[np.int32]] = []
    time: list[Float64] = []
    store = Store()
    reasons: Counter[Reason] = Counter()
    examples: dict[Reason, Reject] = {}
    for records in waiting:
        result = decoder.decode(records)
        if len(result.batch):
            places = [streams.setdefault(name, len(streams)) for name in result.batch.stream]
            stream.append(np.array(places, np.int32))
            time.append(result.batch.time)
            store.append(len(result.batch), dict(zip(features, result.batch.values.T, strict=True)))
        reasons.update(reject.reason for reject in result.rejects)
        for reject in result.rejects:
            examples.setdefault(reject.reason, reject)
    total = reasons.total() + len(store)
    notes = tuple(_told(count, total, examples[reason]) for reason, count in reasons.most_common())
    if not len(store):
        said = "; ".join(notes) or "no records there"
        raise MonitorError(
            f"{source}: no events: {said}",
            "Name the features with --features A,B, or check the topic, the range and the settings under events.",
        )
    categories = {name: tuple(known) for name, known in codes.items()}
    series = by_stream(tuple(streams), np.concatenate(stream), np.concatenate(time), store.take(features))
    return Table(tuple(features), tuple(series), notes, source, categories)


def feature_names(values: Iterable[bytes | None], category: Callable[[str], bool] = never) -> tuple[str, ...]:
    """The features with a value in any of the first `SAMPLE` events, in order of first appearance.

    A value is a number, or of a category also a text or a boolean.
    """
    names: dict[str, None] = {}
    events = 0
    for value in values:
        found = _features(value, category)
        events += bool(found)
        names.update(dict.fromkeys(found))
        if events == SAMPLE:
            break
    return tuple(names)


def _sample(batches: Iterator[Sequence[Record]], category: Callable[[str], bool]) -> Iterator[Sequence[Record]]:
    events = 0
    for batch in batches:
        yield batch
        events += sum(bool(_features(record.value, category)) for record in batch)
        if events >= SAMPLE:
            return


def _features(value: bytes | None, category: Callable[[str], bool]) -> list[str]:
    """The features of an event that have a value; none where it is no event."""
    try:
        event = msgspec.json.decode(value or b"")
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return []
    features = event.get("features") if isinstance(event, dict) else None
    if not isinstance(features, dict):
        return []
    return [
        name
        for name, given in features.items()
        if type(given) in (int, float) or (type(given) in (str, bool) and category(name))
    ]


def _told(count: int, total: int, example: Reject) -> str:
    record = example.record
    where = f"partition {record.partition}, offset {record.offset}"
    return f"{count} of {total} records rejected as {example.reason}: {example.detail} ({where})"
