"""FT24-FT30 on real servers: what loads, what was a replica, what is a Sentinel or a part of a Cluster, what evicts."""

from __future__ import annotations

import asyncio
import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.ledger.redis.stores import kept, made_ready, prefix_of, reached, settled
from tests.ledger.world import decided, opened, take
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer, executable
from tests.support.toxic import Toxic
from tests.support.waiting import until

from toolgate.ledger.redis.upkeep import begin_anew
from toolgate.ports import LedgerError

CLUSTER_SLOTS = 16_384


async def says(held: Any, text: str) -> None:
    """Readiness says so by itself, and a call is refused with the same sentence or a later one."""
    async with asyncio.timeout(10):
        while text not in str(held.ready()):  # noqa: ASYNC110 (the link looks by itself)
            await asyncio.sleep(0.005)


async def serves(held: Any, number: int) -> None:
    async with asyncio.timeout(10):
        while held.ready() is not None:  # noqa: ASYNC110 (the link looks by itself)
            await asyncio.sleep(0.02)
    assert await held.record(decided(number), [take(1, 100)]) is None


def filled(server: RedisServer) -> None:
    """So many lines in its file that reading them again takes two seconds; after every thousand it says so."""
    client = redis.Redis(port=server.port)
    pipeline = client.pipeline(transaction=False)
    for number in range(40_000):
        pipeline.set(f"filling:{number % 10}", number)
    pipeline.execute()
    client.close()


async def test_a_store_that_loads_its_data_refuses_until_it_has() -> None:
    """FT27: LOADING, or silence, from a server that reads its file: nothing is permitted until it has."""
    with RedisServer("--key-load-delay", "10") as server:
        url = made_ready(server.url)
        held = opened(url)
        assert await held.record(decided(1), [take(3, 100)]) is None
        filled(server)
        server.kill()
        starting = asyncio.ensure_future(asyncio.to_thread(server.start))
        refusals = set[str]()
        while not starting.done():
            with suppress(LedgerError):
                assert await held.record(decided(2), [take(1, 100)]) is not None or starting.done()
            refusals.add(str(held.ready()))
            await asyncio.sleep(0.01)
        await starting
        words = ("is still loading its data", "does not answer in time", "cannot be reached", "None")
        assert {refusal for refusal in refusals if not refusal.endswith(words)} == set()
        await serves(held, 3)
        await settled(held)
        await held.close()
        assert kept(url)["calls"] in {4, 5}


async def test_a_failover_that_lost_what_was_acknowledged_is_refused(server: RedisServer) -> None:
    """FT26: a replica takes over that had not everything: read-only it is refused, promoted it is refused, until a person says so."""
    with RedisServer("--replicaof", "127.0.0.1", str(server.port)) as replica, Toxic(server.port) as address:
        url = made_ready(server.url).replace(str(server.port), str(address.port))
        held = opened(url)
        assert await held.record(decided(1), [take(1, 100)]) is None
        await settled(held)
        key = f"{{{prefix_of(url)}}}:taken:calls"
        until(lambda: replica.ask("HGET", key, "taken") == b"1", "the replica has it")
        replica.ask("REPLICAOF", "127.0.0.1", "1")
        for number in (2, 3):
            assert await held.record(decided(number), [take(1, 100)]) is None
        server.kill()
        address._target = replica.port
        await says(held, "is a read-only replica; name the primary")
        replica.ask("REPLICAOF", "NO", "ONE")
        await says(held, "has lost what it had acknowledged")
        with pytest.raises(LedgerError, match="has lost what it had acknowledged"):
            await held.record(decided(4), [take(1, 100)])
        assert "`toolgate ledger init --accept-loss`" in str(held.ready())
        store = reached(url)
        begin_anew(store, "second", 1)
        store.close()
        await serves(held, 5)
        await held.close()
        assert kept(url) == {"calls": 2}


async def test_a_store_that_threw_keys_away_is_refused_until_a_person_says_so(server: RedisServer, url: str) -> None:
    """FT30: an operator lets it evict, and it does, for a moment: noticed afterwards too, for a balance may be among them."""
    held = opened(url)
    assert await held.record(decided(1), [take(50, 100)]) is None
    server.ask("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
    server.ask("SET", "somebody's", "x" * 100_000, "PX", 3_600_000)
    used = redis.Redis(port=server.port).info("memory")["used_memory"]  # type: ignore[index]
    server.ask("CONFIG", "SET", "maxmemory", used - 50_000)
    with suppress(redis.RedisError):
        server.ask("SET", "flood", "x" * 1_000)
    server.ask("CONFIG", "SET", "maxmemory", 0)
    server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    await says(held, "has thrown keys away")
    with pytest.raises(LedgerError, match=r"has thrown keys away, .* run `toolgate ledger init --accept-loss`"):
        opened(url)
    store = reached(url)
    begin_anew(store, "second", 1)
    store.close()
    await serves(held, 2)
    await held.close()


async def test_a_store_that_falls_silent_again_and_again_costs_no_connection(server: RedisServer, url: str) -> None:
    """FT24: nothing leaks: one connection for a gate before, and one after."""
    held = opened(url)
    for number in range(6):
        await serves(held, 2 * number)
        server.pause()
        with pytest.raises(LedgerError, match="does not answer in time"):
            await held.record(decided(2 * number + 1), [take(1, 100)])
        server.go_on()
    await serves(held, 20)
    await settled(held)
    until(lambda: len(server.ask("CLIENT", "LIST").splitlines()) == 2, "one of the gate and one of this question")
    assert len(os.listdir("/proc/self/task")) < 20  # noqa: PTH208 (a count)
    await held.close()
    assert kept(url) == {"calls": 7}


def test_a_sentinel_is_told_from_a_store(tmp_path: Path) -> None:
    """Who names the Sentinel's own address learns what it is."""
    port = free_port()
    (tmp_path / "sentinel.conf").write_text(f"bind 127.0.0.1\nport {port}\ndir {tmp_path}\n")
    words = [executable(), str(tmp_path / "sentinel.conf"), "--sentinel"]
    sentinel = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: "cannot be reached" not in said_of(port), "the Sentinel answers")
        assert "is a Sentinel, which keeps no balances; name the primary" in said_of(port)
    finally:
        sentinel.kill()
        sentinel.wait()


def said_of(port: int) -> str:
    with pytest.raises(LedgerError) as refused:
        opened(f"redis://127.0.0.1:{port}/0#x")
    return str(refused.value)


async def test_a_node_of_a_cluster_serves_the_slots_it_has() -> None:
    """All keys of a store are in one slot: its node serves; a node without it refuses, in one sentence."""
    with RedisServer("--cluster-enabled", "yes", port=free_port()) as node:  # its second port is 10,000 above
        with pytest.raises(LedgerError, match="is a Redis Cluster that is down"):
            opened(f"{node.url}#x")
        node.ask("CLUSTER", "ADDSLOTS", *range(CLUSTER_SLOTS))
        until(lambda: b"cluster_state:ok" in node.ask("CLUSTER", "INFO"), "the cluster is up")
        url = made_ready(node.url)
        held = opened(url)
        assert await held.record(decided(1), [take(1, 100)]) is None
        slot = node.ask("CLUSTER", "KEYSLOT", f"{{{prefix_of(url)}}}:epoch")
        node.ask("CLUSTER", "DELSLOTS", slot)
        await says(held, "is a Redis Cluster that")
        await held.close()
