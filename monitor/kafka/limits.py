"""What the brokers allow at most, beside what the settings ask for: told at the start, not by the first refusal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType

from monitor import config
from monitor.errors import MonitorError

METADATA = "offset.metadata.max.bytes"
METADATA_BYTES = 4096  # the brokers' default; a checkpoint is a little less


class _Bound(NamedTuple):
    name: str  # of the brokers' setting, in milliseconds
    lowest: bool  # a lower bound, not an upper one
    setting: str  # ours
    transactions: bool  # only where there are any


_BOUNDS = (
    _Bound("group.min.session.timeout.ms", True, "session_timeout", False),
    _Bound("group.max.session.timeout.ms", False, "session_timeout", False),
    _Bound("transaction.max.timeout.ms", False, "transaction_timeout", True),
)


def read(admin: KafkaAdminClient) -> dict[str, int]:
    """What one of the brokers says of its limits, by the names it has for them; without what this user may not read."""
    names = dict.fromkeys((METADATA, *(bound.name for bound in _BOUNDS)))
    try:
        brokers = admin.describe_cluster()["brokers"]
        up = next((str(broker["broker_id"]) for broker in brokers if not broker.get("is_fenced")), None)
        if up is None:
            return {}
        answer = admin.describe_configs([ConfigResource(ConfigResourceType.BROKER, up, names)], config_filter="all")
    except (kafka_errors.AuthorizationError, kafka_errors.RetriableError):
        return {}  # a broker that has just gone must not keep the service from starting on the others
    found = {name: value_of(answer, name) for name in names}
    return {name: int(value) for name, value in found.items() if value is not None}


def require(limits: Mapping[str, int], kafka: config.Kafka, delivery: str) -> None:
    """Raises MonitorError for the first setting that is beyond a limit that is known."""
    for name, lowest, setting, transactions in _BOUNDS:
        if name not in limits or (transactions and delivery != "exactly_once"):
            continue
        limit, ours = limits[name] / 1000, float(getattr(kafka, setting))
        if (ours < limit) if lowest else (ours > limit):
            raise MonitorError(
                f"kafka.{setting} is {ours:g} s, but the brokers allow {'at least' if lowest else 'at most'} "
                f"{limit:g} s ({name})",
                f"{'Raise' if lowest else 'Lower'} kafka.{setting}, or {'lower' if lowest else 'raise'} {name} "
                "on every broker.",
            )
    if limits.get(METADATA, METADATA_BYTES) < METADATA_BYTES:
        raise MonitorError(
            f"the brokers take {limits[METADATA]} bytes of metadata with an offset, {METADATA_BYTES} are needed"
            f" ({METADATA})",
            f"Set {METADATA} to {METADATA_BYTES} on every broker: an offset is committed with where its replay begins.",
        )


def value_of(answer: Any, name: str) -> str | None:
    """The value of one setting in the client's answer, whichever way this version nests it."""
    if isinstance(answer, dict):
        if name in answer:
            entry = answer[name]
            return str(entry["value"]) if isinstance(entry, dict) else str(entry)
        children = list(answer.values())
    elif isinstance(answer, (list, tuple)):
        children = list(answer)
    else:
        return None
    return next((value for child in children if (value := value_of(child, name)) is not None), None)
