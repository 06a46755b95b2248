"""Plans, cursors and approvals: what every ledger knows of them at once, and what a file knows after any restart."""

from __future__ import annotations

import asyncio
import sqlite3
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from tests.ledger.agreed import (
    APPROVAL,
    DIGEST,
    HOUR_MS,
    LOST,
    PLAN,
    REFUSED,
    RUN,
    UNSENT,
    a_plan,
    an_approval,
    an_asking,
    ask,
    attempt,
    by_approval,
    decline,
    end,
    facts_of,
    given_back,
    grant,
    guards_of,
    lock,
    plan_of,
    revoke,
    state_of,
    steps_of,
)
from tests.ledger.world import START_MS, Clock, opened, taken

from toolgate.core import runs as told
from toolgate.core.journal import Broken, Verified
from toolgate.core.model import NOTHING_KNOWN, PLAN_KEY, RUN_KEY, Charge, OpenedRun, Settlement, Short
from toolgate.core.plan import Attempted, Step
from toolgate.ledger.moves import Began, Ended, Move
from toolgate.ledger.redo import redo_of, redone
from toolgate.ledger.schema import _SCHEMA  # the file's own tables
from toolgate.ledger.tally import apply
from toolgate.ports import LedgerError

DONE = Attempted("done", 1, {"series": "d1"})


async def begun(held: Any, run: OpenedRun = RUN) -> None:
    assert await held.record(told.opened(run, "ann", {}, START_MS), ()) is None


async def planned(held: Any) -> None:
    await begun(held)
    assert await held.record(lock(a_plan()), ()) is None


async def finished(held: Any, call: str, step: str = "fetch", **said: Any) -> None:
    """One attempt at a step, from its permit to its end."""
    assert await held.record(attempt(call, step), ()) is None
    await held.finish(end(call, step, **said), Settlement())


async def again(held: Any, path: Path, clock: Clock | None = None) -> Any:
    await held.close()
    return opened(path, clock=clock)


# -- plans -----------------------------------------------------------------------------------------------------


async def test_a_locked_plan_is_its_runs_plan(url: str) -> None:
    """From its commit on facts of the run hold it, with nothing sent yet; no other run has it."""
    held = opened(url)
    await begun(held)
    assert facts_of(held).plan is None
    await held.record(lock(a_plan()), ())
    assert (plan_of(held).locked, dict(plan_of(held).steps)) == (a_plan(), {})
    assert held.facts(("run:bob",), START_MS).plan is None
    await held.close()


async def test_a_plan_comes_back_as_it_was_locked(path: Path) -> None:
    """Also where it is far longer than a line of the journal: every number, text and name as it was."""
    long = tuple(
        Step(f"s{n}", "näme \ud800", "a.b", arguments={"q": ["x" * 90, n, float(n), 1 << 80]}) for n in range(400)
    )
    held = opened(path)
    await begun(held)
    await held.record(lock(a_plan(steps=long)), ())
    held = await again(held, path)
    assert plan_of(held).locked == a_plan(steps=long)
    assert all(repr(a) == repr(b) for a, b in zip(plan_of(held).locked.plan.steps, long, strict=True))
    await held.close()


async def test_a_plan_that_could_not_be_written_holds_nobody(journal_url: str) -> None:
    """What lets go waits for its commit: a lock that fails leaves the run as it was."""
    failing = False

    def at(point: str) -> None:
        if failing and point == "linked":
            raise LedgerError("no space")

    held = opened(journal_url, at=at)
    await planned(held)
    failing = True
    with pytest.raises(LedgerError):
        await held.record(lock(a_plan(digest="sha256:wider"), "sha256:plan"), ())
    assert plan_of(held).locked.digest == "sha256:plan"
    failing = False
    await held.close()


