"""Asking a journal: the same answers from memory and from the file, while it is written and after."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from tests.ledger.world import START_MS, Clock, calling, decided, finished, ledger_filter, opened

from toolgate.core.journal import Filter, RunSummary, Verified
from toolgate.core.model import Event
from toolgate.ledger import FileJournal, QueuedLedger
from toolgate.ports import LedgerError


@pytest.fixture
async def held(url: str) -> AsyncIterator[QueuedLedger]:
    """Twelve calls of two principals in two runs: every third refused, every fourth failed."""
    held = opened(url, clock=Clock())
    for n in range(12):
        principal = "ann" if n % 2 else "bob"
        run, number = held.next_in_run(calling(principal, START_MS + n))
        said = {"number": number, "principal": principal, "operation": f"metrics.op{n % 4}"}
        code = {"code": "arguments.invalid"} if n % 3 == 0 else {}
        await held.record(Event("Decided", START_MS + n, said | code, f"c{n}", run), ())
        failed = {"code": "upstream.timeout"} if n % 4 == 1 else {}
        if not code:
            await held.append(
                Event("Finished", START_MS + n, {"operation": f"metrics.op{n % 4}"} | failed, f"c{n}", run)
            )
    while held.depth:  # noqa: ASYNC110 (a condition of another thread)
        await asyncio.sleep(0.001)
    yield held
    await held.close()


def calls(held: QueuedLedger, **wanted: object) -> list[str]:
    rows = held.journal.events(ledger_filter(kind="Decided", **wanted))
    return [row.event["call"] for row in rows]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [f"c{n}" for n in range(12)]),
        ({"call": "c5"}, ["c5"]),
        ({"call": "nobody"}, []),
        ({"operation": "metrics.op1"}, ["c1", "c5", "c9"]),
        ({"code": "arguments.invalid"}, ["c0", "c3", "c6", "c9"]),
        ({"decision": "refuse"}, ["c0", "c3", "c6", "c9"]),
        ({"decision": "permit", "principal": "ann"}, ["c1", "c5", "c7", "c11"]),
        ({"since_ms": START_MS + 4, "until_ms": START_MS + 6}, ["c4", "c5"]),
        ({"limit": 2}, ["c0", "c1"]),
        ({"limit": 2, "order": "newest"}, ["c11", "c10"]),
        ({"limit": 0}, []),
        ({"limit": -1}, []),
        ({"operation": "' or 1=1 --"}, []),
    ],
)
async def test_filters_hold_all_at_once(held: QueuedLedger, wanted: dict[str, object], expected: list[str]) -> None:
    """Each field that is set must hold; the order and the limit apply to what is left."""
    assert calls(held, **wanted) == expected


async def test_pages_follow_each_other(held: QueuedLedger) -> None:
    """`after` and `before` are cursors: pages neither repeat nor skip."""
    seen: list[int] = []
    after = 0
    while page := held.journal.events(Filter(after=after, order="oldest", limit=5)):
        seen += [row.row for row in page]
        after = seen[-1]
    head = held.journal.head()
    assert head is not None
    assert seen == list(range(1, head.seq + 1))
    assert [row.row for row in held.journal.events(Filter(before=4, limit=2))] == [3, 2]


async def test_a_call_is_everything_about_it_in_order(held: QueuedLedger) -> None:
    """What was decided, then how it ended; the line is the very bytes that were hashed."""
    rows = held.journal.call("c1")
    assert [row.event["event"] for row in rows] == ["Decided", "Finished"]
    assert [orjson.loads(row.line) for row in rows] == [row.event for row in rows]


async def test_runs_are_summed_up(held: QueuedLedger) -> None:
    """Newest first: who, when, how many calls, how many of them refused or failed."""
    found = held.journal.runs()
    by_principal = {summary.principal: summary for summary in found}
    assert by_principal["ann"] == RunSummary(found[0].run, "ann", START_MS + 1, START_MS + 11, 6, 2, 2)
    assert by_principal["bob"] == RunSummary(found[1].run, "bob", START_MS, START_MS + 10, 6, 2, 0)
    assert [summary.principal for summary in held.journal.runs(1)] == ["ann"]
    assert calls(held, run=found[0].run) == ["c1", "c3", "c5", "c7", "c9", "c11"]


async def test_follow_shows_each_new_event_once(held: QueuedLedger) -> None:
    """From the end on by default; it ends when its wait says so."""
    waits = iter(range(3))
    loop = asyncio.get_running_loop()

    def wait() -> bool:
        """Between two looks something is written; the third look is the last."""
        turn = next(waits)
        if turn < 2:
            asyncio.run_coroutine_threadsafe(held.record(decided(100 + turn), ()), loop).result(10)
        return turn < 2

    rows = await asyncio.to_thread(lambda: list(held.journal.follow(None, wait)))
    assert [row.event["call"] for row in rows] == ["call-100", "call-101"]
    again = list(held.journal.follow(rows[0].row - 1, lambda: False))
    assert [row.row for row in again] == [row.row for row in rows]


async def test_the_file_can_be_read_while_it_is_written_and_after(path: Path) -> None:
    """`toolgate journal` works beside a running gate, on a closed file and on a copy in a read-only folder."""
    held = opened(path)
    await held.record(decided(1), ())
    assert [row.event["call"] for row in FileJournal(path).call("call-1")] == ["call-1"]
    assert isinstance(FileJournal(path).verify(), Verified)
    await held.append(finished(1))
    await held.close()
    assert len(FileJournal(path).call("call-1")) == 2


async def test_reading_never_changes_the_journal(path: Path) -> None:
    """A reader holds no lock the writer waits for, and cannot write."""
    held = opened(path)
    await held.record(decided(1), ())
    following = FileJournal(path).follow(0, lambda: True)
    assert next(following).event["event"] == "WriterStarted"  # a reader in the middle of its reading
    await held.record(decided(2), ())
    assert held.ready() is None
    following.close()  # type: ignore[attr-defined]
    await held.close()


def test_a_journal_that_is_not_there_says_where_it_was_looked_for(tmp_path: Path) -> None:
    """And nothing is made by looking."""
    with pytest.raises(LedgerError, match=r"there is no journal at `.*/none.db`"):
        FileJournal(tmp_path / "none.db").head()
    assert list(tmp_path.iterdir()) == []


def test_another_file_is_not_a_journal(tmp_path: Path) -> None:
    """Neither text nor somebody's database is read as one."""
    (tmp_path / "text").write_text("hello " * 1000)
    with closing(sqlite3.connect(tmp_path / "other.db")) as db:
        db.execute("create table events (row)")
    with pytest.raises(LedgerError, match="cannot be read"):
        FileJournal(tmp_path / "text").head()
    with pytest.raises(LedgerError, match="is not a journal"):
        FileJournal(tmp_path / "other.db").head()
