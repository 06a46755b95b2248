"""What the tables do not have yet: for readers, at a start, and when they follow it counts once (INV7)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ledger.world import BACK_TO_3, START_MS, Clock, calling, decided, ledger_filter, opened, take

from toolgate.core.model import Charge, Guard, Pace, Rolling
from toolgate.ledger import FileJournal, QueuedLedger
from toolgate.ledger.chain import Stored
from toolgate.ledger.moves import Began, Ended, Followed, Unused, Used
from toolgate.ledger.redo import redo_of, redone
from toolgate.ledger.sqlite import MOST_BEHIND, SWEPT_MS, SqliteStore
from toolgate.ledger.taken import PLAIN, Change, Taken, change_of
from toolgate.ledger.writer import PRUNE_EVENTS
from toolgate.ports import LedgerError

HOUR = Rolling(START_MS // 60_000, 61)
PACE = Pace("r:burst:ann", 1_000_000, 99)
GUARDS: tuple[Guard, ...] = (take(2, 10_000, "b:spend:usd:ann"), Charge("b:hour:calls:ann", 1, 10_000, HOUR), PACE)


async def spend(held: QueuedLedger, first: int, count: int) -> None:
    for number in range(first, first + count):
        guards = GUARDS if number % 100 == 0 else GUARDS[:2]
        assert await held.record(decided(number)._replace(run=f"run_{number % 3}"), guards) is None


def in_tables(path: Path) -> dict[str, int]:
    """What is taken, as the tables alone say it."""
    with closing(sqlite3.connect(path)) as db:
        return dict(db.execute("select key, sum(taken) from balances group by key").fetchall())


async def test_a_reader_sees_what_is_committed(path: Path) -> None:
    """Beside a running gate, before the tables follow, while they have followed in part, and after its end."""
    clock = Clock()
    held = opened(path, clock=clock)
    journal = FileJournal(path)
    await spend(held, 0, 10)
    assert {} == in_tables(path)
    assert {"b:spend:usd:ann": 20, "b:hour:calls:ann": 10} == journal.balances(START_MS) == held.balances()
    await spend(held, 10, PRUNE_EVENTS + 50)
    assert 20 < in_tables(path)["b:spend:usd:ann"] < 2 * (PRUNE_EVENTS + 60)
    assert journal.balances(START_MS) == held.balances()
    await held.close()
    assert held.balances() == journal.balances(START_MS)
    assert {"b:spend:usd:ann": 2 * (PRUNE_EVENTS + 60)} == journal.balances(START_MS + 2 * 3_600_000)


async def test_what_the_tables_did_not_have_counts_once(path: Path) -> None:
    """However often a gate begins, it begins with what the journal's rows changed."""
    held = opened(path)
    await spend(held, 0, 7)
    expected = held.balances(), held.facts((), START_MS).levels.arrival_us(PACE)
    await held.close()
    for _ in range(3):
        held = opened(path)
        assert expected == (held.balances(), held.facts((), START_MS).levels.arrival_us(PACE))
        await held.close()
    assert expected[0] == in_tables(path)


async def test_a_run_is_found_before_and_after_the_tables_follow(path: Path) -> None:
    """Its rows are in their order and none comes twice, wherever the tables have come to."""
    held = opened(path)
    await spend(held, 0, PRUNE_EVENTS + 60)
    journal = FileJournal(path)
    expected = [f"call-{number}" for number in range(PRUNE_EVENTS + 60) if number % 3 == 1]
    oldest = [row.event["call"] for row in journal.events(ledger_filter(run="run_1", kind="Decided"))]
    newest = [row.event["call"] for row in journal.events(ledger_filter(run="run_1", order="newest", limit=40))]
    with closing(sqlite3.connect(path)) as db:
        found = db.execute("select count(*) from run_rows where run = 'run_1'").fetchone()[0]
    assert 0 < found < len(expected)
    assert expected == oldest
    assert expected[:-41:-1] == newest
    await held.close()


async def test_a_file_of_the_format_before_is_read_and_taken_over(path: Path) -> None:
    """By a reader as it lies, and by a gate, which writes the rows of its runs into the table."""
    held = opened(path)
    held.next_in_run(calling("ann"))
    await spend(held, 0, 30)
    await held.close()
    await opened(path).close()  # the tables follow
    journal = FileJournal(path)
    expected = journal.events(ledger_filter(run="run_1")), journal.runs(), journal.balances(START_MS)
    with closing(sqlite3.connect(path)) as db:
        db.executescript(BACK_TO_3)
    assert ["ann"] == [run.principal for run in expected[1]]
    assert expected == (journal.events(ledger_filter(run="run_1")), journal.runs(), journal.balances(START_MS))
    await opened(path).close()
    assert expected == (journal.events(ledger_filter(run="run_1")), journal.runs(), journal.balances(START_MS))


