"""What gates of a store tell each other of plans and approvals, and when: by their ledgers alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.ledger.agreed import (
    APPROVAL,
    LOST,
    PLAN,
    RUN,
    STEPS,
    UNSENT,
    a_plan,
    an_approval,
    an_asking,
    ask,
    attempt,
    by_approval,
    decline,
    end,
    given_back,
    grant,
    guards_of,
    lock,
    plan_of,
    revoke,
    state_of,
    steps_of,
)
from tests.ledger.redis.stores import PATIENT_S, kept, made_ready, prefix_of, settled
from tests.ledger.world import START_MS, Clock, calling, ledger_filter, opened
from tests.support.redis_server import RedisServer

from toolgate.core import runs as told
from toolgate.core.approval import WAITING
from toolgate.core.model import Charge, OpenedRun, Overtaken, Settlement, Short
from toolgate.core.plan import Attempted, Step
from toolgate.ports import LedgerError

SECOND = "apr_00000000000000000000000002"
DONE = {"outputs": {"series": "d1"}}
USE = Charge(f"a:{APPROVAL}", 1, 1)
TURN = Charge(f"v:{RUN.id}:none", 1, 1)


@pytest.fixture
def url(redis_server: RedisServer) -> str:
    return made_ready(redis_server.url, PATIENT_S)


@asynccontextmanager
async def gates(url: str, count: int = 2, **given: Any) -> AsyncIterator[list[Any]]:
    """So many, in a run that all of them take calls of."""
    held = [opened(url, **given) for _ in range(count)]
    await held[0].record(told.opened(RUN, "ann", {}, START_MS), ())
    for gate in held:
        gate.next_in_run(calling("ann", run=RUN))
    try:
        yield held
    finally:
        for gate in held:
            await gate.close()


async def known(gate: Any, condition: Callable[[], bool], named: str = RUN.id) -> None:
    """What another gate did is known here once that is asked for."""
    async with asyncio.timeout(10):
        while not condition():
            await gate.catch_up(named)
            await asyncio.sleep(0.005)


async def taken(gate: Any, call: str, step: str = "fetch") -> Any:
    """Permit a call as an attempt; decided again where others were first, as the gateway does it."""
    while True:
        answer = await gate.record(attempt(call, step), guards_of(step))
        if not isinstance(answer, Overtaken):
            return answer


# -- plans -----------------------------------------------------------------------------------------------------


async def test_a_plan_of_one_gate_holds_at_the_others(url: str) -> None:
    """The whole plan, number by number; the first call elsewhere is decided again with it, and takes nothing before."""
    steps = (*STEPS, Step("odd", "n\ud800", "a.b", arguments={"q": [1, 1.0, True, 1 << 80, "é\ud800"]}))
    async with gates(url) as (first, second):
        await first.record(lock(a_plan(steps=steps)), (TURN,))
        assert Overtaken(RUN.id) == await second.record(attempt("c1", plan=PLAN), guards_of())
        assert a_plan(steps=steps) == plan_of(second).locked
        assert repr(steps) == repr(plan_of(second).locked.plan.steps)
        assert await second.record(attempt("c1"), guards_of()) is None
        assert not await second.catch_up(RUN.id)
    assert {TURN.key: 1, f"p:{PLAN}:fetch#1": 1} == kept(url)


async def test_a_plan_is_found_by_its_digest(url: str) -> None:
    """Also at a gate that had nothing to do with its run, and as it was revised."""
    async with gates(url, 3) as (first, second, third):
        await first.record(lock(a_plan()), (TURN,))
        assert await second.catch_up("sha256:plan")
        assert a_plan() == second.facts(("plan:sha256:plan",), START_MS).plan.locked
        revised = a_plan(digest="sha256:second", locked_ms=START_MS + 1)
        await first.record(lock(revised, "sha256:plan"), (Charge(f"v:{PLAN}:1", 1, 1),))
        assert await third.catch_up("sha256:second")
        assert revised == third.facts(("plan:sha256:second",), START_MS).plan.locked
        assert not await third.catch_up("sha256:none")


async def test_an_unplanned_call_elsewhere_is_decided_again(url: str) -> None:
    """A gate that has heard of no plan sends nothing outside of one that is locked."""
    async with gates(url) as (first, second):
        await first.record(lock(a_plan()), (TURN,))
        free = attempt("c1")._replace(data={"principal": "ann", "decision": "permit"})
        assert isinstance(await second.record(free, ()), Overtaken)
        assert await second.record(free, ()) is None
        assert ["Decided"] == [row.event["event"] for row in second.journal.call("c1")]


async def test_of_two_plans_at_once_one_is_locked(url: str) -> None:
    """Through two gates: the guard decides, and who was late knows the other one's then."""
    async with gates(url) as both:
        plans = [a_plan(id=f"plan_{n:026d}", digest=f"sha256:{n}") for n in range(2)]
        answers = await asyncio.gather(
            *(gate.record(lock(plan), (TURN,)) for gate, plan in zip(both, plans, strict=True))
        )
        locked = plans[answers.index(None)]
        assert isinstance(answers[1 - answers.index(None)], Short | Overtaken)
        for gate in both:
            await known(gate, lambda gate=gate: gate.facts((f"plan:{locked.id}",), START_MS).plan is not None)
            assert locked == plan_of(gate).locked
    assert {TURN.key: 1} == kept(url)


