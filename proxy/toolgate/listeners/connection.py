"""One connection: reads requests, holds them against the wire gate, has them answered, writes, keeps deadlines.

Built on aiohttp's RequestHandler for its parser and flow control; its per-request task, request and response objects
are left out, which is most of what a call costs there.

RULE: after a refusal on the wire nothing more of the connection is read as a request, and it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Final

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler

from toolgate.core.model import Refusal, new
from toolgate.listeners import wire
from toolgate.listeners.answers import Answer, Request, Streamed
from toolgate.listeners.wire import Block, Head, refuse

if TYPE_CHECKING:
    from aiohttp.http_parser import HttpParser

    from toolgate.listeners.server import Listener

_END: Final = b"\r\n"
_CLOSE: Final = b"Connection: close\r\n\r\n"
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_LINE_END: Final = b" HTTP/1.1\r\n"
_HEAD_END: Final = b"\r\n\r\n"
_READ_BYTES: Final = 65536
_MAX_OPEN_HEAD: Final = wire.MAX_LINE_BYTES + wire.MAX_HEADER_BYTES + 1024  # of a head whose end has not come


class Phase:
    """What a connection is doing, which says what its deadline means."""

    IDLE: Final = 0  # nothing of a next request has come
    HEAD: Final = 1
    BODY: Final = 2
    CALL: Final = 3
    STREAM: Final = 4
    WRITE: Final = 5  # the peer does not read
    LINGER: Final = 6  # refused; what comes is thrown away until the peer has read why
    FLUSH: Final = 7  # answered; what is written goes out, then the connection is closed
    CLOSED: Final = 8
    BUSY: Final = frozenset({BODY, CALL, STREAM, WRITE, FLUSH})


class _Overdue(Exception):  # noqa: N818  # it tells a waiting read why it ends, and never leaves this module
    pass


class Connection(RequestHandler):
    """A peer of one listener."""

    __slots__ = ("_begun", "_fed", "_given_up", "_head_bytes", "_known", "_last_payload", "_listener", "_owed", "_seen",
                 "_task", "_wrong", "due_at", "phase")  # fmt: skip

    def __init__(self, listener: Listener, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            listener,
            loop=loop,
            keepalive_timeout=0,  # `due_at` is our own deadline, for every phase
            access_log=None,  # type: ignore[arg-type]  # how RequestHandler is told to have none
            max_line_size=wire.MAX_LINE_BYTES,
            max_field_size=wire.MAX_FIELD_BYTES,
            max_headers=wire.MAX_HEADERS,
            auto_decompress=False,
            read_bufsize=_READ_BYTES,
        )
        self._listener = listener
        self.phase = Phase.IDLE
        self.due_at = loop.time() + listener.bounds.header_timeout_s
        self._known: tuple[Head, StreamReader | bytes] | None = (
            None  # a request that needed no parser, before any others
        )
        self._owed = 0  # bytes of its body that have not come
        self._begun = b""  # the first bytes the parser was fed since it was known to be between requests
        self._fed = 0  # how many those were until now
        self._wrong: Refusal | None = None  # what is wrong with the bytes after the last whole request
        self._last_payload: StreamReader = EMPTY_PAYLOAD
        self._seen = b""  # what came since the last request began to be parsed, to see its request line in
        self._head_bytes = 0  # of a head whose end has not come
        self._given_up = False
        self._task: asyncio.Task[None] | None = None

    # -- bytes in ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._task = self._task_handler
        if self._listener.is_full:
            self._go_wrong(refuse("gateway.overloaded", "the gate has as many connections as it takes"))

    def connection_lost(self, exc: BaseException | None) -> None:
        phase = self.phase
        if phase != Phase.CALL:  # a call that was begun is finished and journaled, its deadline included
            self.phase = Phase.CLOSED
        super().connection_lost(exc)
        self._close = True
        if not self._last_payload.is_eof():
            self._last_payload.set_exception(ConnectionResetError("the peer is gone"))
        # A stream nobody reads any more is given up.
        if phase == Phase.STREAM and self._task is not None:
            self._task.cancel()
        self._listener.settled()

    def data_received(self, data: bytes) -> None:
        if self._close or self._force_close or self._wrong is not None or self._parser is None:
            return
        if self._fed or not data or not self._take_familiar(data):
            self._parse(self._parser, data)

    def _parse(self, parser: HttpParser[RawRequestMessage], data: bytes) -> None:
        if not self._fed:
            self._begun = data
        self._fed += len(data)
        in_body = not self._last_payload.is_eof()
        try:
            messages, upgraded, _ = parser.feed_data(data)
        except HttpProcessingError as error:
            self._go_wrong(wire.parser_fault(error))
            return
        except Exception:  # noqa: BLE001  # SECURITY: whatever the parser trips over, the answer is typed
            self._go_wrong(wire.malformed())
            return
        if messages:
            self._take(messages, data)
        elif in_body:
            self._seen = data  # its end may be the beginning of the next head
        elif data:
            self._await_head(data)
        if upgraded:  # CONNECT or Upgrade: refused when its turn comes; nothing after it is a request
            self._wrong = refuse("request.framing", "bytes follow a request after which there can be none")

    def _take_familiar(self, data: bytes) -> bool:
        """Take what the parser need not see: a head that is known, and the body behind it."""
        if self._owed:
            self._fill(data)
            return True
        if self._known is not None or self._messages:  # one at a time: how many may wait is the parser's to bound
            return False
        found = self._listener.familiar.read(data)
        if found is None:
            return False
        head, at = found
        missing = at + (head.block.content_length or 0) - len(data)
        if missing < 0:
            return False
        if missing:
            self._last_payload = payload = StreamReader(self, _READ_BYTES, loop=self._loop)
            self._owed = missing
            payload.feed_data(data[at:])
            self._known = head, payload
        else:
            self._known = head, data[at:]
        self._wake()
        return True

    def _fill(self, data: bytes) -> None:
        """Take more of the body of a request whose head was known; what is behind it is the next one's."""
        body, behind = data[: self._owed], data[self._owed :]
        self._owed -= len(body)
        self._last_payload.feed_data(body)
        if not self._owed:
            self._last_payload.feed_eof()
        if behind:
            self.data_received(behind)

    def _take(self, messages: list[tuple[RawRequestMessage, StreamReader]], data: bytes) -> None:
        if not self._is_all_http(len(messages), data):
            self._go_wrong(refuse("request.framing", "the request is not HTTP/1.1"))
            return
        self._messages.extend(messages)
        self._last_payload = messages[-1][1]
        self._head_bytes = 0
        if data:
            self._seen = b"" if self._last_payload is EMPTY_PAYLOAD and data.endswith(_HEAD_END) else data
        self._wake()
        if len(self._messages) >= self._max_msg_queue_size and not self._buffer_paused:
            self._pause_reading_for_buffer()

    def _is_all_http(self, count: int, data: bytes) -> bool:
        """Whether as many request lines end as they must: llhttp also takes `GET / RTSP/1.1`, and shows version 1.1.

        Weakness: behind a full queue it is not looked for. It is an odd spelling of the same request, no other one.
        """
        if not data or (count == 1 and _LINE_END in data):  # the usual one ends early: its body is not searched
            return True
        return data.count(_LINE_END) >= count or (self._seen + data).count(_LINE_END) >= count

    def _await_head(self, data: bytes) -> None:
        """Part of a head, or of an end before it: bounded in bytes and time."""
        self._head_bytes += len(data)
        self._seen += data
        if self.phase == Phase.IDLE:
            self._enter(Phase.HEAD, self._listener.bounds.header_timeout_s)
        if self._head_bytes > _MAX_OPEN_HEAD:
            self._go_wrong(
                refuse("request.headers_too_large", f"the headers are larger than {wire.MAX_HEADER_BYTES} bytes")
            )

    def _go_wrong(self, refusal: Refusal) -> None:
        """Keep what is to be answered once the requests before it are; wake whoever waits for more."""
        if self._wrong is not None:
            return
        self._wrong = refusal
        if not self._last_payload.is_eof():
            self._last_payload.set_exception(_Overdue())
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # -- requests, one after the other -----------------------------------------------------------------------

    async def start(self) -> None:
        """Serve the connection to its end. aiohttp runs this as the connection's task."""
        try:
            while self.transport is not None and await self._serve_one():
                pass
        except ConnectionError:
            pass  # the peer is gone; what was begun for it is finished
        except asyncio.CancelledError:
            if self.transport is not None:
                self.transport.abort()
        finally:
            if self.transport is None:
                self.phase = Phase.CLOSED
            self._task = self._task_handler = None
            self._listener.settled()

    async def _serve_one(self) -> bool:
        if self._known is None and not self._messages and self._wrong is None:
            self._waiter = waiter = self._loop.create_future()
            try:
                await waiter
            finally:
                self._waiter = None
        if self._known is not None:
            (head, payload), self._known = self._known, None
            return await self._serve(head, payload, keep=True)
        if self._messages:
            return await self._serve_parsed()
        if self._wrong is not None:
            self._refuse(self._wrong)
        return False

    async def _serve_parsed(self) -> bool:
        message, payload = self._messages.popleft()
        self._make_room()
        if not isinstance(message, RawRequestMessage):
            raise TypeError(message)  # aiohttp's own errors never get into our queue
        head = wire.judge(message, self._listener.rules)
        if isinstance(head, Refusal):
            self._refuse(head, bodiless=message.method == "HEAD")
            return False
        if not await self._serve(head, payload, keep=not message.should_close and not head.block.chunked):
            return False
        if self._listener.familiar.learn(self._begun, self._fed, head.block):
            self._fed, self._seen = 0, b""
        return True

    async def _serve(self, head: Head, payload: StreamReader | bytes, *, keep: bool) -> bool:
        """Read the body, have the request answered, write. True: the connection goes on.

        SECURITY: after chunks it does not: aiohttp adds the last trailer of a chunked body to the headers of the
        request that follows it (seen in 3.14.5), so nothing may follow it.
        """
        method, path, query, block = head
        bodiless = method == "HEAD"
        if self._listener.draining:
            self._refuse(refuse("gateway.draining", "the gate is shutting down"), bodiless=bodiless)
            return False
        body = payload if isinstance(payload, bytes) else await self._body(payload, block)
        if isinstance(body, Refusal):
            self._refuse(body, bodiless=bodiless)
            return False
        answer = await self._answer(
            new(Request, (method, path, query, block.kept, body, block.said, block.token, block.run))
        )
        if not await self._write(answer, keep=keep and not self._listener.draining):
            return False
        self._enter(Phase.HEAD if self._head_bytes else Phase.IDLE, self._listener.bounds.header_timeout_s)
        return True

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - aiohttp's signature
        """Go on where reading was held: each body that is read whole asks for it, and few were."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def _make_room(self) -> None:
        """A request has left the queue: let the parser go on."""
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()

    async def _body(self, payload: StreamReader, block: Block) -> bytes | Refusal:
        if payload is EMPTY_PAYLOAD:
            return b""
        most = self._listener.front.max_body
        if block.content_length is not None and block.content_length > most:
            return _too_large(most)
        if payload.is_eof() and payload.exception() is None:
            body = payload.read_nowait(-1)
            return body if len(body) <= most else _too_large(most)
        if block.expects_continue and self.transport is not None:
            self.transport.write(_CONTINUE)
        self._enter(Phase.BODY, self._listener.bounds.body_timeout_s)
        try:
            return await _collect(payload, most)
        except _Overdue:
            return self._wrong or refuse("request.timeout", "the body did not arrive in time")

    async def _answer(self, request: Request) -> Answer:
        self._enter(Phase.CALL, self._listener.bounds.call_timeout_s)
        front = self._listener.front
        try:
            return await front.answer(request)
        except asyncio.CancelledError:
            if not self._given_up or self._task is None:
                raise
            self._task.uncancel()
            return front.broken(TimeoutError(), bodiless=request.method == "HEAD")
        except Exception as error:  # noqa: BLE001  # SECURITY: a defect is answered with its code, never with a traceback
            return front.broken(error, bodiless=request.method == "HEAD")

    # -- bytes out -----------------------------------------------------------------------------------------

    async def _write(self, answer: Answer, *, keep: bool) -> bool:
        """Write an answer; True when the connection can go on."""
        if isinstance(answer, Streamed):
            return await self._stream(answer, keep=keep)
        if self.transport is None:
            return False
        self.transport.write(b"".join((answer.head, _END if keep else _CLOSE, answer.body)))
        if self._paused:
            await self._drained(Phase.WRITE)
        if not keep:
            self._finish()
        return keep

    async def _stream(self, answer: Streamed, *, keep: bool) -> bool:
        """Pass a body on as it comes. A body that breaks off breaks the connection: it must not look whole."""
        self._enter(Phase.STREAM, self._listener.bounds.call_timeout_s)
        whole = False
        try:
            whole = await self._pass_on(answer, keep=keep)
        except ConnectionError:
            raise
        except Exception:  # noqa: BLE001, S110  # the gateway has journaled it; the peer sees a cut answer
            pass
        finally:
            with suppress(Exception):
                await _close(answer.body)
            if not whole and self.transport is not None:
                self.transport.abort()
        if whole and not keep:
            self._finish()
        return whole and keep

    async def _pass_on(self, answer: Streamed, *, keep: bool) -> bool:
        chunked, left = answer.length is None and not answer.bodiless, answer.length or 0
        self._send(b"".join((answer.head, _CHUNKED if chunked else b"", _END if keep else _CLOSE)))
        if answer.bodiless:
            return True
        async for chunk in answer.body:
            if not chunk:
                continue
            left -= len(chunk)
            if not chunked and left < 0:
                return False
            self._send(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
            if self._paused:
                due_at = self.due_at
                await self._drained(Phase.WRITE)
                self.phase, self.due_at = Phase.STREAM, due_at
        if chunked:
            self._send(b"0\r\n\r\n")
        if self._paused:
            await self._drained(Phase.WRITE)
        return chunked or left == 0

    def _send(self, data: bytes) -> None:
        if self.transport is None:
            raise ConnectionResetError("the peer is gone")
        self.transport.write(data)

    async def _drained(self, phase: int) -> None:
        self._enter(phase, self._listener.bounds.write_timeout_s)
        await self._drain_helper()

    def _refuse(self, refusal: Refusal, *, bodiless: bool = False) -> None:
        """Say why, and end: half-close, then throw away what still comes, so that the answer is not lost to a reset."""
        self._close = True
        self._messages.clear()
        transport = self.transport
        if transport is None:
            return
        answer = self._listener.front.refused(refusal, bodiless=bodiless)
        transport.write(b"".join((answer.head, _CLOSE, answer.body)))
        if not transport.can_write_eof():
            self._finish()
            return
        transport.write_eof()
        self._enter(Phase.LINGER, self._listener.bounds.linger_s)
        self._resume_transport_reading()

    def _finish(self) -> None:
        """Close once everything is written; if the peer does not read, that is cut off in time."""
        self._close = True
        if self.transport is not None:
            self.transport.close()
            self._enter(Phase.FLUSH, self._listener.bounds.write_timeout_s)

    # -- deadlines -----------------------------------------------------------------------------------------

    def _enter(self, phase: int, within_s: float) -> None:
        self.phase = phase
        self.due_at = self._loop.time() + within_s

    def expire(self) -> None:
        """The deadline of the present phase has passed. It is acted on once: ending a call takes its own time."""
        self.due_at = inf
        match self.phase:
            case Phase.IDLE:
                self.close_if_idle()
            case Phase.HEAD:
                self._go_wrong(refuse("request.timeout", "the headers did not arrive in time"))
            case Phase.BODY:
                self._last_payload.set_exception(_Overdue())
            case Phase.CALL:
                self.give_up()
            case Phase.LINGER:
                self._finish()
            case _:
                self.end_now()

    def close_if_idle(self) -> None:
        if self.phase == Phase.IDLE and not self._messages and self._known is None:
            self._finish()
            self._wake()

    def give_up(self) -> None:
        """Stop waiting for the answer of the call in flight, and say so."""
        if self.phase == Phase.CALL and self._task is not None:
            self._given_up = True
            self._task.cancel()
        elif self.phase in Phase.BUSY:
            self.end_now()

    def end_now(self) -> asyncio.Task[None] | None:
        """Cut the connection, and return its task, to be waited for."""
        self._close = True
        if self.transport is not None:
            self.transport.abort()
        if self._task is not None and not self._task.done():
            self._task.cancel()
            return self._task
        return None


def _too_large(most: int) -> Refusal:
    return refuse("arguments.too_large", f"the body is larger than the {most} bytes any operation here takes")


async def _collect(payload: StreamReader, most: int) -> bytes | Refusal:
    chunks: list[bytes] = []
    size = 0
    while not payload.at_eof():
        chunk = await payload.readany()
        size += len(chunk)
        if size > most:
            return _too_large(most)
        chunks.append(chunk)
    return b"".join(chunks)


async def _close(body: AsyncIterator[bytes]) -> None:
    close = getattr(body, "aclose", None)
    if close is not None:
        await close()
