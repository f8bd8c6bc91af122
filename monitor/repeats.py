"""Which messages were seen before, by their ids: the newest only, so that a year takes no more memory than a day."""

from __future__ import annotations

KEPT = 100_000


class Repeats:
    def __init__(self, kept: int = KEPT) -> None:
        self._ids: dict[str, None] = {}
        self._kept = kept

    def __contains__(self, name: str) -> bool:
        return name in self._ids

    def add(self, name: str) -> None:
        self._ids[name] = None
        if len(self._ids) > self._kept:
            del self._ids[next(iter(self._ids))]

    def new(self, name: str) -> bool:
        """Whether it was not seen before; it is now."""
        if name in self._ids:
            return False
        self.add(name)
        return True
