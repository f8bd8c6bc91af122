"""What one publish writes, as messages: alerts, outputs, dead letters, and records of the incident state."""

from __future__ import annotations

from typing import NamedTuple

from monitor.alerts import Alert
from monitor.batch import OutputRecord, Reject
from monitor.kafka.changelog import key

_OURS = "monitor-"  # what we add to a record's headers begins so


class Message(NamedTuple):
    """A record to be."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    partition: int | None = None  # None: by the key
    owner: int | None = None  # the input partition whose incident state this is
    timestamp: int | None = None  # ms since the Unix epoch; None: the time of sending

    @property
    def size(self) -> int:
        """Bytes that somebody else chose."""
        headers = sum(len(name) + len(content) for name, content in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers


def alert_message(topic: str, alert: Alert) -> Message:
    """Keyed by stream, so that the alerts of one stream stay in order."""
    return Message(topic, alert.stream.encode(), alert.to_bytes(), alert.headers())


def output_message(topic: str, record: OutputRecord) -> Message:
    """Keyed by stream, as alerts are."""
    return Message(topic, record.key, record.value, record.headers)


def dead_letter(topic: str, reject: Reject) -> Message:
    """The record as it came, with what is wrong with it and where it stood in its headers."""
    record = reject.record
    headers = [(name, value or b"") for name, value in record.headers]
    facts = {
        "reason": reject.reason.value,
        "detail": reject.detail,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
    }
    headers += [(_OURS + name, str(fact).encode()) for name, fact in facts.items()]
    value = record.value
    if value is None and record.key is None:
        value = b""  # the client sends no record without both; `monitor-reason: tombstone` says what it was
    return Message(topic, record.key, value, headers)


def state_record(topic: str, partitions: int, group: str, owner: int, stream: str, value: bytes | None) -> Message:
    """Incident state of a stream of input partition `owner`, in the state partition that belongs to it.

    The key names the partition too, in which a stream may be live as well as in another. None is a tombstone.
    """
    return Message(topic, key(group, owner, stream), value, [], owner % partitions, owner)


def smaller(letter: Message) -> Message | None:
    """A dead letter without its value, else without the record's own headers, else without its key; else None."""
    ours = [header for header in letter.headers if header[0].startswith(_OURS)]
    if letter.value:
        said = (f"{_OURS}value-bytes", b"%d" % len(letter.value))
        return letter._replace(value=b"", headers=[*letter.headers, said])
    if len(ours) < len(letter.headers):
        said = (f"{_OURS}headers-left-out", b"%d" % (len(letter.headers) - len(ours)))
        return letter._replace(headers=[*ours, said])
    if letter.key:
        said = (f"{_OURS}key-bytes", b"%d" % len(letter.key))
        return letter._replace(key=None, value=b"", headers=[*letter.headers, said])
    return None
