"""What the journal's rows come to, kept in tables beside them: balances, paces, runs and freezes.

RULE: runs and freezes follow in the transaction of their row, all else with the tally; and what is removed means nothing
any more: a bucket that has left its window, a calendar window or a run that is over.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import orjson

from toolgate.core import runs as told
from toolgate.core.guards import US_PER_MS
from toolgate.core.model import Event, Freeze, Json
from toolgate.ledger.agreements import Agreed
from toolgate.ledger.chain import Stored, parse
from toolgate.ledger.kept import agreed, forget
from toolgate.ledger.lapse import run_in
from toolgate.ledger.projection import Run, freeze, freeze_key, signature, started
from toolgate.ledger.taken import Change

TURNS: Final = frozenset({told.RUN_STARTED, told.RUN_STOPPED, told.RUN_FINISHED, told.KILL_SWITCH})
SWEEP_ROWS: Final = 500  # of each kind, removed at once: under 5 ms
_MOST_REPEATS: Final = 64

_TAKE: Final = (
    "insert into balances (key, bucket, taken, until_ms, run) values (?,?,?,?,?)"
    " on conflict (key, bucket) do update set taken = taken + excluded.taken"
)
_LET_THROUGH: Final = (
    "insert into paces (key, arrival_us) values (?,?)"
    " on conflict (key) do update set arrival_us = max(arrival_us, excluded.arrival_us)"
)
_START: Final = (
    "insert or ignore into runs (run, principal, started_ms, last_ms, opened, until_ms, above) values (?,?,?,?,?,?,?)"
)
_FREEZE: Final = (
    "insert into freezes (key, who, why, at_ms) values (?,?,?,?)"
    " on conflict (key) do update set who = excluded.who, why = excluded.why, at_ms = excluded.at_ms"
)
# Runs that may go on; and those that had a plan and ended by themselves, until that is written.
_OPEN: Final = """
select run from runs where max(last_ms, until_ms) >= :since and (last_ms >= :since or until_ms >= :now)
union select runs.run from kept join runs on runs.run = kept.run where kept.kind = 'PlanLocked' and runs.finished = 0
"""
_LIVE: Final = f"{_OPEN} union all select name from kept where run in ({_OPEN})"  # noqa: S608 (constants)
_RUNS: Final = f"""
select cast(run as text), cast(principal as text), started_ms, last_ms, opened, until_ms, above, stopped, finished
from runs where run in ({_OPEN})
"""  # noqa: S608 (constants)
_COUNTS: Final = f"""
select cast(run as text), cast(operation as text), permits, refusals, completed from run_counts where run in ({_OPEN})
"""  # noqa: S608 (constants)
# Of the rows that are counted, as all are at a start.
_DECIDED: Final = """
select kind, at_ms, cast(line as blob) from run_rows join events using (row)
where run_rows.run = ? and kind in ('Decided', 'KillSwitch') order by run_rows.row desc limit ?
"""


class Swept(NamedTuple):
    """Where sweeping came to."""

    last: str  # the last run whose balances were looked at; empty: all of them were
    has_more: bool


# -- with the rows -------------------------------------------------------------------------------------------


def add(db: sqlite3.Connection, changes: Iterable[Change], arrivals: Mapping[str, int]) -> None:
    """Add what records took and gave back."""
    db.executemany(_TAKE, [(*change, run_in(change.key)) for change in changes])
    db.executemany(_LET_THROUGH, arrivals.items())


def turn(db: sqlite3.Connection, stored: Stored) -> None:
    """Follow a row that begins, ends or stops a run, or throws the kill switch."""
    said = parse(stored[9])
    event = Event(stored[2], stored[1], said, run=stored[4])
    match event.kind:
        case told.RUN_STARTED:
            _start(db, event)
        case told.RUN_STOPPED:
            db.execute("update runs set stopped = ? where run = ?", (str(said.get("why")), event.run))
        case told.RUN_FINISHED:
            db.execute("update runs set finished = 1 where run = ?", (event.run,))
        case told.KILL_SWITCH:
            _switch(db, event)
        case _:
            pass


def _start(db: sqlite3.Connection, event: Event) -> None:
    run = started(event)
    if run is None:
        return
    begins = (run.started_ms, run.last_ms, int(run.expires_ms is not None), run.expires_ms or 0)
    db.execute(_START, (run.id, run.principal, *begins, orjson.dumps(run.above).decode()))
    for above in run.above:  # known or not, what it spent counts as long as a run below it spends
        db.execute(_START, (above, run.principal, run.started_ms, run.last_ms, 1, run.expires_ms or 0, "[]"))
        db.execute("update runs set until_ms = max(until_ms, ?) where run = ?", (run.expires_ms or 0, above))


def _switch(db: sqlite3.Connection, event: Event) -> None:
    key = freeze_key(event.data)
    if event.data.get("action") == "thaw":
        db.execute("delete from freezes where key = ?", (key,))
        db.execute("update runs set stopped = null where run = ?", (event.run,))
    else:
        db.execute(_FREEZE, (key, *freeze(event)))


# -- at a start ----------------------------------------------------------------------------------------------


class States:
    """Reads what the tables hold, as of now."""

    def __init__(self, db: sqlite3.Connection, now_ms: int, idle_ms: int) -> None:
        self._db = db
        self._now_ms = now_ms
        self._span = {"now": now_ms, "since": now_ms - idle_ms}

    def agreed(self) -> Agreed:
        return agreed(self._db, _OPEN, self._span)

    def changes(self) -> list[Change]:
        found = self._db.execute(
            "select cast(key as text), bucket, taken, until_ms from balances where until_ms is null or until_ms >= ?",
            (self._now_ms,),
        )
        return [Change(*row) for row in found]

    def arrivals(self) -> dict[str, int]:
        found = self._db.execute(
            "select cast(key as text), arrival_us from paces where arrival_us > ?", (self._now_ms * US_PER_MS,)
        )
        return dict(found.fetchall())

    def freezes(self) -> dict[str, Freeze]:
        found = self._db.execute("select cast(key as text), cast(who as text), cast(why as text), at_ms from freezes")
        return {key: Freeze(who, why, at_ms) for key, who, why, at_ms in found}

    def runs(self) -> list[Run]:
        """Every run that may go on, or whose budgets runs below it spend, with all that has come of it."""
        found = {row[0]: _run(row) for row in self._db.execute(_RUNS, self._span)}
        for run_id, operation, permits, refusals, completed in self._db.execute(_COUNTS, self._span):
            run = found[run_id]
            run.calls += permits + refusals
            run.refusals += refusals
            if operation and permits:
                run.permits[operation] = permits
            if operation and completed:
                run.complete(operation)
        for run in found.values():
            self._fill_in(run)
        return list(found.values())

    def _fill_in(self, run: Run) -> None:
        """The number of its last call, and how often it was refused the same in a row."""
        run.number = run.calls
        in_a_row: list[tuple[str, int]] = []
        for kind, at_ms, line in self._db.execute(_DECIDED, (run.id, _MOST_REPEATS)):
            said = parse(line)
            number = said.get("number")
            run.number = max(run.number, number if isinstance(number, int) else 0)
            refused = signature(said) if kind == "Decided" else ""
            if not refused or (in_a_row and refused != in_a_row[0][0]):
                break
            in_a_row.append((refused, at_ms))
        for refused, at_ms in reversed(in_a_row):
            run.repeat(refused, at_ms)


def _run(row: Sequence[Json]) -> Run:
    run_id, principal, started_ms, last_ms, opened, until_ms, above, stopped, finished = row
    return Run(
        run_id,
        principal,
        started_ms,
        last_ms,
        until_ms if opened else None,
        tuple(map(str, orjson.loads(above))),
        stopped=stopped,
        finished=bool(finished),
        until_ms=until_ms,
    )


# -- forgetting ----------------------------------------------------------------------------------------------


def sweep(db: sqlite3.Connection, now_ms: int, idle_ms: int, after: str) -> Swept:
    """Remove some of the balances and paces that are over; runs must have been counted up to now."""
    ended = "select key, bucket from balances where until_ms < ? order by until_ms limit ?"
    gone = db.execute(f"delete from balances where (key, bucket) in ({ended})", (now_ms, SWEEP_ROWS))  # noqa: S608 (constants)
    passed = "select key from paces where arrival_us < ? order by arrival_us limit ?"
    free = db.execute(f"delete from paces where key in ({passed})", (now_ms * US_PER_MS, SWEEP_ROWS))  # noqa: S608 (constants)
    last = _sweep_runs(db, {"now": now_ms, "since": now_ms - idle_ms}, after)
    return Swept(last, bool(last) or SWEEP_ROWS in (gone.rowcount, free.rowcount))


def _sweep_runs(db: sqlite3.Connection, span: Mapping[str, int], after: str) -> str:
    some = "select distinct cast(run as text) from balances where run > ? order by run limit ?"
    looked_at = [run for (run,) in db.execute(some, (after, SWEEP_ROWS))]
    if not looked_at:
        return ""
    among = {"first": looked_at[0], "last": looked_at[-1], **span}
    db.execute(f"delete from balances where run between :first and :last and run not in ({_LIVE})", among)  # noqa: S608 (constants)
    return looked_at[-1] if len(looked_at) == SWEEP_ROWS else ""


def forget_runs(db: sqlite3.Connection, now_ms: int, idle_ms: int) -> None:
    """Remove runs that are over and have no row left in the journal."""
    first = db.execute("select at_ms from events order by row limit 1").fetchone()
    since_ms = now_ms - idle_ms - 1
    before_ms = min(first[0], since_ms) if first else since_ms
    over = (
        "select run from runs where max(last_ms, until_ms) <= ?"
        " and not exists (select 1 from run_rows where run_rows.run = runs.run) order by max(last_ms, until_ms) limit ?"
    )
    gone = db.execute(f"delete from runs where run in ({over}) returning run", (before_ms, SWEEP_ROWS)).fetchall()  # noqa: S608 (constants)
    db.executemany("delete from run_counts where run = ?", gone)
    forget(db, gone)
