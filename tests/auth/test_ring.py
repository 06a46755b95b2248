"""Keys over real HTTPS: fetched beside the path of calls, rotated, kept while the issuer is away, and never believed blindly."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme
from tests.auth.idp import ISSUER, QUICK, Clocks, corp, ed_key, jwk, jwks, surroundings
from tests.wire.door import FakeLog, until

from toolgate.auth.issuer import FromFile, FromSecret, FromUrl, Source
from toolgate.auth.ring import Pace, Ring
from toolgate.core.catalog import Secret

CA = trustme.CA()
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"


@dataclass
class Server:
    """An HTTPS server that answers what it is told to, and keeps every request head it was sent."""

    port: int = 0
    answer: Callable[[asyncio.StreamWriter], Awaitable[None]] | bytes = b""
    heads: list[str] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def say(self, document: bytes) -> None:
        self.answer = OK % (len(document), document)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/keys?v=1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            if isinstance(self.answer, bytes):
                writer.write(self.answer)
                await writer.drain()
            else:
                await self.answer(writer)
        writer.close()


@contextlib.asynccontextmanager
async def https(authority: trustme.CA = CA, name: str = "localhost", port: int = 0) -> AsyncIterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    server = Server()
    door = await asyncio.start_server(server.serve, "127.0.0.1", port, ssl=context)
    server.port = door.sockets[0].getsockname()[1]
    server.say(jwks())
    try:
        yield server
    finally:
        door.close()
        for writer in server.writers:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in server.writers), return_exceptions=True)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with https() as serving:
        yield serving


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    CA.cert_pem.write_to_path(path)
    return path


@dataclass
class Running:
    ring: Ring
    clocks: Clocks
    log: FakeLog
    defects: list[BaseException]

    @property
    def why(self) -> str:
        return str(self.log.named("issuer_keys_not_read")[-1]["why"])

    def kids(self) -> list[str] | None:
        keys = self.ring.current()
        return None if keys is None else list(keys.named)


@contextlib.asynccontextmanager
async def running(source: Source, pace: Pace = QUICK, **changes: object) -> AsyncIterator[Running]:
    """A ring with its task; the first look is over."""
    clocks, log, defects = Clocks(), FakeLog(), []
    ring = Ring(corp(Path(), source=source, **changes), surroundings(clocks, log, defects), pace=pace)
    task = asyncio.ensure_future(ring.run())
    try:
        async with asyncio.timeout(5):
            await ring.looked.wait()
        yield Running(ring, clocks, log, defects)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert defects == []


async def test_keys_come_over_https_from_the_configured_host(server: Server, ca_file: Path) -> None:
    """One plain GET: the path and query as configured, no credential, no encoding."""
    async with running(FromUrl(server.url, ca_file)) as it:
        assert it.kids() == ["ed"]
        head = server.heads[0]
        assert head.startswith("GET /keys?v=1 HTTP/1.1\r\n")
        assert f"Host: localhost:{server.port}\r\n" in head
        assert "authorization" not in head.lower()
        assert it.log.lines[0] == ("issuer_keys_read", {"issuer": "corp", "keys": 1})


async def test_a_bearer_token_is_read_anew_each_time(server: Server, ca_file: Path, tmp_path: Path) -> None:
    """The Kubernetes API wants one, and the kubelet replaces it every hour."""
    token = tmp_path / "token"
    token.write_text("first\n")
    async with running(FromUrl(server.url, ca_file, token)) as it:
        assert "Authorization: Bearer first\r\n" in server.heads[0]
        token.write_text("second")
        it.ring.ask()
        await until(lambda: "Authorization: Bearer second\r\n" in server.heads[-1])
        token.write_text("two words")
        await until(lambda: it.log.named("issuer_keys_not_read") != [])
        assert it.why == f"`{token}` holds no bearer token"
        assert "two words" not in str(it.log.lines)


async def test_keys_rotate(server: Server, ca_file: Path) -> None:
    """What the issuer publishes next holds as soon as it is read: the new key verifies, the old one no longer."""
    async with running(FromUrl(server.url, ca_file)) as it:
        server.say(jwks(jwk(ed_key("next"), "next")))
        await until(lambda: it.kids() == ["next"])
        server.say(b'{"keys":[]}')
        await until(lambda: it.kids() == [])


async def test_an_ask_is_heard_and_asks_are_not_a_flood(server: Server, ca_file: Path) -> None:
    """A token with an unknown key has the keys read at once, and then not again for a while, however many come."""
    async with running(FromUrl(server.url, ca_file), Pace(least_s=0.0, usual_s=3600, retry_s=3600)) as it:
        assert len(server.heads) == 1
        it.ring.ask()
        await until(lambda: len(server.heads) == 2)
    async with running(FromUrl(server.url, ca_file), Pace(least_s=3600, usual_s=7200, retry_s=3600)) as it:
        for _ in range(1000):
            it.ring.ask()
            await asyncio.sleep(0)
        assert len(server.heads) == 3
        it.ring.hurry()  # an operator is heard at once
        await until(lambda: len(server.heads) == 4)


async def test_a_start_without_keys_goes_on_and_finds_them_later(ca_file: Path) -> None:
    """Unreachable at start: no keys, a line in the log; then they are there."""
    async with https() as gone:
        port = gone.port
    async with running(FromUrl(f"https://localhost:{port}/keys", ca_file)) as it:
        assert it.kids() is None
        assert it.why == "`localhost` refused the connection"
        assert it.log.named("issuer_keys_not_read")[0]["serving"] == "none: its tokens are refused"
        async with https(port=port):
            await until(lambda: it.kids() == ["ed"])


async def drip(writer: asyncio.StreamWriter) -> None:
    """An endless header, a byte at a time."""
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 100_000:
        writer.write(bytes((byte,)))
        await writer.drain()
        await asyncio.sleep(0.01)


async def silence(writer: asyncio.StreamWriter) -> None:
    """Nothing, until the other side gives up."""
    while not writer.transport.is_closing():  # noqa: ASYNC110  # streams have no event for it
        await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n", "answers with status 302, and only 200 is taken"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "answers with status 500"),
        (b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", "answers with status 401"),
        (b"HTTP/1.1 204 None\r\n\r\n", "answers with status 204"),
        (OK % (6, b"<html>"), "what was read is no JWKS"),
        (OK % (2, b"[]"), "what was read is no JWKS"),
        (OK % (300 << 10, b" " * (300 << 10)), "answers with more than 256 KiB"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (300 << 10), "answers with more than 256 KiB"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}", "did not answer in HTTP, in whole, within 0.5 s"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "did not answer in HTTP, in whole, within 0.5 s"),
        (b"SSH-2.0-OpenSSH\r\n", "did not answer in HTTP, in whole, within 0.5 s"),
        (b"", "did not answer in HTTP, in whole, within 0.5 s"),
        (drip, "did not answer in HTTP, in whole, within 0.5 s"),
        (silence, "did not answer in HTTP, in whole, within 0.5 s"),
    ],
)  # fmt: skip
async def test_a_bad_answer_leaves_the_last_good_keys(
    server: Server, ca_file: Path, answer: Callable[[asyncio.StreamWriter], Awaitable[None]] | bytes, why: str
) -> None:
    """A redirect, a login page, too much, too slow: the log says which, and the keys read before go on serving."""
    async with running(FromUrl(server.url, ca_file, deadline_s=0.5)) as it:
        server.answer = answer
        await until(lambda: it.log.named("issuer_keys_not_read") != [])
        assert why in it.why
        assert it.why.startswith(("`localhost` ", "what was read"))
        assert it.log.named("issuer_keys_not_read")[0]["serving"] == "those read before"
        assert it.kids() == ["ed"]
        assert [head for head in server.heads if "169.254" in head] == []
        server.say(jwks())
        await until(lambda: len(it.log.named("issuer_keys_read")) == 2)


async def test_keys_that_cannot_be_read_again_serve_until_they_are_too_old(server: Server, ca_file: Path) -> None:
    """The last good keys have a bound; after it, nothing verifies."""
    async with running(FromUrl(server.url, ca_file), max_stale_s=100.0) as it:
        server.answer = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
        await until(lambda: it.log.named("issuer_keys_not_read") != [])
        it.clocks.steady_s += 101
        assert it.kids() is None
        await until(lambda: it.log.named("issuer_keys_not_read")[-1]["serving"] == "none: its tokens are refused")


@pytest.mark.parametrize(
    ("authority", "name", "why"),
    [
        (trustme.CA(), "localhost", "cannot be trusted: its certificate is signed by an authority that is not trusted"),
        (CA, "other.example", "cannot be trusted: its certificate is for another host name"),
    ],
)
async def test_a_server_that_does_not_verify_is_not_believed(
    ca_file: Path, authority: trustme.CA, name: str, why: str
) -> None:
    """Another authority, another name: no request is made, so no token of ours is sent."""
    async with https(authority, name) as impostor, running(FromUrl(impostor.url, ca_file)) as it:
        assert why in it.why
        assert impostor.heads == []


async def test_a_missing_authority_file_is_told(server: Server, tmp_path: Path) -> None:
    """By its path; nothing falls back to the system's authorities."""
    async with running(FromUrl(server.url, tmp_path / "none.pem")) as it:
        assert it.why == f"`{tmp_path}/none.pem` is missing or holds no certificates"
        assert server.heads == []


