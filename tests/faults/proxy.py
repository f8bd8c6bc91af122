"""A TCP proxy on loopback that can cut, delay and swallow: the network between a member and its broker."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import Literal

HOST = "127.0.0.1"
Mode = Literal["open", "cut", "delay", "black hole"]
_CHUNK = 65_536
_TICK = 0.05  # s; how soon a pump notices that the mode changed


class Link:
    """Listens on `port` and passes bytes to `target`, both on loopback. `delay` is in seconds, each way, each chunk.

    cut: connections end with a reset and new ones are refused. black hole: connections stay, new ones are taken, and
    no byte arrives until the mode changes, as where packets are dropped and sent again.
    """

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self.target = target
        self.delay = 0.0
        self._mode: Mode = "open"
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._closed = False
        self._listener: socket.socket | None = None
        self._listen()

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.port}"

    def set(self, mode: Mode, delay: float = 0.0) -> None:
        self.delay = delay
        self._mode = mode
        if mode == "cut":
            self._deafen()
            self._reset_all()
        elif self._listener is None:
            self._listen()

    def close(self) -> None:
        self._closed = True
        self._deafen()
        self._reset_all()

    def _listen(self) -> None:
        listener = socket.create_server((HOST, self.port), backlog=64)
        listener.settimeout(_TICK)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _deafen(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # closing alone leaves a blocked accept() in place
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while self._listener is listener:
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            client.settimeout(None)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if not self._wait_open():
            _reset(client)
            return
        try:
            server = socket.create_connection((HOST, self.target), timeout=5)
        except OSError:
            _reset(client)
            return
        server.settimeout(None)
        with self._lock:
            self._sockets |= {client, server}
        back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
        back.start()
        self._pump(client, server)
        back.join()
        with self._lock:
            self._sockets -= {client, server}
        _reset(client)
        _reset(server)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(_CHUNK):
                if self._mode == "delay":
                    time.sleep(self.delay)
                if not self._wait_open():
                    break
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _wait_open(self) -> bool:
        """Waits while nothing passes; False where the connection is over."""
        while self._mode == "black hole" and not self._closed:
            time.sleep(_TICK)
        return self._mode != "cut" and not self._closed

    def _reset_all(self) -> None:
        with self._lock:
            sockets = list(self._sockets)
        for end in sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _reset(end: socket.socket) -> None:
    end.close()
