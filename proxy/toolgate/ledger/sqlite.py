"""The ledger in a SQLite file: rows, balances and runs in one transaction.

RULE: few statements. Each one gives up the interpreter lock and may wait for it again behind a busy event loop (up to
`sys.getswitchinterval()`), so a batch is one multi-row INSERT, which is a transaction by itself when nothing else is
written with it: what the rows changed stands in the `redo` of the last of them, and the tables follow it now and then
(`tally`). Measured: 3.6 µs a row in batches of 32, against 4.5 with `executemany` and 5.6 with `json_each`.

Flushing is SQLite's own: `synchronous=FULL` for batches that must survive a power cut, `NORMAL` for the others.
INVARIANT (fsyncgate): after a failed flush nothing is believed until a checkpoint has copied the log into the database
and flushed that: the kernel reports a failed write-back once and then calls the lost pages clean.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from toolgate.core.journal import Broken
from toolgate.ledger.chain import Check, Stored, Tip
from toolgate.ledger.files import Lock, Watch, check_after_open, prepare
from toolgate.ledger.kept import attempts_of, keep
from toolgate.ledger.moves import Kept, Move
from toolgate.ledger.redo import redo_of
from toolgate.ledger.run_counts import RunCounts
from toolgate.ledger.schema import begin, connect, damaged, reason
from toolgate.ledger.states import TURNS, States, Swept, forget_runs, sweep, turn
from toolgate.ledger.store import Keep, Orphan, Recovered, Segment
from toolgate.ledger.taken import Taken
from toolgate.ledger.tally import catch_up, tally
from toolgate.ports import LedgerError

SEGMENT_ROWS: Final = 256  # about 5 ms to verify and remove: what a call may have to wait for pruning
TAIL_ROWS: Final = 1_000  # verified at every start
ORPHAN_ROWS: Final = 10_000
MOST_BEHIND: Final = 100_000  # rows the tables may be behind: a start reads them all, and memory counts their runs
SWEPT_MS: Final = 10_000  # from one look at all runs to the next
_FAULTS: Final = (sqlite3.Error, ValueError, OverflowError)  # the file's, and of values that cannot be in one

COLUMNS: Final = "row, at_ms, kind, call, run, principal, operation, code, hash, line, redo"
_NULLABLE: Final = "nullif(?,0)"
_VALUES: Final = f"?,?,?,{','.join([_NULLABLE] * 5)},?,?"
_FORGET_ROWS: Final = """
delete from run_rows where (run, row) in (select run, row from events where row <= ? and run is not null)
"""


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
        self._swept_ms: int | None = None  # when all were
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
            self._catch_up(tip)
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
        if self._run_counts.rows > MOST_BEHIND:
            self._follow()
        try:
            self._watch.check()
            self._set_flush(flush)
            redo = redo_of(taken, moves)
            turns = [row for row in rows if row[2] in TURNS]
            kept = [move for move in moves if isinstance(move, Kept)]
            if turns or kept:
                self._write_together(rows, redo, turns, kept)
            else:
                self._insert(rows, redo)
            self._run_counts.add(rows)
        except _FAULTS as error:
            raise self._failed(error) from error

    def sweep(self, now_ms: int) -> bool:
        try:
            self._watch.check()
            with self._whole():
                tally(self._db, self._run_counts)  # when a run was last heard of
                swept = self._sweep(now_ms)
                self._at("followed")
            self._run_counts = RunCounts()
        except _FAULTS as error:
            raise self._failed(error) from error
        self._swept = swept.last
        return swept.has_more

    def _sweep(self, now_ms: int) -> Swept:
        """Look for what is over, but now and then: that costs the more the more runs are open, whoever calls."""
        if self._swept_ms is not None and abs(now_ms - self._swept_ms) < SWEPT_MS:
            return Swept("", has_more=False)
        swept = sweep(self._db, now_ms, self._idle_ms, self._swept)
        self._swept_ms = None if swept.has_more else now_ms
        return swept

    def oldest(self, keep: Keep, tip: Tip, now_ms: int) -> Segment | None:
        try:
            return self._oldest(keep, tip, now_ms)
        except _FAULTS as error:
            raise self._failed(error) from error

    def prune(self, segment: Segment, rows: Sequence[Stored]) -> None:
        last = segment.to.row
        try:
            self._watch.check()
            with self._whole():
                tally(self._db, self._run_counts)  # what goes stays counted
                self._db.execute(_FORGET_ROWS, (last,))
                self._db.execute("delete from events where row <= ?", (last,))
                forget_runs(self._db, rows[-1][1], self._idle_ms)
                self._insert(rows, None)
            self._run_counts = RunCounts()
            self._run_counts.add(rows)
        except _FAULTS as error:
            raise self._failed(error) from error

    def close(self) -> None:
        try:
            self._db.close()
        finally:
            self._lock.release()

    def _write_together(
        self, rows: Sequence[Stored], redo: bytes | None, turns: Sequence[Stored], kept: Sequence[Kept]
    ) -> None:
        with self._whole():
            self._insert(rows, redo)
            for row in turns:
                turn(self._db, row)
            for move in kept:
                keep(self._db, move)
            self._at("inserted")

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """One transaction. INVARIANT: whatever breaks, also a defect, none is left open: what is written next would be in it."""
        self._db.execute("begin immediate")
        try:
            yield
            self._db.execute("commit")
        except BaseException:
            with suppress(sqlite3.Error):  # what went wrong first is what is told; `_failed` tries again
                self._db.rollback()
            raise

    def _follow(self) -> None:
        """Bring the tables up to date before more is written: a sweep could not, and what waits for them is bounded."""
        try:
            with self._whole():
                tally(self._db, self._run_counts)
        except _FAULTS as error:
            raise LedgerError(f"the journal's tables cannot be brought up to date: {reason(error)}") from error
        self._run_counts = RunCounts()

    def _catch_up(self, tip: Tip) -> None:
        with self._whole():
            catch_up(self._db, tip.row)

    def _insert(self, rows: Sequence[Stored], redo: bytes | None) -> None:
        self._db.execute(_insert(len(rows)), _bound(rows, redo))

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

    def _failed(self, error: Exception) -> LedgerError:
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


def read_rows(db: sqlite3.Connection, where: str, values: Sequence[object], source: str = "events") -> Iterable[Stored]:
    """Read rows as they were stored; `line` as bytes."""
    columns = "row, at_ms, kind, call, run, principal, operation, code, cast(hash as blob), cast(line as blob)"
    return db.execute(f"select {columns} from {source} {where}", values)  # noqa: S608 (constants)


@lru_cache(maxsize=64)
def _insert(count: int) -> str:
    rows = [*[f"({_VALUES},null)"] * (count - 1), f"({_VALUES},{_NULLABLE})"]
    return f"insert into events ({COLUMNS}) values {','.join(rows)}"  # noqa: S608 (constants)


def _bound(rows: Iterable[Stored], redo: bytes | None) -> list[object]:
    """The values of `_insert`. Python looks for an adapter of each `None` and `bytes`: 3k instructions, so there are none."""
    values: list[object] = []
    for row, at_ms, kind, call, run, principal, operation, code, digest, line in rows:
        values += (
            row, at_ms, kind,
            0 if call is None else call,
            0 if run is None else run,
            0 if principal is None else principal,
            0 if operation is None else operation,
            0 if code is None else code,
            bytearray(digest), line.decode(),
        )  # fmt: skip
    values.append(0 if redo is None else bytearray(redo))
    return values
