"""Answers that are read as they come: bounded in memory, event by event, and ended early when nobody wants them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest
from tests.upstream.scripted import close, gone, permit, reset, upstream, whole

from toolgate.core.catalog import Limits
from toolgate.core.model import Reply
from toolgate.ports import UpstreamError
from toolgate.upstream import Client
from toolgate.upstream.connection import Exchange

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def stream(reply: Reply) -> Exchange:
    assert isinstance(reply.body, Exchange)
    return reply.body


def sized(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size


async def test_events_are_passed_on_one_by_one(client: Client) -> None:
    """Each event is there before the next one is sent."""
    read: asyncio.Queue[None] = asyncio.Queue()

    async def event(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read.get()
        writer.write(b"c\r\ndata: {}\r\n\r\n\r\n")

    async with upstream((EVENTS, event, event, event, b"0\r\n\r\n")) as up:
        body = stream(await client.send(permit(up.target)))
        for _ in range(3):
            read.put_nowait(None)
            assert b"data: {}\r\n\r\n" == await anext(body)
        with pytest.raises(StopAsyncIteration):
            await anext(body)
        await client.send(permit(up.target))

        assert 1 == up.connections  # the end of a stream gives its connection back


async def test_events_with_a_length_are_not_waited_for(client: Client) -> None:
    """A small declared length does not turn a stream of events into one lump."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nContent-Length: 20\r\n\r\n"
    async with upstream((head, b"data: 1\n\n", gone)) as up:
        body = stream(await client.send(permit(up.target)))

        assert b"data: 1\n\n" == await anext(body)
        await body.aclose()


async def test_a_small_body_is_whole(client: Client) -> None:
    """Up to 64 KiB of declared length comes as bytes, in however many pieces it was sent."""
    async with upstream((sized(65_536), b"x" * 65_000, b"y" * 536)) as up:
        reply = await client.send(permit(up.target))

    assert b"x" * 65_000 + b"y" * 536 == reply.body


async def test_a_chunked_body_that_is_there_is_whole(client: Client) -> None:
    """What came with its head is not streamed."""
    async with upstream((CHUNKED + b"2\r\nok\r\n0\r\n\r\n",)) as up:
        assert b"ok" == (await client.send(permit(up.target))).body


async def test_a_slow_small_body_becomes_a_stream(client: Client) -> None:
    """A body that moves, but slowly, is handed over as it comes instead of failing or being waited for without end."""
    rest = asyncio.Event()

    async def later(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await rest.wait()
        writer.write(b"cd")

    async def soon(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)  # after the head, within the idle time

    async with upstream((sized(4) + b"a", soon, b"b", later)) as up:
        body = stream(await client.send(permit(up.target, limits=Limits(timeout_s=5, idle_timeout_s=0.3))))
        first = await anext(body)
        rest.set()

        assert (b"ab", b"cd") == (first, await anext(body))


@pytest.mark.parametrize("tls_on", [False, True], ids=["plain", "tls"])
async def test_memory_stays_bounded_when_nobody_reads(client: Client, tls: tuple[object, str], tls_on: bool) -> None:
    """An upstream that sends without end is slowed down to what the agent takes, and every byte arrives."""
    size, written, stuck = 64 << 20, 0, asyncio.Event()

    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        block = b"x" * 65_536
        while written < size:
            writer.write(block)
            try:
                await asyncio.wait_for(writer.drain(), 0.3)
            except TimeoutError:
                stuck.set()
                await writer.drain()
            written += len(block)

    async with upstream((sized(size), flood), ssl=tls[0] if tls_on else None) as up:
        target = up.target
        if tls_on:
            target = type(target)("https", "localhost", up.port, "", (), tls[1])
        body = stream(await client.send(permit(target)))
        async with asyncio.timeout(10):
            await stuck.wait()

        assert written < size // 2  # the rest is in the sockets' buffers
        assert body.response.pending < 1 << 20
        total = 0
        async for chunk in body:
            total += len(chunk)
            assert len(chunk) < 1 << 20
        assert size == total


async def test_the_time_nobody_reads_is_not_the_upstreams(client: Client) -> None:
    """While reading is paused, the upstream's idle time does not run."""
    size = 4 << 20
    async with upstream((sized(size), b"x" * size)) as up:
        body = stream(await client.send(permit(up.target, limits=Limits(timeout_s=5, idle_timeout_s=0.1))))
        await asyncio.sleep(0.3)  # several times the idle time

        assert size == len(await whole(Reply(200, (), body)))


@pytest.mark.parametrize("end", [close, reset])
@pytest.mark.parametrize("head", [CHUNKED + b"5\r\nhello\r\n", CHUNKED + b"5\r\nhel", EVENTS + b"5\r\nhello\r\n"])
async def test_a_stream_that_is_cut_says_so(client: Client, head: bytes, end: object) -> None:
    """A cut stream never ends as if it were whole."""
    cut = asyncio.Event()

    async def later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await cut.wait()
        await end(reader, writer)  # type: ignore[operator]

    async with upstream((head, later)) as up:
        body = stream(await client.send(permit(up.target)))
        first = await anext(body)
        cut.set()
        with pytest.raises(UpstreamError) as raised:
            await anext(body)

        assert first in {b"hello", b"hel"}
        assert ("upstream.broken", "unknown") == (raised.value.code, raised.value.sent)
        assert raised.value.detail == "the upstream closed the connection before its answer was whole"


async def test_a_stream_that_falls_silent_is_ended(client: Client) -> None:
    """Each read has `idle_timeout_s`."""
    async with upstream((CHUNKED, b"1\r\na\r\n", gone)) as up:
        body = cast(
            "AsyncIterator[bytes]",
            (await client.send(permit(up.target, limits=Limits(timeout_s=5, idle_timeout_s=0.1)))).body,
        )
        assert b"a" == await anext(body)
        with pytest.raises(UpstreamError) as raised:
            await anext(body)
        await up.ended()

    assert ("upstream.timeout", "unknown") == (raised.value.code, raised.value.sent)


async def test_closing_a_stream_closes_its_connection(client: Client) -> None:
    """The upstream sees at once that nobody listens; what it still sends reaches nobody."""
    async with upstream((CHUNKED, b"1\r\na\r\n", gone)) as up:
        body = stream(await client.send(permit(up.target)))
        await body.aclose()
        await up.ended()

        assert b"ok" == (await client.send(permit(up.target))).body


async def test_closing_a_stream_that_ended_harms_nobody(client: Client) -> None:
    """Its connection may already carry another call."""
    first, second = asyncio.Event(), asyncio.Event()

    async def rest(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await first.wait()
        writer.write(b"0\r\n\r\n")

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await second.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with upstream((CHUNKED, b"1\r\na\r\n", rest), (answer,)) as up:
        body = stream(await client.send(permit(up.target)))
        first.set()
        assert b"a" == await whole(Reply(200, (), body))
        sending = asyncio.ensure_future(client.send(permit(up.target)))
        for _ in range(2):
            await up.arrived.get()
        await body.aclose()
        second.set()

        assert (b"ok", 1) == ((await sending).body, up.connections)


async def test_chunks_of_a_byte_are_bounded(client: Client) -> None:
    """A body in the smallest chunks arrives whole and in bounded memory."""
    count = 200_000
    async with upstream((CHUNKED, b"1\r\nx\r\n" * count, b"0\r\n\r\n")) as up:
        assert b"x" * count == await whole(await client.send(permit(up.target)))
