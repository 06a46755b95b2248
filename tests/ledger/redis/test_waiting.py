"""How long a call waits for the store: for its answer, never for what this process has to do itself."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.ledger.redis.stores import kept, settled
from tests.ledger.world import START_MS, decided, opened, take
from tests.support.redis_server import RedisServer

from toolgate.core import runs as told
from toolgate.core.model import Freeze
from toolgate.ledger.redis.link import BACKLOG, GROUP
from toolgate.ledger.redis.patience import LAST_PART_S, Patience
from toolgate.ports import LedgerError

REFUSED_WITHIN_S = 0.2
LOADED_S = 0.3  # what a machine that runs other tests may add
CALLS = 4 * GROUP


async def under_way(held: Any) -> None:
    async with asyncio.timeout(10):
        while not held._link._under_way:  # noqa: ASYNC110 (the link's own task)
            await asyncio.sleep(0)


async def connected(held: Any) -> None:
    """The link is up, and idle."""
    assert await held.record(decided(0), [take(1, 10_000, "first")]) is None
    await settled(held)


async def test_a_busy_process_does_not_blame_the_store(url: str) -> None:
    """The answer came while the event loop was held up, three times as long as the store may take: it counts."""
    held = opened(url)
    await connected(held)
    calls = [asyncio.ensure_future(held.record(decided(n), [take(1, 100)])) for n in range(1, CALLS + 1)]
    await under_way(held)
    time.sleep(3 * held._link.access.timeout_s)  # noqa: ASYNC251 (this is what is tested)
    answers = await asyncio.gather(*calls)
    await held.close()
    assert answers.count(None) == 100
    assert kept(url)["calls"] == 100


async def test_a_store_that_falls_silent_refuses_also_who_was_not_sent(server: RedisServer, url: str) -> None:
    """Whoever waits behind a group that gets no answer is refused with it; and only what was sent is taken back."""
    held = opened(url)
    await connected(held)
    server.pause()
    began = time.monotonic()
    calls = [held.record(decided(n), [take(1, 1000)]) for n in range(1, CALLS + 1)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert time.monotonic() - began < REFUSED_WITHIN_S + LOADED_S
    assert {"the state store does not answer in time"} == {str(answer) for answer in answers}
    assert held.backlog <= GROUP + 1  # one more to see whether it is back
    server.go_on()
    await settled(held)
    await held.close()
    assert kept(url) == {"first": 1, "calls": 0}


async def test_a_refusal_while_the_store_is_away_leaves_nothing_to_do(server: RedisServer, url: str) -> None:
    """However many calls are refused: nothing was sent for them, so nothing is kept for them."""
    held = opened(url)
    await connected(held)
    server.kill()
    answers = await asyncio.gather(
        *(held.record(decided(n), [take(1, 1000)]) for n in range(1, CALLS + 1)), return_exceptions=True
    )
    assert all(isinstance(answer, LedgerError) for answer in answers)
    before = held.backlog
    for number in range(1000):
        refused = await asyncio.gather(held.record(decided(number), [take(1, 1000)]), return_exceptions=True)
        assert isinstance(refused[0], LedgerError)
    assert held.backlog <= before
    await held.close()


async def test_what_stops_is_kept_when_nothing_else_is(server: RedisServer, url: str) -> None:
    """Denied attempts are kept up to a bound while the store is away; a freeze is kept beyond it."""
    held, other = opened(url), opened(url)
    await connected(held)
    server.kill()
    await asyncio.gather(held.record(decided(1), [take(1, 9)]), return_exceptions=True)
    for number in range(BACKLOG + 10):
        await held.append(decided(number, code="policy.denied"), [take(1, 10**6, "denied")])
    assert held.backlog <= BACKLOG + 1
    await held.record(told.switched("freeze", "tool", "metrics", Freeze("ann", "why", START_MS)), ())
    server.start()
    await settled(held)
    await other.append(told.implicit("run_9", "ann", START_MS))
    async with asyncio.timeout(10):
        while "tool:metrics" not in other.freezes():  # noqa: ASYNC110 (the link's own task)
            await asyncio.sleep(0.01)
    await held.close()
    await other.close()


async def test_whoever_waited_too_long_for_a_turn_is_refused_unsent(url: str) -> None:
    """Behind others that the store is answering: bounded in time too."""
    held = opened(url)
    await connected(held)
    late = asyncio.ensure_future(held.record(decided(1), [take(1, 9)]))
    await asyncio.sleep(0)
    held._link._queue[-1].since_s -= 60
    (answer,) = await asyncio.gather(late, return_exceptions=True)
    assert str(answer) == "the state store has more calls waiting for it than it answers in time"
    assert await held.record(decided(2), [take(1, 9)]) is None
    await held.close()
    assert kept(url)["calls"] == 1


async def test_patience_ends_in_time_and_not_before_what_came_is_read() -> None:
    """The last part begins when the rest is noticed to be over."""
    loop = asyncio.get_running_loop()
    lost = loop.create_future()
    began = loop.time()
    Patience(0.01, lambda: lost.set_result(loop.time() - began))
    time.sleep(0.1)  # noqa: ASYNC251 (an event loop that is held up)
    assert await lost >= 0.1 + LAST_PART_S - 0.002
    Patience(0.01, lost.cancel).end()
