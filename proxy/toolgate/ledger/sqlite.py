"""The ledger in a SQLite file: rows, balances and runs in one transaction.

RULE: few statements. Each one gives up the interpreter lock and may wait for it again behind a busy event loop (up to
`sys.getswitchinterval()`), so a batch is one multi-row INSERT, which is a transaction by itself when nothing else is
written with it. Measured: 3.6 µs a row in batches of 32, against 4.5 with `executemany` and 5.6 with `json_each`.

Flushing is SQLite's own: `synchronous=FULL` for batches that must survive a power cut, `NORMAL` for the others.
INVARIANT (fsyncgate): after a failed flush nothing is believed until a checkpoint has copied the log into the database
and flushed that: the kernel reports a failed write-back once and then calls the lost pages clean.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain as chained
from pathlib import Path
from typing import Final, NamedTuple

from toolgate.core.journal import Broken
from toolgate.ledger.balances import Taken
from toolgate.ledger.chain import Check, Stored, Tip
from toolgate.ledger.files import Lock, Watch, check_after_open, prepare
from toolgate.ledger.kept import attempts_of, close_attempts
from toolgate.ledger.kept import keep as keep_moves
from toolgate.ledger.moves import Move
from toolgate.ledger.run_counts import RunCounts
from toolgate.ledger.schema import begin, connect, damaged, reason
from toolgate.ledger.states import TURNS, States, forget_runs, sweep, take, turn
from toolgate.ledger.store import Keep, Orphan, Recovered, Segment
from toolgate.ports import LedgerError

SEGMENT_ROWS: Final = 256  # about 5 ms to verify and remove: what a call may have to wait for pruning
TAIL_ROWS: Final = 1_000  # verified at every start
ORPHAN_ROWS: Final = 10_000
COUNT_ROWS: Final = 256  # after so many rows it is written down what their runs have come to

COLUMNS: Final = "row, at_ms, kind, call, run, principal, operation, code, hash, line"
_ROW: Final = "(?,?,?,?,?,?,?,?,?,cast(? as text))"
# As `RunCounts` and `projection.Run` count them, one event at a time. By row: the planner would read the whole index
# of runs.
_COUNT: Final = """
insert into run_counts (run, operation, permits, refusals, completed)
select run, coalesce(operation, ''), sum(kind = 'Decided' and code is null), sum(kind = 'Decided' and code is not null),
  max(case when kind = 'Finished' and code is null and json_valid(line)
    then json_extract(line, '$.outcome') = 'completed' and coalesce(json_extract(line, '$.status') < 400, 0) else 0 end)
from events not indexed where row > (select row from counted) and run is not null and kind in ('Decided', 'Finished') group by 1, 2
on conflict (run, operation) do update set permits = permits + excluded.permits,
  refusals = refusals + excluded.refusals, completed = max(completed, excluded.completed)
"""
_ADD_COUNT: Final = """
insert into run_counts (run, operation, permits, refusals, completed) values (?, ?, ?, ?, ?)
on conflict (run, operation) do update set permits = permits + excluded.permits,
  refusals = refusals + excluded.refusals, completed = max(completed, excluded.completed)
"""
_LAST: Final = """
update runs set last_ms = max(last_ms, new.at_ms) from (select run, max(at_ms) as at_ms from events not indexed
  where row > (select row from counted) and run is not null group by run) as new where new.run = runs.run