async def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """A ConfigMap or spiffe-helper replaces it; what is half written leaves the last good keys."""
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks())
    async with running(FromFile(file)) as it:
        assert it.kids() == ["ed"]
        file.write_bytes(jwks(jwk(ed_key("next"), "next")))
        await until(lambda: it.kids() == ["next"])
        file.write_bytes(b'{"keys":[')
        await until(lambda: it.log.named("issuer_keys_not_read") != [])
        assert it.kids() == ["next"]
        file.unlink()
        await until(lambda: "cannot be read: no such file" in it.why)
        file.mkdir()
        await until(lambda: "cannot be read: is a directory" in it.why or "not a regular file" in it.why)


async def test_a_secret_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """Rotated in place; one that is too short leaves the last good one, and its text is in no log."""
    file = tmp_path / "secret"
    file.write_text("a" * 32)
    async with running(FromSecret(Secret("file", str(file)))) as it:
        first = it.ring.current()
        file.write_text("b" * 32)
        await until(lambda: it.ring.current() is not first)
        second = it.ring.current()
        file.write_text("canary")
        await until(lambda: it.log.named("issuer_keys_not_read") != [])
        assert it.why == "the secret has 6 bytes; HS256 needs at least 32 random ones"
        assert it.ring.current() is second
        assert "canary" not in str(it.log.lines)


async def test_keys_left_out_are_in_the_log(tmp_path: Path) -> None:
    """Once for each document, by the name of the key."""
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks(jwk(ed_key(), "ed"), {"kty": "oct", "kid": "shared\n\u202e", "k": "AAAA"}))
    async with running(FromFile(file)) as it:
        (line,) = it.log.named("issuer_key_refused")
        assert line["issuer"] == "corp"
        assert str(line["why"]).startswith("key `shared\\u000a\\u202e`: it is not a public key of type RSA, EC or OKP")


def test_a_pace_has_chance_in_it_and_backs_off() -> None:
    """Replicas that started together ask apart; an issuer that is down is asked less and less, but never given up."""
    ring = Ring(corp(Path(), source=FromUrl(ISSUER)), surroundings(Clocks(), FakeLog()))
    pauses = []
    for failures in range(8):
        ring._failures = failures
        pauses.append(ring._pause_s())
    assert pauses == [300, 1, 2, 4, 8, 16, 32, 64]
