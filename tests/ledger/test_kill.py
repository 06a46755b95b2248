"""kill -9 at fixed points of the writer: nothing acknowledged is lost, and the chain holds (FT01, INV1, INV5, INV7)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.ledger.scenes import command, run
from tests.ledger.world import decided, ledger_filter, opened, take

from toolgate.core.journal import Verified

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
    assert held.facts(["calls"], 0).balances == {"calls": len(calls)}


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
