"""What was agreed is forgotten with its run, and not before: in memory, in the file, and with the balances of both."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.ledger.agreed import (
    HOUR_MS,
    a_plan,
    an_approval,
    an_asking,
    ask,
    attempt,
    end,
    grant,
    guards_of,
    lock,
)
from tests.ledger.test_prune import fill, until_first_row_is
from tests.ledger.world import BACK_TO_3, START_MS, Clock, calling, ledger_filter, opened

from toolgate.core import runs as told
from toolgate.core.approval import PENDING_MS
from toolgate.core.journal import Verified
from toolgate.core.model import OPENED_RUN_KEY, PLAN_KEY, Charge, OpenedRun, Settlement
from toolgate.core.plan import Step
from toolgate.ledger import Keep
from toolgate.ledger.kept import MOST_VERSIONS
from toolgate.ledger.schema import VERSION
from toolgate.ports import LedgerError

TABLES = ("kept", "steps", "uses")


async def live(held: Any, number: int, now_ms: int, lasts_ms: int = HOUR_MS) -> str:
    """A run with a plan, a step that was sent by an approval, and that approval. Answers the plan's id."""
    run = OpenedRun(f"run_{number:026d}", now_ms + lasts_ms)
    plan, name = f"plan_{number:026d}", f"apr_{number:026d}"
    await held.record(told.opened(run, "ann", {}, now_ms), ())
    await held.record(lock(a_plan(id=plan, run=run.id)), ())
    asked = an_asking(f"sha256:{number}", run)
    await held.record(ask(name, asked, now_ms), ())
    await held.record(grant(an_approval(name, asked, now_ms), at_ms=now_ms), ())
    decided = attempt(f"c{number}", plan=plan, approval=name)._replace(run=run.id)
    guards = (*guards_of(plan=plan), Charge(f"a:{name}", 1, 1), Charge(f"s:{plan}:fetch:usd", 5, 9), budget(plan))
    assert await held.record(decided, guards) is None
    await held.finish(end(f"c{number}", plan=plan)._replace(run=run.id), Settlement())
    return plan


def budget(plan: str) -> Charge:
    """Of one with scope step."""
    return Charge(f"b:each:usd:{plan}/fetch", 1, 9)