@pytest.mark.parametrize(
    "redo",
    [
        "x", "7", "[]",
        '[1,[["k"]],[],{},[]]', '["x",[["k",5,1,60]],[],{},[]]', '[1,[["k",5,1,"60"]],[],{},[]]', "[1,[[[],5,1,60]],[],{},[]]",
        '[1,[],[["k"]],{},[]]', "[1,[],[],[],[]]", '[1,[],[],{},[["gone","c"]]]', "[1,[],[],{},[[]]]",
    ],
)  # fmt: skip
async def test_a_damaged_redo_keeps_a_gate_from_starting(path: Path, redo: str) -> None:
    """What cannot be read is not passed over: balances would be too low."""
    held = opened(path)
    await spend(held, 0, 3)
    await held.close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("update events set redo = ? where redo is not null", (redo,))
    with pytest.raises(LedgerError, match=r"is damaged: what its rows changed cannot be read; see `toolgate journal"):
        opened(path)
    with pytest.raises(LedgerError, match=r"cannot be read: what its rows changed cannot be read"):
        FileJournal(path).balances(START_MS)


def test_tables_that_cannot_follow_stop_the_journal_in_the_end(path: Path) -> None:
    """What waits for them is bounded: then records are refused with the reason."""
    with closing(SqliteStore(path, lambda _: None)) as store:
        store.recover(START_MS, 1_000)
        with closing(sqlite3.connect(path)) as db:
            db.execute("drop table run_rows")
        for first in range(0, MOST_BEHIND + 1_000, 1_000):
            store.write([filler(first + n + 1) for n in range(1_000)], (), flush=False)
        with pytest.raises(LedgerError, match="no such table: run_rows"):
            store.sweep(START_MS)
        with pytest.raises(LedgerError, match=r"tables cannot be brought up to date: .*no such table: run_rows"):
            store.write([filler(MOST_BEHIND + 2_000)], (), flush=False)


def test_a_journal_whose_tables_can_follow_again_goes_on(path: Path) -> None:
    """While records are refused nothing sweeps, so the next record brings the tables up to date itself."""
    with closing(SqliteStore(path, lambda _: None)) as store:
        store.recover(START_MS, 1_000)
        for first in range(0, MOST_BEHIND + 1_000, 1_000):
            store.write([filler(first + n + 1) for n in range(1_000)], (), flush=False)
        store.write([filler(MOST_BEHIND + 1_001)], (), flush=False)
        assert MOST_BEHIND + 1_001 == committed(path)


def test_what_is_written_after_a_defect_is_committed(path: Path) -> None:
    """Else it would be acknowledged within a transaction that is undone later (INV1)."""
    passed: list[str] = []

    def at(point: str) -> None:
        passed.append(point)
        if point == "followed" and passed.count(point) == 1:
            raise RuntimeError

    with closing(SqliteStore(path, at)) as store:
        store.recover(START_MS, 1_000)
        store.write([filler(1)], (), flush=False)
        with pytest.raises(RuntimeError):
            store.sweep(START_MS)
        store.write([filler(2)], (), flush=False)
        assert 2 == committed(path)


def test_what_is_over_is_looked_for_now_and_then(path: Path) -> None:
    """That costs the more the more runs are open, so not with every thousand rows; the tables follow those nevertheless."""
    with closing(SqliteStore(path, lambda _: None)) as store, closing(sqlite3.connect(path)) as db:
        store.recover(START_MS, 1_000)
        store.sweep(START_MS)
        kept = []
        for row, at_ms in enumerate((START_MS + 1, START_MS + SWEPT_MS - 1, START_MS + SWEPT_MS), 1):
            over = Change(f"b:over:calls:{at_ms}", 0, 1, START_MS)
            store.write([filler(row)], [Taken((over,))], flush=False)
            store.sweep(at_ms)
            assert (row,) == db.execute("select row from counted").fetchone()
            kept.append(db.execute("select count(*) from balances").fetchone()[0])
        assert [1, 2, 0] == kept


def test_turns_of_steps_are_not_kept(path: Path) -> None:
    """A number is asked for once: the step itself keeps how many there were, also when one was never sent."""
    turn, paid = Charge("p:plan_1:s#1", 1, 1), Charge("b:all:usd", 5, 10)
    taken = [Taken((), (turn, paid), START_MS), Taken((change_of(turn, -1, START_MS),))]
    redo = redo_of(taken, ())
    assert redo is not None
    assert [Change("b:all:usd", PLAIN, 5)] == redone([redo]).changes()


def filler(row: int) -> Stored:
    return (row, START_MS, "Filler", None, None, None, None, None, b"", b"{}")


def committed(path: Path) -> int:
    """How many rows another reader sees."""
    with closing(sqlite3.connect(path)) as db:
        found: int = db.execute("select count(*) from events").fetchone()[0]
        return found


names = st.text("abc", min_size=1, max_size=2)
begun = st.builds(Began, names, names, names)
outputs = st.dictionaries(names, st.none() | names, max_size=2)
ended = st.builds(Ended, begun, st.sampled_from(["done", "failed", "unknown", None]), outputs)
moves = begun | ended | st.builds(Used, names, names) | st.builds(Unused, names, names)


@given(st.lists(st.lists(moves, max_size=4), max_size=4))
def test_moves_come_back_in_their_order(batches: Sequence[Sequence[Followed]]) -> None:
    """A redo says of plans and approvals all that the tables need."""
    redos = [redo_of((), batch) for batch in batches]
    assert [move for batch in batches for move in batch] == redone(redo for redo in redos if redo is not None).moves
