"""When bad records are too many to be set aside one by one: the share of the newest records that was rejected."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from monitor import config
from monitor.batch import Reason, Record, Reject


class RejectRatio:
    """Whether more than `max_ratio` of `window` records in a row was rejected, at whichever record that was.

    It does not wait for the window to be full: rejects that are too many for a whole window stay so whatever follows.
    What came before the start counts as good, so a service that is started again and again on the same bad input sets
    at most `max_ratio * window` records aside each time. Records that are read twice count twice.

    It is told once and for all: how the records were cut into batches changes nothing, and what comes later neither.
    Memory: one entry for each reject of the window, never for a good record.
    """

    def __init__(self, rules: config.DeadLetters) -> None:
        self._max_ratio = 1.0 if rules.max_ratio is None else rules.max_ratio  # more than all cannot be rejected
        self._window = rules.window
        self._seen = 0
        self._recent: deque[tuple[int, Reason]] = deque()  # number of the record, why; those of the window
        self._example: dict[Reason, str] = {}  # the newest detail
        self._exceeded = False

    @property
    def exceeded(self) -> bool:
        return self._exceeded

    def observe(self, records: Sequence[Record], rejects: Sequence[Reject]) -> bool:
        """Counts a batch: N records in order, and the rejects among them (the same objects, in the same order).

        True from the record on that was one too many. Raises ValueError for a reject of another batch.
        """
        if self._exceeded:
            return True
        begun = self._seen
        places = enumerate(records)
        for reject in rejects:
            place = next((number for number, record in places if record is reject.record), None)
            if place is None:
                raise ValueError("a reject that is not of these records, or out of their order")
            if self._count(begun + place, reject):
                return True
        self._seen = begun + len(records)
        return False

    def _count(self, number: int, reject: Reject) -> bool:
        self._seen = number + 1
        self._recent.append((number, reject.reason))
        self._example[reject.reason] = reject.detail
        while self._recent[0][0] <= number - self._window:
            self._recent.popleft()
        # Divided, not multiplied: 29 of 100 is 0.29, and 100 * 0.29 is less than 29.
        self._exceeded = len(self._recent) / self._window > self._max_ratio
        return self._exceeded

    def message(self) -> str:
        """What is wrong, once `observe` has said so: how many, the most frequent reason, its share and an example."""
        bad = len(self._recent)
        if not bad:
            return "no record was rejected"
        ((reason, most),) = Counter(reason for _, reason in self._recent).most_common(1)
        last = min(self._seen, self._window)
        return (
            f"{bad} of the last {last} records were rejected, more than dead_letters.max_ratio "
            f"({self._max_ratio:g} of {self._window}) allows; {100 * most / bad:.0f} % of them {reason.value}, "
            f"the latest because {self._example[reason]}"
        )

    def hint(self) -> str:
        """What to do about it."""
        return (
            "Mend what produces these records, or the model and the events.* settings if those are wrong, and start "
            "again; or raise dead_letters.max_ratio (null: never stop). What was set aside until now is fed back by: "
            "monitor replay --dead-letters"
        )
