"""What a failed publish asks for: try it again, give up the partitions, or stop."""

from __future__ import annotations

from collections.abc import Sequence

from kafka import errors as kafka_errors

from monitor import config
from monitor.errors import FencedError, MonitorError, RefusedError, UnavailableError
from monitor.kafka.connect import translated

_SUCCESSOR = {
    kafka_errors.CommitFailedError: "the group has moved on to a newer generation",
    kafka_errors.IllegalGenerationError: "the group has moved on to a newer generation",
    kafka_errors.UnknownMemberIdError: "the group does not know this member any more",
    kafka_errors.FencedInstanceIdError: "another process has joined the group under this kafka.instance_id",
    kafka_errors.ProducerFencedError: (
        "another process publishes under its transactional id, or the transaction was open for longer than "
        "kafka.transaction_timeout"
    ),
    kafka_errors.InvalidProducerEpochError: (
        "another process publishes under its transactional id, or the transaction was open for longer than "
        "kafka.transaction_timeout"
    ),
}
# States that only a new producer gets out of, and does: ids that the brokers forgot, sequences that were cut.
_ANEW = (
    kafka_errors.IllegalStateError,
    kafka_errors.InvalidProducerIdMappingError,
    kafka_errors.InvalidTxnStateError,
    kafka_errors.OutOfOrderSequenceNumberError,
    kafka_errors.RebalanceInProgressError,
    kafka_errors.TransactionAbortedError,
    kafka_errors.UnknownProducerIdError,
)
_NO_ANSWER = "for unknown reasons"  # how the client tells that a transactional request timed out


def fenced(why: str) -> FencedError:
    """What this member knows is void."""
    return FencedError(
        f"publishing: this member was overtaken: {why}",
        "What it had not committed is read again by whoever has the partitions now. "
        "Where this repeats: does every member have a kafka.instance_id of its own?",
    )


def what_to_do(
    settings: config.Kafka, topics: Sequence[str], transactional_id: str | None, error: Exception
) -> Exception:
    """The error to raise for one that the client raised while a producer was opened or used.

    `topics` are those it writes to, that for state last.
    """
    said = f"{type(error).__name__.removesuffix('Error')}: {error}"
    for kind, why in _SUCCESSOR.items():
        if isinstance(error, kind):
            return fenced(why)
    if isinstance(error, _ANEW) or (isinstance(error, kafka_errors.KafkaError) and _NO_ANSWER in said):
        return UnavailableError(f"publishing: {settings.bootstrap_servers}: {said}")
    return _refused(settings, topics, transactional_id, error) or _limit(settings, said) or _translated(settings, error)


def _refused(
    settings: config.Kafka, topics: Sequence[str], transactional_id: str | None, error: Exception
) -> RefusedError | None:
    if isinstance(error, kafka_errors.TransactionalIdAuthorizationFailedError):
        what = f"transactional id {transactional_id!r}"
        needs = (
            "It needs WRITE and DESCRIBE on it: kafka-acls.sh --add --operation Write --operation Describe "
            f"--transactional-id {settings.group}. --resource-pattern-type prefixed"
        )
    elif isinstance(error, kafka_errors.TopicAuthorizationFailedError):
        what, needs = "a topic", f"It needs WRITE on the topics {', '.join(topics)}, and READ on {topics[-1]}."
    elif isinstance(error, kafka_errors.GroupAuthorizationFailedError):
        what, needs = f"group {settings.group!r}", "It needs READ on the group."
    else:
        return None
    return RefusedError(f"publishing: {settings.bootstrap_servers} refused {what} to this user: {error}", needs)


def _limit(settings: config.Kafka, said: str) -> MonitorError | None:
    """The client wraps these two in a general error."""
    where = settings.bootstrap_servers
    if "InvalidTransactionTimeout" in said:
        return MonitorError(
            f"kafka.transaction_timeout: {settings.transaction_timeout:g} s is more than {where} takes",
            "Lower it, or raise transaction.max.timeout.ms on the brokers.",
        )
    if "OffsetMetadataTooLarge" in said:
        return MonitorError(
            f"publishing: {where} takes less metadata with an offset than a checkpoint has",
            "Set offset.metadata.max.bytes on the brokers to its default of 4096 at least.",
        )
    return None


def _translated(settings: config.Kafka, error: Exception) -> Exception:
    try:
        with translated(settings, "publishing"):
            raise error  # noqa: TRY301  the rules are in a context manager
    except Exception as found:
        return found
