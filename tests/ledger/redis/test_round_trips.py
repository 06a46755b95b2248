"""What a call costs on the wire: one round trip before it is sent, none when it is known to be refused."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any

from tests.ledger.redis.stores import settled
from tests.ledger.world import decided, finished, opened, take
from tests.support.redis_server import RedisServer

from toolgate.core.model import Place, Settlement

CALLS = 50


class Counted:
    """Commands a server was sent, beside those a link sends by itself."""

    def __init__(self, server: RedisServer, held: Any) -> None:
        self._server = server
        self._own = 0
        self._on_beat = held._link.seams.on_beat
        held._link.seams = replace(held._link.seams, on_beat=self._beat)

    def _beat(self) -> Any:
        self._own += 1
        return self._on_beat()

    def begin(self) -> None:
        self._own = 0
        self._server.ask("CONFIG", "RESETSTAT")

    @property
    def scripts(self) -> int:
        """Scripts that were run for calls; a beat beside nothing else is none of theirs."""
        said = self._server.ask("INFO", "commandstats")
        text = said.decode() if isinstance(said, bytes) else str(said)
        return int((re.search(r"evalsha\D+(\d+)", text) or [0, 0])[1]) - self._own


async def test_one_round_trip_before_sending(server: RedisServer, url: str) -> None:
    """Freezes, stopped runs, budgets, rates and places: one script for each call that comes alone."""
    held = opened(url)
    assert await held.record(decided(0), [take(1, 1000)]) is None
    counted = Counted(server, held)
    counted.begin()
    for number in range(1, CALLS + 1):
        assert await held.record(decided(number), [take(1, 1000), take(5, 10**6, "usd"), Place("p", 100)]) is None
    assert counted.scripts <= CALLS
    await held.close()


async def test_calls_that_come_together_share_a_round_trip(server: RedisServer, url: str) -> None:
    """As many as came while the group before was under way; and settlements travel with them."""
    held = opened(url)
    assert await held.record(decided(0), [take(1, 1000)]) is None
    counted = Counted(server, held)
    counted.begin()
    await asyncio.gather(*(held.record(decided(number), [take(1, 1000)]) for number in range(1, CALLS + 1)))
    for number in range(CALLS + 1):
        await held.finish(finished(number), Settlement())
    await settled(held)
    assert counted.scripts <= 4
    await held.close()


async def test_what_is_known_to_be_spent_is_not_asked(server: RedisServer, url: str) -> None:
    """An agent that goes on against an empty budget costs the store nothing."""
    held = opened(url)
    assert await held.record(decided(0), [take(5, 5)]) is None
    await settled(held)
    counted = Counted(server, held)
    counted.begin()
    for number in range(1, CALLS + 1):
        assert await held.record(decided(number), [take(1, 5)]) is not None
    assert counted.scripts <= 1  # what is old is looked at, beside the path
    await held.close()
