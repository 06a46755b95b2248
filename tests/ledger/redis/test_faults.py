"""FT23-FT30: whatever happens to the store, a call is refused within 200 ms or counted, and nothing is counted twice."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import suppress
from itertools import count
from typing import Any, Self

import pytest
from tests.ledger.redis.stores import kept, prefix_of, reached, settled
from tests.ledger.world import START_MS, decided, finished, opened, take
from tests.support.redis_server import RedisServer
from tests.support.toxic import Toxic

from toolgate.core import runs as told
from toolgate.core.model import Settlement
from toolgate.ledger.redis import script
from toolgate.ledger.redis.ledger import SharedLedger
from toolgate.ledger.redis.upkeep import begin, begin_anew
from toolgate.ports import LedgerError

REFUSED_WITHIN_S = 0.2
LOADED_S = 0.15  # what a machine that runs other tests may add


async def refusal(held: SharedLedger, number: int) -> str:
    """Why a call is refused; it must be, and soon."""
    began = time.monotonic()
    with pytest.raises(LedgerError) as refused:
        await held.record(decided(number), [take(1, 100)])
    assert time.monotonic() - began < REFUSED_WITHIN_S + LOADED_S
    return str(refused.value)


async def eventually(held: SharedLedger, number: int) -> None:
    """A call goes through again by itself."""
    async with asyncio.timeout(10):
        while held.ready() is not None:  # noqa: ASYNC110 (the link looks again by itself)
            await asyncio.sleep(0.02)
    assert await held.record(decided(number), [take(1, 100)]) is None


async def test_a_killed_store_refuses_and_comes_back_by_itself(server: RedisServer, url: str) -> None:
    """FT23: killed: refused; started again with what it had: served, with every charge that was acknowledged."""
    held = opened(url)
    assert await held.record(decided(1), [take(3, 100)]) is None
    server.kill()
    assert "cannot be reached" in await refusal(held, 2)
    assert "cannot be reached" in str(held.ready())
    assert "cannot be reached" in await refusal(held, 3)
    server.start()
    await eventually(held, 4)
    await held.close()
    assert kept(url) == {"calls": 4}


async def test_a_paused_store_refuses_in_time_and_nothing_stays_taken(server: RedisServer, url: str) -> None:
    """FT24: SIGSTOP: the first call waits its 150 ms, later ones not at all; what the store read meanwhile is given back."""
    held = opened(url)
    assert await held.record(decided(1), [take(1, 100)]) is None
    server.pause()
    assert "does not answer in time" in await refusal(held, 2)
    began = time.monotonic()
    await refusal(held, 3)
    assert time.monotonic() - began < 0.05
    server.go_on()
    await eventually(held, 4)
    await settled(held)
    await held.close()
    assert kept(url) == {"calls": 2}
    assert [row.event["call"] for row in held.journal.call("call-2")] == []


async def test_a_store_that_is_emptied_is_not_a_new_budget(server: RedisServer, url: str) -> None:
    """FT25: restarted empty: refused until an operator says so; then the freezes of before hold again."""
    held = opened(url)
    assert await held.record(decided(1), [take(99, 100)]) is None
    server.empty()
    server.start()
    async with asyncio.timeout(10):
        while "has no state in it" not in str(held.ready()):  # noqa: ASYNC110 (the link looks by itself)
            await asyncio.sleep(0.02)
    told = await refusal(held, 2)
    assert "has no state in it" in told
    assert "ledger init" not in told, "an agent with a shell would do it, and have every budget back"
    assert "run `toolgate ledger init`" in str(held.ready())
    store = reached(url)
    begin(store, "second", 1)
    store.close()
    await eventually(held, 3)
    await held.close()
    assert kept(url) == {"calls": 1}


async def test_a_store_that_went_back_in_time_is_refused(server: RedisServer, url: str) -> None:
    """FT26: what was acknowledged is missing (a snapshot, a failover): refused until an operator takes the loss."""
    held = opened(url)
    for number in range(1, 4):
        assert await held.record(decided(number), [take(1, 100)]) is None
    server.ask("DECR", f"{{{prefix_of(url)}}}:seq")
    assert "has lost what it had acknowledged" in await refusal(held, 4)
    assert "`toolgate ledger init" not in await refusal(held, 5)
    assert "`toolgate ledger init --accept-loss`" in str(held.ready())
    store = reached(url)
    begin_anew(store, "second", 1)
    store.close()
    await eventually(held, 6)
    await held.close()


async def test_a_loss_is_noticed_after_a_restart_of_the_gate(server: RedisServer, url: str, tmp_path: Any) -> None:
    """FT26: the journal says how far the store was."""
    journal = tmp_path / "ledger.db"
    first = opened(url, journal=journal)
    for number in range(1, 4):
        assert await first.record(decided(number), [take(1, 100)]) is None
    await first.close()
    server.ask("SET", f"{{{prefix_of(url)}}}:seq", 1)
    again = opened(url, journal=journal)
    assert "has lost what it had acknowledged" in await refusal(again, 4)
    await again.close()


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        (b"-READONLY You can't write against a read only replica.\r\n", "is a read-only replica"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "is still loading its data"),
        (b"-MOVED 3999 127.0.0.1:6381\r\n", "is a part of a Redis Cluster"),
        (b"-CLUSTERDOWN The cluster is down\r\n", "is a Redis Cluster that is down"),
        (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", "has no memory left"),
        (b"-MISCONF Redis is configured to save RDB snapshots\r\n", "cannot save its data to disk"),
        (b"-NOREPLICAS Not enough good replicas to write.\r\n", "has too few replicas"),
        (b"-NOAUTH Authentication required.\r\n", "password"),
        (b"-NOPERM this user has no permissions\r\n", "does not let the user do"),
        (b"-ERR <script>alert(1)</script> secret\r\n", "answers with an error (`ERR`)"),
        (b"$5\r\nhal", "does not answer in time"),
        (b"$99999999999\r\nx", "does not answer in time"),
        (b"\x00\xff\x00garbage\r\n" * 10, "does not answer as Redis does"),
        (b"*1\r\n" * 5_000, "does not answer"),
        (b"$2\r\n{}\r\n", "does not answer as Redis does"),
        (b":1\r\n", "does not answer as Redis does"),
        (b"$-1\r\n", "does not answer as Redis does"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not answer as Redis does"),
        (b"", "cannot be reached"),
    ],
)
async def test_whatever_the_store_answers_refuses_in_time(
    server: RedisServer, url: str, says: bytes, expected: str
) -> None:
    """FT27: errors, half answers, garbage: typed, within 200 ms, and served again as soon as it is Redis again."""
    with Impostor(server.port) as impostor:
        held = opened(url.replace(str(server.port), str(impostor.port)))
        assert await held.record(decided(1), [take(1, 100)]) is None
        impostor.says = says
        why = await refusal(held, 2)
        assert expected in why
        assert "<script>" not in why
        impostor.says = None
        await eventually(held, 3)
        await settled(held)
        await held.close()
    assert kept(url) == {"calls": 2}


async def test_a_forgotten_script_is_sent_again(server: RedisServer, url: str) -> None:
    """FT27: NOSCRIPT is not an error of anybody's."""
    held = opened(url)
    assert await held.record(decided(1), [take(1, 100)]) is None
    server.ask("SCRIPT", "FLUSH")
    assert await held.record(decided(2), [take(1, 100)]) is None
    await held.close()
    assert kept(url) == {"calls": 2}


