"""A TCP proxy that misbehaves on purpose: what stands between a gate and its upstream, or an agent and its gate.

RULE: bytes are never changed, only delayed, cut into pieces, held back or lost.
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, slots=True)
class Toxin:
    """What is done to each connection that begins while it holds. Numbers of bytes are counted for each connection."""

    slice_bytes: int = 65536  # at most so many at once
    pause_s: float = 0.0  # before each piece
    up_limit: int | None = None  # after so many bytes from the caller, reset both sides
    down_limit: int | None = None  # after so many bytes of the answer, reset both sides
    deaf: bool = False  # take the connection and read nothing


class Toxic:
    """Listens on a port of its own; ended with the `with`."""

    def __init__(self, port: int, **toxin: float | bool | None) -> None:
        self.toxin = replace(Toxin(), **toxin)  # type: ignore[arg-type]
        self._target = port
        self._over = threading.Event()
        self._door = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._open: set[socket.socket] = set()
        self.port: int = self._door.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        for peer in tuple(self._open):
            _end(peer)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._door.accept()
                threading.Thread(target=self._join, args=(peer, self.toxin), daemon=True).start()

    def _join(self, peer: socket.socket, toxin: Toxin) -> None:
        self._open.add(peer)
        if toxin.deaf:
            self._over.wait(60)
            return
        try:
            target = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            _end(peer)
            return
        self._open.add(target)
        up = threading.Thread(target=self._pass, args=(peer, target, toxin, toxin.up_limit), daemon=True)
        up.start()
        self._pass(target, peer, toxin, toxin.down_limit)
        up.join()
        self._open -= {peer, target}
        peer.close()
        target.close()

    def _pass(self, source: socket.socket, sink: socket.socket, toxin: Toxin, limit: int | None) -> None:
        """Pass bytes on in one direction, until the limit or the end."""
        left = limit
        with suppress(OSError):
            while left is None or left > 0:
                data = source.recv(toxin.slice_bytes if left is None else min(left, toxin.slice_bytes))
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                if toxin.pause_s:
                    self._over.wait(toxin.pause_s)
                sink.sendall(data)
                left = None if left is None else left - len(data)
        _end(source)
        _end(sink)


def _end(peer: socket.socket) -> None:
    """End with RST; the thread that reads from it wakes."""
    with suppress(OSError):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.shutdown(socket.SHUT_RDWR)
        peer.close()
