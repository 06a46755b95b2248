"""What passes between a connection and whoever answers it: a request that passed the wire gate, and a rendered answer.

RULE: an answer is bytes. The connection adds only the end of the head (keep-alive or close) and the framing of a stream.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, NamedTuple, Protocol, TypeAlias

from toolgate.core.model import NOTHING_SAID, Header, OpenedRun, Principal, Refusal, Said


class Request(NamedTuple):
    """An HTTP request whose head passed the wire gate and whose body has come whole."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]  # lower-case names; without what frames, routes or claims
    body: bytes
    said: Said = NOTHING_SAID
    token: str | None = None
    run: str | None = None  # the token of the run it is made in


class Caller(NamedTuple):
    """Who calls, and in which run; None: the principal's implicit one."""

    principal: Principal
    run: OpenedRun | None = None


class Whole(NamedTuple):
    """A complete answer. `head` ends before its empty line; `body` is empty where the answer has none."""

    head: bytes
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer whose body is passed on as it comes: `length` bytes exactly, or in chunks when None."""

    head: bytes
    body: AsyncIterator[bytes]
    length: int | None = None
    bodiless: bool = False  # the head stands alone (HEAD, 204, 304); the stream is only closed


Answer: TypeAlias = Whole | Streamed


class Front(Protocol):
    """Answers the requests of one listener."""

    @property
    def max_body(self) -> int:
        """The largest body, in bytes, worth reading before it is known what the request means."""
        ...

    async def answer(self, request: Request) -> Answer:
        """Answer a request. A defect may escape as an exception; the connection then answers with `broken`."""
        ...

    def refused(self, refusal: Refusal, *, bodiless: bool) -> Whole:
        """Render, count and log a refusal on the wire. The connection ends after it."""
        ...

    def broken(self, error: BaseException, *, bodiless: bool) -> Whole:
        """Render and report a defect, or a call that was given up because its time was over (TimeoutError)."""
        ...


def _line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode("ascii")


_LINES: Final = {status.value: _line(status.value) for status in HTTPStatus}


def status_line(status: int) -> bytes:
    return _LINES.get(status) or _line(status)


def plain(
    status: int, content_type: str, body: bytes, *, headers: tuple[Header, ...] = (), bodiless: bool = False
) -> Whole:
    """An answer of the gate's own: never cached, its length known."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\nCache-Control: no-store\r\n{lines}"
    return Whole(status_line(status) + head.encode("ascii"), b"" if bodiless else body)
