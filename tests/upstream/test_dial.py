"""From a name to a verified connection, or to a reason why not, with nothing sent."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from tests.upstream.scripted import Upstream, permit, upstream

from toolgate.core.addresses import denied
from toolgate.core.catalog import Target
from toolgate.ports import UpstreamError
from toolgate.upstream import Client, Pooling

CA = trustme.CA()


async def unreachable(client: Client, target: Target) -> str:
    with pytest.raises(UpstreamError) as raised:
        await client.send(permit(target))
    assert (raised.value.code, raised.value.sent) == ("upstream.unreachable", "no")
    return raised.value.detail


def answering(*addresses: str) -> Callable[[str, int], AsyncIterator[str]]:
    async def resolve(_host: str, _port: int) -> tuple[str, ...]:
        return addresses

    return resolve  # type: ignore[return-value]


@asynccontextmanager
async def resolving(*addresses: str) -> AsyncIterator[Client]:
    client = Client(version="1", resolver=answering(*addresses))  # type: ignore[arg-type]
    yield client
    await client.close()


@pytest.mark.parametrize(
    "address",
    [
        *(
            "169.254.169.254",
            "169.254.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "100.100.100.200",
            "168.63.129.16",
        ),
        *("fe80::1", "fe80::1%eth0", "fec0::1", "::", "ff02::1", "fd00:ec2::254", "fd20:ce::254"),
        *(
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "2002:a9fe:a9fe::",
            "::169.254.169.254",
        ),
        *("2001:0:a9fe:a9fe::1", "nonsense", "", "0x7f.1"),
    ],
)
def test_link_local_and_metadata_addresses_are_denied(address: str) -> None:
    """In every form that carries them (L02); what cannot be read is denied too."""
    assert denied(address)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "8.8.8.8", "fd12::1", "2606:4700::1", "::ffff:10.0.0.1"]
)
def test_addresses_of_real_upstreams_are_not(address: str) -> None:
    """A sidecar's upstreams are often on private addresses and on the loopback."""
    assert not denied(address)


async def test_a_name_cannot_lead_to_metadata() -> None:
    """Whatever the resolver says of a name, link-local is not connected to."""
    async with resolving("169.254.169.254", "64:ff9b::a9fe:a9fe") as client:
        detail = await unreachable(client, Target("http", "metrics", 80))

    assert (
        detail
        == "the upstream `metrics:80` resolves only to addresses that are never connected to (link-local, metadata)"
    )


async def test_the_address_that_was_checked_is_connected_to() -> None:
    """A denied address among others is left out, and nothing is resolved a second time (L04)."""
    async with upstream() as up, resolving("169.254.169.254", "127.0.0.1") as client:
        reply = await client.send(permit(Target("http", "no-such-host.invalid", up.port)))

        assert reply.body == b"ok"
        assert b"Host: no-such-host.invalid:" in up.requests[0]


async def test_the_next_address_is_tried_while_nothing_was_sent() -> None:
    """An address that refuses is followed by the next one."""
    async with upstream() as up, resolving("127.0.0.2", "127.0.0.1") as client:
        assert (await client.send(permit(replace(up.target, host="metrics")))).body == b"ok"


async def test_a_name_that_does_not_resolve() -> None:
    """NXDOMAIN and a name that is none are unreachable, with the setting to look at."""

    async def resolve(_host: str, _port: int) -> tuple[str, ...]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    client = Client(version="1", resolver=resolve)
    detail = await unreachable(client, Target("http", "metrics", 80))
    await client.close()

    assert detail == "the upstream `metrics:80` has a name that cannot be resolved; check `upstream` in its tool.yaml"


async def test_the_systems_resolver_is_asked(client: Client) -> None:
    """`localhost` is found without any help."""
    async with upstream() as up:
        assert (await client.send(permit(replace(up.target, host="localhost")))).body == b"ok"


async def test_a_resolver_that_hangs_is_not_waited_for() -> None:
    """Resolving is part of the time to connect."""

    async def resolve(_host: str, _port: int) -> tuple[str, ...]:
        await asyncio.Event().wait()
        raise AssertionError

    client = Client(version="1", resolver=resolve, pooling=Pooling(connect_s=0.05))
    detail = await unreachable(client, Target("http", "metrics", 80))
    await client.close()

    assert detail == "the upstream `metrics:80` did not accept a connection within 0.05 s"


async def test_a_closed_port_refuses(client: Client) -> None:
    """Connection refused is unreachable, and surely not sent."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        detail = await unreachable(client, Target("http", "127.0.0.1", port))

    assert detail == f"the upstream `127.0.0.1:{port}` refused the connection"


async def test_an_upstream_that_does_not_accept_is_not_waited_for() -> None:
    """A full backlog drops connection attempts like a black hole: the time to connect bounds it."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
        client = Client(version="1", pooling=Pooling(connect_s=0.1))
        detail = await unreachable(client, Target("http", "127.0.0.1", sock.getsockname()[1]))
        await client.close()
        for filler in fillers:
            filler.close()

    assert detail.endswith("did not accept a connection within 0.1 s")


