"""Part O of the attack catalogue and its kin: every bound in number, size and time, on real sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from tests.wire.door import FakeGateway, bounded, heard, opened, until

from toolgate.core.codes import CODES
from toolgate.core.model import Call, Completed, Outcome, Recovery, Refusal, Refused, Reply
from toolgate.listeners.calls import Places
from toolgate.listeners.server import Tls, require_c_parser, tls_context


class Gate:
    """A gateway whose calls end when the test says so."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.entered = asyncio.Semaphore(0)
        self.cancelled = 0

    async def respond(self, _call: Call) -> Outcome:
        self.entered.release()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Completed(Reply(200, (), b"late"))


async def test_slow_headers_are_cut_off() -> None:
    """O01: a head that does not come whole is answered 408 and closed in time; others are served meanwhile."""
    async with opened(bounded(header_timeout_s=0.2)) as door:
        slow = [await asyncio.open_connection("127.0.0.1", door.port) for _ in range(50)]
        for _, writer in slow:
            writer.write(b"GET /t/x HTTP/1.1\r\nHost: a\r\nX-")
        async with door.connected() as peer:
            peer.send(b"GET /t/x HTTP/1.1\r\n{H}\r\n")
            assert (await peer.answer()).status == 200
        async with asyncio.timeout(3):
            received = await asyncio.gather(*(reader.read() for reader, _ in slow))
        assert {heard(data)[0].code for data in received} == {"request.timeout"}
        for _, writer in slow:
            writer.close()


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    """A keep-alive connection on which nothing of a next request came ends cleanly; so does one that never spoke."""
    async with opened(bounded(header_timeout_s=0.2)) as door:
        assert await door.say(b"") == b""
        assert len(heard(await door.say(b"GET /t/x HTTP/1.1\r\n{H}\r\n"))) == 1
        async with door.connected() as peer:
            peer.send(b"GET /t/x HTTP/1.1\r\n{H}\r\n")
            assert (await peer.answer()).status == 200
            peer.send(b"GE")
            assert [answer.code for answer in heard(await peer.read_to_end())] == ["request.timeout"]


async def test_slow_body_is_cut_off() -> None:
    """O03: a body that does not come whole in time is answered 408."""
    async with opened(bounded(body_timeout_s=0.2)) as door:
        for framing in (b"Content-Length: 1000\r\n\r\nab", b"Transfer-Encoding: chunked\r\n\r\n5\r\nab"):
            (answer,) = heard(await door.say(b"POST /t/x HTTP/1.1\r\n{H}" + framing))
            assert answer.code == "request.timeout"
        assert door.gateway.calls == []


