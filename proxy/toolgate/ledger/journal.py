"""Reading a journal: queries over the file, while the gate writes it or after.

RULE: read only, and a connection of its own for every question, so any thread may ask. Nothing here takes a lock the
writer would wait for.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import quote

from toolgate.core.journal import Broken, Filter, Head, Row, RunSummary, Verified
from toolgate.core.model import Json
from toolgate.core.runs import expires_ms_of, labels_of, state_of
from toolgate.ledger.chain import Stored, check, parse, tip_of
from toolgate.ledger.schema import APPLICATION_ID, VERSION
from toolgate.ledger.sqlite import COLUMNS, read_rows
from toolgate.ledger.states import TURNS
from toolgate.ledger.tally import SINCE, since_counted
from toolgate.ledger.witness import Witness
from toolgate.ports import LedgerError

MAX_LIMIT: Final = 10_000
_PAGE: Final = 500
_COLUMNS: Final = ", ".join(f"events.{name}" for name in COLUMNS.split(", ")[1:-1])
_EQUAL: Final = ("run", "call", "kind", "operation", "code", "principal")
# The rows of a run: those that are counted, and the few since.
_OF_RUN: Final = f"""(
  select run_rows.row, {_COLUMNS} from run_rows cross join events on events.row = run_rows.row where run_rows.run = ?1
  union all select events.row, {_COLUMNS} from events where events.row > {SINCE} and run = ?1)
"""  # noqa: S608 (constants)
_OF_RUNS: Final = f"""
with newest as (select run, principal, started_ms from runs order by started_ms desc, run desc limit ?),
mine as (
  select {{columns}} from newest cross join run_rows on run_rows.run = newest.run
    cross join events on events.row = run_rows.row
  union all select {{columns}} from events where events.row > {SINCE} and run in (select run from newest))
"""  # noqa: S608 (constants)
_SUMMARY: Final = f"""{_OF_RUNS.format(columns="events.run, kind, code, at_ms")}
select newest.run, newest.principal, started_ms, coalesce(max(at_ms), started_ms), coalesce(sum(kind = 'Decided'), 0),
  coalesce(sum(kind = 'Decided' and code is not null), 0), coalesce(sum(kind = 'Finished' and code is not null), 0)
