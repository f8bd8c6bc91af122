"""What `monitor` says, and with which exit code, where something is not as it should be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kafka.admin import ACLOperation, ResourceType

from monitor.local_kafka import LocalKafka
from tests.integration.conftest import MakeDeployment
from tests.integration.running import Deployment, until
from tests.secured import PASSWORDS, allow, secured_kafka


def said(text: str) -> str:
    """The text without line breaks of the terminal's making."""
    return " ".join(text.split())


def test_run_without_its_topics_ends_with_the_command_that_makes_them(deploy: MakeDeployment) -> None:
    deployment = deploy()
    service = deployment.start("run")
    assert service.ends() == 1, service.tail()
    command = f"monitor topics --create -c {deployment.file}"
    assert f"topic '{deployment.topics.input.name}' (topics.input) does not exist" in said(service.log)
    assert command in said(service.log)
    (failed,) = service.lines("failed")  # in a log of JSON lines this one is JSON too
    assert failed["hint"] == f"Make it with: {command}"

    shown = deployment.start("topics")
    assert shown.ends() == 1, shown.tail()
    assert f"Make it with: {command}" in said(shown.log)
    made = deployment.start("topics", "--create")
    assert made.ends() == 0, made.tail()
    assert deployment.start("topics").ends() == 0
    deployment.serve()


def test_run_refuses_a_compacted_topic_and_says_why(deploy: MakeDeployment) -> None:
    deployment = deploy()
    deployment.write(
        topics={"alerts": {"name": deployment.topics.alerts.name, "config": {"cleanup.policy": "compact"}}}
    )
    shown = deployment.start("topics", "--create")
    assert shown.ends() == 1
    fix = (
        f"--alter --entity-type topics --entity-name {deployment.topics.alerts.name} --add-config cleanup.policy=delete"
    )
    assert f"Change that with: kafka-configs.sh --bootstrap-server {deployment.kafka.bootstrap_servers} {fix}" in said(
        shown.log
    )
    service = deployment.start("run")
    assert service.ends() == 1, service.tail()
    assert f"topic '{deployment.topics.alerts.name}' (topics.alerts): cleanup.policy is compact" in said(service.log)


def test_run_refuses_a_topic_for_state_that_is_not_compacted_and_says_why(deploy: MakeDeployment) -> None:
    deployment = deploy()
    name = deployment.topics.state.name
    deployment.write(topics={"state": {"name": name, "config": {"cleanup.policy": "delete"}}})
    shown = deployment.start("topics", "--create")
    assert shown.ends() == 1
    fix = f"--alter --entity-type topics --entity-name {name} --add-config cleanup.policy=compact"
    assert f"Change that with: kafka-configs.sh --bootstrap-server {deployment.bootstrap} {fix}" in said(shown.log)
    service = deployment.start("run")
    assert service.ends() == 1, service.tail()
    assert f"topic '{name}' (topics.state): cleanup.policy is delete" in said(service.log)


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_time_out_that_the_brokers_would_refuse_is_told_at_the_start_with_both_numbers(
    deployment: Deployment, command: str
) -> None:
    deployment.write(kafka={"transaction_timeout": 1000, "max_poll_interval": 2000})
    process = deployment.start(command)
    assert process.ends() == 1, process.tail()
    told = "kafka.transaction_timeout is 1000 s, but the brokers allow at most 900 s (transaction.max.timeout.ms)"
    assert told in said(process.log)


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_bad_configuration_is_exit_2(deploy: MakeDeployment, command: str) -> None:
    deployment = deploy(bootstrap="127.0.0.1:1")
    deployment.write(kafka={"grop": "typo"})
    process = deployment.start(command)
    assert process.ends() == 2, process.tail()
    assert "kafka.grop" in process.log
    assert "group" in process.log


def test_an_option_no_client_knows_is_exit_2(deploy: MakeDeployment) -> None:
    deployment = deploy(bootstrap="127.0.0.1:1")
    deployment.write(kafka={"options": {"fetch_min_byte": 1}})
    process = deployment.start("run")
    assert process.ends() == 2, process.tail()
    assert "'fetch_min_byte'" in process.log