async def test_a_revision_that_knows_nothing_of_a_step_is_not_locked(url: str) -> None:
    """What was sent elsewhere meanwhile may not be changed: the revision is judged again."""
    async with gates(url) as (first, second):
        await first.record(lock(a_plan()), (TURN,))
        assert await taken(second, "c1") is None
        turn = Charge(f"v:{PLAN}:1", 1, 1)
        revised = lock(a_plan(digest="sha256:second", locked_ms=START_MS + 1), "sha256:plan")
        assert isinstance(await first.record(revised, (turn,)), Overtaken)
        assert {"fetch": Attempted("running", 1)} == steps_of(first)
        assert await first.record(revised, (turn,)) is None
        await known(second, lambda: plan_of(second).locked.digest == "sha256:second")
        assert {"fetch": Attempted("running", 1)} == steps_of(second)


async def test_steps_of_one_gate_are_done_at_the_others(url: str) -> None:
    """Running, done with its outputs, given back, failed, perhaps done: each as at the gate that sent it."""
    ends = {"done": DONE, None: UNSENT, "failed": {"status": 503}, "unknown": LOST}
    async with gates(url) as (first, second):
        await first.record(lock(a_plan()), (TURN,))
        await known(second, lambda: second.facts((f"plan:{PLAN}",), START_MS).plan is not None)
        for n, (state, said) in enumerate(ends.items()):
            assert await taken(first, f"c{n}", f"s{n}") is None
            await known(second, lambda n=n: steps_of(second).get(f"s{n}") == Attempted("running", 1))
            settlement = given_back(f"s{n}") if state is None else Settlement()
            await first.finish(end(f"c{n}", f"s{n}", **said), settlement)
            await known(second, lambda n=n: steps_of(second)[f"s{n}"].state != "running")
        assert steps_of(first) == steps_of(second)
        assert [*ends] == [each.state for each in steps_of(second).values()]
        assert {"series": "d1"} == steps_of(second)["s0"].outputs


async def test_calls_of_one_gate_wait_for_none_of_its_own(url: str) -> None:
    """A hundred attempts at once through one gate: none of them is decided again."""
    async with gates(url, 1) as (gate,):
        await gate.record(lock(a_plan()), (TURN,))
        answers = await asyncio.gather(
            *(gate.record(attempt(f"c{n}", f"s{n}"), guards_of(f"s{n}")) for n in range(100))
        )
        assert {None} == set(answers)
        assert not await gate.catch_up(RUN.id)


