"""What the brokers' group does to a member: partitions that come and go, and a rebalance that the client forgets."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Literal

from kafka import ConsumerRebalanceListener, TopicPartition

Move = tuple[Literal["gained", "lost"], frozenset[int]]


def keep_joining(consumer: Any) -> None:
    """To be called before each poll.

    Where a rebalance that this member asked for (a partition was added) outlasts a poll, kafka-python 3.0.12 forgets in
    the next one that it is under way: the member would stay without partitions and heartbeat for ever.
    """
    coordinator = consumer._coordinator
    if coordinator._join_task is not None:
        coordinator.request_rejoin()


class Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # the client ships no types
    """Notes the moves, from whichever thread of the client calls; the loop reads them after its poll."""

    def __init__(self, consumer: Any, moves: deque[Move]) -> None:
        self._consumer = consumer
        self._moves = moves

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        # A position and a pause at once: else the client would look for the committed offset by itself, and fetch.
        for place in assigned:
            self._consumer.seek(place, 0)
            self._consumer.pause(place)
        self._note("gained", assigned)

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        self._note("lost", revoked)

    def on_partitions_lost(self, lost: Sequence[TopicPartition]) -> None:
        self._note("lost", lost)

    def _note(self, what: Literal["gained", "lost"], partitions: Sequence[TopicPartition]) -> None:
        if partitions:
            self._moves.append((what, frozenset(place.partition for place in partitions)))
