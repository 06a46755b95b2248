"""The shape of the journal's file: making it, recognising it, and refusing what is not it.

RULE: a file is touched only after it is known to be a journal of this version, or empty; every refusal is one sentence
with what to do.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from toolgate.ledger.files import not_a_ledger
from toolgate.ledger.kept import TABLES
from toolgate.ports import LedgerError

APPLICATION_ID: Final = 0x54474A31  # "TGJ1"
VERSION: Final = 4
BUSY_TIMEOUT_S: Final = 0.5
LOG_PAGES: Final = 8_000  # 32 MB of log; copying it into the database flushes, and calls wait for that: seldom, then
WHOLE_CHECK_BYTES: Final = 256 << 20  # 0.1 s; in larger files the newest rows only: a start must not take minutes

# A row's `redo` is what the rows of its transaction changed, until the tables follow (`tally`); `run_rows`: of counted rows.
_EVENTS: Final = """
create table events (row integer primary key, at_ms integer not null, kind text not null, call text, run text,
  principal text, operation text, code text, hash blob not null, line text not null, redo blob);
create index events_by_call on events (call) where call is not null;
create table run_rows (run text not null, row integer not null, primary key (run, row)) without rowid;
create table runs (run text primary key, principal text not null, started_ms integer not null) without rowid;
create index runs_by_start on runs (started_ms);
"""
# What each run has come to, up to the row in `counted`. A file of before has none: it is counted from its first row.
_COUNTS: Final = """
create table if not exists run_counts (run text not null, operation text not null, permits integer not null,
  refusals integer not null, completed integer not null, primary key (run, operation)) without rowid;
create table if not exists counted (row integer not null);
insert into counted select 0 where not exists (select 1 from counted);
"""
# Format 2. A run's `last_ms` is that of its last counted event; `until_ms`: its token, or that of a run below it, is good
# so long. A balance's `bucket` is -1 where its window does not roll; `until_ms` is when a bucket leaves its window.
_GUARDS: Final = """
create table balances (key text not null, bucket integer not null, taken integer not null, until_ms integer, run text,
  primary key (key, bucket)) without rowid;
create index balances_by_end on balances (until_ms) where until_ms is not null;
create index balances_by_run on balances (run) where run is not null;
create table paces (key text primary key, arrival_us integer not null) without rowid;
create index paces_by_arrival on paces (arrival_us);
create table freezes (key text primary key, who text not null, why text not null, at_ms integer not null) without rowid;
alter table runs add column last_ms integer not null default 0;
alter table runs add column opened integer not null default 0;
alter table runs add column until_ms integer not null default 0;
alter table runs add column above text not null default '[]';
alter table runs add column stopped text;
alter table runs add column finished integer not null default 0;
create index runs_by_end on runs (max(last_ms, until_ms));
update runs set last_ms = coalesce((select max(at_ms) from events where events.run = runs.run), started_ms);
"""
_MARK: Final = f"pragma application_id = {APPLICATION_ID}; pragma user_version = {VERSION};"
_SCHEMA: Final = f"begin immediate; {_EVENTS} {_COUNTS} {_GUARDS} {TABLES} {_MARK} commit;"
# Of before: the rows of a run were found by an index, and the tables followed each row.
_REDO: Final = """
alter table events add column redo blob;
create table run_rows (run text not null, row integer not null, primary key (run, row)) without rowid;
insert into run_rows (run, row) select run, row from events
  where run is not null and row <= (select row from counted) order by run, row;
drop index events_by_run;
"""
_FROM_1: Final = f"""
begin immediate;
{_COUNTS}
alter table balances rename to balances_1;
{_GUARDS}
insert into balances select key, -1, taken, null, null from balances_1;
drop table balances_1;
{TABLES}
{_REDO}
{_MARK}
commit;
"""  # noqa: S608 (constants)
_FROM: Final = {
    1: _FROM_1,
    2: f"begin immediate; {_COUNTS} {TABLES} {_REDO} {_MARK} commit;",  # without what agents agreed on
    3: f"begin immediate; {_COUNTS} {_REDO} {_MARK} commit;",
}
_REASONS: Final = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_READONLY": "the file or its folder is read-only",
    "SQLITE_READONLY_DBMOVED": "the file was moved or replaced while in use",
    "SQLITE_BUSY": "another program holds its lock",
    "SQLITE_CORRUPT": "the file is damaged",
    "SQLITE_IOERR_FSYNC": "a flush to disk failed",
    "SQLITE_IOERR_WRITE": "a write to disk failed",
    "SQLITE_IOERR_READ": "a read from disk failed",
    "SQLITE_IOERR_SHORT_READ": "the file is shorter than it was",
}


def connect(path: Path) -> sqlite3.Connection:
    try:
        return sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=256
        )
    except sqlite3.Error as error:
        raise LedgerError(f"the ledger `{path}` cannot be opened: {error}") from error


def begin(db: sqlite3.Connection, path: Path) -> None:
    """Bring the file into the shape the writer needs, or say why it will not be touched."""
    try:
        version = _version(db, path)
        if db.execute("pragma journal_mode = wal").fetchone()[0] != "wal":
            raise LedgerError(
                f"the file system of `{path}` cannot hold a ledger: SQLite's log (WAL) does not work on it"
            )
        db.execute("pragma synchronous = normal")
        db.execute(f"pragma wal_autocheckpoint = {LOG_PAGES}")
        db.execute("pragma secure_delete = fast")
        if version == 0:
            db.executescript(_SCHEMA)
        else:
            if path.stat().st_size <= WHOLE_CHECK_BYTES:
                _check_pages(db, path)
            if version in _FROM:
                db.executescript(_FROM[version])
        # no change, but a write: the -wal file exists from here on, and a file that cannot be written is found now
        db.execute(f"pragma user_version = {VERSION}")
    except sqlite3.Error as error:
        raise _unusable(path, error) from error


def _version(db: sqlite3.Connection, path: Path) -> int:
    application = db.execute("pragma application_id").fetchone()[0]
    version: int = db.execute("pragma user_version").fetchone()[0]
    tables = db.execute("select count(*) from sqlite_master").fetchone()[0]
    if tables and application != APPLICATION_ID:
        raise LedgerError(f"`{path}` is a database of another program; choose another path for the ledger")
    if version > VERSION:
        raise LedgerError(f"the ledger `{path}` was written by a newer version of the gate (format {version})")
    return version if tables else 0


def _check_pages(db: sqlite3.Connection, path: Path) -> None:
    answer = db.execute("pragma quick_check(1)").fetchone()[0]
    if answer != "ok":
        raise damaged(path, answer)


def reason(error: Exception) -> str:
    """Say what went wrong, for the operator."""
    return _REASONS.get(getattr(error, "sqlite_errorname", "") or "", str(error))


def _unusable(path: Path, error: sqlite3.Error) -> LedgerError:
    name = getattr(error, "sqlite_errorname", "") or ""
    if name == "SQLITE_NOTADB":
        return not_a_ledger(path)
    if name.startswith("SQLITE_CORRUPT"):
        return damaged(path, str(error))
    return LedgerError(f"the ledger `{path}` cannot be written: {reason(error)}")


def damaged(path: Path, why: str) -> LedgerError:
    said = " ".join(why.split())
    return LedgerError(
        f"the ledger `{path}` is damaged: {said}; see `toolgate journal verify`, then restore it from a backup,"
        " or move it away to begin a new one"
    )
