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
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain as chained
from pathlib import Path
from typing import Final

from toolgate.core.journal import Broken
from toolgate.ledger.chain import Check, Stored, Tip, parse
from toolgate.ledger.files import Lock, Watch, check_after_open, prepare
from toolgate.ledger.projection import Run
from toolgate.ledger.schema import begin, connect, damaged, reason
from toolgate.ledger.store import Keep, Orphan, Recovered, Segment
from toolgate.ledger.tally import Tally
from toolgate.ports import LedgerError

SEGMENT_ROWS: Final = 256  # about 5 ms to verify and remove: what a call may have to wait for pruning
TAIL_ROWS: Final = 1_000  # verified at every start
ORPHAN_ROWS: Final = 10_000
RECENT_RUNS: Final = 10_000
COUNT_ROWS: Final = 256  # after so many rows it is written down what their runs have come to

COLUMNS: Final = "row, at_ms, kind, call, run, principal, operation, code, hash, line"
_ROW: Final = "(?,?,?,?,?,?,?,?,?,cast(? as text))"
_START_RUN: Final = "insert or ignore into runs (run, principal, started_ms) values (?,?,?)"
# As `tally.Tally` and `projection.Run` count them, one event at a time. By row: the planner would read the whole index
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
_TAKE: Final = (
    "insert into balances (key, taken) values {} on conflict (key) do update set taken = taken + excluded.taken"
)


class SqliteStore:
    """One writer's hold on a journal file. See `store.Store`."""

    def __init__(self, path: Path, at: Callable[[str], None]) -> None:
        self._path = path
        self._at = at
        self._tally = Tally()
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
        try:
            tip, last = self._tail()
            self._count(tip)
            clean = last in {None, "WriterStopped"}
            return Recovered(
                tip=tip,
                clean=clean,
                taken=dict(self._db.execute("select cast(key as text), taken from balances").fetchall()),
                runs=dict(self._recent_runs(now_ms - idle_ms)),
                orphans=() if clean else tuple(self._orphans(tip)),
            )
        except sqlite3.Error as error:
            raise damaged(self._path, str(error)) from error

    def write(self, rows: Sequence[Stored], taken: Mapping[str, int], *, flush: bool) -> None:
        try:
            self._watch.check()
            self._set_flush(flush)
            started = [row for row in rows if row[2] == "RunStarted"]
            if taken or started or self._tally.rows >= COUNT_ROWS:
                self._write_together(rows, taken, started)
            else:
                self._insert(rows)
            self._tally.add(rows)
        except sqlite3.Error as error:
            raise self._failed(error) from error

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
            gone = self._db.execute(
                "delete from runs where run in (select run from events where row <= ?)"
                " and not exists (select 1 from events where events.run = runs.run and row > ?) returning run",
                (last, last),
            ).fetchall()
            self._db.executemany("delete from run_counts where run = ?", gone)
            self._db.execute("delete from events where row <= ?", (last,))
            self._insert(rows)
            self._db.execute("commit")
            self._tally = Tally()
            self._tally.add(rows)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def close(self) -> None:
        try:
            self._db.close()
        finally:
            self._lock.release()

    def _write_together(self, rows: Sequence[Stored], taken: Mapping[str, int], started: Sequence[Stored]) -> None:
        self._db.execute("begin immediate")
        self._insert(rows)
        if started:
            self._db.executemany(_START_RUN, [(row[4], row[5] or "", row[1]) for row in started if row[4]])
        if taken:
            self._db.execute(_take(len(taken)), tuple(chained.from_iterable(taken.items())))
        self._write_tally()
        self._at("inserted")
        self._db.execute("commit")
        self._tally = Tally()

    def _count(self, tip: Tip) -> None:
        """Count the rows that no writer wrote down."""
        self._db.execute("begin immediate")
        self._db.execute(_COUNT)
        self._db.execute("update counted set row = max(row, ?)", (tip.row,))
        self._db.execute("commit")

    def _write_tally(self) -> None:
        if self._tally.rows:
            self._db.executemany(_ADD_COUNT, self._tally.told())
            self._db.execute("update counted set row = ?", (self._tally.row,))

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

    def _tail(self) -> tuple[Tip, str | None]:
        """Verify the newest rows: whoever changed them is found at the next start."""
        newest = self._db.execute("select max(row) from events").fetchone()[0]
        if newest is None:
            return Tip(), None
        rows = self._rows("where row > ? order by row", (newest - TAIL_ROWS,))
        following = Check()
        kind = None
        for stored in rows:
            broken = following.feed(stored)
            if broken is not None:
                raise damaged(self._path, f"row {broken.row}: {broken.why}")
            kind = stored[2]
        return following.tip, kind

    def _rows(self, where: str, values: Sequence[object]) -> Iterable[Stored]:
        return read_rows(self._db, where, values)

    def _recent_runs(self, since_ms: int) -> Iterable[tuple[str, Run]]:
        found: dict[str, Run] = {}
        newest = (
            "select cast(run as text), cast(principal as text), started_ms from runs order by started_ms desc limit ?"
        )
        for run, principal, started_ms in self._db.execute(newest, (RECENT_RUNS,)).fetchall():
            if principal not in found:
                last_ms = self._last_ms(run)
                if last_ms is not None and last_ms >= since_ms:
                    found[principal] = self._run(Run(run, 0, started_ms, started_ms))
        return found.items()

    def _run(self, run: Run) -> Run:
        """Fill in what has come of a run, and when its last call was."""
        counts = "select cast(operation as text), permits, refusals, completed from run_counts where run = ?"
        for operation, permits, refusals, completed in self._db.execute(counts, (run.id,)).fetchall():
            run.calls += permits + refusals
            run.refusals += refusals
            if operation and permits:
                run.permits[operation] = permits
            if operation and completed:
                run.complete(operation)
        last = "where run = ? and kind = 'Decided' order by row desc limit 1"
        for stored in self._rows(last, (run.id,)):
            number = parse(stored[9]).get("number")
            run.number = number if isinstance(number, int) else 0
            run.last_ms = stored[1]
        run.number = max(run.number, run.calls)
        return run

    def _last_ms(self, run: str) -> int | None:
        last = self._db.execute("select at_ms from events where run = ? order by row desc limit 1", (run,)).fetchone()
        return None if last is None else last[0]

    def _orphans(self, tip: Tip) -> Iterable[Orphan]:
        where = (
            "as decided where row > ? and kind = 'Decided' and code is null and call is not null and not exists"
            " (select 1 from events as f where f.call = decided.call and f.kind = 'Finished') order by row"
        )
        for stored in self._rows(where, (tip.row - ORPHAN_ROWS,)):
            yield Orphan(call=stored[3] or "", run=stored[4], principal=stored[5], operation=stored[6])

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


@lru_cache(maxsize=64)
def _take(count: int) -> str:
    return _TAKE.format(",".join(["(?,?)"] * count))
