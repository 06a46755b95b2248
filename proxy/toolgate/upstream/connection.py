"""One connection to an upstream and the exchange it carries.

RULE: a request is written once, on a connection known to be open and silent; whatever happens then is told, not repaired.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from toolgate.ports import UpstreamError
from toolgate.upstream.response import Response, cut_short

if TYPE_CHECKING:
    from collections.abc import Sequence

_WHOLE: Final = 1 << 16  # a body of at most this many bytes is waited for and handed over whole
_HIGH_WATER: Final = 1 << 16  # bytes of a streamed body held before reading pauses
_UNUSED_S: Final = 15.0  # how long a new connection may stay without its first request
_STALLED_S: Final = 60.0  # how long a paused stream may go unread before it is given up
_Phase: TypeAlias = Literal["head", "whole", "stream"]


class Exchange:
    """One request and its answer. Awaited once for the head; then, where the body streams, read or closed."""

    __slots__ = ("_connection", "_error", "_waiter", "idle_s", "moved", "paused", "phase", "response", "timeout_s")

    def __init__(self, connection: Connection, method: str, timeout_s: float, idle_s: float) -> None:
        self.response = Response(method)
        self.timeout_s = timeout_s
        self.idle_s = idle_s
        self.phase: _Phase = "head"
        self.moved = False
        self.paused = False
        self._connection = connection
        self._waiter: asyncio.Future[None] | None = None
        self._error: UpstreamError | None = None

    async def answered(self) -> None:
        """Wait until the answer is whole, or its body streams. Raises UpstreamError."""
        self._waiter = waiter = self._connection.new_waiter()
        try:
            await waiter
        except asyncio.CancelledError:
            self._connection.give_up(self)
            raise
        if self._error is not None:
            raise self._error

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        response = self.response
        while not response.pending:
            if self._error is not None:
                raise self._error
            if response.complete:
                raise StopAsyncIteration
            await self._woken()
        chunk = response.take()
        if self.paused:
            self._connection.resume(self)
        return chunk

    async def aclose(self) -> None:
        """End the exchange early; its connection is not used again."""
        self.give_up()

    def give_up(self) -> None:
        self._connection.give_up(self)

    def wake(self, error: UpstreamError | None = None) -> None:
        if error is not None:
            self._error = error
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _woken(self) -> None:
        self._waiter = self._connection.new_waiter()
        await self._waiter


class Connection(asyncio.Protocol):
    """A TCP or TLS connection that carries one exchange at a time. Tells its pool when it is free and when it is gone."""

    def __init__(self, freed: Callable[[Connection], None], gone: Callable[[Connection], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._freed = freed
        self._gone = gone
        self._transport: asyncio.Transport | None = None
        self._readable = select.poll()
        self._exchange: Exchange | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = self._rings_at = float("inf")
        self.born = self.free_since = self._loop.time()
        self.closed = self._loop.create_future()

    # -- for the pool and the client --------------------------------------------------------------------------

    def send(self, blocks: Sequence[bytes], exchange: Exchange, deadline: float) -> None:
        """Write one request. The one place where bytes leave for an upstream."""
        transport = self._transport
        if transport is None or transport.is_closing():
            raise UpstreamError(
                "upstream.unreachable", "the upstream closed the connection before the request was sent", sent="no"
            )
        self._exchange = exchange
        self._expire_at(deadline)
        if len(blocks) == 1:
            transport.write(blocks[0])
        else:
            transport.writelines(blocks)

    def usable(self) -> bool:
        """Whether it is open and silent now. Asks the kernel too: the loop may not have seen a close yet."""
        return self._transport is not None and not self._transport.is_closing() and not self._readable.poll(0)

    def new_waiter(self) -> asyncio.Future[None]:
        return self._loop.create_future()

    def rest(self, idle_s: float) -> None:
        """Stay open, unused, for at most `idle_s`."""
        self.free_since = self._loop.time()
        self._expire_at(self.free_since + idle_s)

    def discard(self) -> None:
        """Close at once; what was not written yet is dropped."""
        self._gone(self)
        if self._transport is not None:
            self._transport.abort()

    def give_up(self, exchange: Exchange) -> None:
        if self._exchange is exchange:
            self._fail(
                UpstreamError("upstream.broken", "the exchange was given up before its answer ended", sent="unknown")
            )

    def resume(self, exchange: Exchange) -> None:
        exchange.paused = False
        transport = self._open_transport() if self._exchange is exchange else None
        if transport is not None and not transport.is_closing():
            transport.resume_reading()
            self._expire_at(self._loop.time() + exchange.idle_s)

    # -- asyncio.Protocol ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._readable.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._expire_at(self._loop.time() + _UNUSED_S)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:  # SECURITY: an answer nobody asked for would be taken for the next one's
            self.discard()
            return
        response = exchange.response
        try:
            response.feed(data)
        except UpstreamError as error:
            self._fail(error)
            return
        if response.complete:
            self._finish(exchange)
        elif response.head_done:
            self._advance(exchange)

    def eof_received(self) -> None:
        exchange = self._exchange
        if exchange is None:
            self.discard()
            return
        try:
            exchange.response.end()
        except UpstreamError as error:
            self._fail(error)
            return
        exchange.response.keep_alive = False
        self._finish(exchange)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # a reset and a close say the same: nothing more will come
        if self._exchange is not None:
            self._fail(cut_short(self._exchange.response))
        else:
            self._gone(self)
        if self._timer is not None:
            self._timer.cancel()
        self._transport = None
        if not self.closed.done():
            self.closed.set_result(None)

    # -- the exchange -------------------------------------------------------------------------------------------

    def _advance(self, exchange: Exchange) -> None:
        """The head is there and the body is not whole."""
        if exchange.phase == "whole":
            exchange.moved = True
            return
        now = self._loop.time()
        self._expire_at(now + exchange.idle_s)
        if exchange.phase == "head" and _small(exchange.response):
            exchange.phase = "whole"
            return
        exchange.phase = "stream"
        if exchange.response.pending > _HIGH_WATER:
            exchange.paused = True
            self._open_transport().pause_reading()
            self._expire_at(now + _STALLED_S)
        exchange.wake()

    def _finish(self, exchange: Exchange) -> None:
        self._exchange = None
        exchange.wake()
        response, transport = exchange.response, self._open_transport()
        # RFC 9112 §9.3: an answer to a request that is still being written ends the connection's use.
        if response.keep_alive and not response.surplus and not transport.get_write_buffer_size():
            self._freed(self)
        else:
            self.discard()

    def _fail(self, error: UpstreamError) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.response.release()
            exchange.wake(error)
        self.discard()

    # -- time: one timer for each connection, set forward only when it rings -----------------------------------

    def _expire_at(self, deadline: float) -> None:
        self._deadline = deadline
        if deadline < self._rings_at:
            if self._timer is not None:
                self._timer.cancel()
            self._rings_at = deadline
            self._timer = self._loop.call_at(deadline, self._ring)

    def _ring(self) -> None:
        self._timer, self._rings_at = None, float("inf")
        if self._loop.time() < self._deadline:
            self._expire_at(self._deadline)
        elif self._exchange is None:
            self.discard()
        else:
            self._expired(self._exchange)

    def _expired(self, exchange: Exchange) -> None:
        if exchange.phase == "whole" and exchange.moved:
            exchange.phase = "stream"  # slow, and not stuck: hand over what there is and go on as it comes
            self._expire_at(self._loop.time() + exchange.idle_s)
            exchange.wake()
            return
        if exchange.phase == "head":
            code, what = "upstream.timeout", f"the upstream sent no answer within {exchange.timeout_s:g} s"
        elif exchange.paused:
            code, what = "upstream.broken", f"the answer was not read for {_STALLED_S:g} s"
        else:
            code, what = "upstream.timeout", f"the upstream sent nothing more of its answer for {exchange.idle_s:g} s"
        self._fail(UpstreamError(code, what, sent="unknown"))

    def _open_transport(self) -> asyncio.Transport:
        if self._transport is None:
            raise UpstreamError("internal.error", "a connection was used after its end", sent="no")
        return self._transport


def _small(response: Response) -> bool:
    """Worth waiting for as a whole. Events (SSE) never are: each is passed on as it comes."""
    if response.length is None or response.length > _WHOLE:
        return False
    return not any(
        name == "content-type" and value.lower().startswith("text/event-stream") for name, value in response.headers
    )