async def test_a_plan_is_found_by_its_id_and_by_every_digest_it_had(url: str) -> None:
    """A former digest finds the plan as it is now; of two equal ones the asking principal's own is found first."""
    held = opened(url)
    await planned(held)
    await held.record(lock(a_plan(digest="sha256:second"), "sha256:plan"), ())
    other = OpenedRun("run_00000000000000000000000002", START_MS + HOUR_MS)
    await begun(held, other)
    twin = a_plan(id="plan_00000000000000000000000002", principal="bob", run=other.id)
    await held.record(lock(twin), ())

    def found(named: str, principal: str) -> str | None:
        plan = held.facts((PLAN_KEY + named, RUN_KEY + principal), START_MS, NOTHING_KNOWN).plan
        return None if plan is None else plan.locked.principal + plan.locked.digest

    assert found(PLAN, "bob") == "annsha256:second"
    assert found("sha256:plan", "ann") == "annsha256:second"
    assert found("sha256:plan", "bob") == "bobsha256:plan"
    assert found("sha256:plan", "carol") == "bobsha256:plan"
    assert found("sha256:unheard", "ann") is None
    await held.close()


ENDS = {
    "done": ({"outputs": {"series": "d1", "count": None}}, Attempted("done", 1, {"series": "d1", "count": None})),
    "refused by the upstream": (REFUSED, Attempted("failed", 1)),
    "perhaps done": (LOST, Attempted("unknown", 1)),
    "broken off": (LOST | {"sent": "yes"}, Attempted("unknown", 1)),
    "surely not sent": (UNSENT, Attempted(None, 0)),
}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("restarts", [False, True])
async def test_an_attempt_becomes_what_its_end_says(path: Path, how: str, restarts: bool) -> None:
    """Running from its permit on; what was surely not sent was no attempt; what may have been done is unknown."""
    said, expected = ENDS[how]
    held = opened(path)
    await planned(held)
    assert await held.record(attempt("c1"), ()) is None
    assert steps_of(held) == {"fetch": Attempted("running", 1)}
    await held.finish(end("c1", **said), Settlement())
    if restarts:
        held = await again(held, path)
    assert steps_of(held) == {"fetch": expected}
    await held.close()


@pytest.mark.parametrize("restarts", [False, True])
async def test_what_was_not_sent_leaves_a_step_as_it_was(path: Path, restarts: bool) -> None:
    """A failed step that was tried again in vain is failed, with the attempts it had."""
    held = opened(path)
    await planned(held)
    await finished(held, "c1", **REFUSED)
    await finished(held, "c2", **UNSENT)
    if restarts:
        held = await again(held, path)
    assert steps_of(held) == {"fetch": Attempted("failed", 1)}
    await finished(held, "c3", outputs={"series": "d1"})
    assert steps_of(held) == {"fetch": Attempted("done", 2, {"series": "d1"})}
    await held.close()


@pytest.mark.parametrize("sizes", [(9,), (1,) * 9, (4, 5), (3, 3, 3)])
def test_a_file_keeps_the_same_however_attempts_are_grouped(sizes: tuple[int, ...]) -> None:
    """Several attempts at one step in one transaction come to what they come to one by one."""
    first, second, third, other = (
        Began(call, PLAN, step) for call, step in (("c1", "a"), ("c2", "a"), ("c3", "a"), ("c4", "b"))
    )
    moves: list[Move] = [first, other, Ended(first, "failed", {}), second, Ended(second, None, {}), third]
    moves += [
        Ended(other, "unknown", {}),
        Ended(third, "done", {"series": "d1", "count": None}),
        Began("c5", PLAN, "c"),
    ]
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.executescript(_SCHEMA)
    rest = iter(moves)
    for size in sizes:
        apply(db, redone([redo_of((), islice(rest, size)) or b""]))
    assert [
        ("a", "done", None, 2, '{"series":"d1","count":null}', "c3"),
        ("b", "unknown", None, 1, "{}", "c4"),
        ("c", "running", None, 1, "{}", "c5"),
    ] == db.execute("select step, state, before, attempts, outputs, call from steps order by step").fetchall()
    db.close()


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_revision_keeps_how_far_its_run_has_come(path: Path, restarts: bool) -> None:
    """The newest form of a plan is the plan; what was done stays done."""
    held = opened(path)
    await planned(held)
    await finished(held, "c1", outputs={"series": "d1"})
    second = a_plan(digest="sha256:second", expansions=1)
    await held.record(lock(second, "sha256:plan"), ())
    if restarts:
        held = await again(held, path)
    assert (plan_of(held).locked, steps_of(held)) == (second, {"fetch": DONE})
    await held.close()


async def test_facts_are_live(url: str) -> None:
    """Whoever holds the facts sees the cursor as it is now."""
    held = opened(url)
    await planned(held)
    facts = plan_of(held)
    await held.record(attempt("c1"), ())
    assert facts.steps["fetch"].state == "running"
    await held.close()


