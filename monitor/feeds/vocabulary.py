"""The names of a category, learned while its values are read."""

from __future__ import annotations

from monitor.categories import Codes
from monitor.errors import MonitorError

MOST = 2**24
"""Codes are float32: from here on, they would not be told apart."""


class LearnedCodes(Codes):
    """Takes every value that it meets for a name; codes are given in order of first appearance."""

    def of_text(self, text: str) -> float:
        """Raises `MonitorError` where there are more names than codes."""
        if len(self) >= MOST and text not in self:
            raise MonitorError(
                f"a category has more than {MOST} values, the last of them {text[:40]!r}",
                "Leave the feature out, or group its values.",
            )
        return self.setdefault(text, float(len(self)))
