"""The two receivers: how many alerts one request holds, and how it is written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from monitor import config
from monitor.errors import ConfigError
from monitor.forward import alertmanager, webhook
from monitor.forward.client import Client
from monitor.forward.item import Item


class Receiver(Protocol):
    batch: int
    """Most alerts of one request."""
    keeps_state: bool
    """Whether it must be told again of what is open."""

    @property
    def where(self) -> str:
        """Its address, for people."""

    def send(self, items: Sequence[Item], now: float) -> None:
        """Returns when it has taken them, in their order; `now` in s since the Unix epoch.

        Raises AwayError or NotTakenError: of more than one it may then have taken some.
        """

    def close(self) -> None: ...


class Alertmanager:
    keeps_state = True

    def __init__(self, settings: config.Forward, url: str) -> None:
        self._client = Client(settings, url.rstrip("/") + "/api/v2/alerts")
        self._labels = settings.labels
        self._keep_open = settings.keep_open
        self.batch = settings.batch

    @property
    def where(self) -> str:
        return self._client.where

    def send(self, items: Sequence[Item], now: float) -> None:
        moment = datetime.fromtimestamp(now, UTC)
        told = [alertmanager.alert_of(item.alert, self._labels, moment, self._keep_open) for item in items]
        self._client.post(json.dumps(told).encode(), {"Content-Type": "application/json"})

    def close(self) -> None:
        self._client.close()


class Webhook:
    keeps_state = False
    batch = 1

    def __init__(self, settings: config.Forward, url: str) -> None:
        self._client = Client(settings, url)

    @property
    def where(self) -> str:
        return self._client.where

    def send(self, items: Sequence[Item], now: float) -> None:  # noqa: ARG002  the protocol's signature
        for item in items:
            self._client.post(item.record.value or b"", webhook.headers(item.alert))

    def close(self) -> None:
        self._client.close()


def receiver(settings: config.Forward) -> Receiver:
    """The one that the settings name. Raises ConfigError where they name none."""
    if settings.url is None:
        raise ConfigError(
            "forward.url is not set: there is nowhere to forward alerts to",
            "Give the address of Alertmanager, or of a webhook with forward.to: webhook; or --url.",
        )
    return Alertmanager(settings, settings.url) if settings.to == "alertmanager" else Webhook(settings, settings.url)
