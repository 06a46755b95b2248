"""Plans, their cursors and approvals in the journal's file, beside its rows.

RULE: what was locked, asked and answered is kept whole, as the event said it, for a row's line may be cut; what calls do to
steps and approvals is kept as what it comes to. All of it is read as long as its run may go on, and goes with the run's
last row.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, assert_never

import orjson

from toolgate.core.locking import PLAN_LOCKED
from toolgate.core.model import Event
from toolgate.core.plan import Attempted
from toolgate.ledger.agreements import Agreed
from toolgate.ledger.moves import Began, Ended, Kept, Move, Unused, Used

MOST_VERSIONS: Final = 16  # of one plan; the journal has the others, as far as a line holds them

# `before`: what a step was until the attempt that is running, for one that was never sent. `call`: of the last attempt.
TABLES: Final = """
create table if not exists kept (number integer primary key, kind text not null, at_ms integer not null, run text not null,
  name text not null, digest text not null, said text not null);
create index if not exists kept_by_run on kept (run);
create index if not exists kept_by_name on kept (name);
create index if not exists kept_by_digest on kept (digest);
create table if not exists steps (plan text not null, step text not null, state text, before text,
  attempts integer not null, outputs text not null, call text, primary key (plan, step)) without rowid;
create table if not exists uses (approval text primary key, used_by text not null) without rowid;
"""
_KEEP: Final = "insert into kept (kind, at_ms, run, name, digest, said) values (?,?,?,?,?,?)"
_DROP_OLD: Final = """
delete from kept where name = ?1 and kind = ?2 and number <=
  (select number from kept where name = ?1 and kind = ?2 order by number desc limit 1 offset ?3)
"""
_BEGIN: Final = """
insert into steps (plan, step, state, before, attempts, outputs, call) values (?2, ?3, 'running', null, 1, '{}', ?1)
on conflict (plan, step) do update set before = state, state = 'running', attempts = attempts + 1, call = excluded.call
"""
# Where the next attempt has begun already, what the one before came to is what the step was before that.
_END: Final = """
update steps set before = iif(call = ?1, null, ?2), state = iif(call = ?1, ?2, state),
  outputs = iif(call = ?1, ?3, outputs) where plan = ?4 and step = ?5
"""
_UNSENT: Final = """
update steps set attempts = max(attempts - 1, 0), state = iif(call = ?1, before, state),
  before = iif(call = ?1, null, before) where plan = ?2 and step = ?3
"""


# -- with the rows -------------------------------------------------------------------------------------------


def keep(db: sqlite3.Connection, moves: Iterable[Move]) -> None:
    attempts: list[Began | Ended] = []
    for move in moves:
        match move:
            case Began() | Ended():
                attempts.append(move)
            case Kept():
                _keep(db, move)
            case Used(approval, by):
                db.execute("insert or ignore into uses values (?, ?)", (approval, by))
            case Unused(approval, by):
                db.execute("delete from uses where approval = ? and used_by = ?", (approval, by))
            case _:
                assert_never(move)

    for group in _apart(attempts):
        _attempt(db, group)


def _apart(attempts: Iterable[Began | Ended]) -> Iterator[list[Began | Ended]]:
    """In their order, as long groups as no step comes twice in: within one the order means nothing."""
    group: list[Began | Ended] = []
    known: set[tuple[str, str]] = set()
    for each in attempts:
        began = each if isinstance(each, Began) else each.began
        step = began.plan, began.step
        if step in known:
            yield group
            group, known = [], set()
        known.add(step)
        group.append(each)
    yield group


def _attempt(db: sqlite3.Connection, group: Iterable[Began | Ended]) -> None:
    """What began and what ended, each kind in one statement."""
    begun: list[Began] = []
    ended: list[tuple[str, str, str, str, str]] = []
    unsent: list[Began] = []
    for each in group:
        if isinstance(each, Began):
            begun.append(each)
            continue
        (call, plan, step), state, outputs = each
        if state is None:
            unsent.append(each.began)
        else:
            ended.append((call, state, orjson.dumps({**outputs}).decode() if outputs else "{}", plan, step))
    for statement, rows in ((_BEGIN, begun), (_END, ended), (_UNSENT, unsent)):
        if rows:
            db.executemany(statement, rows)


def _keep(db: sqlite3.Connection, move: Kept) -> None:
    name, event = move.name, move.event
    db.execute(_KEEP, (event.kind, event.at_ms, event.run or "", name, move.digest, _text(event.data)))
    if event.kind == PLAN_LOCKED:
        db.execute(_DROP_OLD, (name, PLAN_LOCKED, MOST_VERSIONS))


def _text(value: object) -> str:
    """Standard JSON text, in ASCII: it holds every integer and every character that an agent can send."""
    return json.dumps(value, separators=(",", ":"), default=_plain)


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, MappingProxyType) else list(value)  # type: ignore[call-overload]  # tuples, sets


# -- at a start ----------------------------------------------------------------------------------------------


def close_attempts(db: sqlite3.Connection) -> None:
    """What was running when the writer before ended may have been done: nobody knows any more."""
    db.execute("update steps set state = 'unknown', before = null where state = 'running'")


def attempts_of(db: sqlite3.Connection, calls: Collection[str]) -> dict[str, dict[str, str]]:
    """The plan and step of those calls that were attempts."""
    if not calls:
        return {}
    wanted = frozenset(calls)
    found = db.execute("select cast(call as text), cast(plan as text), cast(step as text) from steps")
    return {call: {"plan": plan, "step": step} for call, plan, step in found if call in wanted}


def agreed(db: sqlite3.Connection, open_runs: str, span: Mapping[str, int]) -> Agreed:
    """Read what was agreed in runs that may go on; `open_runs` is the query that names them. Raises ValueError."""
    of_open = f"from kept where run in ({open_runs})"
    rows = db.execute(
        f"select cast(kind as text), at_ms, cast(run as text), cast(said as text) {of_open} order by number",
        span,
    )
    events = [Event(kind, at_ms, json.loads(said), run=run) for kind, at_ms, run, said in rows]
    steps: dict[str, dict[str, Attempted]] = {}
    found = db.execute(
        "select cast(plan as text), cast(step as text), cast(state as text), attempts, cast(outputs as text) from steps"  # noqa: S608 (constants)
        f" where plan in (select name {of_open})",
        span,
    )
    for plan, step, state, count, outputs in found:
        steps.setdefault(plan, {})[step] = Attempted(state, count, MappingProxyType(json.loads(outputs)))
    used = db.execute(
        f"select cast(approval as text), cast(used_by as text) from uses where approval in (select name {of_open})",  # noqa: S608 (constants)
        span,
    )
    return Agreed(events, steps, dict(used.fetchall()))


# -- forgetting ----------------------------------------------------------------------------------------------


def forget(db: sqlite3.Connection, runs: Sequence[tuple[str]]) -> None:
    """Remove what was agreed in runs that are over and have no row left."""
    db.executemany("delete from steps where plan in (select name from kept where run = ?)", runs)
    db.executemany("delete from uses where approval in (select name from kept where run = ?)", runs)
    db.executemany("delete from kept where run = ?", runs)
