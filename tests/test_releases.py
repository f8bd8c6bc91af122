"""Which brokers are said to be unable to keep exactly once: the features as real ones told them."""

from __future__ import annotations

from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka import errors as kafka_errors

from monitor.kafka.releases import FORGETFUL, known_fault, read
from monitor.local_kafka import KAFKA_VERSION
from tests.brokers import Topics


def told(newest: int) -> dict[str, Any]:
    return {"metadata.version": {"supported": (7, newest), "finalized": (newest, newest), "finalized_epoch": 15}}


@pytest.mark.parametrize(("newest", "release"), [(7, "3.3"), (21, "3.9"), (29, "4.2.2")])
def test_nothing_is_said_of_a_release_that_ends_its_transactions(newest: int, release: str) -> None:
    assert known_fault(told(newest)) == "", release


@pytest.mark.parametrize(("newest", "release"), [(30, "4.3.1"), (31, "4.4.0")])
def test_a_release_that_forgets_how_they_ended_is_named(newest: int, release: str) -> None:
    assert known_fault(told(newest)) == FORGETFUL, release


def test_nothing_is_said_of_brokers_with_zookeeper_which_have_no_such_level() -> None:
    assert known_fault({}) == ""


def test_brokers_too_old_to_tell_their_features_are_taken_as_they_are() -> None:
    class Old:
        def describe_features(self) -> Any:
            raise kafka_errors.IncompatibleBrokerVersion

    assert read(Old()) == {}


def test_real_brokers_tell_their_level(topics: Topics) -> None:
    admin = KafkaAdminClient(bootstrap_servers=topics.bootstrap)
    try:
        features = read(admin)
    finally:
        admin.close()
    assert features["metadata.version"]["supported"][1] > 0


def test_the_kafka_that_the_demo_and_the_tests_start_is_none_of_them() -> None:
    assert KAFKA_VERSION not in {"4.3.0", "4.3.1", "4.4.0"}
