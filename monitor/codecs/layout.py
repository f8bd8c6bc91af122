"""The order in which a row is read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Layout:
    """Of F features which are numbers and which are categories.

    A row is read with its numbers first, so that they can be taken apart without looking at each.
    """

    features: tuple[str, ...]
    numbers: tuple[int, ...]  # places among the features
    categories: tuple[int, ...]

    @classmethod
    def of(cls, features: Sequence[str], categories: Collection[str]) -> Layout:
        """`categories` names those features that are no numbers."""
        return cls(
            tuple(features),
            tuple(place for place, name in enumerate(features) if name not in categories),
            tuple(place for place, name in enumerate(features) if name in categories),
        )

    @property
    def number_names(self) -> tuple[str, ...]:
        return tuple(self.features[place] for place in self.numbers)

    @property
    def category_names(self) -> tuple[str, ...]:
        return tuple(self.features[place] for place in self.categories)
