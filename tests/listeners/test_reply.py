"""How an upstream's reply is passed on: as it is, less what is not the agent's; streams as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from tests.wire.door import FakeGateway, bounded, heard, opened, until

from toolgate.core.catalog import Target
from toolgate.core.codes import CODES
from toolgate.core.model import Completed, Failed, Header, Recovery, Reply
from toolgate.listeners.problem import render
from toolgate.listeners.reply import gate_location, reply_answer


def operation(target: Target) -> Any:
    return SimpleNamespace(tool="shop", target=target)


def head_of(status: int, *headers: Header, body: Any = b"", bodiless: bool = False) -> str:
    return reply_answer(Completed(Reply(status, headers, body)), "c1", bodiless=bodiless).head.decode("latin-1")


def test_headers_that_are_not_the_agents_are_withheld() -> None:
    """C22, C05, L25: hop-by-hop, cookies, what speaks for the origin, what `Connection` names, and our own names."""
    withheld = ("Set-Cookie", "Server", "Via", "Alt-Svc", "Strict-Transport-Security", "Keep-Alive", "Trailer", "TE",
                "Transfer-Encoding", "Upgrade", "Proxy-Authenticate", "Toolgate-Source", "Toolgate-Call", "X-Hop")  # fmt: skip
    told = head_of(
        200, ("Connection", "close, x-hop"), *((name, "v") for name in withheld), ("etag", "1"), ("x-ok", "2")
    )
    assert told == (
        "HTTP/1.1 200 OK\r\netag: 1\r\nx-ok: 2\r\nToolgate-Call: c1\r\nToolgate-Source: upstream\r\nContent-Length: 0\r\n"
    )


@pytest.mark.parametrize("value", ["a\r\nX: b", "a\nb", "a\rb", "a\0b"])
def test_a_value_cannot_end_its_line(value: str) -> None:
    """L17: whatever a client let through, no header of a reply becomes two."""
    assert "x-bad" not in head_of(200, ("x-bad", value))
    assert "x-bad" not in head_of(200, ("x-bad\r\nx", "v"), ("x bad", "\x7f\n"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("http://up:80/base/items/1?a=b", "/shop/items/1?a=b"),
        ("http://up/base/items/1", "/shop/items/1"),
        ("http://UP/base", "/shop/"),
        ("/base/items/1", "/shop/items/1"),
        ("items/2", "items/2"),
        ("?page=2", "?page=2"),
        ("http://up/other", None),
        ("http://up/basement", None),
        ("http://up:81/base/x", None),
        ("https://up/base/x", None),
        ("http://up@evil/base/x", None),
        ("http://up.evil/base/x", None),
        ("http://up\\@evil/base/x", None),
        ("//evil/base/x", None),
        ("/base//evil", None),
        ("/base/../x", None),
        ("/base/%2e%2e/x", None),
        ("/elsewhere", None),
        ("javascript:alert(1)", None),
        ("../x", None),
        ("http://evil/steal", None),
        ("/base/x\r\nX: y", None),
        ("", None),
    ],
)
def test_a_location_leads_to_the_gate_or_nowhere(value: str, expected: str | None) -> None:
    """DESIGN §13: under the upstream it is the gate's own path; anything else is removed."""
    assert gate_location(value, operation(Target("http", "up", 80, "/base"))) == expected
    completed = Completed(
        Reply(302, (("location", value),), b""), operation=operation(Target("http", "up", 80, "/base"))
    )
    head = reply_answer(completed, "c", bodiless=False).head.decode()
    assert (f"location: {expected}\r\n" in head) == (expected is not None)


def test_lengths() -> None:
    """HEAD tells what GET would; 204 has no length; 304 has no body."""
    assert "Content-Length: 77\r\n" in head_of(200, ("content-length", "77"), bodiless=True)
    assert "Content-Length" not in head_of(204)
    assert reply_answer(Completed(Reply(304, (), b"x")), "c", bodiless=False).body == b""


def test_a_failure_says_whether_it_was_sent() -> None:
    """`sent` is what the failure says, and Retry-After is what its recovery says."""
    code = CODES["upstream.timeout"]
    failed = Failed(code, "no answer", Recovery(code.action, code.hint, retry_after_s=1.2), "unknown")
    answer = render(failed, "c", FakeGateway().bundle)
    assert b'"sent":"unknown"' in answer.body
    assert b"Retry-After: 2\r\n" in answer.head
    assert b'"retry_after_s":1.2' in answer.body


class Chunks:
    """A stream that gives a chunk whenever the test lets it, then ends, or breaks off."""

    def __init__(self, *chunks: bytes, error: Exception | None = None) -> None:
        self.chunks = list(chunks)
        self.error = error
        self.permits = asyncio.Semaphore(0)
        self.closed = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await self.permits.acquire()
        if self.chunks:
            return self.chunks.pop(0)
        if self.error is not None:
            raise self.error
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed += 1