def test_check_says_ok_where_run_can_start(deployment: Deployment) -> None:
    """On a cluster that never had a consumer group, too."""
    check = deployment.start("check")
    assert check.ends() == 0, check.tail()
    assert "ok: monitor run can start with this configuration" in said(check.log)
    assert "delivery exactly_once default" in said(check.log)
    assert "transactions can be used" in said(check.log)


def test_check_finds_a_missing_topic(deploy: MakeDeployment) -> None:
    deployment = deploy()
    check = deployment.start("check")
    assert check.ends() == 1, check.tail()
    hint = f"Make it with: monitor topics --create -c {deployment.file}"
    assert check.log.count(f"      {hint}\n") == 1, check.tail()  # under its line, not wrapped
    assert check.log.endswith(f"\n  {hint}\n"), check.tail()


def test_check_finds_a_missing_model_and_still_looks_at_kafka(deployment: Deployment) -> None:
    deployment.write(model={"path": str(deployment.folder / "nothing")})
    check = deployment.start("check")
    assert check.ends() == 2, check.tail()
    assert "wrong artefact" in said(check.log)
    assert "ok kafka" in said(check.log), check.tail()


def test_check_finds_that_no_broker_answers(deploy: MakeDeployment) -> None:
    check = deploy(bootstrap="127.0.0.1:1").start("check")
    assert check.ends() == 1, check.tail()
    assert "127.0.0.1:1 does not answer" in said(check.log)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    with secured_kafka(tmp_path_factory.mktemp("secured")) as node:
        yield node


def as_user(deployment: Deployment, user: str, password: str) -> None:
    secret = deployment.folder / f"password-of-{user}"
    secret.write_text(password + "\n")
    deployment.write(
        kafka={"sasl": {"mechanism": "PLAIN", "username": user, "password_file": str(secret)}, "poll_seconds": 0.2}
    )


def test_a_user_that_may_not_use_transactions_is_told_the_right_and_at_least_once_does_without(
    deploy: MakeDeployment, secured: LocalKafka
) -> None:
    deployment = deploy(bootstrap=secured.bootstrap)
    as_user(deployment, "admin", PASSWORDS["admin"])
    assert deployment.start("topics", "--create").ends() == 0
    as_user(deployment, "member", PASSWORDS["member"])
    topics, group = deployment.topics, deployment.kafka.group
    outputs = (topics.alerts.name, topics.dead_letters.name, topics.state.name)
    allow(
        secured,
        "member",
        {(ResourceType.TOPIC, name): [ACLOperation.WRITE] for name in outputs}
        | {(ResourceType.TOPIC, name): [ACLOperation.READ] for name in (topics.input.name,)}
        | {(ResourceType.GROUP, group): [ACLOperation.READ]},
    )
    allow(secured, "member", {(ResourceType.TOPIC, topics.state.name): [ACLOperation.READ]})
    for command in ("check", "run"):
        process = deployment.start(command)
        assert process.ends() == 1, process.tail()
        assert f"lacks the right to WRITE transactional ids that begin with '{group}.'" in said(process.log)
        right = f"User:member --operation WRITE --transactional-id {group}. --resource-pattern-type prefixed"
        assert right in said(process.log), process.tail()
    environment = {"MONITOR_DELIVERY": "at_least_once"}
    check = deployment.start("check", environment=environment)
    assert check.ends() == 0, check.tail()
    assert "delivery at_least_once MONITOR_DELIVERY" in said(check.log)


def no_secret(log: str) -> bool:
    return not any(password in log for password in (*PASSWORDS.values(), "wrong-password"))


@pytest.mark.parametrize("command", ["check", "topics"])
def test_a_wrong_password_leads_to_the_setting_and_is_never_shown(
    deploy: MakeDeployment, secured: LocalKafka, command: str
) -> None:
    deployment = deploy(bootstrap=secured.bootstrap)
    as_user(deployment, "member", "wrong-password")
    process = deployment.start(command)
    assert process.ends() == 1, process.tail()
    assert "kafka.sasl" in process.log.rpartition("error:")[2], process.tail()
    assert no_secret(process.log)


