"""`journal.keep`: whole verified segments go, the chain says so, and nothing else is lost."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from tests.ledger.world import START_MS, Clock, calling, finished, kinds, ledger_filter, opened, take, taken

from toolgate.core.journal import Broken, Verified
from toolgate.core.model import Event
from toolgate.ledger import Keep, QueuedLedger

DAY_MS = 86_400_000
PATIENCE_S = 10.0


async def fill(held: QueuedLedger, count: int, at_ms: int = START_MS) -> None:
    for n in range(count):
        await held.append(Event("Finished", at_ms, {"n": n, "text": "x" * 100}, f"c{n}", "run_1"))


async def until_first_row_is(held: QueuedLedger, row: int) -> None:
    limit_s = time.monotonic() + PATIENCE_S
    while held.journal.events(ledger_filter(limit=1))[0].row < row:
        assert time.monotonic() < limit_s, held.journal.events(ledger_filter(limit=1))[0]
        await asyncio.sleep(0.01)


async def test_old_segments_go_and_the_chain_still_verifies(url: str) -> None:
    """By age: what is younger stays, and the head of what was cut stands in the chain."""
    clock = Clock()
    held = opened(url, clock=clock, keep=Keep(age_s=86_400))
    await fill(held, 1500)
    clock.now_ms += 2 * DAY_MS
    await fill(held, 1100, clock.now_ms)
    await until_first_row_is(held, 1281)
    await held.close()
    found = held.journal.verify(held.journal.head())
    assert isinstance(found, Verified)
    assert found.pruned == 1280  # five segments of 256; the sixth holds younger rows
    pruned = held.journal.events(ledger_filter(kind="JournalPruned"))
    assert {row.event["rows"] for row in pruned} == {256}
    assert pruned[-1].event["to"]["row"] == 1280


async def test_size_bounds_what_is_kept(url: str) -> None:
    """By size: the journal stops growing, and its newest rows are never among those that go."""
    held = opened(url, keep=Keep(size=400_000))
    await fill(held, 6_000)
    await until_first_row_is(held, 3_000)
    await held.close()
    found = held.journal.verify()
    assert isinstance(found, Verified)
    assert found.rows > 2 * 256
    assert kinds(held)[-1] == "WriterStopped"


async def test_nothing_goes_without_a_limit(path: Path) -> None:
    """The default keeps everything."""
    held = opened(path)
    await fill(held, 2_500)
    await held.close()
    found = held.journal.verify()
    assert isinstance(found, Verified)
    assert (found.rows, found.pruned) == (2_502, 0)


async def test_calls_are_recorded_while_it_prunes(path: Path) -> None:
    """Pruning takes turns with the calls, and balances are not part of what goes."""
    held = opened(path, keep=Keep(size=1))
    await fill(held, 3_000)
    for n in range(200):
        event = Event("Decided", START_MS, {"number": n}, f"call-{n}", "run_1")
        assert await held.record(event, [take(1, 1000)]) is None
    await until_first_row_is(held, 2_000)
    await held.close()
    again = opened(path)
    assert taken(again, "calls") == {"calls": 200}
    await again.close()
    assert isinstance(again.journal.verify(), Verified)


async def test_a_damaged_segment_is_kept_and_reported(path: Path) -> None:
    """Pruning never launders: what does not verify stays where it is, and the journal says so once."""
    first = opened(path)
    await fill(first, 3_000)
    await first.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("update events set line = replace(line, 'xxx', 'yyy') where row = 100")
    held = opened(path, keep=Keep(size=1))
    await fill(held, 2_500)
    await held.close()
    reported = [row.event["why"] for row in held.journal.events(ledger_filter(kind="JournalNotPruned"))]
    assert reported == ["`journal.keep` removes nothing: row 100: the line does not match its hash"]
    found = held.journal.verify()
    assert isinstance(found, Broken)
    assert found.row == 100


@pytest.mark.parametrize("forged", [None, "hash", "row"])
async def test_rows_removed_by_somebody_else_are_not_taken_for_pruned(path: Path, forged: str | None) -> None:
    """One row more than the `JournalPruned` accounts for is a missing row."""
    held = opened(path, keep=Keep(size=1))
    await fill(held, 3_000)
    await until_first_row_is(held, 1_000)
    await held.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("delete from events where row in (select min(row) from events)")
        if forged == "row":
            db.execute("update events set row = row - 1")
    found = held.journal.verify()
    assert isinstance(found, Broken)
    assert "missing" in found.why or "do not agree" in found.why


async def test_runs_that_are_gone_are_forgotten(path: Path) -> None:
    """A run whose last event was pruned is not listed any more; one that lives is."""
    clock = Clock()
    held = opened(path, clock=clock, keep=Keep(age_s=86_400), idle_s=1.0)
    held.next_in_run(calling("ann", clock.now_ms))
    await fill(held, 1_500)
    clock.now_ms += 2 * DAY_MS
    held.next_in_run(calling("bob", clock.now_ms))
    await fill(held, 1_100, clock.now_ms)
    await until_first_row_is(held, 1_200)
    await held.append(finished(1))
    await held.close()
    assert [summary.principal for summary in held.journal.runs()] == ["bob"]
