"""Two gateways over one store: one run, one plan, one approval, whichever of them is asked.

RULE: they know of each other by a real Redis server alone; each has a journal, a clock and ids of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.conftest import MASK_KEY
from tests.gateway.scene import AGENT, ALL, ASK, JSON, ONCALL, Scene, code_of, plan, ruled, step
from tests.ledger.redis.stores import PATIENT_S, joined, made_ready, prefix_of
from tests.support.redis_server import RedisServer

from toolgate.core import runs as told
from toolgate.core.approval import Approval
from toolgate.core.bundle import Bundle
from toolgate.core.model import Completed, Named, OpenedRun, Outcome, Refused, Reply, Said
from toolgate.core.plan import LockedPlan, PlanFacts, PlanRules
from toolgate.ledger import open as open_ledger
from toolgate.ports import UpstreamError
from toolgate.testing.fakes import FakeClock

GET = step("get", arguments={"id": "a"}, outputs={"id": "$response.body#/id"})
PUT = step("put", "putItem", "get", arguments={"id": "$steps.get.outputs.id"})
ITEM = Reply(200, JSON, b'{"id":"a"}')
HOUR_MS = 3_600_000
SIGN_IN: dict[str, Any] = {"body": {"account": "ann", "password": "hunter2-secret"}}


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def url(redis_server: RedisServer) -> str:
    return made_ready(redis_server.url, PATIENT_S)


class Desk(Scene):
    """One gate of several, and the run that all of them serve."""

    run = OpenedRun("run_00000000000000000000000001", FakeClock().at_ms + HOUR_MS)

    async def ask_in(self, operation: str, said: Said | None = None, **arguments: Any) -> Outcome:
        call = self.gateway.new_call(AGENT, Named(f"shop.{operation}", arguments), said or Said(), self.run)
        return await self.gateway.handle(call)

    async def get_in(self, item: str = "a", **said: Any) -> Outcome:
        return await self.ask_in("getItem", Said(**said), id=item)

    async def put_in(self, item: str = "a", **body: Any) -> Outcome:
        return await self.ask_in("putItem", id=item, body=body)

    async def planned(self, *steps: Any) -> Any:
        return await self.plans.propose(AGENT, self.run, plan(*steps))


def desk(url: str, bundle: Bundle, number: int, journal: str = "memory:") -> Desk:
    clock = FakeClock()
    clock.at_ms += number  # ids begin with the time: no two gates make the same
    ledger: Any = joined(url, lambda: open_ledger(journal, clock=clock.now_ms, key=lambda: MASK_KEY), clock.now_ms)
    made = Desk(bundle, ledger, clock)
    made.upstream.replies["shop.getItem"] = ITEM
    return made


@asynccontextmanager
async def desks(url: str, shop: Bundle, policies: str = ALL, **rules: Any) -> AsyncIterator[tuple[Desk, Desk]]:
    bundle = ruled(shop, policies, PlanRules(**rules))
    first, second = (desk(url, bundle, number) for number in range(2))
    await first.ledger.record(told.opened(Desk.run, AGENT.id, {}, first.clock.at_ms), ())
    try:
        yield first, second
    finally:
        await first.ledger.close()
        await second.ledger.close()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (the link's own task)
            await asyncio.sleep(0.005)


async def test_a_plan_is_proposed_here_and_followed_there(shop: Bundle, url: str) -> None:
    """To its end, each step at the other gate than the one before; what one answered binds the other."""
    async with desks(url, shop) as (first, second):
        facts = await first.planned(GET, PUT)
        assert "plan.unplanned" == code_of(await second.ask_in("strictItem", id="a"))
        assert "plan.out_of_order" == code_of(await second.put_in())
        assert isinstance(await second.get_in(plan=facts.locked.digest), Completed)
        assert "plan.step_done" == code_of(await first.get_in())
        assert "plan.arguments_changed" == code_of(await first.put_in("b"))
        assert isinstance(await first.put_in("a"), Completed)
        assert "plan.step_done" == code_of(await second.put_in("a"))
        assert [1, 1] == [len(each.upstream.sent) for each in (first, second)]
        assert facts.locked == second.plans.show(AGENT, facts.locked.id).locked


async def test_the_same_step_at_once_is_sent_by_one_gate(shop: Bundle, url: str) -> None:
    """M17: whoever comes second is held, and told that it is done."""
    async with desks(url, shop) as both:
        facts = await both[0].planned(GET)
        outcomes = await asyncio.gather(*(each.get_in() for each in both for _ in range(5)))
        assert 1 == sum(len(each.upstream.sent) for each in both)
        assert ["completed"] + ["plan.step_done"] * 9 == sorted(map(code_of, outcomes))
        permits = [each for gate in both for each in await gate.events("Decided") if each["decision"] == "permit"]
        assert [facts.locked.id] == [each["plan"] for each in permits]


async def test_a_call_is_held_for_a_step_that_runs_elsewhere(shop: Bundle, url: str) -> None:
    """It goes on when the step ended at the other gate."""
    async with desks(url, shop, hold_ms=5000) as (first, second):
        await first.planned(GET, PUT)
        first.upstream.held["shop.getItem"] = asyncio.Event()
        running = asyncio.ensure_future(first.get_in())
        await until(lambda: first.upstream.sent)
        waiting = asyncio.ensure_future(second.put_in())
        await until(lambda: second.holds.count)
        first.upstream.held["shop.getItem"].set()
        assert ["completed", "completed"] == [code_of(each) for each in await asyncio.gather(running, waiting)]


async def test_what_was_surely_not_sent_is_sent_by_the_other_gate(shop: Bundle, url: str) -> None:
    """However often: an attempt that was none is everybody's again."""
    async with desks(url, shop) as (first, second):
        await first.planned(step("put", "putItem", arguments={"id": "a"}))
        first.upstream.replies["shop.putItem"] = UpstreamError("upstream.unreachable", "nobody is there", sent="no")
        for _ in range(3):
            assert "upstream.unreachable" == code_of(await first.put_in())
        assert isinstance(await second.put_in(), Completed)
        assert "plan.step_done" == code_of(await first.put_in())


