"""Releases of Kafka in which exactly once cannot hold, whatever a client does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafka import errors as kafka_errors

_FORGETFUL = 30  # the level of metadata.version that Kafka 4.3 brought

FORGETFUL = (
    "the brokers are Kafka 4.3 or newer: 4.3.0, 4.3.1 and 4.4.0 can forget how a transaction ended when all replicas "
    "of a partition go at once (KAFKA-20734), and an alert can then come twice or be lost"
)


def read(admin: Any) -> Mapping[str, Mapping[str, Any]]:
    """The features of the brokers; empty where they are too old to tell (before Kafka 2.4)."""
    try:
        found: Mapping[str, Mapping[str, Any]] = admin.describe_features()
    except (kafka_errors.IncompatibleBrokerVersion, kafka_errors.UnsupportedVersionError):
        return {}
    return found


def known_fault(features: Mapping[str, Mapping[str, Any]]) -> str:
    """What is known to be wrong with brokers that support these features; empty where nothing is.

    They tell the level that they support and not their release, so a release that mends it is named with the others.
    """
    _, newest = features.get("metadata.version", {}).get("supported", (0, 0))
    return FORGETFUL if newest >= _FORGETFUL else ""