async def test_bad_chunks_behind_a_started_body_are_answered_at_once() -> None:
    """A body that turns out malformed after the head was taken does not wait for its deadline."""
    async with opened(bounded(body_timeout_s=60)) as door, door.connected() as peer:
        peer.send(b"POST /t/x HTTP/1.1\r\n{H}Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.send(b"5\r\nabcdeXX")
        assert heard(await peer.read_to_end())[0].code == "request.framing"
        assert door.gateway.calls == []


@pytest.mark.parametrize("framing", [b"Content-Length: 3000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n9999\r\n"])
async def test_a_body_too_large_is_refused_and_the_reason_arrives(framing: bytes) -> None:
    """413 is readable although the peer is still sending."""
    gateway = FakeGateway()
    async with opened(gateway=gateway) as door, door.connected() as peer:
        door.listener.front = Small(door.listener.front)
        peer.send(b"POST /t/x HTTP/1.1\r\n{H}" + framing + b"a" * 3000)
        assert heard(await peer.read_to_end())[0].code == "arguments.too_large"
        assert gateway.calls == []


class Small:
    """A handler that takes small bodies only."""

    max_body = 1000

    def __init__(self, handler: object) -> None:
        self.refused = handler.refused  # type: ignore[attr-defined]
        self.answer = handler.answer  # type: ignore[attr-defined]


async def test_a_hundred_thousand_chunks_are_one_body() -> None:
    """D15: many small chunks cost no more than their bytes."""
    async with opened() as door, door.connected() as peer:
        peer.send(
            b"POST /t/x HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 100_000 + b"0\r\n\r\n"
        )
        assert (await peer.answer(within_s=20)).status == 200
        assert door.gateway.wires[0].body == b"a" * 100_000


async def test_large_bodies_and_keep_alive() -> None:
    """A body of many reads is whole, and the connection serves the next request."""
    async with opened() as door, door.connected() as peer:
        for at in range(3):
            body = bytes([65 + at]) * 300_000
            peer.send(b"POST /t/x HTTP/1.1\r\n{H}Content-Length: 300000\r\n\r\n" + body)
            assert (await peer.answer()).status == 200
            assert door.gateway.wires[at].body == body


async def test_a_head_that_never_ends_is_bounded() -> None:
    """B22, O: bytes of a head are counted as they drip in; the line and the block have an end."""
    async with opened() as door, door.connected() as peer:
        await door.accepted()
        (connection,) = door.listener.connections
        for byte in b"GET /" + b"a" * 9000:
            connection.data_received(bytes((byte,)))
        assert heard(await peer.read_to_end())[0].code == "request.target_too_long"
    async with opened() as door, door.connected() as peer:
        peer.send(b"GET /t/x HTTP/1.1\r\n{H}")
        for at in range(60):
            peer.send(b"X-%d: %b\r\n" % (at, b"a" * 600))
        assert heard(await peer.read_to_end())[0].code == "request.headers_too_large"


async def test_a_slow_reader_is_cut_off() -> None:
    """O04: a peer that does not read loses its connection; what is held for it is bounded by one answer."""
    gateway = FakeGateway(outcome=Completed(Reply(200, (), b"x" * 4_000_000)))
    async with opened(bounded(write_timeout_s=0.2), gateway=gateway) as door:
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            deaf.connect(("127.0.0.1", door.port))
            deaf.sendall(door.expand(b"GET /t/x HTTP/1.1\r\n{H}\r\n"))
            await until(lambda: len(gateway.calls) == 1)
            await until(lambda: not door.listener.connections)


async def test_a_deaf_peer_of_a_stream_frees_its_place() -> None:
    """A stream stops being read from upstream while the peer does not read, and is closed at the write deadline."""
    stream = Endless()
    gateway = FakeGateway(outcome=Completed(Reply(200, (), stream)))
    async with opened(bounded(write_timeout_s=0.3), gateway=gateway) as door:
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            deaf.connect(("127.0.0.1", door.port))
            deaf.sendall(door.expand(b"GET /t/x HTTP/1.1\r\n{H}\r\n"))
            await until(lambda: stream.closed)
            assert stream.given < 10_000_000
            await until(lambda: not door.listener.connections)
            assert door.places.taken == 0


class Endless:
    """A stream without end that counts what was taken of it."""

    def __init__(self, chunk: bytes = b"x" * 50_000) -> None:
        self.chunk = chunk
        self.given = 0
        self.closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await asyncio.sleep(0)
        self.given += len(self.chunk)
        return self.chunk

    async def aclose(self) -> None:
        self.closed = True


async def test_calls_beyond_the_places_wait_and_then_are_refused() -> None:
    """O06: so many in flight, so many waiting, the rest `gateway.overloaded` with Retry-After, at once."""
    gate = Gate()
    gateway = FakeGateway(respond=gate.respond)
    async with opened(gateway=gateway, places=Places(2, 3)) as door:
        tasks = [
            asyncio.ensure_future(door.say(b"GET /t/x HTTP/1.1\r\n{H}Connection: close\r\n\r\n")) for _ in range(9)
        ]
        await until(lambda: sum(task.done() for task in tasks) == 4)
        assert len(gateway.calls) == 2
        gate.release.set()
        answers = [heard(await task)[0] for task in tasks]
        assert sorted(answer.status for answer in answers) == [200] * 5 + [503] * 4
        refused = [answer for answer in answers if answer.status == 503]
        assert {(answer.code, answer.headers["retry-after"]) for answer in refused} == {("gateway.overloaded", "1")}
        assert (door.places.taken, door.places.waiting) == (0, 0)


async def test_waiting_for_a_place_ends() -> None:
    """A call does not wait for a place for ever."""
    gate = Gate()
    gateway = FakeGateway(respond=gate.respond)
    async with opened(gateway=gateway, places=Places(1, 3, wait_s=0.1)) as door:
        first = asyncio.ensure_future(door.say(b"GET /t/x HTTP/1.1\r\n{H}Connection: close\r\n\r\n"))
        await gate.entered.acquire()
        second = await door.say(b"GET /t/x HTTP/1.1\r\n{H}Connection: close\r\n\r\n")
        assert heard(second)[0].code == "gateway.overloaded"
        gate.release.set()
        assert heard(await first)[0].status == 200
        assert door.places.taken == 0


async def test_connections_beyond_the_bound_are_told_so() -> None:
    """O06: a connection too many gets a typed answer, and the others go on."""
    async with opened(bounded(connections=3)) as door:
        async with door.connected() as first, door.connected(), door.connected():
            await until(lambda: len(door.listener.connections) == 3)
            surplus = await door.say(b"GET /t/x HTTP/1.1\r\n{H}\r\n")
            assert heard(surplus)[0].code == "gateway.overloaded"
            first.send(b"GET /t/x HTTP/1.1\r\n{H}\r\n")
            assert (await first.answer()).status == 200
        await until(lambda: not door.listener.connections)
        assert heard(await door.say(b"GET /t/x HTTP/1.1\r\n{H}Connection: close\r\n\r\n"))[0].status == 200


async def test_pipelining_is_bounded() -> None:
    """A32: thousands of requests behind each other are answered in order, a few held at a time."""
    async with opened(bounded(write_timeout_s=30)) as door, door.connected() as peer:
        peer.send(b"GET /t/x HTTP/1.1\r\n{H}\r\n" * 4999 + b"GET /t/x HTTP/1.1\r\n{H}Connection: close\r\n\r\n")
        received = await peer.read_to_end(within_s=30)
        assert received.count(b"HTTP/1.1 200 OK\r\n") == 5000
        assert len(door.gateway.calls) == 5000


async def test_a_call_that_does_not_end_is_given_up() -> None:
    """The whole call has a deadline here too, should the gateway's own fail: `upstream.timeout`, sent unknown."""
    gate = Gate()
    async with opened(bounded(call_timeout_s=0.2), gateway=FakeGateway(respond=gate.respond)) as door:
        async with door.connected() as peer:
            peer.send(b"GET /t/x HTTP/1.1\r\n{H}\r\n")
            answer = await peer.answer()
            assert (answer.code, answer.problem["sent"]) == ("upstream.timeout", "unknown")
            assert gate.cancelled == 1
        assert door.places.taken == 0


async def test_a_call_given_up_may_take_its_time_to_end() -> None:
    """A call is cancelled once: what it still has to write down is not cut short by the same deadline again."""
    written = asyncio.Event()

    async def respond(_call: Call) -> Outcome:
        try:
            return await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            await asyncio.sleep(0.2)
            written.set()
            raise

    gateway = FakeGateway(respond=respond)
    async with opened(bounded(call_timeout_s=0.1), gateway=gateway) as door, door.connected() as peer:
        peer.send(b"GET /t/x HTTP/1.1\r\n{H}\r\n")
        assert (await peer.answer()).code == "upstream.timeout"
        assert written.is_set()


async def test_drain_waits_for_calls_whose_agent_left() -> None:
    """The grace is for what was begun, whether or not somebody still listens."""
    gate = Gate()
    async with opened(gateway=FakeGateway(respond=gate.respond)) as door:
        async with door.connected() as peer:
            peer.send(b"GET /t/x HTTP/1.1\r\n{H}\r\n")
            await gate.entered.acquire()
        await until(lambda: all(each.transport is None for each in door.listener.connections))
        drained = asyncio.ensure_future(door.listener.drain(5))
        await asyncio.sleep(0)
        assert not drained.done()
        gate.release.set()
        await drained
        assert (gate.cancelled, door.places.taken) == (0, 0)


async def test_a_call_outlives_its_agent() -> None:
    """An agent that goes away does not stop a call that was begun: it is finished and recorded."""
    gate = Gate()
    async with opened(gateway=FakeGateway(respond=gate.respond)) as door:
        async with door.connected() as peer:
            peer.send(b"GET /t/x HTTP/1.1\r\n{H}\r\n")
            await gate.entered.acquire()
        gate.release.set()
        await until(lambda: door.places.taken == 0)
        assert gate.cancelled == 0


async def test_a_defect_is_answered_with_its_code() -> None:
    """An exception out of the gateway: 500 `internal.error`, no traceback to anyone, and the operator is told."""

    async def respond(_call: Call) -> Outcome:
        raise RuntimeError("secret detail")

    async with opened(gateway=FakeGateway(respond=respond)) as door, door.connected() as peer:
        peer.send(b"GET /t/x HTTP/1.1\r\n{H}\r\n")
        answer = await peer.answer()
        assert answer.code == "internal.error"
        assert b"secret" not in answer.body
        assert [str(error) for error in door.counts.defects] == ["secret detail"]
        assert door.places.taken == 0


async def test_the_log_of_wire_refusals_is_sampled() -> None:
    """O09: ten lines a second at most, without a byte of what was sent, and the number left out."""
    async with opened() as door:
        for _ in range(40):
            await door.say(b"GET /t/..%2fSECRETBYTES HTTP/1.1\r\n{H}\r\n")
        assert len(door.log.lines) == 10
        assert "SECRETBYTES" not in str(door.log.lines)
        assert len(door.counts.wire) == 40


async def test_drain() -> None:
    """FT04: new requests are told to go elsewhere, idle connections end, calls in flight finish, then all is closed."""
    gate = Gate()
    async with opened(gateway=FakeGateway(respond=gate.respond)) as door:
        async with door.connected() as busy, door.connected() as idle, door.connected() as half:
            half.send(b"GET /t/x HT")
            busy.send(b"GET /t/x HTTP/1.1\r\n{H}\r\n")
            await gate.entered.acquire()
            drained = asyncio.ensure_future(door.listener.drain(5))
            assert await idle.read_to_end() == b""
            half.send(b"TP/1.1\r\n{H}\r\n")
            told = heard(await half.read_to_end())[0]
            assert (told.code, told.headers["retry-after"]) == ("gateway.draining", "1")
            assert not drained.done()
            gate.release.set()
            finished = heard(await busy.read_to_end())[0]
            assert (finished.body, finished.headers["connection"]) == (b"late", "close")
            await drained
        with pytest.raises(OSError, match="111"):
            await asyncio.open_connection("127.0.0.1", door.port)


async def test_drain_gives_up_at_the_end_of_its_grace() -> None:
    """FT05: a call that does not end is told so before the process goes, and its gateway is told to write it down."""
    gate = Gate()
    async with opened(gateway=FakeGateway(respond=gate.respond)) as door, door.connected() as peer:
        peer.send(b"GET /t/x HTTP/1.1\r\n{H}\r\n")
        await gate.entered.acquire()
        await door.listener.drain(0.1)
        answer = heard(await peer.read_to_end())[0]
        assert (answer.code, answer.problem["sent"], gate.cancelled) == ("upstream.timeout", "unknown", 1)


async def test_tls_is_http_1_1_only_and_asks_for_certificates(tmp_path: Path) -> None:
    """TLS 1.2 or newer, ALPN http/1.1; with `client_ca` nobody gets in without a certificate."""
    ca, stranger = trustme.CA(), trustme.CA()
    pem = ca.issue_cert("localhost")
    cert, key, client_ca = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    pem.private_key_pem.write_to_path(key)
    for blob in pem.cert_chain_pems:
        blob.write_to_path(cert, append=True)
    ca.cert_pem.write_to_path(client_ca)
    async with opened(context=tls_context(Tls(cert, key, client_ca))) as door:
        client = ssl.create_default_context()
        ca.configure_trust(client)
        client.set_alpn_protocols(["h2", "http/1.1"])
        assert await refused_by_tls(door.port, client)
        stranger.issue_cert("agent").configure_cert(client)
        assert await refused_by_tls(door.port, client)
        ca.issue_cert("agent").configure_cert(client)
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port, ssl=client, server_hostname="localhost")
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        writer.write(b"GET /t/x HTTP/1.1\r\nHost: localhost\r\n\r\nGET /t/../x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answers = heard(await reader.read())
        assert [answer.status for answer in answers] == [200, 400]
        writer.close()


async def refused_by_tls(port: int, client: ssl.SSLContext) -> bool:
    """Whether the gate ends the handshake (in TLS 1.3 the client learns of it at its first read)."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="localhost")
        writer.write(b"GET /t/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        data = await reader.read()
    except (ssl.SSLError, ConnectionError):
        return True
    writer.close()
    return data == b""


async def test_a_unix_socket_is_private_and_a_stale_one_is_replaced(tmp_path: Path) -> None:
    """The door in the file system has mode 0600; a socket nobody listens on is no obstacle, one in use is."""
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    async with opened() as door:
        await door.listener.listen_unix(path)
        assert path.stat().st_mode & 0o777 == 0o600
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"GET /t/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert heard(await reader.read())[0].status == 200
        writer.close()
        with pytest.raises(OSError, match="in use"):
            await door.listener.listen_unix(path)
    assert not path.exists()


async def test_refusals_keep_the_connection() -> None:
    """A refused call is an answer like another: the agent goes on on the same connection."""
    code = CODES["tool.disallowed"]
    gateway = FakeGateway(
        outcome=Refused(Refusal(code, "`a.b` cannot be used", Recovery(code.action, code.hint), "environment"))
    )
    async with opened(gateway=gateway) as door, door.connected() as peer:
        for _ in range(3):
            peer.send(b"POST /t/x HTTP/1.1\r\n{H}Content-Length: 2\r\n\r\n{}")
            assert (await peer.answer()).code == "tool.disallowed"


def test_the_c_parser_is_there() -> None:
    """SAFETY §5: the gate does not start on the pure Python parser."""
    require_c_parser()
