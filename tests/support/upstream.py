"""A real upstream: a server on a socket of its own that writes down, and flushes, each request before anything else.

RULE: the book comes first. A request is in `book` on disk before a byte of its answer leaves, so what the book does not
have was never acted on. How it answers is the beginning of the item's id: see ANSWERS.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import unquote

import h11

PIECE: Final = b"data: " + b"x" * 1000 + b"\n\n"
_STREAM: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Seen:
    """One request, as a parser that is not ours read it."""

    id: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    raw: bytes


class Upstream:
    """Serves until the `with` ends. `witness` is called with each request before it is answered."""

    def __init__(
        self, book: Path, *, witness: Callable[[Seen], None] | None = None, context: ssl.SSLContext | None = None
    ) -> None:
        self.seen: list[Seen] = []
        self.released = threading.Event()  # what is held goes on
        self.bytes_read = 0
        self._witness = witness
        self._context = context
        self._book = os.open(book, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._writing = threading.Lock()
        self._door = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._open: set[socket.socket] = set()
        self.port: int = self._door.getsockname()[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        for peer in tuple(self._open):
            with suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        os.close(self._book)

    @property
    def ids(self) -> list[str]:
        return [seen.id for seen in self.seen]

    def has(self, item: str) -> bool:
        return item in self.ids

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._door.accept()
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        self._open.add(peer)
        try:
            with suppress(OSError), self._secured(peer) as talk:
                talk.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while (seen := self._read(talk)) is not None:
                    self._note(seen)
                    ANSWERS.get(seen.id.partition("-")[0], plain)(talk, seen, self.released)
        finally:
            self._open.discard(peer)
            peer.close()

    def _secured(self, peer: socket.socket) -> socket.socket:
        return self._context.wrap_socket(peer, server_side=True) if self._context else peer

    def _read(self, talk: socket.socket) -> Seen | None:
        """One request; None when the other side is done. What is not HTTP/1.1 raises, and so fails the test's book."""
        parser, raw, body = h11.Connection(h11.SERVER), b"", b""
        head: h11.Request | None = None
        while True:
            event = parser.next_event()
            match event:
                case h11.NEED_DATA:
                    data = talk.recv(65536)
                    self.bytes_read += len(data)
                    if not data:
                        return None
                    raw += data
                    parser.receive_data(data)
                case h11.Request():
                    head = event
                case h11.Data():
                    body += bytes(event.data)
                case h11.EndOfMessage():
                    assert head is not None
                    return _seen(head, body, raw)

    def _note(self, seen: Seen) -> None:
        with self._writing:
            os.write(self._book, f"{seen.id}\n".encode())
            os.fdatasync(self._book)
            self.seen.append(seen)
        if self._witness is not None:
            self._witness(seen)


def book_of(path: Path) -> list[str]:
    """Every request any upstream with this book has seen, in order."""
    return path.read_text().splitlines()


def _seen(head: h11.Request, body: bytes, raw: bytes) -> Seen:
    target = head.target.decode("ascii")
    headers = tuple((name.decode(), value.decode("latin-1")) for name, value in head.headers)
    item = unquote(target.partition("?")[0].rpartition("/")[2])
    return Seen(item, head.method.decode(), target, headers, body, raw)


# -- answers: what is sent, and in which way it goes wrong ------------------------------------------------------


def whole(body: bytes, content_type: str = "application/json") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (
        content_type.encode(),
        len(body),
        body,
    )


def plain(talk: socket.socket, seen: Seen, _released: threading.Event) -> None:
    talk.sendall(whole(json.dumps({"id": seen.id}).encode()))


def held(talk: socket.socket, seen: Seen, released: threading.Event) -> None:
    """Answer once the test says so."""
    released.wait(60)
    plain(talk, seen, released)


def stream(talk: socket.socket, _seen: Seen, released: threading.Event) -> None:
    """Begin an answer, and end it once the test says so."""
    talk.sendall(_STREAM + _chunk(b"data: 1\n\n"))
    released.wait(60)
    talk.sendall(_chunk(b"data: 2\n\n") + b"0\r\n\r\n")


def endless(talk: socket.socket, _seen: Seen, _released: threading.Event) -> None:
    """Send as fast as it is read, for ever."""
    talk.sendall(_STREAM)
    while True:
        talk.sendall(_chunk(PIECE))


def drip(talk: socket.socket, seen: Seen, released: threading.Event) -> None:
    """Answer a byte at a time."""
    for byte in whole(json.dumps({"id": seen.id}).encode()):
        talk.sendall(bytes((byte,)))
        released.wait(0.002)


def cut(talk: socket.socket, _seen: Seen, _released: threading.Event) -> None:
    """Reset in the middle of a body that was announced whole."""
    talk.sendall(whole(b"x" * 100)[:-50])
    _reset(talk)


def torn(talk: socket.socket, _seen: Seen, _released: threading.Event) -> None:
    """Reset in the middle of a stream."""
    talk.sendall(_STREAM + _chunk(b"data: 1\n\n"))
    _reset(talk)


def mute(talk: socket.socket, _seen: Seen, _released: threading.Event) -> None:
    """Act, and close without a word."""
    talk.shutdown(socket.SHUT_RDWR)


def garbage(talk: socket.socket, _seen: Seen, _released: threading.Event) -> None:
    talk.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")


def echo(talk: socket.socket, seen: Seen, _released: threading.Event) -> None:
    """Hand back everything that was received, in the body and in a header."""
    sent = "; ".join(f"{name}={value}" for name, value in seen.headers)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Echo: {sent}\r\nContent-Length: {len(seen.raw)}\r\n\r\n"
    talk.sendall(head.encode("latin-1") + seen.raw)


ANSWERS: Final[Mapping[str, Callable[[socket.socket, Seen, threading.Event], None]]] = {
    answer.__name__: answer for answer in (plain, held, stream, endless, drip, cut, torn, mute, garbage, echo)
}


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _reset(talk: socket.socket) -> None:
    """End with RST, so that nothing in flight arrives after it."""
    talk.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    talk.close()
