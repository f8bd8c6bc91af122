"""From typed settings to the client's options, and from the client's errors to ours."""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka import errors as kafka_errors
from kafka.net.compat import KafkaNetClient

from monitor import config
from monitor.config.loading import secret
from monitor.errors import ConfigError, MonitorError, RefusedError, UnavailableError

Role = Literal["consumer", "producer", "admin"]

_CLIENTS: dict[Role, type[Any]] = {"consumer": KafkaConsumer, "producer": KafkaProducer, "admin": KafkaAdminClient}
_BYTES = "is fixed: events, alerts and dead letters are bytes to the client"
_FIXED = {
    "acks": "is fixed: a publish counts when all in-sync replicas have it",
    "bootstrap_servers": "has a setting of its own: use kafka.bootstrap_servers",
    "enable_auto_commit": "is fixed: offsets are committed after alerts are acknowledged",
    "enable_idempotence": "is fixed: an alert that the client sends again must not stand twice in the topic",
    "group_id": "has a setting of its own: use kafka.group",
    "group_instance_id": "has a setting of its own: use kafka.instance_id",
    "isolation_level": "is fixed: events of aborted transactions are not read",
    "kafka_client": "is fixed: it tells a refusal from an absence",
    "key_deserializer": _BYTES,
    "key_serializer": _BYTES,
    "transaction_timeout_ms": "has a setting of its own: use kafka.transaction_timeout",
    "transactional_id": "has a setting of its own: it is kafka.group and kafka.instance_id",
    "value_deserializer": _BYTES,
    "value_serializer": _BYTES,
}
_REFUSALS = (
    kafka_errors.AuthorizationError,
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.IllegalSaslStateError,
)


class _Client(KafkaNetClient):  # type: ignore[misc]  # the client library ships no types
    """Tells a refusal from an absence: the library retries refused credentials and then speaks of a time-out only.

    A broker closes the connection right after its refusal, and the answer may be lost with it: then this attempt looks
    like an absence, and the next one tells.
    """

    def __init__(self, **configs: Any) -> None:
        super().__init__(**configs)
        manager, refusals = self._manager, deque[Exception](maxlen=1)
        connect, bootstrap = manager.get_connection, manager.bootstrap

        def note(error: Exception) -> None:
            if isinstance(error, _REFUSALS):
                refusals.append(error)

        def connect_and_note(*args: Any, **kwargs: Any) -> Any:
            connection = connect(*args, **kwargs)
            connection.init_future.add_errback(note)
            return connection

        def bootstrap_or_tell(*args: Any, **kwargs: Any) -> None:
            try:
                bootstrap(*args, **kwargs)
            except kafka_errors.KafkaTimeoutError:
                if refusals:
                    raise refusals[0] from None
                raise

        manager.get_connection, manager.bootstrap = connect_and_note, bootstrap_or_tell


def options(settings: config.Kafka, role: Role, **chosen: Any) -> dict[str, Any]:
    """Options of one client: ours, then `chosen`, then whatever of `kafka.options` this kind of client knows."""
    tls, sasl = settings.tls, settings.sasl
    security = ("SASL_" if sasl.mechanism else "") + ("SSL" if tls.enabled else "PLAINTEXT")
    found: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in settings.bootstrap_servers.split(",")],
        "client_id": settings.client_id,
        "security_protocol": security,
        "bootstrap_timeout_ms": 5_000,
        "reconnect_backoff_max_ms": 2_000,
        "metrics_enabled": False,
        "kafka_client": _Client,
    }
    if tls.enabled:
        found |= {
            "ssl_context": _tls_context(tls),
            "ssl_check_hostname": tls.check_hostname,
        }
    if sasl.mechanism:
        found |= {
            "sasl_mechanism": sasl.mechanism,
            "sasl_plain_username": sasl.username,
            "sasl_plain_password": secret(sasl.password, sasl.password_file, "kafka.sasl.password"),
        }
    known = _CLIENTS[role].DEFAULT_CONFIG
    passed = {name: value for name, value in settings.options.items() if name in known}
    return {name: value for name, value in found.items() if name in known} | chosen | passed


def check_options(settings: config.Kafka) -> None:
    """Refuses a pass-through option that no client knows, or that would break what the service promises."""
    known = {name for client in _CLIENTS.values() for name in client.DEFAULT_CONFIG}
    for name in settings.options:
        if name in _FIXED:
            raise ConfigError(f"kafka.options: {name} {_FIXED[name]}", f"Remove {name} from kafka.options.")
        if name not in known:
            raise ConfigError(
                f"kafka.options: no Kafka client has an option {name!r}",
                "The names are those of kafka-python's KafkaConsumer, KafkaProducer and KafkaAdminClient.",
            )


@contextmanager
def translated(settings: config.Kafka, doing: str) -> Iterator[None]:
    """Turns what the client raises into what to do about it: wait (UnavailableError) or stop (RefusedError)."""
    where = settings.bootstrap_servers
    try:
        yield
    except _REFUSALS as error:
        raise RefusedError(
            f"{doing}: {where} refused: {_text(error)}", "Check kafka.sasl, kafka.tls and the ACLs of this user."
        ) from error
    except kafka_errors.KafkaConfigurationError as error:
        raise ConfigError(f"kafka.options: {error}") from error
    except kafka_errors.RetriableError as error:
        # A broker that closes the connection at once after its refusal is seen as one that went away.
        secured = settings.sasl.mechanism or settings.tls.enabled
        hint = "If it answers others, check kafka.sasl and kafka.tls." if secured else ""
        raise UnavailableError(f"{doing}: {where} does not answer: {_text(error)}", hint) from error
    except kafka_errors.CorruptRecordError as error:
        raise MonitorError(
            f"{doing}: {where}: the client cannot read a record: {error}",
            "Where it is damaged, or has a header name that is not UTF-8, move the group's offset past it with "
            "kafka-consumer-groups.sh --reset-offsets.",
        ) from error
    except kafka_errors.KafkaError as error:
        raise MonitorError(f"{doing}: {where}: {_text(error)}") from error
    except OSError as error:
        raise UnavailableError(f"{doing}: {where} cannot be reached: {error}") from error


def _text(error: Exception) -> str:
    name = type(error).__name__.removesuffix("Error")
    said = str(error).strip()
    return said if said.startswith(name) or not name else f"{name}: {said}" if said else name


def _tls_context(tls: config.Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        context.check_hostname = tls.check_hostname
        if tls.certificate_file is not None:
            password = secret(tls.key_password, tls.key_password_file, "kafka.tls.key_password")
            context.load_cert_chain(tls.certificate_file, tls.key_file, password)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"kafka.tls: the certificates cannot be loaded: {error}", "Check ca_file, certificate_file and key_file."
        ) from error
    return context
