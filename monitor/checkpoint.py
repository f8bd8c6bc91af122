"""What a commit says of a partition besides its offset: enough for whoever reads on to do so as if nothing happened.

It travels as the metadata of the committed offset, so it is exactly as old as the offset is. Brokers take 4,096 bytes
of it (`offset.metadata.max.bytes`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

import msgspec

MOST_EVICTIONS = 128
"""Evictions a checkpoint can carry: 2 numbers each, within the brokers' limit on metadata."""

_VERSION = 1


class UnreadableCheckpointError(Exception):
    """The metadata of a commit is not a checkpoint of this version: made by another program, or by a person."""


@dataclass(frozen=True, slots=True)
class Eviction:
    """Before the event at offset `at`, the streams that were last heard of at or before offset `heard` left."""

    at: int
    heard: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place in a partition. Reading from `replay_from` up to `offset` makes every window whole that was whole."""

    offset: int  # next record to read
    replay_from: int  # <= offset
    clock: float = -inf  # the partition's clock before the record `replay_from`, s since the Unix epoch
    evictions: tuple[Eviction, ...] = ()  # those at or after `replay_from`, oldest first
    live: int = 0  # streams with state
    short: int = 0  # of them, those whose window a replay from there cannot make whole
    loud: int = 0  # streams whose incident state is in the changelog
    features: str = ""  # digest of the features' names in their order: whether the windows fit
    topic: str = ""  # the brokers' id of the input topic, empty where they have none
    state_end: int = 0  # offset of the changelog behind the newest record of this partition's state

    def encode(self) -> str:
        """The metadata of the commit of `offset`; at most about 3,500 characters, all of them ASCII."""
        steps = [(eviction.at - self.replay_from, eviction.at - eviction.heard) for eviction in self.evictions]
        note = _Note(
            v=_VERSION,
            back=self.offset - self.replay_from,
            clock=None if self.clock == -inf else self.clock,
            evictions=steps,
            live=self.live,
            short=self.short,
            loud=self.loud,
            features=self.features,
            topic=self.topic,
            state=self.state_end,
        )
        return msgspec.json.encode(note).decode()


class _Note(msgspec.Struct, omit_defaults=True):
    v: int
    back: int
    clock: float | None = None
    evictions: list[tuple[int, int]] = []
    live: int = 0
    short: int = 0
    loud: int = 0
    features: str = ""
    topic: str = ""
    state: int = 0


def decode(offset: int, metadata: str) -> Checkpoint:
    """The checkpoint that was committed with an offset. Raises UnreadableCheckpointError."""
    try:
        version: Any = msgspec.json.decode(metadata, type=dict[str, Any])
        if version.get("v") != _VERSION:
            raise UnreadableCheckpointError(f"version {version.get('v')!r}, {_VERSION} is expected")
        note = msgspec.json.decode(metadata, type=_Note)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise UnreadableCheckpointError(str(error)) from error
    if not 0 <= note.back <= offset:
        raise UnreadableCheckpointError(f"a replay of {note.back} records before offset {offset}")
    begin = offset - note.back
    return Checkpoint(
        offset=offset,
        replay_from=begin,
        clock=-inf if note.clock is None else note.clock,
        evictions=tuple(Eviction(begin + step, begin + step - ago) for step, ago in note.evictions),
        live=note.live,
        short=note.short,
        loud=note.loud,
        features=note.features,
        topic=note.topic,
        state_end=note.state,
    )