async def test_events_are_passed_on_one_by_one() -> None:
    """A server-sent event is with the agent before the next one exists."""
    stream = Chunks(b"data: 1\n\n", b"data: 2\n\n")
    gateway = FakeGateway(outcome=Completed(Reply(200, (("content-type", "text/event-stream"),), stream)))
    async with opened(gateway=gateway) as door, door.connected() as peer:
        peer.send(b"GET /t/x HTTP/1.1\r\n{H}\r\n")
        head = await peer.reader.readuntil(b"\r\n\r\n")
        assert b"Transfer-Encoding: chunked\r\n" in head
        for event in (b"data: 1\n\n", b"data: 2\n\n"):
            stream.permits.release()
            assert await peer.reader.readexactly(len(event) + 5) == b"9\r\n" + event + b"\r\n"
        stream.permits.release()
        assert await peer.reader.readexactly(5) == b"0\r\n\r\n"
        assert (stream.closed, door.places.taken) == (1, 0)
        gateway.outcome = Completed(Reply(200, (), b"next"))
        peer.send(b"GET /t/x HTTP/1.1\r\n{H}\r\n")
        assert (await peer.answer()).body == b"next"


@pytest.mark.parametrize("headers", [(), (("content-length", "9"),)])
async def test_a_stream_that_breaks_off_does_not_look_whole(headers: tuple[Header, ...]) -> None:
    """The connection is cut: neither a last chunk nor the whole length is ever sent."""
    stream = Chunks(b"abc", error=RuntimeError("upstream broke"))
    async with opened(gateway=FakeGateway(outcome=Completed(Reply(200, headers, stream)))) as door:
        async with door.connected() as peer:
            peer.send(b"GET /t/x HTTP/1.1\r\n{H}\r\n")
            stream.permits.release()
            stream.permits.release()
            received = await peer.read_to_end()
            assert received.endswith((b"3\r\nabc\r\n", b"\r\n\r\nabc"))
        assert (stream.closed, door.places.taken) == (1, 0)


@pytest.mark.parametrize(("length", "whole"), [("6", True), ("7", False), ("5", False)])
async def test_a_stream_of_known_length_has_that_length(length: str, whole: bool) -> None:
    """A download keeps its Content-Length, and bytes beyond or short of it cut the connection."""
    stream = Chunks(b"abc", b"def")
    for _ in range(3):
        stream.permits.release()
    gateway = FakeGateway(outcome=Completed(Reply(200, (("content-length", length),), stream)))
    async with opened(gateway=gateway) as door:
        received = await door.say(b"GET /t/x HTTP/1.1\r\n{H}Connection: close\r\n\r\n")
        head, _, body = received.partition(b"\r\n\r\n")
        assert f"Content-Length: {length}".encode() in head
        assert len(body) <= int(length)
        assert (body == b"abcdef" and len(body) == int(length)) == whole
        assert stream.closed == 1


async def test_an_agent_that_leaves_ends_its_stream() -> None:
    """Nobody listens any more: the upstream's exchange is closed at once."""
    stream = Chunks(b"abc")
    async with opened(gateway=FakeGateway(outcome=Completed(Reply(200, (), stream)))) as door:
        async with door.connected() as peer:
            peer.send(b"GET /t/x HTTP/1.1\r\n{H}\r\n")
            await peer.reader.readuntil(b"\r\n\r\n")
        await until(lambda: stream.closed == 1)
        assert door.places.taken == 0


async def test_a_stream_has_a_deadline() -> None:
    """A stream that goes quiet for longer than a whole call may take is cut, and closed."""
    stream = Chunks(b"abc")
    async with opened(
        bounded(call_timeout_s=0.2), gateway=FakeGateway(outcome=Completed(Reply(200, (), stream)))
    ) as door:
        received = await door.say(b"GET /t/x HTTP/1.1\r\n{H}\r\n")
        assert received.endswith(b"\r\n\r\n")
        assert (stream.closed, door.places.taken) == (1, 0)


async def test_head_of_a_stream_closes_it() -> None:
    """The answer to HEAD has no body, and the stream behind it is not left open."""
    stream = Chunks(b"abc")
    async with opened(gateway=FakeGateway(outcome=Completed(Reply(200, (), stream)))) as door:
        received = await door.say(b"HEAD /t/x HTTP/1.1\r\n{H}Connection: close\r\n\r\n")
        assert (heard(received, "HEAD")[0].status, stream.closed, door.places.taken) == (200, 1, 0)