async def test_a_permit_that_could_not_be_written_is_no_attempt(journal_url: str) -> None:
    """Nothing was sent: the step is as it was, and its attempt is free."""
    failing = False

    def at(point: str) -> None:
        if failing and point == "linked":
            raise LedgerError("no space")

    held = opened(journal_url, at=at)
    await planned(held)
    failing = True
    with pytest.raises(LedgerError):
        await held.record(attempt("c1"), guards_of())
    assert steps_of(held) == {"fetch": Attempted(None, 0)}
    assert taken(held, f"p:{PLAN}:fetch#1") == {f"p:{PLAN}:fetch#1": 0}
    failing = False
    await held.close()


async def test_a_refusal_that_names_a_step_is_no_attempt(url: str) -> None:
    """Only permits are sent."""
    held = opened(url)
    await planned(held)
    await held.append(attempt("c1", decision="refuse", code="plan.out_of_order"))
    assert steps_of(held) == {}
    await held.close()


@pytest.mark.parametrize("count", [2, 40])
async def test_a_step_is_sent_once_at_a_time_and_so_often_at_most(url: str, count: int) -> None:
    """M17: of many at once one is let through; when it ended, one more, as long as attempts are left."""
    held = opened(url)
    await planned(held)
    admitted = []
    for turn in range(2):
        calls = [f"c{turn}-{n}" for n in range(count)]
        shorts = await asyncio.gather(*(held.record(attempt(call), guards_of(number=turn + 1)) for call in calls))
        through = [call for call, short in zip(calls, shorts, strict=True) if short is None]
        admitted.append(len(through))
        for call in through:
            await held.finish(end(call, **REFUSED), Settlement())
    assert admitted == [1, 1]
    assert steps_of(held) == {"fetch": Attempted("failed", 2)}
    await held.close()


async def test_what_was_not_sent_gives_its_attempt_back(url: str) -> None:
    """However often nothing is sent, the step has all of its attempts."""
    held = opened(url)
    await planned(held)
    for n in range(5):
        assert await held.record(attempt(f"c{n}"), guards_of()) is None
        await held.finish(end(f"c{n}", **UNSENT), given_back())
    assert steps_of(held) == {"fetch": Attempted(None, 0)}
    await held.close()


# -- approvals -------------------------------------------------------------------------------------------------


async def test_an_approval_is_asked_for_granted_and_used_once(url: str) -> None:
    """Pending at once, granted from the commit of the grant on, used with the permit that it justifies."""
    held = opened(url)
    await begun(held)
    await held.record(ask(), ())
    assert (state_of(held), held.facts((), START_MS).approvals.pending("ann", START_MS)) == ("pending", 1)
    await held.record(grant(an_approval()), ())
    assert (state_of(held), held.facts((), START_MS).approvals.pending("ann", START_MS)) == ("granted", 0)
    await held.record(by_approval("c1"), ())
    assert state_of(held) == "used"
    await held.finish(end("c1", None), Settlement())
    assert state_of(held) == "used"
    await held.close()


@pytest.mark.parametrize("restarts", [False, True])
async def test_an_approval_comes_back_as_it_was(path: Path, restarts: bool) -> None:
    """Asked, granted in part, granted, declined, used, given back: whatever it was it is after a restart."""
    held = opened(path)
    await begun(held)
    ids = [f"apr_{n:026d}" for n in range(6)]
    for n, name in enumerate(ids):
        asked = an_asking(
            f"sha256:{n}", roles=("lead", "owner") if n == 1 else ("lead",), request={"big": "x" * 40_000}
        )
        await held.record(ask(name, asked), ())
    known = {name: held.facts((), START_MS).approvals.by_id(name, START_MS) for name in ids}
    for name in (ids[1], ids[2], ids[4], ids[5]):
        await held.record(grant(known[name]), ())
    await held.record(decline(known[ids[3]]), ())
    await held.record(by_approval("c4", ids[4]), ())
    await held.record(by_approval("c5", ids[5]), ())
    await held.finish(end("c5", None, **UNSENT), Settlement())
    before = held.facts((), START_MS + 2).approvals.listed(START_MS + 2)
    if restarts:
        held = await again(held, path)
    after = held.facts((), START_MS + 2).approvals.listed(START_MS + 2)
    assert after == before
    assert [each.state for each in reversed(after)] == ["pending", "pending", "granted", "declined", "used", "granted"]
    assert after[4].granted_by == (("lead", "eve"),)
    await held.close()


