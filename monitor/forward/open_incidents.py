"""The incidents that the receiver takes for open, each with its newest message. Bounded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from monitor.forward.item import Item


class OpenIncidents:
    def __init__(self, most: int, forget_after: float) -> None:
        """`forget_after` in seconds since the record of the newest message was written."""
        self._most = most
        self._forget_after = forget_after
        self._items: dict[str, Item] = {}  # by incident, that heard of longest ago first
        self.dropped = 0
        """Those let go though nothing closed them."""

    def __len__(self) -> int:
        return len(self._items)

    def note(self, item: Item) -> None:
        """The receiver has taken this message, which is newer than all of its incident before it."""
        self._items.pop(item.alert.incident, None)
        if item.alert.status == "closed":
            return
        self._items[item.alert.incident] = item
        if len(self._items) > self._most:
            del self._items[next(iter(self._items))]
            self.dropped += 1

    def forget(self, partitions: Iterable[int]) -> None:
        """Those of the alert topic's partitions that went to another member, which tells of them from now on."""
        gone = set(partitions)
        self._items = {name: item for name, item in self._items.items() if item.record.partition not in gone}

    def current(self, now: float) -> Sequence[Item]:
        """All that are still to be told; those that were silent for too long are let go. `now` in s since 1970."""
        oldest = (now - self._forget_after) * 1000
        silent = [name for name, item in self._items.items() if 0 <= item.record.timestamp < oldest]
        for name in silent:
            del self._items[name]
        self.dropped += len(silent)
        return list(self._items.values())

    def begins(self) -> dict[int, int]:
        """By partition the offset from which whoever comes next must read to know all that are open in it."""
        found: dict[int, int] = {}
        for item in self._items.values():
            partition, offset = item.record.partition, item.record.offset
            found[partition] = min(offset, found.get(partition, offset))
        return found