from newest left join mine on mine.run = newest.run group by newest.run order by started_ms desc, newest.run desc
"""  # noqa: S608 (constants)
_TURNS: Final = f"""{_OF_RUNS.format(columns="events.row, events.run, kind, line")}
select run, cast(line as blob) from mine where kind in ({", ".join(f"'{kind}'" for kind in sorted(TURNS))}) order by row
"""  # noqa: S608 (constants)
# A file of before the tally: every row is found by the run's index.
_AS_COUNTED: Final = """
create temp view run_rows as select run, row from events;
create temp view counted as select max(row) as row from events;
"""
_TALLY_SINCE: Final = 4  # the format of the file
_WINDOWS_SINCE: Final = 2  # the format of the file
_BALANCES: Final = "select cast(key as text), taken, until_ms from balances"
_BALANCES_OF_1: Final = "select cast(key as text), taken, null from balances"
# The text says which lines have any: only those are read, and the rest costs no more than a walk through the file.
_OVERRUNS: Final = """
select said.value ->> 'key', sum(said.value ->> 'amount')
from events, json_each(iif(json_valid(line), line, '{}'), '$.overrun') as said
where kind in ('Finished', 'Settled') and at_ms >= ? and instr(line, '"overrun":[{') group by 1
"""


class FileJournal:
    """See `ports.Journal`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def events(self, wanted: Filter) -> Sequence[Row]:
        where, values = _where(wanted)
        with self._reading() as db:
            found = (
                read_rows(db, where, values)
                if wanted.run is None
                else read_rows(db, where, (wanted.run, *values), _OF_RUN)
            )
            return [row_of(stored) for stored in found]

    def call(self, call: str) -> Sequence[Row]:
        return self.events(Filter(call=call, order="oldest", limit=MAX_LIMIT))

    def runs(self, limit: int = 50) -> Sequence[RunSummary]:
        most = (min(limit, MAX_LIMIT),)
        with self._reading() as db:
            db.execute("begin")
            found = [RunSummary(*row) for row in db.execute(_SUMMARY, most)]
            turns: dict[str, list[Mapping[str, Json]]] = {}
            for run, line in db.execute(_TURNS, most):
                turns.setdefault(run, []).append(parse(line))
        return [_summed(run, turns.get(run.run, ())) for run in found]

    def balances(self, at_ms: int) -> Mapping[str, int]:
        """What is taken of every key, as far as it is committed; of rolling windows what is in them at that time."""
        found: Counter[str] = Counter()
        with self._reading() as db:
            db.execute("begin")  # rows and tables of one moment
            version = _version(db)
            rows = db.execute(_BALANCES if version >= _WINDOWS_SINCE else _BALANCES_OF_1)
            since = _since_counted(db) if version >= _TALLY_SINCE else ()
            for key, amount, until_ms in (*rows, *since):
                if until_ms is None or until_ms >= at_ms:
                    found[key] += amount
        return dict(found)

    def overruns(self, since_ms: int) -> Mapping[str, int]:
        with self._reading() as db:
            return {str(key): int(amount) for key, amount in db.execute(_OVERRUNS, (since_ms,)) if amount}

    def head(self) -> Head | None:
        with self._reading() as db:
            tips = [tip_of(stored) for stored in read_rows(db, "order by row desc limit 1", ())]
        return tips[0].head if tips and tips[0] is not None else None

    def follow(self, after: int | None, wait: Callable[[], bool]) -> Iterator[Row]:
        with self._reading() as db:
            at = after if after is not None else db.execute("select coalesce(max(row), 0) from events").fetchone()[0]
            while True:
                page = read_rows(db, "where row > ? order by row limit ?", (at, _PAGE))
                rows = [row_of(stored) for stored in page]
                yield from rows
                at = rows[-1].row if rows else at
                if not rows and not wait():
                    return

    def verify(self, head: Head | None = None) -> Verified | Broken:
        last = _Last()
        try:
            with self._reading() as db:
                witness = Witness(db)
                return witness.judge(check(last.noted(witness.hearing(read_rows(db, "order by row", ()))), head))
        except LedgerError as error:
            if not isinstance(error.__cause__, sqlite3.Error) or not _is_damage(error.__cause__):
                raise
            return Broken(last.row + 1, None, None, f"the file is damaged: {error.__cause__}")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if not self._path.is_file():
            raise LedgerError(
                f"there is no journal at `{self._path}`; `ledger` in the settings says where the gate writes it"
            )
        try:
            with closing(self._connect()) as db:
                _recognise(db, self._path)
                if _version(db) < _TALLY_SINCE:
                    db.executescript(_AS_COUNTED)
                db.execute("pragma query_only = on")
                yield db
        except sqlite3.Error as error:
            raise LedgerError(f"the journal `{self._path}` cannot be read: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        """Open for reading; a journal in a folder that cannot be written (a copy, a backup) is read as it lies."""
        uri = f"file:{quote(str(self._path.absolute()))}?mode=ro"
        db = sqlite3.connect(uri, uri=True, timeout=5.0, isolation_level=None)
        try:
            db.execute("select count(*) from sqlite_master").fetchone()
        except sqlite3.OperationalError:
            db.close()
            wal = Path(f"{self._path}-wal")
            if wal.exists() and wal.stat().st_size:
                raise
            db = sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
        return db


def _summed(run: RunSummary, turns: Iterable[Mapping[str, Json]]) -> RunSummary:
    """With what the run's own events say of it."""
    events = list(turns)
    return replace(run, state=state_of(events), labels=labels_of(events), expires_ms=expires_ms_of(events))


class _Last:
    """Remembers the row a reading came to, for the answer when the file breaks off there."""

    def __init__(self) -> None:
        self.row = 0

    def noted(self, rows: Iterable[Stored]) -> Iterator[Stored]:
        for stored in rows:
            self.row = stored[0]
            yield stored


def row_of(stored: Stored) -> Row:
    return Row(stored[0], stored[8].hex(), stored[9], parse(stored[9]))


def matches(stored: Stored, wanted: Filter) -> bool:
    """Whether a row is wanted: what `_where` asks of SQLite, asked of a row in memory."""
    row, at_ms, kind, call, run, principal, operation, code, _, _ = stored
    mine = {"run": run, "call": call, "kind": kind, "operation": operation, "code": code, "principal": principal}
    return (
        all(getattr(wanted, name) in {None, mine[name]} for name in _EQUAL)
        and (wanted.since_ms is None or at_ms >= wanted.since_ms)
        and (wanted.until_ms is None or at_ms < wanted.until_ms)
        and (wanted.after is None or row > wanted.after)
        and (wanted.before is None or row < wanted.before)
        and (wanted.decision is None or (kind == "Decided" and (code is None) == (wanted.decision == "permit")))
    )


def limit_of(wanted: Filter) -> int:
    return max(0, min(wanted.limit, MAX_LIMIT))


def _where(wanted: Filter) -> tuple[str, list[object]]:
    conditions = [(f"{name} = ?", getattr(wanted, name)) for name in _EQUAL]
    conditions += [
        ("at_ms >= ?", wanted.since_ms),
        ("at_ms < ?", wanted.until_ms),
        ("row > ?", wanted.after),
        ("row < ?", wanted.before),
    ]
    held = [(text, value) for text, value in conditions if value is not None]
    texts = [text for text, _ in held]
    if wanted.decision is not None:
        texts.append(f"kind = 'Decided' and code is {'null' if wanted.decision == 'permit' else 'not null'}")
    where = f"where {' and '.join(texts)} " if texts else ""
    direction = "asc" if wanted.order == "oldest" else "desc"
    return f"{where}order by row {direction} limit ?", [*(value for _, value in held), limit_of(wanted)]


def _recognise(db: sqlite3.Connection, path: Path) -> None:
    application = db.execute("pragma application_id").fetchone()[0]
    version = _version(db)
    if application != APPLICATION_ID:
        raise LedgerError(f"`{path}` is not a journal of the gate")
    if version > VERSION:
        raise LedgerError(f"the journal `{path}` was written by a newer version of the gate (format {version})")


def _since_counted(db: sqlite3.Connection) -> Iterable[tuple[str, int, int | None]]:
    """What rows changed that the tables do not have yet."""
    try:
        redo = since_counted(db, db.execute("select coalesce(max(row), 0) from events").fetchone()[0])
    except ValueError as error:
        raise sqlite3.DatabaseError(str(error)) from error
    return [(key, amount, until_ms) for key, _, amount, until_ms in redo.changes()]


def _version(db: sqlite3.Connection) -> int:
    version: int = db.execute("pragma user_version").fetchone()[0]
    return version


def _is_damage(error: sqlite3.Error) -> bool:
    name = getattr(error, "sqlite_errorname", "") or ""
    if str(error).startswith("Could not decode to UTF-8"):  # Python's own, without a code
        return True
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR_SHORT_READ"))
