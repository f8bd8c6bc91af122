"""A webhook: a real HTTP server that notes what is posted to it, and answers as a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self


class Posted(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Hook:
    """Listens until `close`; `open` again listens on the same port."""

    def __init__(self) -> None:
        self.posted: list[Posted] = []
        """Of all requests, answered as `answer` said."""
        self.taken: list[Posted] = []
        """Of those that were answered with 2xx."""
        self.answer: Callable[[Posted], int] = lambda _: 200
        self.after: Callable[[Posted], None] = lambda _: None
        """Called when the answer has been sent."""
        self.headers: dict[str, str] = {}
        self._port = 0
        self.open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/hook?key=5"

    def open(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), _handler(self))
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ids(self) -> list[str]:
        return [posted.headers["ce-id"] for posted in self.taken]


def _handler(hook: Hook) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            with suppress(ConnectionError):  # of a process that was killed
                super().handle()

        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            body = self.rfile.read(size)
            if len(body) < size:  # its sender was killed amid it
                self.close_connection = True
                return
            posted = Posted(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            hook.posted.append(posted)
            code = hook.answer(posted)
            if code == 0:  # no answer at all
                self.close_connection = True
                return
            self.send_response(code)
            for name, value in hook.headers.items():
                self.send_header(name, value)
            said = b"as the test says"
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            if 200 <= code < 300:
                hook.taken.append(posted)
            self.wfile.write(said)
            self.wfile.flush()
            hook.after(posted)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    return Handler
