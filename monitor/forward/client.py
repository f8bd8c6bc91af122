"""One HTTP connection that is kept, and what an answer means: done, wait, or never.

No redirect is followed: an address that has moved is the operator's to correct, and credentials go nowhere else.
"""

from __future__ import annotations

import base64
import http.client
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from monitor import __version__, config
from monitor.config.loading import secret
from monitor.errors import ConfigError, MonitorError

_ABOUT_THE_BODY = frozenset({400, 413, 415, 422})  # what comes next may be taken
_LARGEST_ANSWER = 65_536  # bytes that are read of an answer; of a longer one the connection is given up
_SHOWN = 200  # characters of it in an error


class AwayError(MonitorError):
    """The receiver did not take it and may do so later: the same again, after a wait."""

    def __init__(self, message: str, hint: str = "", retry_after: float | None = None) -> None:
        """`retry_after`: seconds that the receiver asked for."""
        super().__init__(message, hint)
        self.retry_after = retry_after


class NotTakenError(MonitorError):
    """The receiver will never take this body."""


class Client:
    """Posts to one address. Not for use by two threads."""

    def __init__(self, settings: config.Forward, url: str) -> None:
        """Raises ConfigError where the certificates cannot be loaded or a secret's file cannot be read."""
        self._settings = settings
        self._url = url
        parts = urlsplit(url)
        self._host = parts.netloc
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._tls = _tls(settings.ca_file) if parts.scheme == "https" else None
        self._authorization()  # a missing file is an error of the start, not of the first alert
        self._connection: http.client.HTTPConnection | None = None

    @property
    def where(self) -> str:
        """The address without its query, which may hold a token."""
        return self._url.partition("?")[0]

    def post(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Returns when the receiver has answered with 2xx. Raises AwayError or NotTakenError."""
        reused = self._connection is not None
        try:
            try:
                response = self._ask(body, headers)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                if not reused:
                    raise
                self.close()  # it was closed while nothing was asked: that says nothing of the receiver
                response = self._ask(body, headers)
            text = response.read(_LARGEST_ANSWER)
            if not response.isclosed():
                self.close()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise AwayError(f"{self.where} does not answer: {_why(error)}") from error
        if not 200 <= response.status < 300:
            self.close()
            raise self._refusal(response, text)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, body: bytes, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        if self._connection is None:
            timeout = self._settings.timeout
            if self._tls is None:
                self._connection = http.client.HTTPConnection(self._host, timeout=timeout)
            else:
                self._connection = http.client.HTTPSConnection(self._host, timeout=timeout, context=self._tls)
            try:
                self._credentials = self._authorization()
            except ConfigError as error:  # a secret that is just being replaced
                raise AwayError(error.message, error.hint) from error
        self._connection.request(
            "POST", self._target, body, {"User-Agent": f"monitor/{__version__}", **headers, **self._credentials}
        )
        return self._connection.getresponse()

    def _refusal(self, response: http.client.HTTPResponse, text: bytes) -> MonitorError:
        said = " ".join(text.decode("utf-8", "replace").split())[:_SHOWN]
        message = f"{self.where} answers {response.status} {response.reason}" + (f": {said}" if said else "")
        code = response.status
        if code in _ABOUT_THE_BODY:
            return NotTakenError(message)
        if 300 <= code < 400:
            place = response.getheader("Location", "another address")
            return AwayError(message, f"Set forward.url to where it has moved: {place}")
        if code in {401, 403}:
            return AwayError(message, "Check forward.bearer_token_file, or forward.username and forward.password_file.")
        if code in {404, 405, 410}:
            return AwayError(message, "Check forward.url and forward.to.")
        return AwayError(message, retry_after=_seconds(response.getheader("Retry-After")))

    def _authorization(self) -> dict[str, str]:
        settings = self._settings
        token = secret(settings.bearer_token, settings.bearer_token_file, "forward.bearer_token")
        if token is not None:
            if not (token.isascii() and token.isprintable()):
                raise ConfigError("forward.bearer_token holds more than one line, or what no header may hold")
            return {"Authorization": f"Bearer {token}"}
        password = secret(settings.password, settings.password_file, "forward.password")
        if settings.username is not None and password is not None:
            pair = base64.b64encode(f"{settings.username}:{password}".encode()).decode()
            return {"Authorization": f"Basic {pair}"}
        return {}


def _tls(ca_file: object) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"forward.ca_file: {ca_file} cannot be loaded: {error}") from error


def _seconds(text: str | None) -> float | None:
    """Of a Retry-After; a date, which few send, counts as none."""
    return float(text) if text is not None and text.isascii() and text.isdigit() else None


def _why(error: Exception) -> str:
    return (
        f"{type(error).__name__}: {error}" if isinstance(error, http.client.HTTPException) else str(error) or "closed"
    )
