"""What must exist before the service runs: its topics, of the right shape, and the rights to use them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType

from monitor import config, logs
from monitor.batch import OutputName
from monitor.errors import MonitorError
from monitor.kafka import limits, releases
from monitor.kafka.connect import options, translated

log = logs.get("kafka.topics")

Delivery = Literal["exactly_once", "at_least_once"]
Purpose = Literal["input", "alerts", "dead_letters", "state", "scores", "denoised", "latent"]

_NEEDS: dict[Purpose, tuple[str, ...]] = {
    "input": ("READ",),
    "alerts": ("WRITE",),
    "dead_letters": ("WRITE",),
    "state": ("READ", "WRITE"),
    "scores": ("WRITE",),
    "denoised": ("WRITE",),
    "latent": ("WRITE",),
}


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

    @property
    def setting(self) -> str:
        """The key of the configuration that names it."""
        return f"{'outputs' if self.purpose in get_args(OutputName) else 'topics'}.{self.purpose}"

    def hint(self, create: str) -> str:
        """What to do about the problem; `create` is the command that makes missing topics."""
        if self.missing:
            return f"Make it with: {create}"
        if self.fix:
            return f"Change that with: {self.fix}"
        return "Change that on the brokers, or name another topic." if self.problem else ""


class Topics:
    """The four topics that every deployment has, and those of its outputs, on real brokers."""

    def __init__(self, kafka: config.Kafka, topics: config.Topics, outputs: config.Outputs | None = None) -> None:
        self._kafka = kafka
        self._specs: dict[Purpose, config.TopicSpec] = {
            "input": topics.input,
            "alerts": topics.alerts,
            "dead_letters": topics.dead_letters,
            "state": topics.state,
        }
        if outputs is not None:
            self._specs |= dict[Purpose, config.TopicSpec](outputs.topics.items())
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

    def transaction_problem(self) -> str:
        """Why this user cannot publish in transactions; empty when it can, or the brokers do not say."""
        name = self._kafka.group + "." + (self._kafka.instance_id or "check")
        with translated(self._kafka, f"reading transactional id {name}"):
            try:
                self._admin.describe_transactions([name])
            except kafka_errors.TransactionalIdAuthorizationFailedError:
                return (
                    f"this user lacks the right to WRITE transactional ids that begin with {self._kafka.group + '.'!r}"
                )
            except (
                kafka_errors.TransactionalIdNotFoundError,  # the first member of that name makes it
                kafka_errors.IncompatibleBrokerVersion,  # before Kafka 3.0
                kafka_errors.RetriableError,  # its coordinator is not there just now, or not at all yet
            ):
                return ""
        return ""

    def allow_transactions(self) -> str:
        """The command that gives this user that right."""
        user, prefix = shlex.quote(self._user()), shlex.quote(self._kafka.group + ".")
        rule = f"--operation WRITE --transactional-id {prefix} --resource-pattern-type prefixed"
        return self._tool("kafka-acls.sh", f"--add --allow-principal {user} {rule}")

    def limits(self) -> dict[str, int]:
        """The brokers' limits, as far as this user may read them."""
        with translated(self._kafka, "reading the brokers' limits"):
            return limits.read(self._admin)

    def known_fault(self) -> str:
        """What brokers of their release are known to get wrong about transactions; empty where nothing is known."""
        with translated(self._kafka, "reading the brokers' features"):
            return releases.known_fault(releases.read(self._admin))

    def create(self, missing: list[TopicState]) -> None:
        """Makes the missing topics as their settings say; that for state has as many partitions as the input."""
        wanted = {
            state.spec.name: {
                "num_partitions": self._partitions(state, missing),
                "replication_factor": state.spec.replication,
                "configs": {"cleanup.policy": _policy(state.purpose), **_retention(state.spec), **state.spec.config},
            }
            for state in missing
        }
        with translated(self._kafka, f"creating {', '.join(wanted)}"):
            try:
                self._admin.create_topics(wanted, wait_for_metadata=True)
            except kafka_errors.TopicAlreadyExistsError:
                return  # another member was quicker

    def _partitions(self, state: TopicState, missing: list[TopicState]) -> int:
        if state.purpose != "state":
            return state.spec.partitions
        if any(other.purpose == "input" for other in missing):
            return self._specs["input"].partitions
        found = next(other for other in self.inspect() if other.purpose == "input")
        return found.partitions or state.spec.partitions  # 0 where this user may not see it

    def _state(self, purpose: Purpose, spec: config.TopicSpec, found: dict[str, Any] | None) -> TopicState:
        code = kafka_errors.for_code(found["error_code"]) if found else kafka_errors.UnknownTopicOrPartitionError
        if found is None or code is kafka_errors.UnknownTopicOrPartitionError:
            return TopicState(purpose, spec, None, None, None, frozenset(), "does not exist")
        if code is not kafka_errors.NoError:
            said, fix = f"the brokers say {code.__name__.removesuffix('Error')}", ""
            if code is kafka_errors.TopicAuthorizationFailedError:
                verb = "is" if len(_NEEDS[purpose]) == 1 else "are"
                said = f"this user lacks every right to it, {' and '.join(_NEEDS[purpose])} {verb} needed"
                fix = self._allow(_NEEDS[purpose], spec.name)
            return TopicState(purpose, spec, 0, 0, None, frozenset(), said, fix)
        partitions = found["partitions"]
        replication = min((len(partition["replica_nodes"]) for partition in partitions), default=0)
        cleanup = self._cleanup(spec.name)
        rights = frozenset(found.get("authorized_operations") or ())
        problem = fix = ""
        lacks = [right for right in _NEEDS[purpose] if right not in rights] if rights else []
        if lacks:
            problem, fix = f"this user lacks the right to {' and '.join(lacks)}", self._allow(lacks, spec.name)
        elif cleanup is not None and (why := _wrong_policy(purpose, cleanup)):
            problem = f"cleanup.policy is {cleanup}: {why}"
            change = f"--add-config cleanup.policy={_policy(purpose)}"
            fix = self._tool("kafka-configs.sh", f"--alter --entity-type topics --entity-name {spec.name} {change}")
        return TopicState(purpose, spec, len(partitions), replication, cleanup, rights, problem, fix)

    def _allow(self, rights: Iterable[str], name: str) -> str:
        operations = " ".join(f"--operation {right}" for right in rights)
        return self._tool(
            "kafka-acls.sh", f"--add --allow-principal {shlex.quote(self._user())} {operations} --topic {name}"
        )

    def _user(self) -> str:
        return f"User:{self._kafka.sasl.username or '...'}"

    def _tool(self, script: str, arguments: str) -> str:
        servers = ",".join(server.strip() for server in self._kafka.bootstrap_servers.split(","))
        return f"{script} --bootstrap-server {servers} {arguments}"

    def _cleanup(self, name: str) -> str | None:
        try:
            answer = self._admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)], config_filter="all")
        except kafka_errors.AuthorizationError:
            return None
        return limits.value_of(answer, "cleanup.policy")