def test_run_with_a_wrong_password_leads_to_the_setting(deploy: MakeDeployment, secured: LocalKafka) -> None:
    """It ends, or waits where the client did not hear the refusal before the connection was closed; both name it."""
    deployment = deploy(bootstrap=secured.bootstrap)
    as_user(deployment, "member", "wrong-password")
    service = deployment.start("run")
    until(lambda: "kafka.sasl" in service.log, service.tail, "a word about kafka.sasl")
    assert no_secret(service.log)


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_user_without_rights_is_told_so(deploy: MakeDeployment, secured: LocalKafka, command: str) -> None:
    deployment = deploy(bootstrap=secured.bootstrap)
    as_user(deployment, "admin", PASSWORDS["admin"])
    assert deployment.start("topics", "--create").ends() == 0
    as_user(deployment, "stranger", PASSWORDS["stranger"])
    process = deployment.start(command)
    assert process.ends() == 1, process.tail()
    assert f"topic '{deployment.topics.input.name}' (topics.input)" in said(process.log)
    assert "this user lacks every right to it, READ is needed" in said(process.log), process.tail()
    right = f"--allow-principal User:stranger --operation READ --topic {deployment.topics.input.name}"
    assert f"kafka-acls.sh --bootstrap-server {secured.bootstrap} --add {right}" in said(process.log), process.tail()
    assert no_secret(process.log)


def test_a_user_with_the_rights_it_needs_and_no_more_can_serve(deploy: MakeDeployment, secured: LocalKafka) -> None:
    """READ on the input, the state and the group, WRITE on the outputs; without one of them `check` names it."""
    deployment = deploy(bootstrap=secured.bootstrap)
    as_user(deployment, "admin", PASSWORDS["admin"])
    assert deployment.start("topics", "--create").ends() == 0
    as_user(deployment, "member", PASSWORDS["member"])
    deployment.write(kafka={"instance_id": "pod-0"})
    topics = deployment.topics
    allow(
        secured,
        "member",
        {
            (ResourceType.TOPIC, topics.input.name): [ACLOperation.READ],
            (ResourceType.TOPIC, topics.alerts.name): [ACLOperation.WRITE],
            (ResourceType.TOPIC, topics.dead_letters.name): [ACLOperation.READ],
            (ResourceType.TOPIC, topics.state.name): [ACLOperation.READ],
        },
    )
    check = deployment.start("check")
    assert check.ends() == 1, check.tail()
    assert f"topic '{topics.dead_letters.name}' (topics.dead_letters): this user lacks the right to WRITE" in said(
        check.log
    )
    assert f"User:member --operation WRITE --topic {topics.dead_letters.name}" in said(check.log), check.tail()
    allow(secured, "member", {(ResourceType.TOPIC, topics.dead_letters.name): [ACLOperation.WRITE]})
    check = deployment.start("check")
    assert check.ends() == 1, check.tail()
    assert f"topic '{topics.state.name}' (topics.state): this user lacks the right to WRITE" in said(check.log)
    allow(secured, "member", {(ResourceType.TOPIC, topics.state.name): [ACLOperation.WRITE]})
    check = deployment.start("check")
    assert check.ends() == 1, check.tail()
    assert f"group {deployment.kafka.group}" in said(check.log).replace("'", ""), check.tail()
    allow(secured, "member", {(ResourceType.TRANSACTIONAL_ID, f"{deployment.kafka.group}.pod-0"): [ACLOperation.WRITE]})
    service = deployment.start("run")
    assert service.ends() == 1, service.tail()
    assert "GroupAuthorizationFailed" in service.log
    allow(secured, "member", {(ResourceType.GROUP, deployment.kafka.group): [ACLOperation.READ]})
    check = deployment.start("check")
    assert check.ends() == 0, check.tail()
    service = deployment.serve()
    assert no_secret(check.log + service.log)