async def test_a_clock_that_is_off_refuses(server: RedisServer, url: str) -> None:
    """FT28: windows are those of the store's clock: a gate that is further from it than two seconds takes nothing."""
    from dataclasses import replace  # noqa: PLC0415

    held = opened(url)
    held._link.access = replace(held._link.access, skew_ms=2_000)
    assert "has a clock" in await refusal(held, 1)
    assert "set the wrong one right, or restart the gate" in str(held.ready())
    await held.close()
    assert kept(url) == {}


async def test_a_slow_store_serves_and_one_that_is_too_slow_refuses(server: RedisServer, url: str) -> None:
    """FT29: 20 ms there and back serve; 400 ms refuse, and give back what the store took after all."""
    with Toxic(server.port, pause_s=0.01) as toxic:
        held = opened(url.replace(str(server.port), str(toxic.port)))
        await held.append(told.implicit("run_9", "ann", START_MS))
        async with asyncio.timeout(10):
            while not held.answer_s:  # noqa: ASYNC110 (the link connects by itself)
                await asyncio.sleep(0.005)
        assert await held.record(decided(1), [take(1, 100)]) is None
        await held.close()
        toxic.toxin = type(toxic.toxin)(pause_s=0.2)
        with suppress(LedgerError):
            late = opened(url.replace(str(server.port), str(toxic.port)))
            assert "does not answer in time" in await refusal(late, 2)
            toxic.toxin = type(toxic.toxin)(pause_s=0.0)
            await eventually(late, 3)
            await settled(late)
            await late.close()
    assert kept(url)["calls"] in {1, 2}
    assert "call-2" not in str(kept(url))


