"""A listener: bounded connections over aiohttp's low-level server, one clock for all their deadlines, and the drain.

RULE: nothing here knows what a request means; a listener is given a Front and Rules, and keeps bounds.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from aiohttp import http_parser, web
from aiohttp.web_protocol import RequestHandler

from toolgate.listeners.answers import Front
from toolgate.listeners.connection import Connection, Phase
from toolgate.listeners.familiar import Familiar
from toolgate.listeners.wire import Rules, accepted_hosts

_TICKS_PER_TIMEOUT: Final = 10
_LAST_WORDS_S: Final = 2.0  # what calls in flight get at the end of the grace to say how they ended
_ANY_ADDRESS: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104  # compared with, not bound


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much, and how long, at most (SAFETY §5)."""

    connections: int = 256
    header_timeout_s: float = 10.0  # for a whole head, and for an idle connection
    body_timeout_s: float = 15.0
    call_timeout_s: float = 305.0  # the gateway's own deadline is nearer; this one holds if that fails
    write_timeout_s: float = 30.0  # a reader that does not read
    linger_s: float = 2.0  # for a refused peer to read why

    @property
    def tick_s(self) -> float:
        """How often deadlines are looked at: a tenth of the shortest."""
        times = (self.header_timeout_s, self.body_timeout_s, self.write_timeout_s, self.linger_s, self.call_timeout_s)
        return min(0.5, max(0.01, min(times) / _TICKS_PER_TIMEOUT))


@dataclass(frozen=True, slots=True)
class Tls:
    cert: Path
    key: Path
    client_ca: Path | None = None


def tls_context(tls: Tls) -> ssl.SSLContext:
    """TLS 1.2 or newer, HTTP/1.1 only; with `client_ca`, no connection without a certificate it signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(tls.cert, tls.key)
    if tls.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(tls.client_ca)
    return context


def require_c_parser() -> None:
    """SECURITY: the pure Python parser accepts what the C parser refuses (A08, A11, A34); never run on it."""
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        msg = "aiohttp's C parser is missing: install a wheel of aiohttp, and unset AIOHTTP_NO_EXTENSIONS"
        raise RuntimeError(msg)


class Listener(web.Server):
    """One door. Made inside the running loop; `listen` opens it, `drain` closes it."""

    def __init__(self, front: Front, bounds: Bounds, rules: Rules) -> None:
        require_c_parser()
        super().__init__(_never)
        self.front = front
        self.bounds = bounds
        self._answer_for(rules)
        self.draining = False
        self._sweeping: asyncio.TimerHandle | None = None
        self._doors: list[asyncio.Server] = []
        self._settled: asyncio.Event = asyncio.Event()
        self._unlink: Path | None = None

    def __call__(self) -> RequestHandler:
        return Connection(self, self._loop)

    async def listen(
        self, host: str, port: int, context: ssl.SSLContext | None = None, names: tuple[str, ...] = ()
    ) -> int:
        """Open a TCP door and return its port. `names` are the hosts answered for beside the address itself."""
        timeout = None if context is None else self.bounds.header_timeout_s
        door = await self._loop.create_server(self, host, port, ssl=context, ssl_handshake_timeout=timeout, backlog=512)
        self._doors.append(door)
        bound: int = door.sockets[0].getsockname()[1]
        if self.rules.hosts is not None:
            own = () if host in _ANY_ADDRESS else (host,)
            hosts = accepted_hosts((*names, *own, *self.rules.hosts), bound)
            self._answer_for(replace(self.rules, hosts=hosts))
        return bound

    async def listen_unix(self, path: Path, names: tuple[str, ...] = ("localhost",)) -> None:
        """Open a door in the file system that only this user can use. A stale socket of ours is removed."""
        _remove_stale(path)
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        door.setblocking(False)  # noqa: FBT003  # socket's own signature
        try:
            door.bind(str(path))
            path.chmod(0o600)  # noqa: ASYNC240  # before listen(), so that nobody can connect in between; once, at start
            self._doors.append(await self._loop.create_unix_server(self, sock=door, backlog=128))
        except BaseException:
            door.close()
            raise
        self._unlink = path
        if self.rules.hosts is not None:
            self._answer_for(replace(self.rules, hosts=accepted_hosts((*names, *self.rules.hosts), None)))

    def _answer_for(self, rules: Rules) -> None:
        self.rules = rules
        self.familiar = Familiar(rules)  # SECURITY: what passed by other rules is not known by these

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    @property
    def is_full(self) -> bool:
        return len(self._connections) > self.bounds.connections

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(self.bounds.tick_s, self._sweep)

    def _sweep(self) -> None:
        """One timer for every deadline of every connection: a call sets a number instead of a timer."""
        now, self._sweeping = self._loop.time(), None
        for connection in self._open():
            if connection.due_at <= now:
                connection.expire()
        if self._connections:
            self._sweeping = self._loop.call_later(self.bounds.tick_s, self._sweep)

    def _open(self) -> list[Connection]:
        return [connection for connection in self._connections if isinstance(connection, Connection)]

    def settled(self) -> None:
        """A connection has answered: who waits for the last one may look again."""
        if self.draining:
            self._settled.set()

    async def drain(self, grace_s: float) -> None:
        """Answer new requests with `gateway.draining`, let those in flight finish within the grace, then close."""
        self.draining = True
        for connection in self._open():
            connection.close_if_idle()
        if not await self._wait_until_idle(grace_s):
            for connection in self._open():
                connection.give_up()
            await self._wait_until_idle(_LAST_WORDS_S)
        await self.close()

    async def _wait_until_idle(self, within_s: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while any(connection.phase in Phase.BUSY for connection in self._open()):
                    self._settled.clear()
                    await self._settled.wait()
                return True
        return False

    async def close(self) -> None:
        """Close the doors and every connection at once."""
        for door in self._doors:
            door.close()
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        tasks = [task for connection in self._open() if (task := connection.end_now()) is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        for door in self._doors:
            await door.wait_closed()
        self._doors.clear()
        if self._unlink is not None:
            self._unlink.unlink(missing_ok=True)


async def _never(_request: web.BaseRequest) -> web.StreamResponse:
    """Be what aiohttp asks for: a handler. Connection answers by itself."""
    raise NotImplementedError


def _remove_stale(path: Path) -> None:
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
