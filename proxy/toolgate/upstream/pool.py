"""The connections to one target.

RULE: the most recently used one first, never more than `size`, and none that has been silent for long.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from toolgate.ports import UpstreamError
from toolgate.upstream.connection import Connection
from toolgate.upstream.dial import Dialer


@dataclass(frozen=True, slots=True)
class Pooling:
    """How connections are kept. `fresh_s`: a write never goes out on one that was silent for longer."""

    size: int = 64
    connect_s: float = 3.0
    idle_s: float = 15.0
    fresh_s: float = 2.0
    max_age_s: float = 300.0  # so that a changed address or certificate is seen


class Pool:
    """Hands out connections and takes them back."""

    def __init__(self, dialer: Dialer, pooling: Pooling) -> None:
        self._dialer = dialer
        self._pooling = pooling
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []
        self._opening = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed = False

    @property
    def unused(self) -> bool:
        return not self._open and not self._opening and not self._waiting

    def ready(self, now: float, *, fresh: bool) -> Connection | None:
        """The most recently used connection that is open and silent, if there is one."""
        pooling = self._pooling
        rested_s = pooling.fresh_s if fresh else pooling.idle_s
        while self._idle:
            connection = self._idle[-1]
            if now - connection.free_since > rested_s:
                return None  # the others rested longer
            self._idle.pop()
            if connection.usable():
                return connection
            connection.discard()
        return None

    async def obtain(self, deadline: float, *, fresh: bool) -> Connection:
        """A connection, opened where none is ready. Raises UpstreamError with `sent` no."""
        loop = asyncio.get_running_loop()
        while len(self._open) + self._opening >= self._pooling.size:
            connection = self.ready(loop.time(), fresh=fresh)
            if connection is not None:
                return connection
            if self._idle:
                self._idle[0].discard()
            else:
                await self._turn(deadline)
        if self._closed:
            raise UpstreamError("upstream.unreachable", "the gate is shutting down", sent="no")
        return await self._dial(deadline - loop.time())

    async def close(self) -> None:
        """Close every connection, busy ones too, and wait until they are gone."""
        self._closed = True
        closing = [connection.closed for connection in self._open]
        for connection in tuple(self._open):
            connection.discard()
        if closing:
            await asyncio.wait(closing, timeout=1.0)

    async def _dial(self, left_s: float) -> Connection:
        self._opening += 1
        try:
            connect_s = max(0.0, min(self._pooling.connect_s, left_s))
            connection = await self._dialer.dial(lambda: Connection(self._freed, self._gone), connect_s)
        finally:
            self._opening -= 1
            self._wake()
        self._open.add(connection)
        return connection

    async def _turn(self, deadline: float) -> None:
        """Wait until a connection is free or gone."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout_at(deadline):
                await waiter
        except TimeoutError:
            what = f"all {self._pooling.size} connections to the upstream {self._dialer.place} stayed busy"
            raise UpstreamError("upstream.timeout", what, sent="no") from None
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif waiter.cancelled():
                self._wake()

    def _freed(self, connection: Connection) -> None:
        connection.rest(self._pooling.idle_s)
        if self._closed or connection.free_since - connection.born > self._pooling.max_age_s:
            connection.discard()
            return
        self._idle.append(connection)
        self._wake()

    def _gone(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
