"""The Kafka ends: options and errors of the client, topics, bounded and endless reads, on a real broker."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewPartitions
from pydantic import SecretStr

from monitor import config
from monitor.cli.topics import as_table
from monitor.errors import ConfigError, MonitorError, UnavailableError
from monitor.kafka import history, limits, tail
from monitor.kafka.connect import check_options, options
from monitor.kafka.sink import KafkaSink
from monitor.kafka.source import KafkaSource
from monitor.kafka.topics import Topics as KafkaTopics
from monitor.kafka.topics import require
from tests.brokers import Topics, create_topic, end
from tests.secured import tls_kafka

NOBODY = config.Kafka(bootstrap_servers="127.0.0.1:1", options={"bootstrap_timeout_ms": 300})


def settings(bootstrap: str, **changes: Any) -> config.Kafka:
    return config.Kafka(bootstrap_servers=bootstrap).model_copy(update=changes)


def member(kafka: config.Kafka, topic: str, state: str = "events.state") -> KafkaSource:
    topics = config.Topics(input=config.TopicSpec(name=topic), state=config.TopicSpec(name=state))
    return KafkaSource(kafka, topics, config.Recovery())


def four(names: Topics, **changes: Any) -> config.Topics:
    """Four topics that do not exist; `changes` to the alert topic."""
    return config.Topics(
        input=config.TopicSpec(name=names("in"), partitions=2),
        alerts=config.TopicSpec(name=names("alerts"), partitions=3, replication=1, **changes),
        dead_letters=config.TopicSpec(name=names("dead")),
        state=config.TopicSpec(name=names("state"), config={"segment.bytes": "1048576"}),
    )


def test_plain_settings_give_a_plain_client() -> None:
    found = options(config.Kafka(bootstrap_servers="a:1, b:2"), "consumer", group_id="g")
    assert found["bootstrap_servers"] == ["a:1", "b:2"]
    assert (found["security_protocol"], found["group_id"]) == ("PLAINTEXT", "g")
    assert not [name for name in found if name.startswith(("ssl_", "sasl_"))]


@pytest.mark.parametrize("newline", ["", "\n"])
def test_sasl_settings_reach_the_client_and_the_secret_comes_from_its_file(tmp_path: Path, newline: str) -> None:
    secret = tmp_path / "password"
    secret.write_text(f"p w{newline}")
    sasl = config.Sasl(mechanism="SCRAM-SHA-256", username="u", password_file=secret)
    found = options(config.Kafka(sasl=sasl), "producer")
    assert found["security_protocol"] == "SASL_PLAINTEXT"
    assert found["sasl_mechanism"] == "SCRAM-SHA-256"
    assert (found["sasl_plain_username"], found["sasl_plain_password"]) == ("u", "p w")


def test_a_missing_secret_file_is_named_by_its_setting(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    sasl = config.Sasl(mechanism="PLAIN", username="u", password_file=nothing)
    with pytest.raises(ConfigError) as caught:
        options(config.Kafka(sasl=sasl), "consumer")
    assert caught.value.message == f"kafka.sasl.password_file: {nothing} does not exist"
    certificate = tmp_path / "client.pem"
    tls = config.Tls(enabled=True, certificate_file=certificate, key_password_file=nothing)
    with pytest.raises(ConfigError) as caught:
        options(config.Kafka(tls=tls), "consumer")
    assert caught.value.message == f"kafka.tls.key_password_file: {nothing} does not exist"


def test_tls_with_sasl_is_sasl_ssl_and_verifies() -> None:
    sasl = config.Sasl(mechanism="PLAIN", username="u", password=SecretStr("p"))
    found = options(config.Kafka(tls=config.Tls(enabled=True), sasl=sasl), "admin")
    assert found["security_protocol"] == "SASL_SSL"
    assert found["ssl_context"].verify_mode is ssl.CERT_REQUIRED
    assert found["ssl_context"].check_hostname
    lax = options(config.Kafka(tls=config.Tls(enabled=True, check_hostname=False)), "admin")
    assert not lax["ssl_context"].check_hostname


def test_certificates_that_cannot_be_read_are_a_configuration_error(tmp_path: Path) -> None:
    tls = config.Tls(enabled=True, ca_file=tmp_path / "nothing.pem")
    with pytest.raises(ConfigError, match=r"kafka\.tls"):
        options(config.Kafka(tls=tls), "consumer")


def test_passed_options_win_and_go_to_the_clients_that_know_them() -> None:
    kafka = config.Kafka(options={"fetch_min_bytes": 7, "linger_ms": 9, "max_poll_records": 3})
    consumer, producer = options(kafka, "consumer", max_poll_records=1), options(kafka, "producer")
    assert (consumer["fetch_min_bytes"], consumer["max_poll_records"]) == (7, 3)
    assert producer["linger_ms"] == 9
    assert "linger_ms" not in consumer
    assert "fetch_min_bytes" not in producer
    check_options(kafka)


def test_an_option_that_no_client_knows_is_refused() -> None:
    with pytest.raises(ConfigError, match="'fetch_min_byte'"):
        check_options(config.Kafka(options={"fetch_min_byte": 1}))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("enable_auto_commit", "is fixed: offsets are committed after alerts are acknowledged"),
        ("acks", "is fixed"),
        ("enable_idempotence", "is fixed"),
        ("isolation_level", "is fixed"),
        ("transactional_id", "has a setting of its own"),
        ("transaction_timeout_ms", "use kafka.transaction_timeout"),
        ("group_id", "use kafka.group"),
        ("group_instance_id", "use kafka.instance_id"),
        ("bootstrap_servers", "use kafka.bootstrap_servers"),
        ("key_serializer", "is fixed"),
        ("value_serializer", "is fixed"),
        ("key_deserializer", "is fixed"),
        ("value_deserializer", "is fixed"),
        ("kafka_client", "is fixed"),
    ],
)
def test_an_option_that_would_break_the_delivery_contract_is_refused(name: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_options(config.Kafka(options={name: None}))
    assert caught.value.message.startswith(f"kafka.options: {name} ")
    assert caught.value.message.endswith(why) or f" {why}: " in caught.value.message
    known = {known for client in (KafkaConsumer, KafkaProducer, KafkaAdminClient) for known in client.DEFAULT_CONFIG}
    assert name in known


@pytest.mark.parametrize(
    "use",
    [
        lambda: KafkaSource(NOBODY, config.Topics(), config.Recovery()),
        lambda: KafkaSink(NOBODY, config.Topics(), "exactly_once", None).open(),  # type: ignore[arg-type]  # not asked yet
        lambda: KafkaTopics(NOBODY, config.Topics()),
        lambda: list(history.read(NOBODY, "t")),
        lambda: next(tail.follow(NOBODY, "t", "beginning")),
    ],
    ids=["source", "sink", "topics", "history", "tail"],
)
def test_nobody_listening_is_unavailable(use: Any) -> None:
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1 does not answer"):
        use()


def test_missing_topics_are_named_with_the_command_then_made_as_configured(topics: Topics) -> None:
    kafka, wanted = settings(topics.bootstrap), four(topics, config={"max.message.bytes": "4096"}, retention=3600)
    with pytest.raises(MonitorError, match=f"{wanted.input.name}.*does not exist") as caught:
        require(kafka, wanted, "monitor topics --create")
    assert "monitor topics --create" in caught.value.hint
    with KafkaTopics(kafka, wanted) as client:
        states = client.inspect()
        assert [state.missing for state in states] == [True] * 4
        client.create(states)
        client.create(states)  # another member was quicker: no error
    states = require(kafka, wanted, "")
    assert [(state.purpose, state.partitions, state.replication, state.cleanup) for state in states] == [
        ("input", 2, 1, "delete"),
        ("alerts", 3, 1, "delete"),
        ("dead_letters", 6, 1, "delete"),
        ("state", 2, 1, "compact"),  # as many as the input
    ]
    producer = KafkaProducer(bootstrap_servers=topics.bootstrap, compression_type=None)
    with pytest.raises(Exception, match="MessageSizeTooLarge"):
        producer.send(wanted.alerts.name, bytes(range(256)) * 20).get(10)
    end(producer)


def test_the_topic_for_state_gets_as_many_partitions_as_the_input_really_has(topics: Topics) -> None:
    kafka, wanted = settings(topics.bootstrap), four(topics)
    create_topic(topics.bootstrap, wanted.input.name, partitions=5)
    with KafkaTopics(kafka, wanted) as client:
        client.create([state for state in client.inspect() if state.missing])
    found = {state.purpose: state.partitions for state in require(kafka, wanted, "")}
    assert found == {"input": 5, "alerts": 3, "dead_letters": 6, "state": 5}


@pytest.mark.parametrize("policy", ["delete", "compact,delete"])
def test_a_topic_for_state_that_is_not_only_compacted_is_refused(topics: Topics, policy: str) -> None:
    """Time would take away the state of an incident that is open for long."""
    kafka, wanted = settings(topics.bootstrap), four(topics)
    state = wanted.state.model_copy(update={"config": {"cleanup.policy": policy}})
    wanted = wanted.model_copy(update={"state": state})
    with KafkaTopics(kafka, wanted) as client:
        client.create(client.inspect())
    with pytest.raises(MonitorError, match=rf"{state.name}.*\(topics\.state\): cleanup\.policy is") as caught:
        require(kafka, wanted, "")
    assert caught.value.hint == (
        f"Change that with: kafka-configs.sh --bootstrap-server {topics.bootstrap} --alter --entity-type topics "
        f"--entity-name {state.name} --add-config cleanup.policy=compact"
    )


def test_the_limits_of_the_brokers_are_read_and_a_setting_beyond_one_is_refused_with_both_numbers(
    topics: Topics,
) -> None:
    plain, wanted = settings(topics.bootstrap), four(topics)
    with KafkaTopics(plain, wanted) as client:
        client.create(client.inspect())
        found = client.limits()
    assert set(found) == {
        *("group.min.session.timeout.ms", "group.max.session.timeout.ms"),
        *("transaction.max.timeout.ms", "offset.metadata.max.bytes"),
    }
    most = found["transaction.max.timeout.ms"] // 1000
    long = settings(topics.bootstrap, max_poll_interval=4.0 * most, transaction_timeout=2.0 * most)
    with pytest.raises(MonitorError) as caught:
        require(long, wanted, "")
    said = f"kafka.transaction_timeout is {2 * most} s, but the brokers allow at most {most} s"
    assert caught.value.message == f"{said} (transaction.max.timeout.ms)"
    assert "Lower kafka.transaction_timeout, or raise transaction.max.timeout.ms" in caught.value.hint
    require(long, wanted, "", "at_least_once")


@pytest.mark.parametrize(
    ("name", "limit", "message"),
    [
        ("group.min.session.timeout.ms", 46_000, "kafka.session_timeout is 45 s, but the brokers allow at least 46 s"),
        ("group.max.session.timeout.ms", 44_000, "kafka.session_timeout is 45 s, but the brokers allow at most 44 s"),
        ("transaction.max.timeout.ms", 29_500, "kafka.transaction_timeout is 30 s, but the brokers allow at most 29.5"),
        ("offset.metadata.max.bytes", 1024, "the brokers take 1024 bytes of metadata with an offset, 4096 are needed"),
    ],
)
def test_each_limit_has_its_message_and_what_is_not_known_is_not_judged(name: str, limit: int, message: str) -> None:
    with pytest.raises(MonitorError, match=name) as caught:
        limits.require({name: limit}, config.Kafka(), "exactly_once")
    assert caught.value.message.startswith(message)
    at_the_limit = {
        "group.min.session.timeout.ms": 45_000,
        "group.max.session.timeout.ms": 45_000,
        "transaction.max.timeout.ms": 30_000,
        "offset.metadata.max.bytes": 4096,
    }
    for known in ({}, at_the_limit):
        limits.require(known, config.Kafka(), "exactly_once")


def test_a_compacted_topic_is_refused(topics: Topics) -> None:
    kafka, wanted = settings(topics.bootstrap), four(topics, config={"cleanup.policy": "compact"})
    with KafkaTopics(kafka, wanted) as client:
        client.create(client.inspect())
    with pytest.raises(MonitorError, match=f"{wanted.alerts.name}.*cleanup.policy is compact") as caught:
        require(kafka, wanted, "")
    assert caught.value.hint == (
        f"Change that with: kafka-configs.sh --bootstrap-server {topics.bootstrap} --alter --entity-type topics "
        f"--entity-name {wanted.alerts.name} --add-config cleanup.policy=delete"
    )


def test_topics_of_another_shape_than_configured_are_noted_and_no_error(topics: Topics) -> None:
    kafka, wanted = settings(topics.bootstrap), four(topics)
    with KafkaTopics(kafka, wanted) as client:
        client.create(client.inspect())
    other = config.Topics(
        input=wanted.input.model_copy(update={"partitions": 12}),
        alerts=wanted.alerts.model_copy(update={"replication": 3}),
        dead_letters=wanted.dead_letters,
        state=wanted.state.model_copy(update={"partitions": 1}),
    )
    states = require(kafka, other, "")
    notes = list(as_table(states).columns[-1].cells)
    assert notes == [
        "[green]ok[/green], 12 partitions configured",
        "[green]ok[/green], replication 3 configured",
        "[green]ok[/green]",
        "[green]ok[/green]",  # as many partitions as the input
    ]
    fewer = config.TopicSpec(name=topics("state"))
    admin = KafkaAdminClient(bootstrap_servers=topics.bootstrap)
    shape = {"num_partitions": 1, "replication_factor": 1, "configs": {"cleanup.policy": "compact"}}
    admin.create_topics({fewer.name: shape}, wait_for_metadata=True)
    admin.close()
    states = require(kafka, other.model_copy(update={"state": fewer}), "")
    assert list(as_table(states).columns[-1].cells)[-1] == "[green]ok[/green], the input has 2 partitions"


def test_a_group_that_was_never_used_is_no_problem(topics: Topics) -> None:
    """On a cluster that has kept groups before (a source makes it so), and on a new one."""
    kafka = settings(topics.bootstrap, group=topics("group"))
    with KafkaTopics(kafka, four(topics)) as client:
        assert client.group_problem() == ""
        source = member(settings(topics.bootstrap, group=topics("other")), topics.create(), topics.create())
        try:
            deadline = time.monotonic() + 20
            while not source.poll().gained:
                assert time.monotonic() < deadline
        finally:
            source.close()
        assert client.group_problem() == ""


@pytest.fixture
def producer(topics: Topics) -> Iterator[KafkaProducer]:
    made = KafkaProducer(bootstrap_servers=topics.bootstrap, linger_ms=0)
    yield made
    end(made)


def put(producer: KafkaProducer, topic: str, values: range, partition: int = 0) -> None:
    """Value and timestamp (s) of each record are its number."""
    for number in values:
        producer.send(topic, b"%d" % number, partition=partition, timestamp_ms=1000 * number)
    producer.flush(10)


def read(topics: Topics, topic: str, **range_of: Any) -> list[int]:
    batches = history.read(settings(topics.bootstrap), topic, **range_of)
    return sorted(int(record.value or b"") for batch in batches for record in batch)


@pytest.mark.parametrize(
    ("range_of", "expected"),
    [
        ({}, range(100)),
        ({"from_offset": 90}, range(90, 100)),
        ({"to_offset": 10}, range(10)),
        ({"from_offset": 5, "to_offset": 8}, range(5, 8)),
        ({"from_offset": 500}, range(0)),
        ({"to_offset": 500}, range(100)),
        ({"since": 20.0}, range(20, 100)),
        ({"until": 20.0}, range(20)),
        ({"since": 19.5, "until": 22.0}, range(20, 22)),
        ({"since": 1000.0}, range(0)),
    ],
    ids=str,
)
def test_history_reads_a_range_of_offsets_or_times(
    topics: Topics, producer: KafkaProducer, range_of: dict[str, Any], expected: range
) -> None:
    topic = topics.create("history")
    put(producer, topic, range(100))
    assert read(topics, topic, **range_of) == list(expected)


def test_history_ends_where_the_log_ended_when_it_began(topics: Topics, producer: KafkaProducer) -> None:
    topic = topics.create("history", partitions=2)
    put(producer, topic, range(10), 0)
    put(producer, topic, range(10, 20), 1)
    told: list[tuple[int, int]] = []
    batches = history.read(
        settings(topics.bootstrap, poll_records=5), topic, progress=lambda done, total: told.append((done, total))
    )
    found = list(next(batches))
    put(producer, topic, range(20, 30), 0)
    found += [record for batch in batches for record in batch]
    assert sorted(int(record.value or b"") for record in found) == list(range(20))
    assert told[-1] == (20, 20)


def test_history_of_a_topic_that_does_not_exist_says_so(topics: Topics) -> None:
    with pytest.raises(MonitorError, match="does not exist"):
        read(topics, topics("nothing"))


def transactions(topics: Topics, topic: str) -> None:
    """0 to 4 committed, 5 to 9 aborted, 10 to 14 committed: the log ends in a marker."""
    made = KafkaProducer(bootstrap_servers=topics.bootstrap, transactional_id=topics("transaction"))
    made.init_transactions()
    for first, commit in ((0, True), (5, False), (10, True)):
        made.begin_transaction()
        for number in range(first, first + 5):
            made.send(topic, b"%d" % number, partition=0)
        made.flush(10)
        if commit:
            made.commit_transaction()
        else:
            made.abort_transaction()
    made.close(5)


COMMITTED = [*range(5), *range(10, 15)]


def test_history_reads_over_markers_and_leaves_out_what_was_aborted(topics: Topics) -> None:
    topic = topics.create("history")
    transactions(topics, topic)
    assert read(topics, topic) == COMMITTED


def test_follow_tells_the_end_once_and_goes_on_without_what_was_aborted(
    topics: Topics, producer: KafkaProducer
) -> None:
    topic = topics.create("tail")
    transactions(topics, topic)
    batches = tail.follow(settings(topics.bootstrap), topic, "beginning", poll_seconds=0.1)
    found: list[int] = []
    ends = 0
    deadline = time.monotonic() + 30
    for batch in batches:
        assert time.monotonic() < deadline, found
        found += [int(record.value or b"") for record in batch or ()]
        if batch is None:
            ends += 1
            assert found == COMMITTED
            put(producer, topic, range(100, 103))
        if len(found) == len(COMMITTED) + 3:
            break
    batches.close()  # type: ignore[attr-defined]  # a generator
    assert found == [*COMMITTED, 100, 101, 102]
    assert ends == 1


def test_follow_from_the_end_leaves_out_what_was_there(topics: Topics, producer: KafkaProducer) -> None:
    topic = topics.create("tail")
    put(producer, topic, range(5))
    batches = tail.follow(settings(topics.bootstrap), topic, "end", poll_seconds=0.1)
    assert not next(batches)
    put(producer, topic, range(5, 8))
    found: list[int] = []
    deadline = time.monotonic() + 30
    while len(found) < 3:
        assert time.monotonic() < deadline, found
        found += [int(record.value or b"") for record in next(batches) or ()]
    batches.close()  # type: ignore[attr-defined]  # a generator
    assert found == [5, 6, 7]


def test_a_rebalance_that_outlasts_a_poll_is_not_forgotten(topics: Topics, producer: KafkaProducer) -> None:
    """Partitions that are added while the service runs are found, however short its polls."""
    topic = topics.create("source")
    kafka = settings(topics.bootstrap, group=topics("group"), poll_seconds=0.002, options={"metadata_max_age_ms": 200})
    source = member(kafka, topic, topics.create())
    owned: set[int] = set()
    admin = KafkaAdminClient(bootstrap_servers=topics.bootstrap)
    try:
        for count in range(1, 6):
            if count > 1:
                admin.create_partitions({topic: NewPartitions(count)})
            deadline = time.monotonic() + 20
            while owned != set(range(count)):
                assert time.monotonic() < deadline, f"has {owned}, should have {count} partitions"
                polled = source.poll()
                owned = (owned - polled.lost) | polled.gained.keys()
    finally:
        admin.close()
        source.close()


def test_a_member_with_a_certificate_joins_over_mutual_tls_and_one_without_is_led_to_the_setting(
    tmp_path: Path,
) -> None:
    with tls_kafka(tmp_path) as node:
        tls = config.Tls(enabled=True, ca_file=tmp_path / "ca.pem", certificate_file=tmp_path / "client.pem")
        with KafkaTopics(settings(node.bootstrap, tls=tls), config.Topics()) as client:
            client.create(client.inspect())
            assert [state.problem for state in client.inspect()] == ["", "", "", ""]
        source = member(settings(node.bootstrap, tls=tls), "events")
        deadline = time.monotonic() + 30
        while not source.joined():
            source.poll()
            assert time.monotonic() < deadline
        source.close()
        bare = settings(node.bootstrap, tls=config.Tls(enabled=True, ca_file=tmp_path / "ca.pem"))
        with pytest.raises(UnavailableError, match=r"check kafka\.sasl and kafka\.tls"):
            member(bare, "events")
