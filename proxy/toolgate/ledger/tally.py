"""Bringing the tables up to date with the rows: balances, paces, steps, what runs have come to, and where their rows are.

RULE: all of it in one transaction with `counted`, the last row that is in the tables. A batch writes its rows alone, and
what they changed stands in the `redo` of its last one: adding a page of rows costs a third of what dirtying a page of each
table does. So the tables follow every thousand rows (`writer.PRUNE_EVENTS`), and at a start, from the rows that no writer
came to.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from toolgate.ledger.kept import close_attempts, follow
from toolgate.ledger.redo import Redone, redone
from toolgate.ledger.run_counts import RunCounts
from toolgate.ledger.states import add

SINCE: Final = "(select row from counted)"
# As `RunCounts` and `projection.Run` count them, one event at a time.
_COUNT: Final = f"""
insert into run_counts (run, operation, permits, refusals, completed)
select run, coalesce(operation, ''), sum(kind = 'Decided' and code is null), sum(kind = 'Decided' and code is not null),
  max(case when kind = 'Finished' and code is null and json_valid(line)
    then json_extract(line, '$.outcome') = 'completed' and coalesce(json_extract(line, '$.status') < 400, 0) else 0 end)
from events where row > {SINCE} and run is not null and kind in ('Decided', 'Finished') group by 1, 2
on conflict (run, operation) do update set permits = permits + excluded.permits,
  refusals = refusals + excluded.refusals, completed = max(completed, excluded.completed)
"""  # noqa: S608 (constants)
_ADD_COUNT: Final = """
insert into run_counts (run, operation, permits, refusals, completed) values (?, ?, ?, ?, ?)
on conflict (run, operation) do update set permits = permits + excluded.permits,
  refusals = refusals + excluded.refusals, completed = max(completed, excluded.completed)
"""
_LAST: Final = f"""
update runs set last_ms = max(last_ms, new.at_ms) from (select run, max(at_ms) as at_ms from events
  where row > {SINCE} and run is not null group by run) as new where new.run = runs.run
"""  # noqa: S608 (constants)
_HEARD: Final = "update runs set last_ms = max(last_ms, ?) where run = ?"
_FIND: Final = f"""
insert or ignore into run_rows (run, row)
select run, row from events where row > {SINCE} and row <= ? and run is not null
"""  # noqa: S608 (constants)
_REDOS: Final = f"""
select cast(redo as blob) from events where row > {SINCE} and row <= ? and redo is not null order by row
"""  # noqa: S608 (constants)


def tally(db: sqlite3.Connection, counts: RunCounts) -> None:
    """Follow the rows up to the last one that was counted."""
    if not counts.rows:
        return
    db.executemany(_ADD_COUNT, counts.told())
    db.executemany(_HEARD, counts.heard())
    _follow(db, counts.row)


def catch_up(db: sqlite3.Connection, row: int) -> None:
    """Follow the rows up to the last one there is, for the writer before. Raises ValueError."""
    db.execute(_COUNT)
    db.execute(_LAST)
    _follow(db, row)
    close_attempts(db)


def since_counted(db: sqlite3.Connection, row: int) -> Redone:
    """What rows up to this one changed that the tables do not have yet. Raises ValueError."""
    return redone(redo for (redo,) in db.execute(_REDOS, (row,)))


def _follow(db: sqlite3.Connection, row: int) -> None:
    apply(db, since_counted(db, row))
    db.execute(_FIND, (row,))
    db.execute("update counted set row = max(row, ?)", (row,))


def apply(db: sqlite3.Connection, sums: Redone) -> None:
    add(db, sums.changes(), sums.arrivals)
    follow(db, sums.moves)
