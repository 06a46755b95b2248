"""Telling people by webhook: a bounded queue, one message at a time, signed, tried again, given up and said so.

RULE: never on the path of a call. `tell` takes a message or counts it as lost and returns at once; everything else
happens in one task, and every attempt ends within its time. What is told stands in the journal too.

Messages follow Standard Webhooks (standardwebhooks.com): `webhook-id` stays the same over every attempt,
`webhook-timestamp` is in seconds, `webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlsplit

import orjson

from toolgate.core.journal import timestamp
from toolgate.core.model import Event
from toolgate.tls import connection_fault

_MOST: Final = 256  # messages that wait; an operator reads no more
_ATTEMPTS: Final = 8
_ATTEMPT_S: Final = 10.0
_FIRST_PAUSE_S: Final = 1.0  # doubled with each attempt: about four minutes in all
_MAX_HEAD: Final = 16 << 10
_PORTS: Final = {"http": 80, "https": 443}
_INTERIM: Final = range(100, 200)
_TAKEN: Final = range(200, 300)


class Log(Protocol):
    """The operations log."""

    def info(self, event: str, **data: object) -> object: ...
    def error(self, event: str, **data: object) -> object: ...


@dataclass(frozen=True, slots=True)
class Hook:
    """Where messages go, and what they are signed with."""

    url: str
    secret: bytes
    context: ssl.SSLContext | None = None  # None: plain HTTP, to this host only


@dataclass(frozen=True, slots=True)
class Pace:
    """How long an attempt may take, how many there are, and the pause after the first, doubled with each one."""

    attempt_s: float = _ATTEMPT_S
    attempts: int = _ATTEMPTS
    pause_s: float = _FIRST_PAUSE_S


USUAL: Final = Pace()


class Message(NamedTuple):
    id: str
    kind: str
    body: bytes


class Webhook:
    """Has people told: `tell` takes a message, `run` sends it."""

    def __init__(  # noqa: PLR0913 - the seams of one small machine
        self,
        hook: Hook,
        *,
        environment: str,
        log: Log,
        now_ms: Callable[[], int],
        new_id: Callable[[], str],
        pace: Pace = USUAL,
    ) -> None:
        self._hook = hook
        self._environment = environment
        self._log = log
        self._now_ms = now_ms
        self._new_id = new_id
        self._pace = pace
        self._waiting: deque[Message] = deque()
        self._some = asyncio.Event()
        self.sent = 0
        self.lost = 0  # given up, or never taken because too many waited

    @property
    def depth(self) -> int:
        """Messages that wait, the one that is being sent included."""
        return len(self._waiting)

    def tell(self, event: Event) -> None:
        """Have people told. Never waits and never fails."""
        if len(self._waiting) >= _MOST:
            self._lose("too many messages wait", event.kind)
            return
        self._waiting.append(Message(f"msg_{self._new_id()}", event.kind, message_body(event, self._environment)))
        self._some.set()

    async def run(self) -> None:
        """Send what is told, in order, until cancelled."""
        while True:
            await self._some.wait()
            while self._waiting:
                await self._deliver(self._waiting[0])
                self._waiting.popleft()
            self._some.clear()

    async def flush(self, within_s: float) -> None:
        """Give what still waits one attempt each, within so long: the process ends."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._waiting:
                    why = await self._attempt(self._waiting[0])
                    self._told(self._waiting.popleft(), why)
        while self._waiting:
            self._lose("the gate is shutting down", self._waiting.popleft().kind)

    async def _deliver(self, message: Message) -> None:
        why: str | None = None
        for attempt in range(self._pace.attempts):
            if attempt:
                await asyncio.sleep(self._pace.pause_s * 2 ** (attempt - 1))
            why = await self._attempt(message)
            if why is None:
                break
        self._told(message, why)

    def _told(self, message: Message, why: str | None) -> None:
        if why is not None:
            self._lose(why, message.kind)
            return
        self.sent += 1
        self._log.info("webhook_sent", message=message.id, kind=message.kind)

    def _lose(self, why: str, kind: str) -> None:
        self.lost += 1
        self._log.error("webhook_not_sent", kind=kind, why=why)

    async def _attempt(self, message: Message) -> str | None:
        """Send once; None when it was taken, else why not."""
        try:
            async with asyncio.timeout(self._pace.attempt_s):
                status = await post(self._hook, self._head(message), message.body)
        except TimeoutError:
            return f"no answer within {self._pace.attempt_s:g} s"
        except (OSError, ValueError, EOFError, asyncio.LimitOverrunError) as error:
            return _reason(error)
        return None if status in _TAKEN else f"answered with status {status}"

    def _head(self, message: Message) -> dict[str, str]:
        at_s = str(self._now_ms() // 1000)
        return {
            "Content-Type": "application/json",
            "User-Agent": "toolgate",
            "webhook-id": message.id,
            "webhook-timestamp": at_s,
            "webhook-signature": signature(self._hook.secret, message.id, at_s, message.body),
        }


def message_body(event: Event, environment: str) -> bytes:
    """What people are told: the event as the journal has it, and where it happened."""
    data = {"environment": environment, "run": event.run, "call": event.call, **event.data}
    told = {"type": event.kind, "timestamp": timestamp(event.at_ms), "data": data}
    return orjson.dumps(told, default=str)


def signature(secret: bytes, message_id: str, at_s: str, body: bytes) -> str:
    signed = f"{message_id}.{at_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(secret, signed, sha256)).decode()


async def post(hook: Hook, headers: dict[str, str], body: bytes) -> int:
    """POST once on a connection of its own and answer the status. Raises OSError, ValueError or EOFError."""
    parts = urlsplit(hook.url)
    host, port = str(parts.hostname), parts.port or _PORTS[parts.scheme]
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    told = {"Host": parts.netloc, "Connection": "close", "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    server_hostname = host if hook.context is not None else None
    reader, writer = await asyncio.open_connection(
        host, port, ssl=hook.context, server_hostname=server_hostname, limit=_MAX_HEAD
    )
    try:
        writer.write(f"POST {target} HTTP/1.1\r\n{head}\r\n".encode("ascii") + body)
        await writer.drain()
        return await _status(reader)
    finally:
        writer.transport.abort()  # the answer's body is of no use


async def _status(reader: asyncio.StreamReader) -> int:
    """The status of the final answer; interim ones (RFC 9110 §15.2) are passed over."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        version, _, rest = head.partition(b" ")
        if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
            raise ValueError(version)
        if (status := int(rest[:3])) not in _INTERIM:
            return status


def _reason(error: Exception) -> str:
    match error:
        case OSError():
            return f"it {connection_fault(error)}"
        case EOFError():
            return "it closed the connection before a whole answer"
        case _:
            return "it does not answer in HTTP"