async def test_both_gates_go_through_a_plan_in_turn(url: str) -> None:
    """Three hundred attempts in all, by turns, with a revision between: both know the same at their end, page by page."""
    async with gates(url) as both:
        await both[0].record(lock(a_plan()), (TURN,))
        for n in range(300):
            gate, step = both[n % 3 == 0], f"s{n}"
            assert await taken(gate, f"c{n}", step) is None
            await gate.finish(end(f"c{n}", step, **DONE), Settlement())
            if n == 150:
                await settled(gate)
                revised = lock(a_plan(digest="sha256:second", locked_ms=START_MS + 1), "sha256:plan")
                while await gate.record(revised, (Charge(f"v:{PLAN}:1", 1, 1),)) is not None:
                    pass
        for gate in both:
            await settled(gate)
        third = opened(url)
        third.next_in_run(calling("ann", run=RUN))
        for gate in (*both, third):
            await gate.catch_up(RUN.id)
            assert plan_of(gate).locked.digest == "sha256:second"
            assert [Attempted("done", 1, {"series": "d1"})] * 300 == list(steps_of(gate).values())
        await third.close()


# -- approvals -------------------------------------------------------------------------------------------------


async def test_an_approval_is_found_answered_and_used_anywhere(url: str) -> None:
    """Asked at one gate, answered at another by its id alone, used at a third: once."""
    async with gates(url, 3) as (first, second, third):
        await first.record(ask(), ())
        assert await second.catch_up(APPROVAL)
        assert ("pending", None) == (state_of(second), state_of(third))
        await second.record(grant(an_approval()), ())
        assert ["granted", "granted"] == [state_of(second), state_of(first) if await first.catch_up(RUN.id) else None]
        answers = [await third.record(by_approval(call), (USE,)) for call in ("c1", "c1", "c2")]
        assert [Overtaken(RUN.id), None, Short(USE, 0)] == answers
        for gate in (first, second):
            await known(gate, lambda gate=gate: state_of(gate) == "used")
        await third.finish(end("c1", None, **UNSENT), Settlement(refunds=(USE,)))
        for gate in (first, second):
            await known(gate, lambda gate=gate: state_of(gate) == "granted")
        assert state_of(third) == "granted"
        assert await taken_by(first, "c3") is None
    assert 1 == kept(url)[USE.key]


async def test_all_that_wait_for_somebody_are_listed_anywhere(url: str) -> None:
    """Of whatever run, asked for at whatever gate, as it stands now."""
    async with gates(url, 3) as (first, second, third):
        assert not await third.catch_up(WAITING)
        for n, gate in enumerate((first, second, first, second)):
            run = OpenedRun(f"run_{n:026d}", START_MS + 1000)
            await gate.record(told.opened(run, "ann", {}, START_MS), ())
            await gate.record(ask(f"apr_{n:026d}", an_asking(f"sha256:{n}", run)), ())
        await second.catch_up("apr_" + "0" * 26)
        await second.record(grant(an_approval("apr_" + "0" * 26)), ())
        assert await third.catch_up(WAITING)
        listed = third.facts((), START_MS).approvals.listed(START_MS + 1)
        assert [(f"apr_{n:026d}", "granted" if n == 0 else "pending") for n in (3, 2, 1, 0)] == [
            (each.id, each.state) for each in sorted(listed, key=lambda each: each.id, reverse=True)
        ]
        assert not await third.catch_up(WAITING)
        assert 3 == third.facts((), START_MS).approvals.pending("ann", START_MS)


async def taken_by(gate: Any, call: str) -> Any:
    while True:
        answer = await gate.record(by_approval(call), (USE,))
        if not isinstance(answer, Overtaken):
            return answer


async def test_of_two_answers_at_two_gates_the_first_is_heard(url: str) -> None:
    """Yes at one, no at the other, at once: both gates know the same one."""
    async with gates(url) as both:
        for n in range(10):
            name = f"apr_{n:026d}"
            await both[0].record(ask(name, an_asking(f"sha256:{n}")), ())
            await both[1].catch_up(name)
            answers = [grant(an_approval(name)), decline(an_approval(name))]
            said = await asyncio.gather(*(gate.record(each, ()) for gate, each in zip(both, answers, strict=True)))
            assert 1 == said.count(None)
            states = {state_of(gate, name) for gate in both}
            assert {"granted" if said[0] is None else "declined"} == states


