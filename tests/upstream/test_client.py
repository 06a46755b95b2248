"""A call's way up: one request for each permit, and credentials that travel up and not back."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.upstream.scripted import OK, Step, close, failed, gone, parse, permit, reset, upstream, whole

from toolgate.core.catalog import Credential, Limits, Secret, Target
from toolgate.core.model import UpstreamRequest
from toolgate.ports import UpstreamError
from toolgate.upstream import Client

METHODS = ["GET", "PUT", "DELETE", "POST"]
CANARY = "canary-7f3a9b"
QUICK = Limits(timeout_s=0.1, idle_timeout_s=0.1)


async def test_a_call_is_sent_and_answered(client: Client) -> None:
    """Status, headers and body come back as they were; the request is the judged one under the base path."""
    answer = b"HTTP/1.1 404 Nope\r\nContent-Type: application/json\r\nX-A: \xc3\xa9\r\nContent-Length: 2\r\n\r\n{}"
    async with upstream((answer,)) as up:
        reply = await client.send(permit(replace(up.target, base_path="/api"), path="/cluster?limit=1", body=b"{}"))

    assert (404, b"{}") == (reply.status, reply.body)
    assert (("content-type", "application/json"), ("x-a", "Ã©"), ("content-length", "2")) == reply.headers
    host = f"127.0.0.1:{up.port}".encode()
    headers = [(b"host", host), (b"accept-encoding", b"identity"), (b"content-type", b"application/json")]
    headers += [(b"accept", b"*/*"), (b"user-agent", b"toolgate/1.2.3"), (b"content-length", b"2")]
    assert (b"POST", b"/api/cluster?limit=1", headers, b"{}") == parse(up.requests[0])


async def test_a_connection_is_used_again(client: Client) -> None:
    """Calls one after the other share one connection."""
    async with upstream() as up:
        for _ in range(5):
            await client.send(permit(up.target))

        assert (5, 1) == (len(up.requests), up.connections)


async def test_equal_targets_of_another_bundle_share_connections(client: Client) -> None:
    """A reload makes new values that are equal to the old ones; connections stay."""
    async with upstream() as up:
        for _ in range(3):
            await client.send(permit(replace(up.target)))

        assert 1 == up.connections


async def test_a_large_request_arrives_whole(client: Client) -> None:
    """Head and a body of a megabyte, byte for byte."""
    body = bytes(range(256)) * 4096
    async with upstream() as up:
        await client.send(permit(up.target, body=body))

        assert parse(up.requests[0])[3] == body


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("end", [close, reset])
async def test_a_reused_connection_that_dies_is_not_tried_again(client: Client, method: str, end: Step) -> None:
    """The upstream acted once and closed without a word: it is asked once, and the agent is told `unknown` (FT36)."""
    async with upstream((OK,), (end,)) as up:
        await client.send(permit(up.target, method))
        error = await failed(client, up.target, method)

        assert ("upstream.broken", "unknown") == (error.code, error.sent)
        assert error.detail == "the upstream closed the connection without an answer"
        assert (2, 1) == (len(up.requests), up.connections)


@pytest.mark.parametrize("method", METHODS)
async def test_a_fresh_connection_that_dies_is_not_tried_again(client: Client, method: str) -> None:
    """A reset before the first byte of an answer leaves the outcome unknown, for every method (FT35)."""
    async with upstream((reset,)) as up:
        error = await failed(client, up.target, method)

        assert ("upstream.broken", "unknown", 1) == (error.code, error.sent, len(up.requests))


async def test_an_idle_connection_that_was_closed_is_not_used(client: Client) -> None:
    """A close that arrived before the next call is seen, and that call goes out on a new connection."""
    async with upstream((OK, close)) as up:
        await client.send(permit(up.target))
        await up.ended()
        await client.send(permit(up.target))

        assert (2, 2) == (len(up.requests), up.connections)


async def test_a_close_the_loop_has_not_seen_is_seen(client: Client) -> None:
    """The kernel is asked too: a close that arrived while our loop was busy counts, and nothing is written after it."""
    hung_up, connections = threading.Event(), []

    def serve_once_each(listener: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            connections.append(connection.recv(1 << 16))
            connection.sendall(OK)
            connection.close()
            hung_up.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve_once_each, args=(listener,))
        server.start()
        target = Target("http", "127.0.0.1", listener.getsockname()[1])
        await client.send(permit(target))
        hung_up.wait()  # the loop stands still meanwhile
        reply = await client.send(permit(target))
        server.join()

    assert (b"ok", 2) == (reply.body, len(connections))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_answers(client: Client, status: int) -> None:
    """A redirect is passed on, not followed: neither credentials nor body go where it points (L05)."""
    async with upstream() as other:
        answer = (
            f"HTTP/1.1 {status} Go\r\nLocation: http://127.0.0.1:{other.port}/x\r\nContent-Length: 0\r\n\r\n".encode()
        )
        async with upstream((answer,)) as up:
            reply = await client.send(permit(up.target))

        assert (status, 0) == (reply.status, other.connections)


async def test_no_cookie_is_kept(client: Client) -> None:
    """What an upstream sets for one call is not sent with the next (L11)."""
    async with upstream((b"HTTP/1.1 200 OK\r\nSet-Cookie: sid=a\r\nContent-Length: 0\r\n\r\n",)) as up:
        await client.send(permit(up.target))
        await client.send(permit(up.target))

        assert b"cookie" not in up.requests[1].lower()


async def test_no_proxy_is_taken_from_the_environment() -> None:
    """Proxy variables change nothing."""
    async with upstream() as proxy, upstream() as up:
        place = f"http://127.0.0.1:{proxy.port}"
        client = Client(version="1", environ={"HTTP_PROXY": place, "http_proxy": place, "ALL_PROXY": place})
        await client.send(permit(up.target))
        await client.close()

        assert (0, 1) == (proxy.connections, up.connections)


def with_token(target: Target) -> Target:
    return replace(target, credentials=(Credential("header", "Authorization", ("Bearer ", Secret("env", "TOKEN"))),))


@pytest.fixture
def holder() -> Client:
    return Client(version="1", environ={"TOKEN": CANARY})


async def test_the_credential_travels_up_and_not_back(holder: Client) -> None:
    """An endpoint that echoes its request does not hand the credential over (L08)."""
    body = f'{{"Authorization":"Bearer {CANARY}"}}'.encode()
    answer = b"HTTP/1.1 200 OK\r\nX-Echo: Bearer %s\r\nContent-Length: %d\r\n\r\n%s" % (
        CANARY.encode(),
        len(body),
        body,
    )
    async with upstream((answer,)) as up:
        reply = await holder.send(permit(with_token(up.target)))
        await holder.close()

        assert f"Authorization: Bearer {CANARY}".encode() in up.requests[0]
    assert b'{"Authorization":"Bearer [redacted]"}' == reply.body
    assert (("x-echo", "Bearer [redacted]"), ("content-length", "37")) == reply.headers


@pytest.mark.parametrize("length", [b"Content-Length: 4\r\n\r\n\x1f\x8b\x08\x00", b"\r\n\x1f\x8b\x08"])
async def test_a_compressed_answer_hides_no_credential(holder: Client, length: bytes) -> None:
    """What cannot be looked through for credentials is not handed over (L08, L22)."""
    coded = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n" + length
    async with upstream((coded, gone)) as up:
        with pytest.raises(UpstreamError) as raised:
            await holder.send(permit(with_token(up.target)))
        await holder.close()

    assert ("upstream.broken", "unknown") == (raised.value.code, raised.value.sent)


async def test_an_empty_answer_may_say_it_is_compressed(holder: Client) -> None:
    """There is nothing in it to look through."""
    async with upstream((b"HTTP/1.1 304 No\r\nContent-Encoding: gzip\r\n\r\n",)) as up:
        assert 304 == (await holder.send(permit(with_token(up.target)))).status
        await holder.close()


async def test_a_streamed_echo_is_redacted_across_chunks(holder: Client) -> None:
    """Wherever the stream is cut; its length is then not declared any more."""
    text = b"x" * 70_000 + CANARY.encode() + b"y" * 10
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text)
    streaming = asyncio.Event()

    async def rest(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await streaming.wait()
        writer.write(text[70_003:])

    async with upstream((head + text[:70_003], rest)) as up:
        reply = await holder.send(permit(with_token(up.target)))
        streaming.set()

        assert b"x" * 70_000 + b"[redacted]" + b"y" * 10 == await whole(reply)
        assert () == reply.headers
        await holder.close()


async def test_no_failure_says_what_a_secret_is(holder: Client) -> None:
    """Whatever breaks, the canary is in no message and no exception (L10)."""
    scripts: list[Sequence[Step]] = [
        (reset,),
        (CANARY.encode(), close),
        (f"HTTP/1.1 {CANARY}\r\n".encode(), close),
        (gone,),
    ]
    key = Credential("query", "key", (Secret("env", "TOKEN"),))
    async with upstream(*scripts) as up:
        target = with_token(replace(up.target, credentials=(key,)))
        errors = [await failed(holder, target, limits=QUICK) for _ in scripts]
    errors.append(await failed(holder, target))
    await holder.close()

    for error in errors:
        chain = [error, error.__cause__, error.__context__]
        assert CANARY not in "".join(f"{link!r}{link}" for link in chain)


async def test_a_missing_credential_is_told_and_nothing_is_sent(client: Client) -> None:
    """The call is not sent; the agent hears no path of this host, operators the source, and readiness can ask as well."""
    async with upstream() as up:
        target = replace(
            up.target, credentials=(Credential("header", "X-Key", (Secret("file", "/nonexistent/token"),)),)
        )
        error = await failed(client, target)

        assert ("environment.not_ready", "no", 0) == (error.code, error.sent, up.connections)
        assert error.detail == "the credential that the gate adds for this tool is not available"
        assert error.why == client.not_ready(target)
        assert client.not_ready(up.target) is None


async def test_what_is_not_in_exact_form_opens_no_connection(client: Client) -> None:
    """A request the engine would not make is stopped before anything else."""
    async with upstream() as up:
        held = permit(up.target)
        bad = held._replace(valid=held.valid._replace(request=UpstreamRequest("GET", "/../admin", (), None)))
        with pytest.raises(UpstreamError):
            await client.send(bad)

        assert 0 == up.connections