@pytest.mark.parametrize("first", ["grant", "decline"])
@pytest.mark.parametrize("restarts", [False, True])
async def test_the_first_answer_that_is_written_is_the_answer(path: Path, first: str, restarts: bool) -> None:
    """M20: of two people who answer at once the first one written is heard, now and after a restart."""
    held = opened(path)
    await begun(held)
    await held.record(ask(), ())
    answers = [grant(an_approval()), decline(an_approval(), "mallory")]
    await asyncio.gather(*(held.record(each, ()) for each in (answers if first == "grant" else answers[::-1])))
    if restarts:
        held = await again(held, path)
    assert state_of(held) == ("granted" if first == "grant" else "declined")
    await held.close()


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_grant_that_was_taken_back_is_used_by_nobody(path: Path, restarts: bool) -> None:
    """It takes the use that a call would take: of the two one is written, whichever was first."""
    held = opened(path)
    await begun(held)
    other = "apr_00000000000000000000000002"
    for name, digest in ((APPROVAL, DIGEST), (other, "sha256:other")):
        await held.record(ask(name, an_asking(digest)), ())
        await held.record(grant(an_approval(name)), ())
    uses = {name: (Charge(f"a:{name}", 1, 1),) for name in (APPROVAL, other)}
    assert await held.record(revoke(an_approval()), uses[APPROVAL]) is None
    assert await held.record(by_approval("c1", other), uses[other]) is None
    assert await held.record(revoke(an_approval(other)), uses[other]) == Short(uses[other][0], 0)
    if restarts:
        held = await again(held, path)
    assert [state_of(held), state_of(held, other)] == ["revoked", "used"]
    assert await held.record(by_approval("c2"), uses[APPROVAL]) == Short(uses[APPROVAL][0], 0)
    await held.close()


async def test_what_is_kept_is_held_against_the_lines(path: Path) -> None:
    """SECURITY: the chain covers lines only, so a yes that somebody writes into the table is found by `verify`."""
    held = opened(path)
    await planned(held)
    long = an_asking(request={"big": "x" * 40_000, "odd": "\ud800", "large": 10**40})
    await held.record(ask(asked=long), ())
    await held.record(revoke(an_approval()), ())
    await held.record(grant(an_approval()), ())
    journal = held.journal
    assert isinstance(journal.verify(), Verified)
    await held.close()
    assert isinstance(journal.verify(), Verified)
    forged = "insert into kept (kind, at_ms, run, name, digest, said) select kind, at_ms + 1, run, 'apr_forged', digest, said from kept where kind = 'ApprovalGranted'"
    for change, name in (
        ("update kept set said = replace(said, 'looks right', 'looks odd') where kind = 'ApprovalGranted'", APPROVAL),
        ("update kept set said = 'nonsense' where kind = 'PlanLocked'", PLAN),
        (forged, "apr_forged"),
    ):
        with sqlite3.connect(path) as db:
            before = db.execute("select * from kept").fetchall()
            assert db.execute(change).rowcount == 1
        broken = journal.verify()
        assert isinstance(broken, Broken)
        assert f"what is kept of `{name}` is not what any line says" in broken.why
        with sqlite3.connect(path) as db:
            db.execute("delete from kept")
            db.executemany("insert into kept values (?,?,?,?,?,?,?)", before)
    assert isinstance(journal.verify(), Verified)


async def test_only_a_grant_can_be_taken_back(url: str) -> None:
    """What waits, was declined or is expired stays what it is."""
    held = opened(url)
    await begun(held)
    await held.record(ask(), ())
    await held.record(revoke(an_approval()), ())
    assert state_of(held) == "pending"
    await held.record(decline(an_approval()), ())
    await held.record(revoke(an_approval()), ())
    assert state_of(held) == "declined"
    await held.close()