async def test_a_connection_that_breaks_never_charges_twice(server: RedisServer, url: str) -> None:
    """FT29: connections cut at every byte of the request and the answer: bill = what was acknowledged."""
    acknowledged, numbers = 0, count(1)
    with Toxic(server.port) as toxic:
        for limit in (*range(0, 15_000, 577), None):
            toxic.toxin = type(toxic.toxin)()
            held = opened(url.replace(str(server.port), str(toxic.port)))
            toxic.toxin = type(toxic.toxin)(down_limit=limit)
            await held._link._hang_up()
            for _ in range(3):
                with suppress(LedgerError):
                    if await held.record(decided(next(numbers)), [take(1, 10_000)]) is None:
                        acknowledged += 1
            toxic.toxin = type(toxic.toxin)()
            await settled(held)
            await held.close()
    assert kept(url) == {"calls": acknowledged}
    assert acknowledged > 3


async def test_a_store_that_may_evict_is_refused(url: str, server: RedisServer) -> None:
    """FT30: `noeviction` or nothing: at start, and when an operator changes it later."""
    held = opened(url)
    assert await held.record(decided(1), [take(1, 100)]) is None
    server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    with pytest.raises(LedgerError, match="set its `maxmemory-policy` to `noeviction`"):
        opened(url)
    async with asyncio.timeout(15):
        while "`maxmemory-policy`" not in str(held.ready()):  # noqa: ASYNC110 (asked for every few seconds)
            await asyncio.sleep(0.05)
    await refusal(held, 2)
    server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    await eventually(held, 3)
    await held.close()


async def test_a_full_store_refuses_and_keeps_what_is_owed(server: RedisServer, url: str) -> None:
    """FT30: OOM takes nothing; what was to be given back is given back when there is room."""
    held = opened(url)
    assert await held.record(decided(1), [take(5, 100)]) is None
    server.ask("CONFIG", "SET", "maxmemory", 1)
    await held.finish(finished(1), Settlement(refunds=(take(5, 100),)))
    assert "has no memory left" in await refusal(held, 2)
    server.ask("CONFIG", "SET", "maxmemory", 0)
    await eventually(held, 3)
    await settled(held)
    await held.close()
    assert kept(url) == {"calls": 1}


@pytest.mark.parametrize("over", ["undo", "settle"])
def test_what_comes_late_takes_nothing(server: RedisServer, url: str, over: str) -> None:
    """FT29: a request that was held up on the way finds that its call is over."""
    guards = [take(3, 9)]
    late = script.take("call-1", ["run_1"], guards, START_MS)
    ends = {
        "undo": ["undo", "call-1", "w"],
        "settle": script.settle("call-1", Settlement(), START_MS, "w", may_come_again=True),
    }
    store = reached(url)
    operations = [late, ends[over], late] if over == "settle" else [ends[over], late]
    results = store.run(store.epoch_or_error(), START_MS, operations).results
    store.close()
    assert results[-1] == ["gone"]
    assert kept(url) == ({"calls": 3} if over == "settle" else {})


def test_a_store_nobody_made_ready_is_refused(server: RedisServer) -> None:
    """A fresh store is told from an emptied one by the operator alone."""
    with pytest.raises(LedgerError, match=r"has no state in it: .* run `toolgate ledger init`"):
        opened(f"{server.url}#nobody")


def test_a_store_that_is_not_there_is_named(tmp_path: Any) -> None:
    """The gate does not start, and releases its journal."""
    journal = tmp_path / "ledger.db"
    for _ in range(2):
        with pytest.raises(LedgerError, match=r"`redis://127.0.0.1:1/0` cannot be reached"):
            opened("redis://127.0.0.1:1/0#x", journal=journal)
    held = opened(journal)
    asyncio.run(held.close())


class Impostor:
    """Passes bytes on to Redis, until it answers something of its own."""

    def __init__(self, port: int) -> None:
        self.says: bytes | None = None
        self._target = port
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._door, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._door.accept()
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        target = socket.create_connection(("127.0.0.1", self._target))
        self._open += [peer, target]
        back = threading.Thread(target=self._back, args=(target, peer), daemon=True)
        back.start()
        with suppress(OSError):
            while data := peer.recv(65536):
                if self.says is None:
                    target.sendall(data)
                elif self.says == b"":
                    break
                else:
                    peer.sendall(self.says)
        for each in (peer, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        back.join()
        peer.close()
        target.close()

    def _back(self, target: socket.socket, peer: socket.socket) -> None:
        with suppress(OSError):
            while data := target.recv(65536):
                peer.sendall(data)
