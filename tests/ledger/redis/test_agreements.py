"""Gates of one store send a step once at a time and use an approval once, whichever of them is asked."""

from __future__ import annotations

import asyncio

import pytest
from tests.ledger.agreed import APPROVAL, PLAN, REFUSED, UNSENT, attempt, by_approval, end, guards_of
from tests.ledger.redis.stores import PATIENT_S, kept, made_ready, settled
from tests.ledger.world import opened
from tests.support.redis_server import RedisServer

from toolgate.core.model import Charge, Settlement


@pytest.fixture
def url(redis_server: RedisServer) -> str:
    return made_ready(redis_server.url, PATIENT_S)


async def test_a_hundred_uses_through_two_gates_send_one_call(url: str) -> None:
    """M18: one is let through; after it was surely not sent, one more, through either gate."""
    gates = [opened(url), opened(url)]
    guard = Charge(f"a:{APPROVAL}", 1, 1)
    sent: list[int] = []
    for turn in range(3):
        calls = [f"c{turn}-{n}" for n in range(100)]
        answers = await asyncio.gather(
            *(gates[n % 2].record(by_approval(call), (guard,)) for n, call in enumerate(calls))
        )
        through = [n for n, short in enumerate(answers) if short is None]
        sent.append(len(through))
        if turn == 0:
            gate = gates[through[0] % 2]
            await gate.finish(end(calls[through[0]], None, **UNSENT), Settlement(refunds=(guard,)))
            await settled(gate)
    for gate in gates:
        await gate.close()
    assert sent == [1, 1, 0]
    assert kept(url) == {guard.key: 1}


async def test_two_gates_send_a_step_once_at_a_time_and_so_often_at_most(url: str) -> None:
    """M17: the same step through two gates at once: one of them wins, each time, until no attempt is left."""
    gates = [opened(url), opened(url)]
    sent: list[int] = []
    for turn in range(2):
        calls = [f"c{turn}-{n}" for n in range(20)]
        answers = await asyncio.gather(
            *(gates[n % 2].record(attempt(call), guards_of(number=turn + 1)) for n, call in enumerate(calls))
        )
        through = [n for n, short in enumerate(answers) if short is None]
        sent.append(len(through))
        for n in through:
            await gates[n % 2].finish(end(calls[n], **REFUSED), Settlement())
            await settled(gates[n % 2])
    for gate in gates:
        await gate.close()
    assert sent == [1, 1]
    assert kept(url) == {f"p:{PLAN}:fetch#{number}": 1 for number in (1, 2)}
