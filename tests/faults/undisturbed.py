"""What should have been published: the pipeline on the recording, with nothing around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from monitor import config, detector
from monitor.assembly import assemble
from monitor.batch import RawRecord, StateChange
from monitor.detector import Detector
from tests.faults.compare import Stream, by_stream
from tests.faults.stream import Sent

_CUT = 700  # records a call; the law says that it does not matter


@dataclass(frozen=True, slots=True)
class Expected:
    alerts: dict[Stream, list[bytes]]
    dead_letters: Counter[Hashable]  # (partition, offset, reason)
    states: dict[Stream, bytes]  # of the streams that are not quiet at the end


def expect(records: Sequence[Sent], settings: config.Settings) -> Expected:
    """One partition after the other, each in offset order."""
    pipeline = assemble(settings, _detector(settings.model.path))
    topic = settings.topics.input.name
    alerts: list[bytes] = []
    dead: Counter[Hashable] = Counter()
    changes: dict[Stream, StateChange] = {}
    for partition in sorted({record.partition for record in records}):
        mine = [record for record in records if record.partition == partition]
        raw = [
            RawRecord(topic, partition, offset, sent.timestamp, sent.key, sent.value, sent.headers)
            for offset, sent in enumerate(mine)
        ]
        for begin in range(0, len(raw), _CUT):
            outcome = pipeline.process(raw[begin : begin + _CUT])
            alerts += [alert.to_bytes() for alert in outcome.alerts]
            dead.update((r.record.partition, r.record.offset, r.reason.value) for r in outcome.rejects)
            changes |= outcome.states
    states = {stream: change.value for stream, change in changes.items() if not change.quiet}
    return Expected(by_stream(alerts), dead, states)


@lru_cache(maxsize=2)
def _detector(folder: Path) -> Detector:
    return detector.load(folder, config.Model(path=folder))
