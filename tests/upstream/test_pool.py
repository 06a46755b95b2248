"""Connections: bounded, taken in turn, and kept no longer than they are good."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.upstream.scripted import OK, close, failed, gone, permit, reset, upstream

from toolgate.core.catalog import Limits, Target
from toolgate.ports import UpstreamError
from toolgate.upstream import Client, Pooling

QUICK = Limits(timeout_s=0.1, idle_timeout_s=0.1)


async def test_the_pool_is_bounded_and_waiting_calls_get_their_turn() -> None:
    """Never more connections than `size`, however many calls; each is answered."""
    client = Client(version="1", pooling=Pooling(size=3))
    async with upstream() as up:
        replies = await asyncio.gather(*(client.send(permit(up.target)) for _ in range(50)))
        await client.close()

        assert [b"ok"] * 50 == [reply.body for reply in replies]
        assert (50, 3) == (len(up.requests), up.connections)


async def test_a_call_that_gets_no_connection_was_not_sent() -> None:
    """Waiting for a connection is bounded by the operation's time, and says `no`."""
    client = Client(version="1", pooling=Pooling(size=1))
    async with upstream((gone,)) as up:
        busy = asyncio.ensure_future(client.send(permit(up.target)))
        await up.arrived.get()
        error = await failed(client, up.target, limits=QUICK)
        busy.cancel()
        await client.close()

        assert ("upstream.timeout", "no", 1) == (error.code, error.sent, len(up.requests))
        assert error.detail == f"all 1 connections to the upstream `127.0.0.1:{up.port}` stayed busy"


async def test_a_connection_that_fails_gives_its_place_to_the_next() -> None:
    """Broken, refused and cancelled calls leave no place taken."""
    client = Client(version="1", pooling=Pooling(size=1))
    async with upstream((reset,), (b"nonsense",), (close,)) as up:
        outcomes = await asyncio.gather(*(client.send(permit(up.target)) for _ in range(6)), return_exceptions=True)
        await client.close()

    assert 3 == sum(isinstance(outcome, UpstreamError) for outcome in outcomes)


async def test_the_most_recently_used_connection_is_taken(client: Client) -> None:
    """Last in, first out, so that connections which are not needed fall silent and close."""
    both = asyncio.Event()

    async def together(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        if len(up.requests) == 2:
            both.set()
        await both.wait()

    async with upstream((together, OK), (together, OK)) as up:
        await asyncio.gather(client.send(permit(up.target)), client.send(permit(up.target)))
        for _ in range(5):
            await client.send(permit(up.target))

        assert 2 == up.connections


async def test_a_silent_connection_is_closed() -> None:
    """After `idle_s` without a call."""
    client = Client(version="1", pooling=Pooling(idle_s=0.05))
    async with upstream() as up:
        await client.send(permit(up.target))
        await up.ended()
        await client.send(permit(up.target))
        await client.close()

        assert 2 == up.connections


async def test_a_write_does_not_go_out_on_a_connection_that_was_silent() -> None:
    """A close that crosses a write would leave its outcome unknown: writes take a connection just used, or a new one."""
    client = Client(version="1", pooling=Pooling(fresh_s=-1.0))
    async with upstream() as up:
        await client.send(permit(up.target))
        await client.send(permit(up.target))
        assert 1 == up.connections
        await client.send(permit(up.target, "DELETE", effect="destructive"))
        assert 2 == up.connections
        await client.close()


async def test_an_old_connection_is_not_kept() -> None:
    """So that a changed address or certificate is seen."""
    client = Client(version="1", pooling=Pooling(max_age_s=-1.0))
    async with upstream() as up:
        await client.send(permit(up.target))
        await client.send(permit(up.target))
        await client.close()

        assert 2 == up.connections


async def test_closing_ends_what_is_open() -> None:
    """Idle and busy connections are closed; a call under way fails as broken."""
    client = Client(version="1")
    async with upstream((OK,), (gone,)) as up:
        await client.send(permit(up.target))
        busy = asyncio.ensure_future(failed(client, up.target))
        for _ in range(2):
            await up.arrived.get()
        await client.close()

        assert "upstream.broken" == (await busy).code
        await up.ended()


async def test_an_operation_without_upstream_is_not_sent(client: Client) -> None:
    """What is not allowed here has nowhere to go."""
    held = permit(Target("http", "127.0.0.1", 1))
    nowhere = held._replace(valid=held.valid._replace(operation=replace(held.valid.operation, target=None)))

    with pytest.raises(UpstreamError) as raised:
        await client.send(nowhere)

    assert ("internal.error", "no") == (raised.value.code, raised.value.sent)