async def test_a_grant_is_taken_back_everywhere_or_used(url: str) -> None:
    """Of a call at one gate and a person at another one is heard; every gate knows which."""
    async with gates(url) as both:
        for n in range(10):
            name = f"apr_{n:026d}"
            use = Charge(f"a:{name}", 1, 1)
            await both[0].record(ask(name, an_asking(f"sha256:{n}")), ())
            await both[0].record(grant(an_approval(name)), ())
            for gate in both:
                await known(gate, lambda gate=gate, name=name: state_of(gate, name) == "granted", name)

            async def used(name: str = name, n: int = n, use: Charge = use) -> Any:
                while isinstance(answer := await both[0].record(by_approval(f"c{n}", name), (use,)), Overtaken):
                    pass
                return answer

            said = await asyncio.gather(used(), both[1].record(revoke(an_approval(name)), (use,)))
            assert 1 == said.count(None)
            state = "used" if said[0] is None else "revoked"
            for gate in both:
                await known(gate, lambda gate=gate, name=name, state=state: state_of(gate, name) == state, name)


async def test_two_roles_are_answered_at_two_gates(url: str) -> None:
    """Each knows of the other's yes; it is granted with the second."""
    asked = an_asking(roles=("lead", "owner"))
    async with gates(url) as (first, second):
        await first.record(ask(asked=asked), ())
        await second.catch_up(APPROVAL)
        await second.record(grant(an_approval(asked=asked)), ())
        await first.catch_up(APPROVAL)
        half = first.facts((), START_MS).approvals.by_id(APPROVAL, START_MS)
        assert ("pending", (("lead", "eve"),)) == (half.state, half.granted_by)
        await first.record(grant(half, "otto", "owner"), ())
        await known(second, lambda: state_of(second) == "granted")


async def test_a_run_that_was_opened_with_a_yes_used_it_everywhere(url: str) -> None:
    """Whoever asks at another gate for one more run needs one more yes."""
    async with gates(url) as (first, second):
        await first.record(ask(asked=an_asking(kind="recursion")), ())
        await second.catch_up(APPROVAL)
        await second.record(grant(an_approval(asked=an_asking(kind="recursion"))), ())
        below = OpenedRun("run_00000000000000000000000009", START_MS + 1000, (RUN.id,))
        started = told.opened(below, "ann", {}, START_MS, APPROVAL)
        assert await second.record(started, (USE,)) is None
        await known(first, lambda: state_of(first) == "used")
        assert Short(USE, 0) == await first.record(started, (USE,))


# -- gates that go away ----------------------------------------------------------------------------------------


async def test_a_gate_that_comes_back_knows_what_others_did_meanwhile(url: str, tmp_path: Path) -> None:
    """Its file has what it did itself; the rest it reads before it decides a call. Nothing counts twice."""
    path = tmp_path / "ledger.db"
    async with gates(url, 1) as (other,):
        held = opened(url, journal=path)
        held.next_in_run(calling("ann", run=RUN))
        await held.record(lock(a_plan()), (TURN,))
        assert await taken(held, "c1") is None
        await held.finish(end("c1", **DONE), Settlement())
        await held.close()
        assert await taken(other, "c2", "publish") is None
        await other.finish(end("c2", "publish", **DONE), Settlement())
        await settled(other)
        held = opened(url, journal=path)
        assert {"fetch": Attempted("done", 1, {"series": "d1"})} == steps_of(held)
        assert isinstance(await held.record(attempt("c3", "third"), guards_of("third")), Overtaken)
        assert steps_of(other) == steps_of(held)
        assert [("done", 1), ("done", 1)] == [each[:2] for each in steps_of(held).values()]
        await held.close()


async def test_a_journal_names_what_it_was_held_to(url: str, tmp_path: Path) -> None:
    """A plan of another gate is named once, before the first call it permits; its text stays where it was locked."""
    path = tmp_path / "ledger.db"
    async with gates(url, 1) as (first,):
        await first.record(lock(a_plan()), (TURN,))
        held = opened(url, journal=path)
        held.next_in_run(calling("ann", run=RUN))
        for n in range(2):
            assert await taken(held, f"c{n}", f"s{n}") is None
        rows = [row.event for row in held.journal.events(ledger_filter())]
        await held.close()
        held = opened(url, journal=path)  # what it names it can read again
        await held.close()
    (named,) = [each for each in rows if each["event"] == "AgreedElsewhere"]
    assert (PLAN, RUN.id) == (named["name"], named["run"])
    assert first.journal.head().writer == named["by"]
    kinds = [each["event"] for each in rows]
    assert kinds.index("AgreedElsewhere") < kinds.index("Decided")
    assert "PlanLocked" not in kinds


