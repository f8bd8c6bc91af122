"""The data of the demo, shipped with the package: a slice of one machine of the Server Machine Dataset."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from monitor.batch import RawRecord
from monitor.demo.truth import Event, labelled_events
from monitor.feeds.files import Mapping, read
from monitor.feeds.table import records

FOLDER: Final = Path(__file__).parent.parent / "data" / "smd"
NORMAL: Final = FOLDER / "machine-1-7-normal.csv.gz"
LABELLED: Final = FOLDER / "machine-1-7-labelled.csv.gz"
LABEL: Final = "label"
INTERVAL: Final = 60.0  # s between two rows
POISON_REASONS: Final = ("not_json", "missing_feature", "non_numeric")


@dataclass(frozen=True, slots=True)
class Row:
    """A record to produce, and the event time (s since the Unix epoch) at which the story has arrived with it."""

    time: float
    record: RawRecord


def labelled(topic: str) -> tuple[list[Row], tuple[Event, ...]]:
    """The labelled part as records, three poison ones among them, and the labelled events."""
    table = read([str(LABELLED)], Mapping(ignore=(LABEL,)))
    labels = read([str(LABELLED)], Mapping(features=(LABEL,))).series[0]
    # No timestamp: a record's is the moment it is produced, as with a live source, so that latencies are real ones.
    rows = [Row(record.timestamp / 1000, record._replace(timestamp=-1)) for record in records(table, topic)]
    return _poisoned(rows), labelled_events(labels.time, labels.values[:, 0])


def _poisoned(rows: Sequence[Row]) -> list[Row]:
    """The rows, and at a quarter, half and three quarters of the way a record that is no event."""
    mixed = list(rows)
    for share, spoil in ((0.75, _text_for_a_number), (0.5, _without_a_feature), (0.25, _not_json)):
        at = round(share * len(rows))
        before = rows[at - 1]
        mixed.insert(at, Row(before.time, before.record._replace(value=spoil(before.record.value or b""))))
    return mixed


def _not_json(_value: bytes) -> bytes:
    return b"machine-1-7 is fine, thanks"


def _without_a_feature(value: bytes) -> bytes:
    event = json.loads(value)
    event["features"].popitem()
    return json.dumps(event).encode()


def _text_for_a_number(value: bytes) -> bytes:
    event = json.loads(value)
    event["features"][next(iter(event["features"]))] = "n/a"
    return json.dumps(event).encode()
