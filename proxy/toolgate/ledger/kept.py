"""Plans, their cursors and approvals in the journal's file, beside its rows.

RULE: what was locked, asked and answered is kept whole with its row, as the event said it, for a row's line may be cut;
what calls do to steps and approvals is kept with the tally, as what it comes to. All of it is read as long as its run may go on, and goes with the run's
last row.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, assert_never

import orjson

from toolgate.core.locking import PLAN_LOCKED
from toolgate.core.model import Event
from toolgate.core.plan import Attempted
from toolgate.ledger.agreements import Agreed
from toolgate.ledger.moves import Began, Ended, Followed, Kept, Unused, Used

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
_STEP: Final = """
select cast(state as text), cast(before as text), attempts, cast(outputs as text), cast(call as text)
from steps where plan = ? and step = ?
"""
_DONE: Final = """
insert into steps (plan, step, state, attempts, outputs, call) values (?,?,?,1,?,?) on conflict (plan, step) do update
set state = excluded.state, before = null, attempts = attempts + 1, outputs = excluded.outputs, call = excluded.call
"""
_PUT: Final = "insert or replace into steps (plan, step, state, before, attempts, outputs, call) values (?,?,?,?,?,?,?)"


@dataclass(slots=True)
class _Step:
    """A row of `steps`."""

    state: str | None = None
    before: str | None = None
    attempts: int = 0
    outputs: str = "{}"
    call: str | None = None


# -- with the rows -------------------------------------------------------------------------------------------


def keep(db: sqlite3.Connection, move: Kept) -> None:
    name, event = move.name, move.event
    db.execute(_KEEP, (event.kind, event.at_ms, event.run or "", name, move.digest, _text(event.data)))
    if event.kind == PLAN_LOCKED:
        db.execute(_DROP_OLD, (name, PLAN_LOCKED, MOST_VERSIONS))


def _text(value: object) -> str:
    """Standard JSON text, in ASCII: it holds every integer and every character that an agent can send."""
    return json.dumps(value, separators=(",", ":"), default=_plain)


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, MappingProxyType) else list(value)  # type: ignore[call-overload]  # tuples, sets


# -- with the tally ------------------------------------------------------------------------------------------


def follow(db: sqlite3.Connection, moves: Iterable[Followed]) -> None:
    """Follow what calls did to steps and approvals, in its order; a step is written once, however often it moved."""
    steps: dict[tuple[str, str], list[Began | Ended]] = {}
    for move in moves:
        match move:
            case Began():
                steps.setdefault(move[1:], []).append(move)
            case Ended():
                steps.setdefault(move.began[1:], []).append(move)
            case Used(approval, by):
                db.execute("insert or ignore into uses values (?, ?)", (approval, by))
            case Unused(approval, by):
                db.execute("delete from uses where approval = ? and used_by = ?", (approval, by))
            case _:
                assert_never(move)
    _follow_steps(db, steps)


def _follow_steps(db: sqlite3.Connection, steps: Mapping[tuple[str, str], list[Began | Ended]]) -> None:
    whole: list[tuple[str, ...]] = []  # of one attempt that began and ended, as nearly all: what was before is not read
    others: list[tuple[object, ...]] = []
    for at, moves in steps.items():
        first, last = moves[0], moves[-1]
        if len(moves) == 2 and isinstance(last, Ended) and first == last.began and last.state is not None:  # noqa: PLR2004
            whole.append((*at, last.state, _outputs(last.outputs), first.call))
        else:
            others += _moved(db, at, moves)
    db.executemany(_DONE, whole)
    db.executemany(_PUT, others)


def _moved(db: sqlite3.Connection, at: tuple[str, str], moves: Iterable[Began | Ended]) -> Iterator[tuple[object, ...]]:
    row = db.execute(_STEP, at).fetchone()
    step = _Step(*row) if row else _Step()
    for move in moves:
        if isinstance(move, Began):
            _begin(step, move.call)
        else:
            _end(step, move.began.call, move.state, move.outputs)
    if step.call is not None:
        yield *at, step.state, step.before, step.attempts, step.outputs, step.call


def _begin(step: _Step, call: str) -> None:
    step.before, step.state, step.call = step.state, "running", call
    step.attempts += 1


def _end(step: _Step, call: str, state: str | None, outputs: Mapping[str, str | None]) -> None:
    if state is None:  # it was none
        step.attempts = max(step.attempts - 1, 0)
        if step.call == call:
            step.state, step.before = step.before, None
    elif step.call == call:
        step.state, step.before = state, None
        step.outputs = _outputs(outputs)
    else:  # the next attempt has begun already: what the one before came to is what the step was before that
        step.before = state


def _outputs(outputs: Mapping[str, str | None]) -> str:
    if not outputs:
        return "{}"
    return orjson.dumps({**outputs}).decode()


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
