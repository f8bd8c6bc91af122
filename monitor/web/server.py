"""HTTP for probes, Prometheus and people: /metrics, /livez, /readyz, /status.json and the status page.

One request a connection, on a daemon thread of its own. A connection has a deadline and there is a cap on connections,
so a slow or hostile client costs a slot for a few seconds and never the loop.
"""

from __future__ import annotations

import errno
import gzip
import io
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from monitor.errors import MonitorError
from monitor.status import Status
from monitor.web import page

DEADLINE_SECONDS = 5.0  # from the accepted connection to the last header; again for the answer
CONNECTIONS = 64  # at once; the next is closed unanswered and comes again
TEXT = "text/plain; version=0.0.4; charset=utf-8"
JSON = "application/json; charset=utf-8"
PATHS = ("/", "/livez", "/metrics", "/readyz", "/status.json")

log = logging.getLogger(__name__)


class Response(NamedTuple):
    status: int
    content_type: str
    body: bytes
    encoding: str | None = None


class Web:
    """Listens from construction on (`port` is known then), answers from `start` to `close`.

    `status` gives the newest status, None before the first. `alive` gives None, or why the loop does not turn.
    Raises MonitorError where the address cannot be had.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        status: Callable[[], Status | None],
        alive: Callable[[], str | None],
    ) -> None:
        self._registry = registry
        self._status = status
        self._alive = alive
        self._thread: threading.Thread | None = None
        self._server = _listen(host, port, self)

    @property
    def port(self) -> int:
        """The port listened on; the one the system chose where 0 was asked for."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Answers from now on."""
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="web", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stops listening; answers under way may be cut. Safe to call twice, and without `start`."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()

    def answer(self, path: str, accept: str, accept_encoding: str) -> Response:
        """The response to a GET of a path without its query."""
        status, stuck = self._status(), self._alive()
        if path == "/":
            document = page.render(status, stuck).encode("utf-8", "replace")
            return Response(503 if status is None else 200, "text/html; charset=utf-8", document)
        if path == "/metrics":
            return self._metrics(accept, accept_encoding)
        if path == "/livez":
            return _json(200 if stuck is None else 503, alive=stuck is None, reason=stuck)
        if path == "/readyz":
            reasons = page.reasons(status, stuck)
            state = "starting" if status is None else status.state
            return _json(503 if reasons else 200, ready=not reasons, state=state, reasons=reasons)
        if path == "/status.json":
            facts = {"ready": False, "state": "starting"} if status is None else page.facts(status)
            return _json(503 if status is None else 200, **facts)
        return _json(404, error="no such path", paths=PATHS)

    def _metrics(self, accept: str, accept_encoding: str) -> Response:
        # The library's own negotiation copies parts of the request into the response's headers; two fixed forms do.
        if accepts(accept, "application/openmetrics-text"):
            kind, body = openmetrics.CONTENT_TYPE_LATEST, openmetrics.generate_latest(self._registry)  # type: ignore[no-untyped-call]
        else:
            kind, body = TEXT, generate_latest(self._registry)
        if accepts(accept_encoding, "gzip"):
            return Response(200, kind, gzip.compress(body, compresslevel=5, mtime=0), "gzip")
        return Response(200, kind, body)


class Probes(Web):
    """The same without a status page, for a process that serves no model: /metrics, /livez, /readyz."""

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        state: Callable[[], tuple[str, tuple[str, ...]]],
        alive: Callable[[], str | None],
    ) -> None:
        """`state` gives one word, and every reason why the process is not ready."""
        super().__init__(host, port, registry, lambda: None, alive)
        self._state = state

    def answer(self, path: str, accept: str, accept_encoding: str) -> Response:
        if path == "/readyz":
            (state, reasons), stuck = self._state(), self._alive()
            reasons = ((stuck,) if stuck else ()) + reasons
            return _json(503 if reasons else 200, ready=not reasons, state=state, reasons=reasons)
        if path in {"/livez", "/metrics"}:
            return super().answer(path, accept, accept_encoding)
        return _json(404, error="no such path", paths=("/livez", "/metrics", "/readyz"))


def accepts(header: str, wanted: str) -> bool:
    """Whether an Accept or Accept-Encoding header names a value and does not refuse it with q=0."""
    for item in header.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        if name == wanted:
            return not any(
                parameter.replace(" ", "") in {"q=0", "q=0.0", "q=0.00", "q=0.000"} for parameter in parameters
            )
    return False


def _json(code: int, **content: Any) -> Response:
    return Response(code, JSON, json.dumps(content).encode() + b"\n")


def _listen(host: str, port: int, web: Web) -> _Server:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return _Server(family, (str(address[0]), port), web)
    except OSError as error:
        raise _unavailable(host, port, error) from error


def _unavailable(host: str, port: int, error: OSError) -> MonitorError:
    where = f"cannot listen on {host}:{port} for metrics, probes and the status page"
    if error.errno == errno.EADDRINUSE:
        return MonitorError(f"{where}: the port is in use", "set web.port to a free port, or to 0 for any")
    if error.errno == errno.EACCES:
        return MonitorError(f"{where}: not allowed", "set web.port to a port above 1023")
    return MonitorError(
        f"{where}: {error.strerror or error}", "set web.host to an address of this machine (0.0.0.0: all)"
    )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = CONNECTIONS

    def __init__(self, family: socket.AddressFamily, address: tuple[str, int], web: Web) -> None:
        self.address_family = family
        self.web = web
        self._slots = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's also asks the DNS for this machine's name, which can take seconds

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread was started, so none will give the slot back
            self._slots.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is not worth a line; everything else was logged where it happened."""


class _Deadline(io.RawIOBase):
    """A socket's bytes up to a moment: a time-out per read alone lets a client drip one byte at a time for ever."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._until = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = DEADLINE_SECONDS

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Deadline(self.connection, DEADLINE_SECONDS))

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].partition("#")[0]
        try:
            response = self.server.web.answer(path, self._header("Accept"), self._header("Accept-Encoding"))
        except Exception:
            log.exception("no answer to a request", extra={"path": path[:200]})
            response = _json(500, error="internal error; the log has the details")
        self._send(response)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _header(self, name: str) -> str:
        return ",".join(self.headers.get_all(name, ()))

    def _send(self, response: Response, headers: Iterable[tuple[str, str]] = ()) -> None:
        self.connection.settimeout(DEADLINE_SECONDS)  # for sending as a whole, so a reader that stalls is dropped
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        if response.encoding is not None:
            self.send_header("Content-Encoding", response.encoding)
        self.send_header("Vary", "Accept, Accept-Encoding")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", page.CONTENT_SECURITY_POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002  the base's signature
        """What the base class refuses (a method, a malformed request), in this server's form; echoes nothing."""
        self.close_connection = True
        self.request_version = self.protocol_version  # the base class takes the malformed for HTTP/0.9: no status line
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._send(_json(405, error="only GET and HEAD"), (("Allow", "GET, HEAD"),))
        else:
            self._send(_json(code, error=HTTPStatus(code).phrase.lower()))

    def version_string(self) -> str:
        return "monitor"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: probes and scrapes come every few seconds."""
