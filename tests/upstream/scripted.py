"""A scripted upstream on a real socket, and permits for it.

RULE: it does exactly what the script says, byte for byte, and remembers exactly what it was sent.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any, TypeAlias, cast

import h11
import pytest

from toolgate.core.catalog import Limits, Operation, Target
from toolgate.core.model import Call, Effect, Header, Named, Permit, Principal, Reply, UpstreamRequest, ValidCall
from toolgate.ports import UpstreamError
from toolgate.upstream import Client

Read: TypeAlias = Callable[[asyncio.StreamReader], Awaitable[bytes]]
Step: TypeAlias = bytes | Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End the connection in good order."""
    writer.close()


async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End the connection with RST, so that nothing in flight arrives."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def gone(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Say nothing until the other side closes."""
    with suppress(ConnectionError):
        while await reader.read(1024):
            pass


@dataclass
class Upstream:
    """What a scripted upstream saw."""

    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    arrived: asyncio.Queue[int] = field(default_factory=asyncio.Queue)  # a request's number, when it was read
    closed: asyncio.Queue[int] = field(default_factory=asyncio.Queue)  # a connection's number, when it ended

    async def ended(self) -> None:
        """Wait for the end of a connection, much less long than any idle connection is kept."""
        async with asyncio.timeout(5):
            await self.closed.get()

    @property
    def target(self) -> Target:
        return Target("http", "127.0.0.1", self.port)


@asynccontextmanager
async def upstream(
    *scripts: Sequence[Step], default: Sequence[Step] = (OK,), ssl: SSLContext | None = None, read: Read | None = None
) -> AsyncIterator[Upstream]:
    """Serve: the n-th request, on whatever connection, gets the n-th script, later ones the default."""
    seen = Upstream()
    serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving[cast("asyncio.Task[None]", asyncio.current_task())] = writer
        seen.connections += 1
        number = seen.connections
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                seen.requests.append(await (read or read_request)(reader))
                count = len(seen.requests)
                seen.arrived.put_nowait(count)
                await _play(scripts[count - 1] if count <= len(scripts) else default, reader, writer)
        writer.close()
        seen.closed.put_nowait(number)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=ssl)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()
        for writer in serving.values():
            writer.transport.abort()
        if serving:
            await asyncio.wait(serving, timeout=1.0)
        await server.wait_closed()


async def _play(script: Sequence[Step], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for step in script:
        if isinstance(step, bytes):
            writer.write(step)
            await writer.drain()
        else:
            await step(reader, writer)


async def read_head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await read_head(reader)
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return head + await reader.readexactly(int(line.partition(b":")[2]))
    return head


def permit(
    target: Target,
    method: str = "POST",
    path: str = "/cluster",
    *,
    headers: tuple[Header, ...] = (("content-type", "application/json"),),
    body: bytes | None = None,
    limits: Limits | None = None,
    effect: Effect = "read",
) -> Permit:
    if body is None and method in {"POST", "PUT", "PATCH"}:
        body = b'{"cluster":"eu-1"}'
    operation = Operation(
        tool="metrics",
        id="queryCluster",
        method=method,
        template="/cluster",
        effect=effect,
        allowed=True,
        signature=cast("Any", None),  # the client does not look at these
        responses=cast("Any", None),
        target=target,
        key="metrics.queryCluster",
        name="metrics__queryCluster",
        limits=limits or Limits(timeout_s=5.0, idle_timeout_s=5.0),
    )
    call = Call("01J", 0, Principal("agent"), Named("metrics.queryCluster", {}))
    return Permit(ValidCall(call, operation, {}, UpstreamRequest(method, path, headers, body)))


async def whole(reply: Reply) -> bytes:
    """The reply's body, read to its end."""
    if isinstance(reply.body, bytes):
        return reply.body
    return b"".join([chunk async for chunk in reply.body])


def parse(request: bytes) -> tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]:
    """Read a request with a parser that shares no code with ours: method, target, headers, body."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(request)
    head = connection.next_event()
    assert isinstance(head, h11.Request)
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert connection.trailing_data == (b"", False)  # one request and not a byte more
    return head.method, head.target, list(head.headers), body


async def failed(client: Client, target: Target, method: str = "POST", limits: Limits | None = None) -> UpstreamError:
    with pytest.raises(UpstreamError) as raised:
        await whole(await client.send(permit(target, method, limits=limits)))
    return raised.value