"""
_HEARD: Final = "update runs set last_ms = max(last_ms, ?) where run = ?"


class _Last(NamedTuple):
    """How a journal ends: the kind of its last line, and the latest time in its newest ones."""

    kind: str | None = None
    at_ms: int = 0


class SqliteStore:
    """One writer's hold on a journal file. See `store.Store`."""

    def __init__(self, path: Path, at: Callable[[str], None]) -> None:
        self._path = path
        self._at = at
        self._run_counts = RunCounts()
        self._idle_ms = 0
        self._swept = ""  # the last run whose balances were looked at
        self._flushing = False
        self._distrusted = False
        self._lock = Lock(path)
        try:
            prepare(path)
            self._db = connect(path)
        except BaseException:
            self._lock.release()
            raise
        try:
            begin(self._db, path)
            check_after_open(path)
            self._watch = Watch(path)
        except BaseException:
            self._db.close()
            self._lock.release()
            raise

    def recover(self, now_ms: int, idle_ms: int) -> Recovered:
        self._idle_ms = idle_ms
        try:
            tip, last = self._tail()
            self._count(tip)
            clean = last.kind in {None, "WriterStopped"}
            states = States(self._db, now_ms, idle_ms)
            return Recovered(
                tip=tip,
                clean=clean,
                last_ms=last.at_ms,
                changes=states.changes(),
                arrivals=states.arrivals(),
                runs=states.runs(),
                freezes=states.freezes(),
                agreed=states.agreed(),
                orphans=() if clean else tuple(self._orphans(tip)),
            )
        except (sqlite3.Error, ValueError) as error:
            raise damaged(self._path, str(error)) from error

    def write(self, rows: Sequence[Stored], taken: Sequence[Taken], *, flush: bool, moves: Sequence[Move] = ()) -> None:
        try:
            self._watch.check()
            self._set_flush(flush)
            turns = [row for row in rows if row[2] in TURNS]
            if taken or turns or moves or self._run_counts.rows >= COUNT_ROWS:
                self._write_together(rows, taken, turns, moves)
            else:
                self._insert(rows)
            self._run_counts.add(rows)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def sweep(self, now_ms: int) -> bool:
        try:
            self._watch.check()
            self._db.execute("begin immediate")
            self._write_tally()  # when a run was last heard of
            swept = sweep(self._db, now_ms, self._idle_ms, self._swept)
            self._db.execute("commit")
            self._run_counts = RunCounts()
        except sqlite3.Error as error:
            raise self._failed(error) from error
        self._swept = swept.last
        return swept.has_more

    def oldest(self, keep: Keep, tip: Tip, now_ms: int) -> Segment | None:
        try:
            return self._oldest(keep, tip, now_ms)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def prune(self, segment: Segment, rows: Sequence[Stored]) -> None:
        last = segment.to.row
        try:
            self._watch.check()
            self._db.execute("begin immediate")
            self._write_tally()  # what goes stays counted
            self._db.execute("delete from events where row <= ?", (last,))
            forget_runs(self._db, rows[-1][1], self._idle_ms)
            self._insert(rows)
            self._db.execute("commit")
            self._run_counts = RunCounts()
            self._run_counts.add(rows)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def close(self) -> None:
        try:
            self._db.close()
        finally:
            self._lock.release()

    def _write_together(
        self, rows: Sequence[Stored], taken: Sequence[Taken], turns: Sequence[Stored], moves: Sequence[Move]
    ) -> None:
        self._db.execute("begin immediate")
        self._insert(rows)
        for row in turns:
            turn(self._db, row)
        take(self._db, taken)
        keep_moves(self._db, moves)
        is_due = self._run_counts.rows >= COUNT_ROWS
        if is_due:
            self._write_tally()
        self._at("inserted")
        self._db.execute("commit")
        if is_due:
            self._run_counts = RunCounts()

    def _count(self, tip: Tip) -> None:
        """Count the rows that no writer wrote down."""
        self._db.execute("begin immediate")
        self._db.execute(_COUNT)
        self._db.execute(_LAST)
        self._db.execute("update counted set row = max(row, ?)", (tip.row,))
        close_attempts(self._db)
        self._db.execute("commit")

    def _write_tally(self) -> None:
        tally = self._run_counts
        if tally.rows:
            self._db.executemany(_ADD_COUNT, tally.told())
            self._db.executemany(_HEARD, tally.heard())
            self._db.execute("update counted set row = ?", (tally.row,))

    def _insert(self, rows: Sequence[Stored]) -> None:
        self._db.execute(_insert(len(rows)), tuple(chained.from_iterable(rows)))

    def _set_flush(self, flush: bool) -> None:  # noqa: FBT001 (mirrors the pragma)
        if self._distrusted:
            self._db.execute("pragma synchronous = full")
            busy, _, _ = self._db.execute("pragma wal_checkpoint(truncate)").fetchone()
            if busy:
                raise LedgerError(
                    "a flush to disk failed, and a reader keeps the journal's log from being written anew"
                )
            self._distrusted, self._flushing = False, True
            self._watch.look()
        if flush != self._flushing:
            self._db.execute("pragma synchronous = full" if flush else "pragma synchronous = normal")
            self._flushing = flush

    def _failed(self, error: sqlite3.Error) -> LedgerError:
        name = getattr(error, "sqlite_errorname", "") or ""
        if name in {"SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC"}:
            self._distrusted = True
        if self._db.in_transaction:
            try:
                self._db.rollback()
            except sqlite3.Error as again:
                return LedgerError(f"the journal `{self._path}` cannot be written: {error}; nor undone: {again}")
        return LedgerError(f"the journal `{self._path}` cannot be written: {reason(error)}")

    def _tail(self) -> tuple[Tip, _Last]:
        """Verify the newest rows: whoever changed them is found at the next start."""
        newest = self._db.execute("select max(row) from events").fetchone()[0]
        if newest is None:
            return Tip(), _Last()
        rows = self._rows("where row > ? order by row", (newest - TAIL_ROWS,))
        following, last = Check(), _Last()
        for stored in rows:
            broken = following.feed(stored)
            if broken is not None:
                raise damaged(self._path, f"row {broken.row}: {broken.why}")
            last = _Last(stored[2], max(last.at_ms, stored[1]))
        return following.tip, last

    def _rows(self, where: str, values: Sequence[object]) -> Iterable[Stored]:
        return read_rows(self._db, where, values)

    def _orphans(self, tip: Tip) -> Iterable[Orphan]:
        where = (
            "as decided where row > ? and kind = 'Decided' and code is null and call is not null and not exists"
            " (select 1 from events as f where f.call = decided.call and f.kind = 'Finished') order by row"
        )
        found = list(self._rows(where, (tip.row - ORPHAN_ROWS,)))
        attempts = attempts_of(self._db, [stored[3] or "" for stored in found])
        for _, _, _, call, run, principal, operation, *_ in found:
            yield Orphan(call or "", run, operation, principal, attempts.get(call or "", {}))

    def _oldest(self, keep: Keep, tip: Tip, now_ms: int) -> Segment | None:
        first = self._db.execute("select min(row) from events").fetchone()[0]
        if first is None or first + 2 * SEGMENT_ROWS > tip.row:
            return None
        last = first + SEGMENT_ROWS - 1
        if not (self._is_old(keep, last, now_ms) or self._is_large(keep)):
            return None
        rows = list(self._rows("where row between ? and ? order by row", (first, last)))
        checked = Check()
        broken = next((wrong for wrong in map(checked.feed, rows) if wrong is not None), None)
        if broken is None and checked.tip.row != last:
            broken = Broken(last, None, None, "rows are missing")
        if broken is not None:
            raise LedgerError(f"`journal.keep` removes nothing: row {broken.row}: {broken.why}")
        return Segment(len(rows), checked.tip)

    def _is_old(self, keep: Keep, row: int, now_ms: int) -> bool:
        if keep.age_s is None:
            return False
        found = self._db.execute("select at_ms from events where row = ?", (row,)).fetchone()
        at_ms: int | None = None if found is None else found[0]
        return at_ms is not None and at_ms < now_ms - keep.age_s * 1000

    def _is_large(self, keep: Keep) -> bool:
        if keep.size is None:
            return False
        pages, free, page_size = (
            self._db.execute(f"pragma {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        used: int = (pages - free) * page_size
        return used > keep.size


def read_rows(db: sqlite3.Connection, where: str, values: Sequence[object]) -> Iterable[Stored]:
    """Read rows as they were stored; `line` as bytes."""
    columns = "row, at_ms, kind, call, run, principal, operation, code, cast(hash as blob), cast(line as blob)"
    return db.execute(f"select {columns} from events {where}", values)  # noqa: S608 (constants)


@lru_cache(maxsize=64)
def _insert(count: int) -> str:
    return f"insert into events ({COLUMNS}) values {','.join([_ROW] * count)}"  # noqa: S608 (constants)
