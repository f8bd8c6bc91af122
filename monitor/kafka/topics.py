"""What must exist before the service runs: three topics, with the right shape."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any, Literal

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType

from monitor import config
from monitor.errors import MonitorError
from monitor.kafka.connect import options, translated

Purpose = Literal["input", "alerts", "dead_letters"]


_NEEDS: dict[Purpose, str] = {"input": "READ", "alerts": "WRITE", "dead_letters": "WRITE"}


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as configured and as the brokers have it."""

    purpose: Purpose
    spec: config.TopicSpec
    partitions: int | None  # None: it does not exist
    replication: int | None
    cleanup: str | None  # cleanup.policy; None where this user may not read it
    rights: frozenset[str]  # operations this user may do, as Kafka names them; empty where the brokers do not say
    problem: str  # empty when it can be used
    fix: str = ""  # the command that ends the problem, where one does

    @property
    def missing(self) -> bool:
        return self.partitions is None

    def hint(self, create: str) -> str:
        """What to do about the problem; `create` is the command that makes missing topics."""
        if self.missing:
            return f"Make it with: {create}"
        if self.fix:
            return f"Change that with: {self.fix}"
        return "Change that on the brokers, or name another topic." if self.problem else ""


class Topics:
    """The three topics on real brokers."""

    def __init__(self, kafka: config.Kafka, topics: config.Topics) -> None:
        self._kafka = kafka
        self._specs: dict[Purpose, config.TopicSpec] = {
            "input": topics.input,
            "alerts": topics.alerts,
            "dead_letters": topics.dead_letters,
        }
        with translated(kafka, "connecting"):
            self._admin = KafkaAdminClient(**options(kafka, "admin"))

    def __enter__(self) -> Topics:
        return self

    def __exit__(self, *_: object) -> None:
        self._admin.close()

    def inspect(self) -> list[TopicState]:
        """The state of each topic. One that this user may not see counts as missing: the brokers do not tell."""
        with translated(self._kafka, "reading topics"):
            found = {
                topic["name"]: topic
                for topic in self._admin.describe_topics([spec.name for spec in self._specs.values()])
            }
        return [self._state(purpose, spec, found.get(spec.name)) for purpose, spec in self._specs.items()]

    def group_problem(self) -> str:
        """Why this user cannot be a member of the consumer group; empty when it can, or the brokers do not say."""
        group = self._kafka.group
        with translated(self._kafka, f"reading group {group}"):
            try:
                found = self._admin.describe_groups([group], include_authorized_operations=True)
            except (kafka_errors.GroupIdNotFoundError, kafka_errors.CoordinatorNotAvailableError):
                return ""  # the first member makes it; the first of a cluster, the topic that keeps groups too
        told = found[group]
        rights = told.get("authorized_operations")  # None for a group that does not exist yet
        refused = "GroupAuthorizationFailed" in (told.get("error") or "")
        lacks = refused or (rights is not None and "READ" not in rights)
        return f"this user lacks the right to READ group {group!r}" if lacks else ""

    def create(self, missing: list[TopicState]) -> None:
        """Makes the missing topics as their settings say."""
        wanted = {
            state.spec.name: {
                "num_partitions": state.spec.partitions,
                "replication_factor": state.spec.replication,
                "configs": {"cleanup.policy": "delete", **_retention(state.spec), **state.spec.config},
            }
            for state in missing
        }
        with translated(self._kafka, f"creating {', '.join(wanted)}"):
            try:
                self._admin.create_topics(wanted, wait_for_metadata=True)
            except kafka_errors.TopicAlreadyExistsError:
                return  # another member was quicker

    def _state(self, purpose: Purpose, spec: config.TopicSpec, found: dict[str, Any] | None) -> TopicState:
        code = kafka_errors.for_code(found["error_code"]) if found else kafka_errors.UnknownTopicOrPartitionError
        if found is None or code is kafka_errors.UnknownTopicOrPartitionError:
            return TopicState(purpose, spec, None, None, None, frozenset(), "does not exist")
        if code is not kafka_errors.NoError:
            said, fix = f"the brokers say {code.__name__.removesuffix('Error')}", ""
            if code is kafka_errors.TopicAuthorizationFailedError:
                said = f"this user lacks every right to it, {_NEEDS[purpose]} is needed"
                fix = self._allow(purpose, spec.name)
            return TopicState(purpose, spec, 0, 0, None, frozenset(), said, fix)
        partitions = found["partitions"]
        replication = min((len(partition["replica_nodes"]) for partition in partitions), default=0)
        cleanup = self._cleanup(spec.name)
        rights = frozenset(found.get("authorized_operations") or ())
        problem = fix = ""
        if rights and _NEEDS[purpose] not in rights:
            problem, fix = f"this user lacks the right to {_NEEDS[purpose]}", self._allow(purpose, spec.name)
        elif cleanup is not None and "compact" in cleanup:
            problem = f"cleanup.policy is {cleanup}: records would be thrown away by key"
            change = f"--alter --entity-type topics --entity-name {spec.name} --add-config cleanup.policy=delete"
            fix = self._tool("kafka-configs.sh", change)
        return TopicState(purpose, spec, len(partitions), replication, cleanup, rights, problem, fix)

    def _allow(self, purpose: Purpose, name: str) -> str:
        user = shlex.quote(f"User:{self._kafka.sasl.username or '...'}")
        return self._tool(
            "kafka-acls.sh", f"--add --allow-principal {user} --operation {_NEEDS[purpose]} --topic {name}"
        )

    def _tool(self, script: str, arguments: str) -> str:
        servers = ",".join(server.strip() for server in self._kafka.bootstrap_servers.split(","))
        return f"{script} --bootstrap-server {servers} {arguments}"

    def _cleanup(self, name: str) -> str | None:
        try:
            answer = self._admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)], config_filter="all")
        except kafka_errors.AuthorizationError:
            return None
        return _find_value(answer, "cleanup.policy")


def require(kafka: config.Kafka, topics: config.Topics, command: str) -> list[TopicState]:
    """The topics' states, if the service can run on them; else an error that says the command that fixes it."""
    with Topics(kafka, topics) as client:
        states = client.inspect()
    for state in states:
        name = f"topic {state.spec.name!r} (topics.{state.purpose})"
        if state.missing:
            raise MonitorError(f"{name} does not exist on {kafka.bootstrap_servers}", state.hint(command))
        if state.problem:
            raise MonitorError(f"{name}: {state.problem}", state.hint(command))
    return states


def _retention(spec: config.TopicSpec) -> dict[str, str]:
    return {} if spec.retention is None else {"retention.ms": str(round(spec.retention * 1000))}


def _find_value(answer: Any, name: str) -> str | None:
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
    return next((value for child in children if (value := _find_value(child, name)) is not None), None)
