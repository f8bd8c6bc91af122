"""What is forwarded: an alert, with the record it came in."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.alerts import Alert
from monitor.batch import Record


@dataclass(frozen=True, slots=True)
class Item:
    alert: Alert
    record: Record

    @property
    def place(self) -> str:
        """For people: where the alert topic has it."""
        return f"{self.record.topic} {self.record.partition}:{self.record.offset}"
