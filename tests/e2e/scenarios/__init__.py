"""All scenarios, in the order in which they are played."""

from tests.e2e.scenarios import serving, moving, illness, refusals, objects  # isort: skip  the order is that of the play

__all__ = ["illness", "moving", "objects", "refusals", "serving"]