# -- TLS ------------------------------------------------------------------------------------------------------


def serving(*names: str, ca: trustme.CA = CA, not_after: dt.datetime | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*names, not_after=not_after).configure_cert(context)
    return context


@pytest.fixture(scope="module")
def ca_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    CA.cert_pem.write_to_path(str(path))
    return str(path)


def secured(up: Upstream, ca_file: str | None, host: str = "localhost") -> Target:
    return Target("https", host, up.port, "", (), ca_file)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_verified_upstream_is_called(client: Client, ca_file: str, host: str) -> None:
    """Chain and name verify against `ca_file`; the connection is kept and used again."""
    async with upstream(ssl=serving("localhost", "127.0.0.1")) as up:
        for _ in range(3):
            assert (await client.send(permit(secured(up, ca_file, host)))).body == b"ok"

        assert (3, 1) == (len(up.requests), up.connections)


EXPIRED = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("context", "trusted", "expected"),
    [
        (lambda: serving("localhost", not_after=EXPIRED), True, "cannot be trusted: its certificate has expired"),
        (lambda: serving("other.example"), True, "cannot be trusted: its certificate is for another host name"),
        (
            lambda: serving("localhost", ca=trustme.CA()),
            True,
            "cannot be trusted: its certificate is signed by an authority that is not trusted",
        ),
        (
            lambda: serving("localhost"),
            False,
            "cannot be trusted: its certificate is signed by an authority that is not trusted",
        ),
    ],
    ids=["expired", "another name", "another authority", "private authority without ca_file"],
)
async def test_an_upstream_that_does_not_verify_is_not_sent_to(
    client: Client, ca_file: str, context: Callable[[], ssl.SSLContext], trusted: bool, expected: str
) -> None:
    """The reason in words, nothing sent, no fallback (FT39)."""
    async with upstream(ssl=context()) as up:
        detail = await unreachable(client, secured(up, ca_file if trusted else None))

        assert detail == f"the upstream `localhost:{up.port}` {expected}"
        assert up.requests == []


async def test_an_address_must_be_in_the_certificate(client: Client, ca_file: str) -> None:
    """An upstream named by its address must have a certificate for that address."""
    async with upstream(ssl=serving("localhost")) as up:
        detail = await unreachable(client, secured(up, ca_file, "127.0.0.1"))

    assert "its certificate is for another" in detail


async def test_https_to_a_plain_port_never_falls_back(client: Client, ca_file: str) -> None:
    """A server that speaks no TLS is told so, and sees no request."""
    async with upstream(default=(b"HTTP/1.1 400 Bad Request\r\n\r\n",)) as up:
        server = await asyncio.start_server(_talk_plainly, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            detail = await unreachable(client, Target("https", "localhost", port, "", (), ca_file))

        assert "TLS handshake" in detail
        assert up.requests == []


async def _talk_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()
    writer.close()


async def test_a_handshake_that_breaks_off(client: Client, ca_file: str) -> None:
    """A reset in the handshake is unreachable: nothing was sent."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await unreachable(client, Target("https", "localhost", port, "", (), ca_file))


async def test_tls_below_1_2_is_refused(client: Client, ca_file: str) -> None:
    """A server that speaks only TLS 1.1 is not talked to."""
    context = serving("localhost")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with upstream(ssl=context) as up:
        await unreachable(client, secured(up, ca_file))

        assert up.requests == []


async def test_a_ca_file_that_cannot_be_read(client: Client, tmp_path: Path) -> None:
    """A missing or senseless `ca_file` is named."""
    (tmp_path / "ca.pem").write_text("nonsense")
    for name in ("none.pem", "ca.pem"):
        detail = await unreachable(client, Target("https", "localhost", 1, "", (), str(tmp_path / name)))
        assert detail.endswith(
            f"cannot be verified: its `ca_file` `{tmp_path / name}` is missing or holds no certificates"
        )


async def test_a_renewed_ca_file_is_read_again(client: Client, tmp_path: Path) -> None:
    """Trust follows the file, without a restart."""
    other, path = trustme.CA(), tmp_path / "ca.pem"
    other.cert_pem.write_to_path(str(path))
    async with upstream(ssl=serving("localhost")) as up:
        await unreachable(client, secured(up, str(path)))
        path.unlink()
        CA.cert_pem.write_to_path(str(path))

        assert (await client.send(permit(secured(up, str(path))))).body == b"ok"
