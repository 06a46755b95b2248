"""kill -9 at fixed points of the writer: nothing acknowledged is lost, and the chain holds (FT01, INV1, INV5, INV7)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.ledger.scenes import command, killed_after, run
from tests.ledger.world import START_MS, decided, ledger_filter, opened, take, taken

from toolgate.core.journal import Verified
from toolgate.core.model import Pace
from toolgate.ledger import QueuedLedger

POINTS = {
    "taken": "out of the queue, nothing written",
    "linked": "given its place in the chain, nothing written",
    "inserted": "inside the transaction, before its commit",
    "committed": "committed, nobody told yet",
    "printed": "committed, told and printed",
}


@pytest.mark.parametrize("point", POINTS)
def test_everything_acknowledged_is_there_after_kill_9(path: Path, point: str) -> None:
    """Every record that returned stands in the reopened journal with its charge, once, in an unbroken chain."""
    said = run(command("kill", path, point))
    assert said.code == -9, said.errors
    held = opened(path)
    asyncio.run(held.close())
    rows = [row.event for row in held.journal.events(ledger_filter(kind="Decided"))]
    calls = [event["call"] for event in rows]
    assert isinstance(held.journal.verify(held.journal.head()), Verified)
    assert len(calls) == len(set(calls))
    assert said.acknowledged <= set(calls)
    assert len(said.acknowledged) > 20
    assert taken(held, "calls") == {"calls": len(calls)}


def test_the_next_gate_goes_on_from_there(path: Path) -> None:
    """What was written by the killed gate and by the next one is one chain, and every call has an outcome."""
    run(command("kill", path, "committed"))

    async def next_gate() -> None:
        held = opened(path)
        await held.record(decided(99_999), [take(1, 1_000_000)])
        await held.close()

    asyncio.run(next_gate())
    held = opened(path)
    asyncio.run(held.close())
    events = [row.event for row in held.journal.events(ledger_filter())]
    decided_calls = {event["call"] for event in events if event["event"] == "Decided"}
    finished_calls = [event["call"] for event in events if event["event"] == "Finished"]
    assert [event["clean"] for event in events if event["event"] == "WriterStarted"] == [True, False, True]
    assert set(finished_calls) == decided_calls - {"call-99999"}
    assert len(finished_calls) == len(set(finished_calls))


def test_no_balance_is_wrong_after_kill_9_under_load(path: Path) -> None:
    """INV7: whenever it dies, balances are what the journal says, and what was acknowledged is charged; again and again."""
    acknowledged: set[str] = set()
    for lines in (40, 333, 1_100):
        said = killed_after(command("bill", path), lines)
        assert said.code == -9, said.errors
        acknowledged |= said.acknowledged
        held = opened(path)
        balances, arrival_us = held.balances(), held.facts((), START_MS).levels.arrival_us(Pace("r:burst:ann", 1, 1))
        asyncio.run(held.close())
        assert isinstance(held.journal.verify(held.journal.head()), Verified)
        events = written(held)
        assert {key: amount for key, amount in spent(events).items() if amount} == balances
        permits = [event["call"] for event in events if event["event"] == "Decided" and "code" not in event]
        assert acknowledged <= set(permits)
        assert len(permits) <= balances["b:calls:calls:ann"] == len(permits)
        assert arrival_us >= START_MS * 1_000
        assert Counter(permits) == Counter(event["call"] for event in events if event["event"] == "Finished")


def written(held: QueuedLedger) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    while page := held.journal.events(ledger_filter(after=len(rows))):
        rows += [row.event for row in page]
    return rows


def spent(events: list[Mapping[str, Any]]) -> Counter[str]:
    """Add up what the journal says was taken and given back."""
    said: Counter[str] = Counter()
    for event in events:
        for name, sign in (("charges", 1), ("extra", 1), ("refunds", -1)):
            for change in event.get(name, ()):
                said[change["key"]] += sign * change.get("amount", 0)
    return said