def require(
    kafka: config.Kafka,
    topics: config.Topics,
    command: str,
    delivery: Delivery = "exactly_once",
    outputs: config.Outputs | None = None,
) -> list[TopicState]:
    """The topics' states, if the service can run on them; else an error that says the command that fixes it."""
    with Topics(kafka, topics, outputs) as client:
        states = client.inspect()
        refuse(states, kafka, command)
        refuse_settings(client, kafka, delivery)
        if delivery == "exactly_once" and (fault := client.known_fault()):
            log.warning("exactly once cannot be promised", why=fault)
    return states


def refuse(states: Iterable[TopicState], kafka: config.Kafka, command: str) -> None:
    """Raises MonitorError for the first topic that is missing (`command` makes it) or cannot be used."""
    for state in states:
        name = f"topic {state.spec.name!r} ({state.setting})"
        if state.missing:
            raise MonitorError(f"{name} does not exist on {kafka.bootstrap_servers}", state.hint(command))
        if state.problem:
            raise MonitorError(f"{name}: {state.problem}", state.hint(command))


def refuse_settings(client: Topics, kafka: config.Kafka, delivery: Delivery) -> None:
    """Raises MonitorError where the brokers would refuse the time-outs, or transactions, that were asked for."""
    limits.require(client.limits(), kafka, delivery)
    problem = client.transaction_problem() if delivery == "exactly_once" else ""
    if problem:
        raise MonitorError(problem, f"Change that with: {client.allow_transactions()}")


def _policy(purpose: Purpose) -> str:
    return "compact" if purpose == "state" else "delete"


def _wrong_policy(purpose: Purpose, cleanup: str) -> str:
    """Why records of this topic would not be kept as they must; empty where they are."""
    if purpose != "state":
        return "records would be thrown away by key" if "compact" in cleanup else ""
    return "" if cleanup == "compact" else "incidents that stay open for long would be forgotten"


def _retention(spec: config.TopicSpec) -> dict[str, str]:
    return {} if spec.retention is None else {"retention.ms": str(round(spec.retention * 1000))}
