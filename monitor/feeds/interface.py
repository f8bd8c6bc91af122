"""A live network interface: every frame that passes it, with the kernel's time, through a packet socket (Linux)."""

from __future__ import annotations

import errno
import select
import socket
import struct
from collections.abc import Callable, Iterator

from monitor.errors import MonitorError, UsageError
from monitor.feeds.frames import BATCH, HEAD, Frames, frames
from monitor.feeds.packets import ETHERNET, RAW

_EVERYTHING = 3  # ETH_P_ALL
_SOL_PACKET, _STATISTICS = 263, 6
_TIMESTAMP_NS = 35  # SO_TIMESTAMPNS, which Python's socket does not name
_OUTGOING = 4  # PACKET_OUTGOING
_LOOPBACK, _NO_LINK_HEADER = 772, (65_534, 519)  # ARPHRD_LOOPBACK; ARPHRD_NONE, ARPHRD_RAWIP
_BUFFER = 2**25
_PATIENCE = 0.2
"""Longest wait for the next frame, s: how late a frame is passed on, and a wish to stop is heard."""


class Interface:
    """An open interface. `lost` counts what the kernel dropped because it was not read in time."""

    def __init__(self, name: str) -> None:
        """Raises `UsageError` where there is no such interface, or no right to listen."""
        self.name = name
        self.lost = 0
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERYTHING))
        except PermissionError as error:
            raise UsageError(
                f"interface {name}: no right to listen to packets",
                "It needs CAP_NET_RAW: run it as root, or give the container or the unit that capability. Or pipe a "
                f"capture into it: tcpdump -i {name} -U -w - | monitor feed -",
            ) from error
        except (OSError, AttributeError) as error:
            raise UsageError(f"interface {name}: packet sockets are not available here ({error})") from error
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _TIMESTAMP_NS, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            self._socket.bind((name, _EVERYTHING))
        except OSError as error:
            self._socket.close()
            if error.errno in (errno.ENODEV, errno.ENXIO):
                there = ", ".join(found for _, found in socket.if_nameindex())
                raise UsageError(f"interface {name}: there is none of this name", f"There are: {there}.") from error
            raise self._down(error) from error
        kind = self._socket.getsockname()[3]
        self._link = RAW[0] if kind in _NO_LINK_HEADER else ETHERNET
        self._twice = kind == _LOOPBACK  # each frame is seen on its way out and on its way in

    def read(self, stop: Callable[[], bool]) -> Iterator[Frames]:
        """Batches of what has come within a fifth of a second, until `stop`.

        Raises `MonitorError` where the interface goes down; what came before has been given.
        """
        while not stop():
            if not select.select([self._socket], [], [], _PATIENCE)[0]:
                continue
            found: list[tuple[int, int, int, bytes]] = []
            fault: OSError | None = None
            while len(found) < BATCH:
                try:
                    data, control, _, sender = self._socket.recvmsg(65_536, 64, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    break
                except OSError as error:
                    fault = error
                    break
                if self._twice and sender[2] == _OUTGOING:
                    continue
                found.append((_time(control), self._link, len(data), data[:HEAD]))
            self._count_lost()
            if found:
                yield frames(found)
            if fault is not None:
                raise self._down(fault) from fault

    def close(self) -> None:
        self._socket.close()

    def _count_lost(self) -> None:
        _, dropped = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 8))
        self.lost += dropped  # the kernel's count starts anew each time it is read

    def _down(self, error: OSError) -> MonitorError:
        if error.errno in (errno.ENETDOWN, errno.ENODEV, errno.ENXIO):
            return MonitorError(
                f"interface {self.name} is down", f"Bring it up: ip link set {self.name} up; start again."
            )
        return MonitorError(f"interface {self.name}: {error.strerror or error}", "Check the interface; start again.")


def _time(control: list[tuple[int, int, bytes]]) -> int:
    """Ns since the Unix epoch, from the kernel; -1: it told none."""
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == _TIMESTAMP_NS and len(data) >= 16:
            seconds, rest = struct.unpack_from("qq", data)
            return int(seconds * 1_000_000_000 + rest)
    return -1
