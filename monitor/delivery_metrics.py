"""Metric families of delivery and recovery: what was published how, what was read again, and what could not be."""

from __future__ import annotations

from typing import get_args

from monitor.batch import Outcome, OutputName
from monitor.collectors import Families
from monitor.snapshot_file import Misfit
from monitor.status import Status

RECOVERED_BY = ("snapshot", "topic", "nothing")
RESULTS = ("committed", "failed", "fenced")
ACTIONS = ("retry", "fence", "stop")

RECOVERY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


class DeliveryMetrics:
    """A label value that is not of its fixed list is an error of the program (ValueError)."""

    def __init__(self, families: Families) -> None:
        self._transactions = families.counter(
            "transactions",
            "Attempts at a transaction, by how they ended (failed: made again); none where delivery is at_least_once.",
            result=RESULTS,
        )
        self._errors = families.counter(
            "delivery_errors",
            "Failed publishes, by what follows: retry the same; fence: drop what is not committed and rejoin; stop.",
            action=ACTIONS,
        )
        self._outputs = families.counter(
            "outputs", "Messages published to the optional outputs.", output=get_args(OutputName)
        )
        self._state_records = families.counter("state_records", "Records published to the topic for incident state.")
        self._states = families.gauge("incident_states", "Streams whose incident state this member keeps in its topic.")
        self._forgotten = families.counter(
            "incident_states_forgotten", "Incident states that were gone, damaged or of another version."
        )
        self._lost = families.counter(
            "data_loss_records", "Records that were gone from the log before they were read, as far as can be told."
        )
        self._stuck = families.snapshot(
            "consumer_partition_stuck",
            "Whether a partition stands still though there is more to read: 1 or 0.",
            "topic",
            "partition",
        )

        self._replayed = families.counter(
            "replayed_records", "Records read again to rebuild windows; no other counter has them."
        )
        self._recovering = families.gauge("partitions_recovering", "Partitions whose windows are being rebuilt now.")
        self._left = families.gauge("recovery_records_left", "Records still to be read again for that.")
        self._rate = families.gauge(
            "recovery_replay_rate_records_per_second", "Records read again per second when windows were last rebuilt."
        )
        self._seconds = families.histogram(
            "recovery_seconds", "Seconds from a partition's assignment to its first new record.", RECOVERY_BUCKETS
        )
        self._recovered = families.counter(
            "recovered_partitions",
            "Partitions taken over, by what their windows came from; nothing: there was none to have.",
            by=RECOVERED_BY,
        )
        self._short = families.counter(
            "streams_short", "Streams whose window could not be rebuilt in full and warms up again."
        )
        self._ignored = families.counter(
            "snapshot_ignored", "Snapshots that were not used, by why; absent: there is none.", reason=tuple(Misfit)
        )
        self._saved = families.counter("snapshots_saved", "Snapshots of a partition's windows written to the disk.")
        self._failed = families.counter("snapshot_errors", "Snapshots that could not be written.")

    def recovered(self, by: str, seconds: float, records: int, short: int) -> None:
        """A partition's windows are as whole as they can be. `by` is one of RECOVERED_BY.

        `records` were read again in `seconds`; `short` streams warm up again.
        """
        self._recovered.labels(_one_of(RECOVERED_BY, by)).inc()
        self._seconds.observe(seconds)
        self._short.inc(short)
        if records and seconds > 0:
            self._rate.set(records / seconds)

    def data_lost(self, records: int) -> None:
        """So many records were gone before they were read."""
        self._lost.inc(records)

    def delivery_error(self, action: str) -> None:
        """A publish failed; `action` is what follows, one of ACTIONS."""
        self._errors.labels(_one_of(ACTIONS, action)).inc()

    def transaction(self, result: str) -> None:
        """An attempt at a transaction ended; `result` is one of RESULTS."""
        self._transactions.labels(_one_of(RESULTS, result)).inc()

    def snapshot_ignored(self, reason: str) -> None:
        """A snapshot was not used; `reason` is a Misfit."""
        self._ignored.labels(Misfit(reason).value).inc()

    def snapshots_saved(self, count: int) -> None:
        """So many more stand on the disk."""
        self._saved.inc(count)

    def snapshot_failed(self) -> None:
        """A snapshot could not be written; the one before it stays."""
        self._failed.inc()

    def observe_delivery(self, outcome: Outcome) -> None:
        """Counts what one published batch adds."""
        self._replayed.inc(outcome.counts.replayed)
        self._state_records.inc(len(outcome.states))
        for output, records in outcome.outputs.items():
            self._outputs.labels(output).inc(len(records))
        self._forgotten.inc(sum(recovered.forgotten for recovered in outcome.recovered))

    def refresh_delivery(self, status: Status) -> None:
        """Sets the gauges."""
        self._states.set(status.incident_states)
        self._recovering.set(sum(partition.recovering for partition in status.partitions))
        self._left.set(sum(partition.recovery_left for partition in status.partitions))
        self._stuck.replace(
            {(status.topics[0], str(partition.partition)): partition.stuck for partition in status.partitions}
        )


def _one_of(known: tuple[str, ...], value: str) -> str:
    if value not in known:
        raise ValueError(f"{value!r} is not one of {', '.join(known)}")
    return value
