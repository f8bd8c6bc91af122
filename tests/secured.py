"""Local brokers that ask who you are: by password (SASL/PLAIN, with rights for each user) or by certificate (TLS)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization
from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType

from monitor.local_kafka import LocalKafka, free_ports

PASSWORDS = {"admin": "secret-of-admin", "member": "secret-of-member", "stranger": "secret-of-stranger"}


@contextmanager
def secured_kafka(folder: Path) -> Iterator[LocalKafka]:
    """`admin` may everything, the others nothing until `allow` says so."""
    port, controller = free_ports(2)
    users = " ".join(f'user_{name}="{password}"' for name, password in PASSWORDS.items())
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    settings = {
        "listeners": f"SASL_PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"SASL_PLAINTEXT://127.0.0.1:{port}",
        "listener.security.protocol.map": "SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "SASL_PLAINTEXT",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": (
            f'{module} required username="admin" password="{PASSWORDS["admin"]}" {users};'
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:admin;User:ANONYMOUS",  # the controller's own listener knows no names
    }
    with LocalKafka(folder, port, controller_port=controller, settings=settings) as node:
        yield node


def allow(node: LocalKafka, user: str, rights: dict[tuple[ResourceType, str], list[ACLOperation]]) -> None:
    admin = KafkaAdminClient(
        bootstrap_servers=node.bootstrap,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_plain_username="admin",
        sasl_plain_password=PASSWORDS["admin"],
    )
    try:
        admin.create_acls(
            [
                ACL(f"User:{user}", "*", operation, ACLPermissionType.ALLOW, ResourcePattern(kind, name))
                for (kind, name), operations in rights.items()
                for operation in operations
            ]
        )
    finally:
        admin.close()


@contextmanager
def tls_kafka(folder: Path) -> Iterator[LocalKafka]:
    """Mutual TLS: clients need a certificate of its authority. Writes `ca.pem` and `client.pem` into the folder."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    _write(authority.issue_cert("127.0.0.1"), folder / "server.pem")
    _write(authority.issue_cert("member@example.org"), folder / "client.pem")
    port, controller = free_ports(2)
    settings = {
        "listeners": f"SSL://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"SSL://127.0.0.1:{port}",
        "listener.security.protocol.map": "SSL:SSL,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "server.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "ca.pem"),
        "ssl.client.auth": "required",
    }
    with LocalKafka(folder / "node", port, controller_port=controller, settings=settings) as node:
        yield node


def _write(certificate: trustme.LeafCert, path: Path) -> None:
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    pkcs8 = key.private_bytes(  # the only form that Kafka reads
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(pkcs8 + b"".join(link.bytes() for link in certificate.cert_chain_pems))