async def test_time_ends_what_is_not_answered_and_what_is_not_used(url: str) -> None:
    """At its last millisecond it still holds, at the next it is expired; no answer revives it."""
    held = opened(url)
    await begun(held)
    await held.record(ask(), ())
    last_ms = an_approval().expires_ms - 1
    assert [state_of(held, at_ms=at) for at in (last_ms, last_ms + 1)] == ["pending", "expired"]
    assert held.facts((), START_MS).approvals.pending("ann", last_ms + 1) == 0
    await held.record(grant(an_approval(), at_ms=last_ms + 1), ())
    assert state_of(held, at_ms=last_ms + 1) == "expired"
    await held.close()


async def test_the_newest_approval_of_a_digest_is_the_one_that_counts(url: str) -> None:
    """Who asks anew after an answer waits anew."""
    held = opened(url)
    await begun(held)
    await held.record(ask(), ())
    await held.record(decline(an_approval()), ())
    second = "apr_00000000000000000000000002"
    await held.record(ask(second), ())
    newest = held.facts((), START_MS).approvals.of(DIGEST, START_MS + 1)
    assert newest == an_approval(second)
    assert state_of(held) == "declined"
    assert held.facts((), START_MS).approvals.of("sha256:unheard", START_MS) is None
    await held.close()


async def test_a_request_that_could_not_be_written_was_never_made(journal_url: str) -> None:
    """Nobody waits for an answer to it."""
    failing = False

    def at(point: str) -> None:
        if failing and point == "linked":
            raise LedgerError("no space")

    held = opened(journal_url, at=at)
    await begun(held)
    failing = True
    with pytest.raises(LedgerError):
        await held.record(ask(), ())
    approvals = held.facts((), START_MS).approvals
    assert (approvals.of(DIGEST, START_MS), approvals.pending("ann", START_MS), approvals.listed(START_MS)) == (
        None,
        0,
        [],
    )
    failing = False
    await held.close()


async def test_a_hundred_uses_at_once_send_one_call(url: str) -> None:
    """M18: the guard decides, whoever asks; where it was surely not sent, one more is let through, and no more."""
    held = opened(url)
    await begun(held)
    await held.record(ask(), ())
    await held.record(grant(an_approval()), ())
    guard = Charge(f"a:{APPROVAL}", 1, 1)

    async def use_at_once(turn: int) -> list[str]:
        calls = [f"c{turn}-{n}" for n in range(100)]
        answers = await asyncio.gather(*(held.record(by_approval(call), (guard,)) for call in calls))
        assert all(short is None or short == Short(guard, 0) for short in answers)
        return [call for call, short in zip(calls, answers, strict=True) if short is None]

    [sent] = await use_at_once(1)
    assert state_of(held) == "used"
    await held.finish(end(sent, None, **UNSENT), Settlement(refunds=(guard,)))
    while taken(held, guard.key) != {guard.key: 0}:  # noqa: ASYNC110 (a store of its own answers when it does)
        await asyncio.sleep(0.001)
    assert state_of(held) == "granted"
    [sent] = await use_at_once(2)
    await held.finish(end(sent, None), Settlement())
    assert await use_at_once(3) == []
    await held.close()


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_yes_for_a_plan_is_used_by_the_plan_and_a_yes_for_a_run_by_the_run(path: Path, restarts: bool) -> None:
    """Steps that name their plan's approval use up nothing; what a lock or a run used is used for good."""
    held = opened(path)
    await begun(held)
    for n, kind in enumerate(("plan", "recursion")):
        name = f"apr_{n:026d}"
        await held.record(ask(name, an_asking(f"sha256:{n}", kind=kind)), ())
        await held.record(grant(an_approval(name, an_asking(f"sha256:{n}", kind=kind))), ())
    await held.record(attempt("c0", approval=f"apr_{0:026d}"), ())
    assert state_of(held, f"apr_{0:026d}") == "granted"
    await held.record(lock(a_plan(approval=f"apr_{0:026d}")), ())
    below = OpenedRun("run_00000000000000000000000002", START_MS + HOUR_MS, (RUN.id,))
    started = told.opened(below, "ann", {}, START_MS)
    await held.record(started._replace(data={**started.data, "approval": f"apr_{1:026d}"}), ())
    await held.record(attempt("c1", approval=f"apr_{0:026d}"), ())
    await held.finish(end("c1", **UNSENT), Settlement())
    if restarts:
        held = await again(held, path)
    assert [state_of(held, f"apr_{n:026d}") for n in (0, 1)] == ["used", "used"]
    await held.close()