async def test_a_step_that_was_perhaps_done_elsewhere_is_not_sent_again(shop: Bundle, url: str) -> None:
    """Its plan is revised at the other gate first."""
    async with desks(url, shop) as (first, second):
        await first.planned(step("in", "signIn"))
        first.upstream.replies["shop.signIn"] = UpstreamError("upstream.timeout", "no answer", sent="unknown")
        assert "upstream.timeout" == code_of(await first.ask_in("signIn", **SIGN_IN))
        assert "plan.outcome_unknown" == code_of(await second.ask_in("signIn", **SIGN_IN))
        assert [] == second.upstream.sent


async def test_a_revision_here_holds_there(shop: Bundle, url: str) -> None:
    """Also one that is made at the gate that did not lock the plan; the former digest is told to be stale."""
    async with desks(url, shop) as (first, second):
        locked = await first.planned(GET, PUT)
        revised = await second.plans.revise(AGENT, Desk.run, locked.locked.id, plan(GET))
        assert isinstance(revised, PlanFacts)
        assert (locked.locked.id, 0) == (revised.locked.id, revised.locked.expansions)
        assert isinstance(await first.get_in(plan=revised.locked.digest), Completed)
        assert "plan.unplanned" == code_of(await first.put_in())
        assert "plan.stale" == code_of(await second.get_in(plan=locked.locked.digest))


async def test_two_plans_at_once_are_one(shop: Bundle, url: str) -> None:
    """Proposed at both gates for one run: one is locked, and the other proposal revises it or is told of it."""
    async with desks(url, shop) as both:
        answers = await asyncio.gather(both[0].planned(GET), both[1].planned(GET, PUT))
        assert 1 <= sum(isinstance(each, PlanFacts) for each in answers)
        assert {"gateway.contended"} >= {code_of(each) for each in answers if not isinstance(each, PlanFacts)}
        for each in both:
            await each.plans.catch_up(Desk.run.id)
        ids = {each.locked.id for each in answers if isinstance(each, PlanFacts)}
        assert 1 == len({gate.plans.find(name).locked.digest for gate in both for name in ids})


