"""A real agent listener on a real socket before a gateway that only notes what it was given."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import h11
from tests.signing import parameter, signature

from toolgate.auth import Anonymous
from toolgate.auth.runs import RunTokens
from toolgate.core.bundle import Bundle
from toolgate.core.catalog import Catalog, Operation
from toolgate.core.model import (
    NOTHING_SAID,
    Asked,
    Call,
    Completed,
    OpenedRun,
    Outcome,
    Principal,
    Reply,
    Said,
    Situation,
    Wire,
)
from toolgate.core.responses import Responses
from toolgate.listeners.answers import Answer, Caller, Request, plain
from toolgate.listeners.calls import Calls, Places
from toolgate.listeners.http import AgentFront
from toolgate.listeners.problem import Disclosure
from toolgate.listeners.server import Bounds, Listener
from toolgate.listeners.voice import Sampled, Voice
from toolgate.listeners.wire import Rules

RUNS = RunTokens(bytes(32), "test", lambda: 0)
REVISION = "sha256:test"
LOCAL = Rules(frozenset({"localhost"}))
QUICK = Bounds(header_timeout_s=5, body_timeout_s=5, call_timeout_s=5, write_timeout_s=5, linger_s=0.2)


@cache
def small_bundle() -> Bundle:
    """One operation, `GET /t/files/{path}`, whose document lets the path hold encoded slashes."""
    declared = parameter("path", "path", {"type": "string"}, allowReserved=True)
    read = Operation(
        "t", "readFile", "GET", "/files/{path}", "read", True,
        signature({"parameters": [declared]}, template="/files/{path}", method="get"),
        Responses({}), None, "t.readFile", "t__readFile",
    )  # fmt: skip
    return Bundle(REVISION, "prod", ("prod",), Catalog([read]), {})


async def until(condition: Callable[[], bool], within_s: float = 5) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  # what is waited for happens inside the listener, which has no event for it
            await asyncio.sleep(0.002)


@dataclass
class FakeLog:
    """A log in a list."""

    lines: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def info(self, event: str, **data: object) -> None:
        self.lines.append((event, data))

    def warning(self, event: str, **data: object) -> None:
        self.lines.append((event, data))

    def error(self, event: str, **data: object) -> None:
        self.lines.append((event, data))

    def named(self, event: str) -> list[dict[str, object]]:
        return [data for name, data in self.lines if name == event]


@dataclass
class FakeCounts:
    wire: list[tuple[str, str]] = field(default_factory=list)
    defects: list[BaseException] = field(default_factory=list)

    def wire_refused(self, listener: str, code: str) -> None:
        self.wire.append((listener, code))

    def defect(self, _where: str, error: BaseException) -> None:
        self.defects.append(error)


@dataclass
class FakeGateway:
    """Answers every call with `outcome`, or with what `respond` makes of it."""

    bundle: Bundle = field(default_factory=small_bundle)
    calls: list[Call] = field(default_factory=list)
    outcome: Outcome = field(
        default_factory=lambda: Completed(Reply(200, (("content-type", "text/plain"),), b"answered"))
    )
    respond: Callable[[Call], Awaitable[Outcome]] | None = None
    ids: Any = field(default_factory=itertools.count)
    situation: Situation = field(default_factory=Situation)

    def new_call(
        self, principal: Principal, asked: Asked, said: Said = NOTHING_SAID, run: OpenedRun | None = None
    ) -> Call:
        reason, plan, step = said
        return Call(f"call{next(self.ids)}", 0, principal, asked, reason, run, plan, step)

    async def handle(self, call: Call) -> Outcome:
        self.calls.append(call)
        return self.outcome if self.respond is None else await self.respond(call)

    def explain(self, call: Call) -> Any:
        raise NotImplementedError(call)

    @property
    def wires(self) -> list[Wire]:
        return [call.asked for call in self.calls if isinstance(call.asked, Wire)]


class FakeOwn:
    """The gate's own paths: always the same answer."""

    async def answer(self, request: Request, _caller: Caller) -> Answer:
        return plain(200, "text/plain", b"own", bodiless=request.method == "HEAD")


