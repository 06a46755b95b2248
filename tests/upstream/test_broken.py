"""Answers that are cut, poisoned or late: never passed off as whole, and the honest word on what was sent."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Sequence
from ssl import SSLContext

import pytest
from tests.upstream.scripted import OK, Step, close, failed, gone, permit, read_head, reset, upstream, whole

from toolgate.core.catalog import Limits, Target
from toolgate.ports import UpstreamError
from toolgate.upstream import Client

QUICK = Limits(timeout_s=0.1, idle_timeout_s=0.1)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n[1,2]"


@pytest.mark.parametrize("end", [close, reset])
@pytest.mark.parametrize("answer", [SIZED, CHUNKED], ids=["sized", "chunked"])
async def test_an_answer_cut_anywhere_is_never_a_success(client: Client, answer: bytes, end: Step) -> None:
    """Cut at every byte, by close and by reset: broken, with the outcome unknown (FT37, L14)."""
    scripts: list[Sequence[Step]] = [(answer[:size], end) for size in range(len(answer))]
    async with upstream(*scripts) as up:
        for _ in scripts:
            error = await failed(client, up.target)
            assert ("upstream.broken", "unknown") == (error.code, error.sent)

        assert len(up.requests) == len(scripts)


async def test_an_answer_cut_by_close_under_tls_is_never_a_success(client: Client, tls: tuple[SSLContext, str]) -> None:
    """Also where the close comes without TLS's own."""
    context, ca_file = tls
    for end in (close, reset):
        async with upstream((SIZED[:-1], end), (CHUNKED[:-2], end), ssl=context) as up:
            for _ in range(2):
                error = await failed(client, Target("https", "localhost", up.port, "", (), ca_file))
                assert ("upstream.broken", "unknown") == (error.code, error.sent)


@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_under_tls_a_cut_is_not_an_end(client: Client, tls: tuple[SSLContext, str]) -> None:
    """An answer without a length ends with TLS's own close; a bare FIN or RST could be anybody's (RFC 9112 §9.8).

    On the loop we serve with. The standard loop of Python 3.11 reports a bare FIN as the end of the TLS stream.
    """

    async def finish_bare(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as sock:
            sock.shutdown(socket.SHUT_WR)
        await gone(reader, writer)

    context, ca_file = tls
    head = b"HTTP/1.0 200 OK\r\n\r\nabc"
    async with upstream((head, close), (head, finish_bare), (head, reset), ssl=context) as up:
        target = Target("https", "localhost", up.port, "", (), ca_file)
        assert b"abc" == await whole(await client.send(permit(target)))
        for _ in range(2):
            assert "upstream.broken" == (await failed(client, target)).code


async def test_bytes_after_an_answer_poison_nothing(client: Client) -> None:
    """The second answer in the first one's packet is dropped with its connection (L17)."""
    evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"
    async with upstream((OK + evil,), (OK,)) as up:
        assert (await client.send(permit(up.target))).body == b"ok"
        assert (await client.send(permit(up.target))).body == b"ok"
        assert 2 == up.connections


async def test_bytes_on_an_idle_connection_close_it(client: Client) -> None:
    """An answer nobody asked for is not taken for the next call's."""
    later = asyncio.Event()

    async def push(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await later.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL")

    async with upstream((OK, push)) as up:
        await client.send(permit(up.target))
        later.set()
        await up.ended()

        assert (await client.send(permit(up.target))).body == b"ok"
        assert 2 == up.connections


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("DELETE", b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nhello"),
        ("GET", b"HTTP/1.1 304 No\r\n\r\nhello"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ],
)
async def test_a_body_where_none_may_be_is_dropped_with_its_connection(
    client: Client, method: str, answer: bytes
) -> None:
    """204, 304 and HEAD have no body; what came in its place is nobody's (L19)."""
    async with upstream((answer,)) as up:
        assert (await client.send(permit(up.target, method))).body == b""
        assert (await client.send(permit(up.target))).body == b"ok"
        assert 2 == up.connections


async def test_answers_to_head_leave_the_connection_usable(client: Client) -> None:
    """A declared length that is not sent is right for HEAD."""
    async with upstream(default=(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",)) as up:
        for _ in range(3):
            reply = await client.send(permit(up.target, "HEAD"))
            assert (b"", (("content-length", "5"),)) == (reply.body, reply.headers)

        assert 1 == up.connections


async def test_an_answer_without_length_ends_with_its_connection(client: Client) -> None:
    """HTTP/1.0 servers answer so."""
    async with upstream((b"HTTP/1.0 200 OK\r\n\r\nabc", b"def", close)) as up:
        assert b"abcdef" == await whole(await client.send(permit(up.target)))


async def test_an_early_answer_ends_the_connection(client: Client) -> None:
    """Answered before the body was taken: the answer counts, the half-written connection is not used again."""
    answer = b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n"
    async with upstream((answer, gone), read=read_head) as up:
        reply = await client.send(permit(up.target, body=b"x" * (32 << 20)))
        await up.ended()

    assert 413 == reply.status


async def test_a_compressed_answer_is_passed_on_as_it_is(client: Client) -> None:
    """Nothing is ever decompressed: a bomb stays as small as it came (D09)."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00"
    async with upstream((answer,)) as up:
        reply = await client.send(permit(up.target))

    assert (b"\x1f\x8b\x08\x00", "gzip") == (reply.body, dict(reply.headers)["content-encoding"])


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-"])
async def test_an_answer_that_does_not_come_in_time(client: Client, start: bytes) -> None:
    """No head within `timeout_s`: the outcome is unknown, and the connection is closed."""
    async with upstream((start, gone)) as up:
        error = await failed(client, up.target, limits=QUICK)

        assert ("upstream.timeout", "unknown") == (error.code, error.sent)
        assert error.detail == "the upstream sent no answer within 0.1 s"
        await up.ended()


async def test_a_dripping_head_is_bounded(client: Client) -> None:
    """A byte now and then does not move the deadline of the head (FT38)."""

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.01)

    started = time.monotonic()
    async with upstream((drip,)) as up:
        error = await failed(client, up.target, limits=QUICK)

    assert "upstream.timeout" == error.code
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
    ],
)
async def test_a_body_that_stops_is_not_waited_for(client: Client, head: bytes) -> None:
    """Nothing more for `idle_timeout_s`: the answer is not whole, and is never passed off as whole."""
    async with upstream((head, gone)) as up:
        error = await failed(client, up.target, limits=QUICK)

    assert ("upstream.timeout", "unknown") == (error.code, error.sent)
    assert error.detail == "the upstream sent nothing more of its answer for 0.1 s"


async def test_an_upstream_that_takes_no_more_of_the_request(client: Client) -> None:
    """Writing is bounded by the time to the head; what was not written is dropped."""
    released = asyncio.Event()

    async def ignore(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await released.wait()

    async with upstream((ignore,), read=read_head) as up:
        with pytest.raises(UpstreamError) as raised:
            await client.send(permit(up.target, body=b"x" * (32 << 20), limits=QUICK))
        released.set()

    assert ("upstream.timeout", "unknown") == (raised.value.code, raised.value.sent)


async def test_a_call_that_is_given_up_closes_its_connection(client: Client) -> None:
    """Cancelling ends the exchange; the answer that comes later reaches nobody."""
    async with upstream((gone,)) as up:
        sending = asyncio.ensure_future(client.send(permit(up.target)))
        await up.arrived.get()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await up.ended()

        assert (await client.send(permit(up.target))).body == b"ok"