async def test_an_approval_is_granted_there_and_used_here(shop: Bundle, url: str) -> None:
    """A person answers at the gate next to them, by the id alone; the repeated call finds the answer."""
    async with desks(url, shop, ALL + ASK) as (first, second):
        refused = await first.put_in()
        assert "approval.required" == code_of(refused)
        name = str(refused.refusal.recovery.approval)
        assert "approval.pending" == code_of(await second.put_in())
        granted = await second.approvals.grant(name, ONCALL)
        assert isinstance(granted, Approval)
        assert ("granted", name) == (granted.state, granted.id)
        assert isinstance(await first.put_in(), Completed)
        assert "approval.required" == code_of(await second.put_in())
        assert 1 == len(first.upstream.sent)
        assert [] == second.upstream.sent


async def test_a_hundred_repeats_at_two_gates_use_one_yes(shop: Bundle, url: str) -> None:
    """M18: one call is sent; nothing more by that approval, at either gate."""
    async with desks(url, shop, ALL + ASK) as both:
        name = str((await both[0].put_in()).refusal.recovery.approval)
        await both[1].approvals.grant(name, ONCALL)
        outcomes = await asyncio.gather(*(both[n % 2].put_in() for n in range(100)))
        assert 1 == sum(len(each.upstream.sent) for each in both)
        assert 1 == sum(isinstance(each, Completed) for each in outcomes)
        codes = {code_of(each) for each in outcomes if isinstance(each, Refused)}
        assert codes <= {"approval.required", "approval.pending"}


async def test_a_no_there_is_a_no_here(shop: Bundle, url: str) -> None:
    """Declined at one gate: the repeated call at the other is told so, with the comment."""
    async with desks(url, shop, ALL + ASK) as (first, second):
        name = str((await first.put_in()).refusal.recovery.approval)
        await second.approvals.decline(name, ONCALL, "not on a Friday")
        refused = await first.put_in()
        assert "approval.declined" == code_of(refused)
        assert "not on a Friday" in refused.refusal.detail
        again = await first.approvals.grant(name, ONCALL)
        assert "approval.declined" == code_of(again)


async def test_an_approved_plan_is_locked_where_it_is_proposed_again(shop: Bundle, url: str) -> None:
    """Asked for at one gate, granted and proposed again at the other, followed at the first."""
    async with desks(url, shop, approve=("oncall",)) as (first, second):
        refused = await first.planned(GET)
        assert "approval.required" == code_of(refused)
        await second.approvals.grant(str(refused.recovery.approval), ONCALL)
        locked = await second.planned(GET)
        assert isinstance(locked, PlanFacts)
        assert isinstance(locked.locked, LockedPlan)
        assert isinstance(await first.get_in(), Completed)


async def test_a_gate_that_was_restarted_goes_on(shop: Bundle, url: str, tmp_path: Path) -> None:
    """What others did while it was away is known before it sends; what it did itself is not done again."""
    journal = f"sqlite://{tmp_path / 'ledger.db'}"
    async with desks(url, shop) as (first, _):
        third = desk(url, first.bundle, 2, journal)
        await third.planned(GET, PUT)
        assert isinstance(await third.get_in(), Completed)
        await third.ledger.close()
        assert isinstance(await first.put_in("a"), Completed)
        third = desk(url, first.bundle, 50_000, journal)
        assert ["plan.step_done"] * 2 == [code_of(each) for each in (await third.get_in(), await third.put_in("a"))]
        assert [] == third.upstream.sent
        await third.ledger.close()


async def test_the_store_holds_no_secret(shop: Bundle, url: str, redis_server: RedisServer) -> None:
    """What an answer said and what is masked in a request are digests there, as in the journal."""
    async with desks(url, shop, ALL + ASK.replace("putItem", "signIn")) as (first, _):
        first.upstream.replies["shop.getItem"] = Reply(200, JSON, b'{"id":"hunter2-output"}')
        await first.planned(GET, step("in", "signIn", "get"))
        assert isinstance(await first.get_in(), Completed)
        asked = await first.ask_in("signIn", **SIGN_IN)
        assert "approval.required" == code_of(asked)
        texts = redis_server.ask("LRANGE", f"{{{prefix_of(url)}}}:agreed:{Desk.run.id}", 0, -1)
    kinds = [json.loads(text.partition(b" ")[2])["kind"] for text in texts]
    assert ["PlanLocked", "Decided", "Finished", "ApprovalRequested"] == kinds
    assert not [text for text in texts if b"hunter2" in text]