@dataclass
class Door:
    """An open listener and everything it was given."""

    listener: Listener
    port: int
    gateway: FakeGateway
    counts: FakeCounts
    log: FakeLog
    places: Places

    @property
    def host(self) -> bytes:
        return b"Host: 127.0.0.1:%d\r\n" % self.port

    def expand(self, text: bytes) -> bytes:
        """`{H}` in a written request is the Host header of this door."""
        return text.replace(b"{H}", self.host)

    async def accepted(self) -> None:
        """Wait until the listener has the connection that was opened."""
        await until(lambda: self.listener.open_connections > 0)

    async def say(self, data: bytes, *, within_s: float = 5) -> bytes:
        """Send bytes, and read until the gate closes."""
        async with self.connected() as peer:
            peer.send(self.expand(data))
            return await peer.read_to_end(within_s)

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Peer]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        peer = Peer(self, reader, writer)
        try:
            yield peer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@dataclass
class Peer:
    door: Door
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(self.door.expand(data))

    async def read_to_end(self, within_s: float = 5) -> bytes:
        """Everything until the gate ends the connection; the peer then ends it too, as a client does."""
        received = b""
        async with asyncio.timeout(within_s):
            with contextlib.suppress(ConnectionResetError):
                while data := await self.reader.read(65536):
                    received += data
        return received

    async def answer(self, within_s: float = 5, method: str = "GET") -> Heard:
        """One whole answer, with the connection left open."""
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        parser.send(h11.EndOfMessage())
        async with asyncio.timeout(within_s):
            return await _hear(self.reader, parser)


@dataclass(frozen=True)
class Heard:
    """An answer, read by a parser that is not ours."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json"
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.problem["code"]


async def _hear(reader: asyncio.StreamReader, parser: h11.Connection) -> Heard:
    status, headers, body = 0, {}, b""
    while True:
        event = parser.next_event()
        match event:
            case h11.NEED_DATA:
                parser.receive_data(await reader.read(65536))
            case h11.Response():
                status = event.status_code
                headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
            case h11.Data():
                body += bytes(event.data)
            case h11.EndOfMessage():
                return Heard(status, headers, body)
            case h11.ConnectionClosed():
                raise ConnectionResetError("closed before an answer")


def heard(data: bytes, *methods: str) -> list[Heard]:
    """Every answer in what a connection received, parsed by h11; what is not HTTP/1.1 raises."""
    answers: list[Heard] = []
    for method in itertools.chain(methods, itertools.repeat("GET")):
        if not data:
            return answers
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        parser.send(h11.EndOfMessage())
        parser.receive_data(data)
        status, headers, body = 0, {}, b""
        while not isinstance(event := parser.next_event(), h11.EndOfMessage):
            assert event is not h11.NEED_DATA, data
            if isinstance(event, h11.Response):
                status, headers = event.status_code, {n.decode(): v.decode("latin-1") for n, v in event.headers}
            if isinstance(event, h11.Data):
                body += bytes(event.data)
        answers.append(Heard(status, headers, body))
        data = parser.trailing_data[0]
    return answers


@contextlib.asynccontextmanager
async def opened(
    bounds: Bounds = QUICK,
    *,
    rules: Rules = LOCAL,
    gateway: FakeGateway | None = None,
    places: Places | None = None,
    disclosure: Disclosure = "explain",
    context: Any = None,
    max_body: int = 1 << 20,
) -> AsyncIterator[Door]:
    """An open agent listener; closed, with every connection, at the end."""
    gateway = gateway or FakeGateway()
    places = places or Places(64, 128)
    counts, log, ids = FakeCounts(), FakeLog(), itertools.count()
    voice = Voice("agent", lambda: gateway.bundle, lambda: f"wire{next(ids)}", counts, Sampled(log, lambda: 0.0))
    calls = Calls(gateway, places, disclosure)
    handler = AgentFront(calls, FakeOwn(), Anonymous(Principal("digest")), RUNS, voice)
    listener = Listener(handler, bounds, replace(rules, declares=calls.declares))
    port = await listener.listen("127.0.0.1", 0, context)
    try:
        yield Door(listener, port, gateway, counts, log, places)
    finally:
        await listener.close()


def bounded(**changes: float) -> Bounds:
    return replace(QUICK, **changes)  # type: ignore[arg-type]