async def test_what_was_begun_when_a_gate_died_is_judged_by_its_journal(url: str, tmp_path: Path) -> None:
    """A lock that was written is told when the gate comes back; one that was not gives its turn back."""
    path, failing = tmp_path / "ledger.db", [False]

    def at(point: str) -> None:
        if failing[0] and point == "linked":
            raise LedgerError("no space")

    held = opened(url, journal=path, at=at)
    held.next_in_run(calling("ann", run=RUN))
    failing[0] = True
    with pytest.raises(LedgerError):
        await held.record(lock(a_plan()), (TURN,))
    failing[0] = False
    await settled(held)
    assert {TURN.key: 0} == kept(url)
    async with asyncio.timeout(10):
        while held.ready() is not None:  # noqa: ASYNC110 (the writer's thread)
            await asyncio.sleep(0.01)
    assert await held.record(lock(a_plan()), (TURN,)) is None
    await held.close()
    async with gates(url, 1) as (other,):
        assert await other.catch_up(PLAN)
        assert a_plan() == plan_of(other).locked


async def test_what_could_not_be_told_is_told_at_the_next_start(server: RedisServer, url: str, tmp_path: Path) -> None:
    """Written here while the store went away: whoever asked is not told that it holds, and the others hear of it later."""
    own_url, path, is_dying = made_ready(server.url, PATIENT_S), tmp_path / "ledger.db", [False]

    def at(point: str) -> None:
        if is_dying[0] and point == "linked":
            server.kill()

    held = opened(own_url, journal=path, at=at)
    held.next_in_run(calling("ann", run=RUN))
    await held.record(ask(), ())
    is_dying[0] = True
    with pytest.raises(LedgerError):
        await held.record(lock(a_plan()), (TURN,))
    is_dying[0] = False
    assert a_plan() == plan_of(held).locked
    await held.close()
    server.start()
    async with gates(own_url, 1) as (other,):
        assert isinstance(await other.record(attempt("c1"), ()), Overtaken)  # the request; of the plan it knows nothing
        assert Short(TURN, 0) == await other.record(lock(a_plan(digest="sha256:other")), (TURN,))
        held = opened(own_url, journal=path)
        assert isinstance(await other.record(attempt("c2"), ()), Overtaken)
        assert a_plan() == plan_of(other).locked
        await held.close()


async def test_a_run_has_room_for_so_many_attempts(redis_server: RedisServer, url: str) -> None:
    """An agent that tries without end fills no store: its run takes no more of what others are told of."""
    async with gates(url, 1) as (gate,):
        await gate.record(lock(a_plan()), (TURN,))
        writer, key = gate.journal.head().writer, f"{{{prefix_of(url)}}}:agreed"
        redis_server.ask("RPUSH", f"{key}:{RUN.id}", *[f"{writer} "] * 20_000)
        redis_server.ask("HSET", f"{key}-by:{RUN.id}", writer, 20_001)
        for asked in (gate.record(attempt("c1"), guards_of()), gate.record(ask(), ())):
            with pytest.raises(LedgerError, match="open another run"):
                await asked
        assert await gate.record(attempt("c2")._replace(data={"decision": "permit"}), ()) is None


async def test_an_attempt_of_a_gate_that_is_gone_is_perhaps_done(redis_server: RedisServer, url: str) -> None:
    """Nobody waits for ever for its end: once its gate has not been heard of for a minute, nobody knows it any more."""
    async with gates(url) as (first, second):
        await first.record(lock(a_plan()), (TURN,))
        assert await taken(first, "c1") is None
        await known(second, lambda: second.facts((f"plan:{PLAN}",), START_MS).plan is not None)
        assert {"fetch": Attempted("running", 1)} == steps_of(second)
        await second.catch_up(RUN.id)
        assert {"fetch": Attempted("running", 1)} == steps_of(second)
        writer = first.journal.head().writer
        await known(
            second,
            lambda: (
                redis_server.ask("DEL", f"{{{prefix_of(url)}}}:alive:{writer}") is not None
                and steps_of(second)["fetch"].state == "unknown"
            ),
        )


