"""Where alerts go besides their topic: `monitor forward`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from monitor.config.section import Count, Seconds, Section

OWN_LABELS = ("alertname", "cause", "incident", "kind", "stream", "topic")
"""Labels that an alert has by itself: with them Alertmanager tells one incident from another."""


class Forward(Section):
    """Where `monitor forward` posts the alerts; the service itself reads none of this."""

    to: Literal["alertmanager", "webhook"] = "alertmanager"
    """What listens there. alertmanager: Alertmanager's API v2, an incident is one alert of it. webhook: anything that
    takes a POST of each alert as published, with the headers of a CloudEvent."""
    url: str | None = None
    """Address of Alertmanager (`http://alertmanager:9093`, its prefix included), or of the webhook."""
    group: Annotated[str, Field(min_length=1)] | None = None
    """Consumer group; another one gets every alert too. Not given: `kafka.group` and `.forward`."""
    start_at: Literal["earliest", "latest"] = "earliest"
    """Where a group without committed offsets begins: with the oldest alert the topic holds, or with the next one."""
    min_severity: Literal["warning", "major", "critical"] = "warning"
    """Incidents are forwarded from the message on that reaches this severity."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels for each alert of Alertmanager's, to route by (`team: pumps`)."""
    resend_every: Seconds = 60
    """Alertmanager is told of open incidents again each so many seconds, for it keeps none across a restart."""
    keep_open: Seconds = 900
    """Alertmanager takes an incident for over when it has not been told of it for so long: how long `monitor forward`
    may be away."""
    forget_after: Seconds = 86400
    """An open incident without a message for so many seconds is not told again: nobody may be left to close it."""
    max_open: Count = 10_000
    """Most open incidents that are told again; those not heard of for longest go first."""
    batch: Annotated[int, Field(ge=1, le=1000)] = 100
    """Most alerts in one request to Alertmanager; a webhook gets one alert a request."""
    timeout: Seconds = 10
    """Longest wait for the receiver: for the connection, and for each part of its answer."""
    longest_wait: Seconds = 60
    """Longest wait between two tries; the first is half a second, and each is twice the one before."""
    ca_file: Path | None = None
    """Certificates of the authorities to trust for https; the system's when not given."""
    bearer_token: SecretStr | None = None
    """Token for `Authorization: Bearer`; better given as a file or by the environment."""
    bearer_token_file: Path | None = None
    """File that holds the token; it is read again for each connection."""
    username: str | None = None
    """User name for basic authentication."""
    password: SecretStr | None = None
    """Password for basic authentication; better given as a file or by the environment."""
    password_file: Path | None = None
    """File that holds the password; it is read again for each connection."""

    @field_validator("url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is None:
            return value
        try:
            parts = urlsplit(value)
            known = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is no number
            known = False
        if not known or not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("is not an address such as http://alertmanager:9093")
        if parts.username is not None or parts.password is not None:
            raise ValueError("must not hold credentials; use forward.username and forward.password_file")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.keep_open < 2 * self.resend_every:
            raise ValueError("keep_open must be at least twice resend_every, or incidents end and begin again")
        if self.bearer_token and self.bearer_token_file:
            raise ValueError("give bearer_token or bearer_token_file, not both")
        if self.password and self.password_file:
            raise ValueError("give password or password_file, not both")
        if (self.username is not None) != bool(self.password or self.password_file):
            raise ValueError("username and password_file (or password) go together")
        if self.username is not None and (self.bearer_token or self.bearer_token_file):
            raise ValueError("give username or bearer_token, not both")
        for name in self.labels:
            if name in OWN_LABELS:
                raise ValueError(f"labels must not name {name}: an alert has one of its own")
            if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name):
                raise ValueError(f"labels: {name!r} is no name of a label (letters, digits and _, no digit first)")
        return self