def keys_in(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as db:
        return {key for (key,) in db.execute("select key from balances")}


def knows(held: Any, plan: str) -> bool:
    return held.facts((PLAN_KEY + plan,), START_MS).plan is not None


async def test_memory_does_not_grow_with_runs_that_are_over(journal_url: str) -> None:
    """What is remembered is what the runs that may go on agreed on, however many there were."""
    clock = Clock()
    held = opened(journal_url, clock=clock)
    for number in range(300):
        await live(held, number, clock.now_ms, lasts_ms=60_000)
        clock.now_ms += 30_000
    last_ms = clock.now_ms
    known = [number for number in range(300) if knows(held, f"plan_{number:026d}")]
    assert known[-1] == 299
    assert len(known) < 10
    assert len(held.facts((), last_ms).approvals.listed(last_ms)) < 10
    assert len(held.balances()) < 60
    await held.close()


async def test_the_file_forgets_balances_of_plans_and_approvals_with_their_run(path: Path) -> None:
    """As long as a run goes on its approvals and its steps' budgets stay taken; after it, nobody asks."""
    clock = Clock()
    held = opened(path, clock=clock)
    await live(held, 1, clock.now_ms, lasts_ms=60_000)
    stays = await live(held, 2, clock.now_ms, lasts_ms=100 * HOUR_MS)
    await held.close()
    clock.now_ms += HOUR_MS
    held = opened(path, clock=clock)
    held.next_in_run(calling("bob", clock.now_ms))  # whoever comes next finds that the first run has ended
    assert (knows(held, f"plan_{1:026d}"), knows(held, stays)) == (False, True)
    clock.now_ms += HOUR_MS
    await fill(held, 1_200, clock.now_ms)  # enough for the writer to look
    stay = {f"a:apr_{2:026d}", f"s:{stays}:fetch:usd", budget(stays).key}
    async with asyncio.timeout(10):
        while keys_in(path) != stay:  # noqa: ASYNC110 (the writer's thread)
            await asyncio.sleep(0.01)
    await held.close()


async def test_the_file_forgets_what_was_agreed_with_the_runs_last_row(path: Path) -> None:
    """`journal.keep` removes the rows of a run that is over, and then its plan, steps and approvals; of one that goes on, none."""
    clock = Clock()
    held = opened(path, clock=clock, keep=Keep(age_s=60))
    await live(held, 1, clock.now_ms, lasts_ms=60_000)
    stays = await live(held, 2, clock.now_ms, lasts_ms=100 * HOUR_MS)
    await fill(held, 600, START_MS + 120_000)
    clock.now_ms += HOUR_MS
    await fill(held, 1_100, clock.now_ms)
    await until_first_row_is(held, 513)
    await held.close()
    held = opened(path, clock=clock, keep=Keep(age_s=60))
    assert knows(held, stays)
    assert held.facts((), START_MS).approvals.by_id(f"apr_{2:026d}", START_MS).state == "used"
    await held.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("select count(*) from events where kind = 'PlanLocked'").fetchone() == (0,)
        rows = {table: db.execute(f"select * from {table}").fetchall() for table in TABLES}
    assert {str(row) for table in rows.values() for row in table if f"{1:026d}" in str(row)} == set()
    assert {table: len(found) for table, found in rows.items()} == {"kept": 3, "steps": 1, "uses": 1}


async def test_a_plan_that_is_revised_for_ever_takes_no_more_room(path: Path) -> None:
    """The newest forms of a plan stay in the file, and the newest digests find it."""
    held = opened(path)
    run = OpenedRun(f"run_{1:026d}", START_MS + HOUR_MS)
    await held.record(told.opened(run, "ann", {}, START_MS), ())
    for n in range(3 * MOST_VERSIONS):
        await held.record(lock(a_plan(digest=f"sha256:{n}", run=run.id), f"sha256:{n - 1}" if n else None), ())
    for _ in range(2):
        digests = [n for n in range(3 * MOST_VERSIONS) if knows(held, f"sha256:{n}")]
        assert digests == list(range(2 * MOST_VERSIONS, 3 * MOST_VERSIONS))
        await held.close()
        held = opened(path)
    assert held.facts((OPENED_RUN_KEY + run.id,), START_MS).plan.locked.digest == f"sha256:{3 * MOST_VERSIONS - 1}"
    await held.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("select count(*) from kept").fetchone() == (MOST_VERSIONS,)


async def test_plans_of_one_principal_take_no_memory_of_others(journal_url: str) -> None:
    """Beyond a bound nothing more is locked for it, until it has finished runs; the plans it has go on."""
    held = opened(journal_url)
    long = [Step(f"s{n}", "x", "a.b", arguments={"q": "x" * 100_000}) for n in range(10)]

    async def plan(number: int, principal: str = "ann") -> None:
        run = OpenedRun(f"run_{number:026d}", START_MS + HOUR_MS)
        locked = a_plan(id=f"plan_{number:026d}", run=run.id, steps=long, principal=principal)
        await held.record(told.opened(run, principal, {}, START_MS), ())
        await held.record(lock(locked), (Charge(f"v:{run.id}:none", 1, 1),))

    for number in range(8):
        await plan(number)
    with pytest.raises(LedgerError, match="the plans of your open runs are too long together"):
        await plan(8)
    assert held.balances().get(f"v:run_{8:026d}:none", 0) == 0
    await plan(9, "bob")
    await held.record(told.finished(f"run_{0:026d}", "ann", 0, (), START_MS), ())
    assert knows(held, f"plan_{0:026d}")
    await plan(10)
    assert [number for number in range(11) if not knows(held, f"plan_{number:026d}")] == [0, 8]
    await held.close()


async def test_of_runs_that_were_finished_the_newest_plans_are_held(journal_url: str) -> None:
    """They are only looked at any more: an agent that opens run after run fills no memory with them."""
    held = opened(journal_url)
    long = [Step(f"s{n}", "x", "a.b", arguments={"q": "x" * 100_000}) for n in range(4)]
    for number in range(5):
        run = OpenedRun(f"run_{number:026d}", START_MS + HOUR_MS)
        await held.record(told.opened(run, "ann", {}, START_MS), ())
        await held.record(lock(a_plan(id=f"plan_{number:026d}", run=run.id, steps=long)), ())
        await held.record(told.finished(run.id, "ann", 0, (), START_MS), ())
    assert [number for number in range(5) if knows(held, f"plan_{number:026d}")] == [3, 4]
    await held.close()


async def test_what_a_plan_was_approved_by_is_not_shown_any_more(journal_url: str) -> None:
    """The plan says it all; the yes that is for one call may still come back unused, and stays."""
    held = opened(journal_url)
    run = OpenedRun(f"run_{1:026d}", START_MS + HOUR_MS)
    await held.record(told.opened(run, "ann", {}, START_MS), ())
    for n, kind in enumerate(("plan", "call", "call")):
        name, asked = f"apr_{n:026d}", an_asking(f"sha256:{n}", run, kind=kind)
        await held.record(ask(name, asked), ())
        await held.record(grant(an_approval(name, asked)), ())
        if n == 0:
            await held.record(lock(a_plan(run=run.id, approval=name)), (Charge(f"a:{name}", 1, 1),))
        else:
            await held.record(attempt(f"c{n}", None, approval=name)._replace(run=run.id), ())
    known = held.facts((), START_MS).approvals.listed(START_MS)
    assert [bool(each.asking.request) for each in reversed(known)] == [False, True, True]
    await held.close()


async def test_requests_that_nobody_answers_any_more_are_not_held(journal_url: str) -> None:
    """An agent that asks again and again fills no memory: what is over keeps its answer, not what was shown."""
    held = opened(journal_url)
    run = OpenedRun(f"run_{1:026d}", START_MS + HOUR_MS)
    await held.record(told.opened(run, "ann", {}, START_MS), ())
    for n in range(5):
        await held.record(ask(f"apr_{n:026d}", an_asking(f"sha256:{n}", run), START_MS + n * PENDING_MS // 2), ())
    known = held.facts((), START_MS).approvals.listed(START_MS + 2 * PENDING_MS)
    assert [(each.state, bool(each.asking.request)) for each in reversed(known)] == [
        ("expired", False), ("expired", False), ("expired", False), ("pending", True), ("pending", True),
    ]  # fmt: skip
    await held.close()


def farewells(held: Any) -> list[tuple[str, bool, list[str], int]]:
    events = [row.event for row in held.journal.events(ledger_filter(kind="RunFinished"))]
    return [(event["run"], event["complete"], event["skipped"], event["calls"]) for event in events]


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_run_with_a_plan_that_ends_by_itself_says_whether_it_was_done(path: Path, restarts: bool) -> None:
    """When its token has run out, once, as soon as another run begins; also where the gate was away meanwhile."""
    clock = Clock()
    held = opened(path, clock=clock)
    await live(held, 1, clock.now_ms)
    done = OpenedRun(f"run_{2:026d}", START_MS + HOUR_MS)
    await live(held, 2, clock.now_ms)
    await held.record(attempt("c9", "publish", f"plan_{2:026d}")._replace(run=done.id), ())
    await held.finish(end("c9", "publish", f"plan_{2:026d}")._replace(run=done.id), Settlement())
    clock.now_ms += 2 * HOUR_MS
    for n in (3, 4, 5):
        if restarts:
            await held.close()
            held = opened(path, clock=clock)
        await held.record(told.opened(OpenedRun(f"run_{n:026d}", clock.now_ms + HOUR_MS), "ann", {}, clock.now_ms), ())
    await held.close()
    assert sorted(farewells(held)) == [(f"run_{1:026d}", False, ["publish"], 1), (done.id, True, [], 2)]


@pytest.mark.parametrize("restarts", [False, True])
async def test_an_idle_run_with_a_plan_ends_when_its_principal_comes_again(path: Path, restarts: bool) -> None:
    """The journal says what of its plan was skipped; a run without a plan says nothing, and so does one that was closed."""
    clock = Clock()
    held = opened(path, clock=clock)
    run, _ = held.next_in_run(calling("ann", clock.now_ms))
    await held.record(lock(a_plan(run=run)), ())
    held.next_in_run(calling("bob", clock.now_ms))
    closed, _ = held.next_in_run(calling("eve", clock.now_ms))
    await held.record(lock(a_plan(id=f"plan_{2:026d}", run=closed, principal="eve")), ())
    await held.record(told.finished(closed, "eve", 0, ("fetch",), clock.now_ms), ())
    clock.now_ms += HOUR_MS
    if restarts:
        await held.close()
        held = opened(path, clock=clock)
    for principal in ("bob", "ann", "eve"):
        assert held.next_in_run(calling(principal, clock.now_ms))[0] not in {run, closed}
    await held.close()
    assert farewells(held) == [(closed, False, ["fetch"], 0), (run, False, ["fetch", "publish"], 0)]


async def test_a_file_of_format_2_is_taken_over(path: Path) -> None:
    """It has the tables of plans from then on, and its chain holds."""
    held = opened(path)
    await held.record(told.opened(OpenedRun(f"run_{1:026d}", START_MS + HOUR_MS), "ann", {}, START_MS), ())
    await held.close()
    with closing(sqlite3.connect(path)) as db:
        db.executescript(f"{BACK_TO_3} drop table kept; drop table steps; drop table uses; pragma user_version = 2;")
    held = opened(path)
    assert isinstance(held.journal.verify(), Verified)
    plan = await live(held, 2, START_MS)
    await held.close()
    held = opened(path)
    assert knows(held, plan)
    await held.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("pragma user_version").fetchone()[0] == VERSION