async def test_what_was_only_looked_at_is_forgotten(url: str) -> None:
    """Who asks a gate for plans of runs it has nothing to do with fills no memory: a day later they are looked for anew."""
    clock = Clock()
    async with gates(url, 1) as (first,):
        await first.record(lock(a_plan()), (TURN,))
        await first.record(ask("apr_x", an_asking(run=OpenedRun("run_x", START_MS))), ())
        third = opened(url, clock=clock)
        third.next_in_run(calling("ann", run=OpenedRun("run_x", START_MS + 10**9)))
        assert [True, True, False] == [await third.catch_up(each) for each in ("apr_x", PLAN, PLAN)]
        assert third.facts((f"plan:{PLAN}",), START_MS).plan is not None
        clock.now_ms += 86_400_001
        await first.record(ask("apr_y", an_asking(run=OpenedRun("run_y", START_MS))), ())
        await first.record(ask("apr_z", an_asking(run=OpenedRun("run_z", START_MS))), ())
        assert [True, True] == [await third.catch_up(each) for each in ("apr_y", "apr_z")]
        assert third.facts((f"plan:{PLAN}",), START_MS).plan is None
        assert "pending" == state_of(third, "apr_x")
        assert await third.catch_up(PLAN)
        assert third.facts((f"plan:{PLAN}",), START_MS).plan is not None
        await third.close()


# -- the store -------------------------------------------------------------------------------------------------


async def test_what_cannot_be_read_refuses(redis_server: RedisServer, url: str) -> None:
    """Whatever stands there instead of an entry: no call of that run is permitted, and nothing else breaks."""
    async with gates(url, 1) as (gate,):
        key = f"{{{prefix_of(url)}}}:agreed:{RUN.id}"
        for n, garbage in enumerate(
            ("w_x {", "w_x []", 'w_x {"kind": "PlanLocked", "at_ms": 1, "data": {}}', 'w_x {"kind": 7}')
        ):
            redis_server.ask("DEL", key)
            redis_server.ask("RPUSH", key, garbage)
            with pytest.raises(LedgerError, match="does not answer as Redis does"):
                await gate.record(attempt(f"c{n}"), guards_of())
            assert not await gate.catch_up(RUN.id)
        assert not await gate.catch_up("plan_" + "x" * 10_000)
        assert not await gate.catch_up("../epoch")


async def test_a_store_that_is_away_teaches_nothing_and_keeps_nobody(redis_server: RedisServer, url: str) -> None:
    """A look that cannot be answered is none; what asks for more is refused."""
    async with gates(url, 1) as (gate,):
        await gate.record(lock(a_plan()), (TURN,))
        redis_server.ask("DEL", f"{{{prefix_of(url)}}}:epoch")
        assert not await gate.catch_up(RUN.id)
        with pytest.raises(LedgerError):
            await gate.record(ask(), ())
        assert state_of(gate) is None


async def test_all_that_is_told_goes_one_day(redis_server: RedisServer, url: str) -> None:
    """Every key of a plan and of an approval has a time to live: 30 days, and a day for what is spent of a yes."""
    async with gates(url, clock=Clock()) as (first, second):
        await first.record(lock(a_plan()), (TURN,))
        await first.record(ask(), ())
        await first.record(grant(an_approval()), ())
        assert await taken(second, "c1") is None
        assert await second.record(by_approval("c2"), (USE,)) is None
        prefix = f"{{{prefix_of(url)}}}:"
        forever = {"epoch", "seq", "version", "owners", "freezes"}
        lives = {
            key.decode().removeprefix(prefix): redis_server.ask("PTTL", key)
            for key in redis_server.ask("KEYS", f"{prefix}*")
        }
    assert not {key for key, left_ms in lives.items() if left_ms < 0} - forever
    names = {f"agreed-in:{name}" for name in (PLAN, "sha256:plan", APPROVAL)}
    assert {f"agreed:{RUN.id}", "attempt:c1"} | names <= lives.keys()
    day_ms = 86_400_000
    assert day_ms >= lives[f"taken:{USE.key}"] > 0
    assert 30 * day_ms >= lives[f"taken:p:{PLAN}:fetch#1"] > 29 * day_ms
