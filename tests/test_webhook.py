"""The webhook: signed, tried again under the same id, bounded, and never waited for."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import itertools
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import pytest
import trustme
from tests.wire.door import FakeLog

from toolgate.core.model import Event
from toolgate.tls import client_context
from toolgate.webhook import Hook, Pace, Webhook

SECRET = bytes(range(32))
STOPPED = Event(
    "RunStopped", 1_700_000_000_000, {"principal": "digest", "why": "the same refusal", "code": "x"}, run="run_1"
)
QUICK = Pace(attempt_s=5.0, attempts=3, pause_s=0.001)
OK = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass
class People:
    """Who is told: answers each message with the next of `answers`, the last one for ever."""

    answers: list[bytes]
    told: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        self.told.append(({"": lines[0], **headers}, await reader.readexactly(int(headers["Content-Length"]))))
        writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def people(*answers: bytes, **options: Any) -> AsyncIterator[People]:
    there = People(list(answers))
    async with await asyncio.start_server(there.serve, "127.0.0.1", 0, **options) as server:
        there.port = server.sockets[0].getsockname()[1]
        yield there


def webhook(log: FakeLog, url: str, pace: Pace = QUICK, **options: Any) -> Webhook:
    ids = itertools.count()
    return Webhook(
        Hook(url, SECRET, **options),
        environment="prod",
        log=log,
        now_ms=lambda: 1_700_000_001_500,
        new_id=lambda: f"id{next(ids)}",
        pace=pace,
    )


@contextlib.asynccontextmanager
async def running(hook: Webhook) -> AsyncIterator[None]:
    task = asyncio.ensure_future(hook.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


class EndLog(FakeLog):
    """A log that says when messages have ended, sent or given up."""

    def __init__(self) -> None:
        super().__init__()
        self._ended = asyncio.Semaphore(0)

    def info(self, event: str, **data: object) -> None:
        super().info(event, **data)
        self._ended.release()

    def error(self, event: str, **data: object) -> None:
        super().error(event, **data)
        self._ended.release()

    async def ends(self, messages: int = 1) -> None:
        async with asyncio.timeout(10):
            for _ in range(messages):
                await self._ended.acquire()


async def test_a_message_is_signed_as_standard_webhooks_are() -> None:
    """Id, time and body are under the signature; the body is the journal's event and its environment."""
    log = EndLog()
    async with people(OK) as there:
        hook = webhook(log, f"http://127.0.0.1:{there.port}/hooks?team=sre")
        async with running(hook):
            hook.tell(STOPPED)
            await log.ends()
    ((headers, body),) = there.told

    assert headers[""] == "POST /hooks?team=sre HTTP/1.1"
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg_id0", "1700000001")
    signed = hmac.digest(SECRET, b"msg_id0.1700000001." + body, sha256)
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(signed).decode()}"
    assert json.loads(body) == {
        "type": "RunStopped",
        "timestamp": "2023-11-14T22:13:20.000Z",
        "data": {
            "environment": "prod", "run": "run_1", "call": None, "principal": "digest", "why": "the same refusal", "code": "x",
        },
    }  # fmt: skip
    assert (hook.sent, hook.lost) == (1, 0)


@pytest.mark.parametrize(
    "broken",
    [b"HTTP/1.1 503 Busy\r\n\r\n", b"HTTP/1.1 302 Found\r\nLocation: http://evil/\r\n\r\n", b"", b"SSH-2.0\r\n\r\n",
     b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 9_999],
)  # fmt: skip
async def test_what_is_not_taken_is_sent_again(broken: bytes) -> None:
    """Any answer but 2xx is tried again, under the same id; no redirect is followed."""
    log = EndLog()
    async with people(broken, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK) as there:
        hook = webhook(log, f"http://127.0.0.1:{there.port}")
        async with running(hook):
            hook.tell(STOPPED)
            await log.ends()

    assert [headers["webhook-id"] for headers, _ in there.told] == ["msg_id0", "msg_id0"]
    assert (hook.sent, hook.lost) == (1, 0)


async def test_a_message_is_given_up_and_the_next_one_sent() -> None:
    """After the last attempt it is counted and logged, and nobody behind it waits for ever."""
    log = EndLog()
    async with people(*[b"HTTP/1.1 500 No\r\n\r\n"] * 3, OK) as there:
        hook = webhook(log, f"http://127.0.0.1:{there.port}/")
        async with running(hook):
            hook.tell(STOPPED)
            hook.tell(STOPPED._replace(kind="KillSwitch"))
            await log.ends(2)

    assert (hook.sent, hook.lost) == (1, 1)
    assert ("webhook_not_sent", {"kind": "RunStopped", "why": "answered with status 500"}) in log.lines


async def test_a_server_that_says_nothing_costs_its_time_only() -> None:
    """An attempt ends within its time, however slowly bytes come."""
    log = EndLog()
    held: list[asyncio.StreamWriter] = []

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        hook = webhook(log, f"http://127.0.0.1:{port}/", Pace(attempt_s=0.02, attempts=2, pause_s=0.001))
        async with running(hook):
            hook.tell(STOPPED)
            await log.ends()
        for writer in held:
            writer.transport.abort()

    assert (hook.lost, len(held)) == (1, 2)
    assert log.lines[-1][1]["why"] == "no answer within 0.02 s"


async def test_what_waits_is_bounded() -> None:
    """A storm of messages is counted as lost, never kept."""
    hook = webhook(FakeLog(), "http://127.0.0.1:9/")
    for _ in range(1_000):
        hook.tell(STOPPED)

    assert (hook.depth, hook.lost) == (256, 744)


async def test_a_shutdown_sends_what_waits_or_says_that_it_did_not() -> None:
    """One attempt each within the time there is."""
    log = EndLog()
    async with people(OK) as there:
        hook = webhook(log, f"http://127.0.0.1:{there.port}/")
        hook.tell(STOPPED)
        hook.tell(STOPPED)
        await hook.flush(5.0)
    assert (hook.sent, hook.lost, hook.depth) == (2, 0, 0)

    log = EndLog()
    hook = webhook(log, f"http://127.0.0.1:{there.port}/")
    hook.tell(STOPPED)
    await hook.flush(5.0)
    assert (hook.sent, hook.lost, hook.depth) == (0, 1, 0)
    assert log.lines[-1][1]["why"] == "it refused the connection"


async def test_https_is_verified() -> None:
    """The certificate is held against the given authority, and its name against the host."""
    authority, log = trustme.CA(), EndLog()
    context = client_context(None)
    authority.configure_trust(context)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(served)
    async with people(OK, ssl=served) as there:
        hook = webhook(log, f"https://127.0.0.1:{there.port}/", context=context)
        async with running(hook):
            hook.tell(STOPPED)
            await log.ends()
        assert (hook.sent, hook.lost) == (1, 0)
        hook = webhook(log, f"https://127.0.0.1:{there.port}/", context=client_context(None))
        async with running(hook):
            hook.tell(STOPPED)
            await log.ends()

    assert (hook.sent, hook.lost) == (0, 1)
    assert "not trusted" in log.lines[-1][1]["why"]
