"""Plans on the path of a call: locked, followed, held for what runs, revised; and what is written of all that."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.gateway.conftest import MASK_KEY
from tests.gateway.scene import AGENT, ALL, ASK, JSON, ONCALL, Scene, code_of, plan, ruled, scene, step

from toolgate.core.approval import Approval
from toolgate.core.budgets import Budgets
from toolgate.core.bundle import Bundle
from toolgate.core.loop import Loops
from toolgate.core.model import Completed, Failed, Principal, Refusal, Reply, Said
from toolgate.core.outputs import output_digest
from toolgate.core.plan import LockedPlan, PlanFacts, PlanRules
from toolgate.holds import MOST_OF_A_RUN
from toolgate.killswitch import KillSwitch, Target
from toolgate.ports import UpstreamError

GET = step("get", arguments={"id": "a"}, outputs={"id": "$response.body#/id"})
PUT = step("put", "putItem", "get", arguments={"id": "$steps.get.outputs.id"})
ITEM = Reply(200, JSON, b'{"id":"a"}')


async def turn(condition: Any) -> None:
    """Let other tasks go on until something holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 (turns of the loop, no time)
            await asyncio.sleep(0)


async def test_a_plan_is_followed_step_by_step(shop: Bundle) -> None:
    """Each call is a step, in order; the answer of one is what the next is held to; the journal names each of them."""
    async with scene(shop) as desk:
        desk.upstream.replies["shop.getItem"] = ITEM
        facts = await desk.locked(GET, PUT)
        early = await desk.put("a")
        assert "plan.out_of_order" == code_of(early)
        assert ("get",) == early.refusal.recovery.waiting_on
        assert isinstance(await desk.ask("getItem", id="a"), Completed)
        assert "plan.step_done" == code_of(await desk.ask("getItem", id="a"))
        assert "plan.arguments_changed" == code_of(await desk.put("b"))
        assert isinstance(await desk.put("a"), Completed)

        permits = [each for each in await desk.events("Decided") if each["decision"] == "permit"]
        ended = await desk.events("Finished")
    plan_id = facts.locked.id
    assert [(plan_id, "get", 1), (plan_id, "put", 1)] == [
        (each["plan"], each["step"], each["attempt"]) for each in permits
    ]
    assert [(plan_id, "get"), (plan_id, "put")] == [(each["plan"], each["step"]) for each in ended]
    assert {"id": output_digest("a", MASK_KEY)} == ended[0]["outputs"]
    assert "outputs" not in ended[1]
    assert {"id": plan_id, "digest": facts.locked.digest, "steps": {"get": "done"}} == {
        name: told for name, told in permits[1]["facts"]["plan"].items() if name in {"id", "digest", "steps"}
    }


async def test_a_call_of_a_running_dependency_is_held_until_it_ends(shop: Bundle) -> None:
    """Agents call in parallel: the second call waits for the first one's `Finished`, and is sent then."""
    async with scene(shop) as desk:
        desk.upstream.replies["shop.getItem"] = ITEM
        desk.upstream.held["shop.getItem"] = asyncio.Event()
        await desk.locked(GET, PUT)
        first = asyncio.ensure_future(desk.ask("getItem", id="a"))
        await turn(lambda: desk.upstream.sent)
        second = asyncio.ensure_future(desk.put("a"))
        await turn(lambda: desk.holds.count)
        desk.clock.at_ms += 700
        desk.upstream.held["shop.getItem"].set()

        assert ["completed", "completed"] == [code_of(each) for each in await asyncio.gather(first, second)]
        (held,) = (each for each in await desk.events("Decided") if each.get("step") == "put")
    assert 700 == held["held_ms"]
    assert 0 == desk.holds.count


async def test_a_held_call_whose_time_is_over_is_told_what_it_waits_for(shop: Bundle) -> None:
    """`hold_ms` is the most it waits; then it is refused with the step that is still running."""
    async with scene(shop, hold_ms=20) as desk:
        desk.upstream.held["shop.getItem"] = asyncio.Event()
        await desk.locked(GET, PUT)
        first = asyncio.ensure_future(desk.ask("getItem", id="a"))
        await turn(lambda: desk.upstream.sent)
        refused = await desk.put("a")
        desk.upstream.held["shop.getItem"].set()
        await first

    assert "plan.step_not_ready" == code_of(refused)
    assert ("get",) == refused.refusal.recovery.waiting_on


async def test_the_same_step_twice_at_once_is_sent_once(shop: Bundle) -> None:
    """The second is held while the first runs, and is told then that the step is done."""
    async with scene(shop) as desk:
        desk.upstream.replies["shop.getItem"] = ITEM
        desk.upstream.held["shop.getItem"] = asyncio.Event()
        await desk.locked(GET)
        both = [asyncio.ensure_future(desk.ask("getItem", id="a")) for _ in range(2)]
        await turn(lambda: desk.holds.count and desk.upstream.sent)
        desk.upstream.held["shop.getItem"].set()

        assert ["completed", "plan.step_done"] == sorted(code_of(each) for each in await asyncio.gather(*both))
    assert 1 == len(desk.upstream.sent)


async def test_no_more_than_32_calls_of_a_run_are_held(shop: Bundle) -> None:
    """Whoever sends more is refused at once: memory never grows with what waits."""
    async with scene(shop) as desk:
        desk.upstream.replies["shop.getItem"] = ITEM
        desk.upstream.held["shop.getItem"] = asyncio.Event()
        await desk.locked(GET, PUT)
        first = asyncio.ensure_future(desk.ask("getItem", id="a"))
        await turn(lambda: desk.upstream.sent)
        held = [asyncio.ensure_future(desk.put("a")) for _ in range(MOST_OF_A_RUN)]
        await turn(lambda: desk.holds.count == MOST_OF_A_RUN)
        assert "plan.step_not_ready" == code_of(await desk.put("a"))
        desk.upstream.held["shop.getItem"].set()
        codes = [code_of(each) for each in await asyncio.gather(*held)]
        await first

    assert 1 == codes.count("completed")
    assert {"completed", "plan.step_done"} == set(codes)


async def test_a_held_call_is_decided_by_what_holds_when_it_goes_on(shop: Bundle) -> None:
    """FT49: what was forbidden while it waited is forbidden."""
    async with scene(shop) as desk:
        desk.upstream.replies["shop.getItem"] = ITEM
        desk.upstream.held["shop.getItem"] = asyncio.Event()
        await desk.locked(GET, PUT)
        first = asyncio.ensure_future(desk.ask("getItem", id="a"))
        await turn(lambda: desk.upstream.sent)
        second = asyncio.ensure_future(desk.put("a"))
        await turn(lambda: desk.holds.count)
        no = '@id("no") forbid (principal, action == Action::"shop.putItem", resource);\n'
        desk.reload(ALL + no)
        desk.upstream.held["shop.getItem"].set()
        await first

        assert "policy.denied" == code_of(await second)


async def test_a_held_call_that_is_given_up_is_forgotten(shop: Bundle) -> None:
    """An agent that hangs up leaves nothing behind."""
    async with scene(shop) as desk:
        desk.upstream.held["shop.getItem"] = asyncio.Event()
        await desk.locked(GET, PUT)
        first = asyncio.ensure_future(desk.ask("getItem", id="a"))
        await turn(lambda: desk.upstream.sent)
        second = asyncio.ensure_future(desk.put("a"))
        await turn(lambda: desk.holds.count)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert 0 == desk.holds.count
        desk.upstream.held["shop.getItem"].set()
        await first


async def test_a_step_has_its_own_time(shop: Bundle) -> None:
    """The nearer of the two deadlines holds, and the answer names the step."""
    async with scene(shop) as desk:
        desk.upstream.held["shop.getItem"] = asyncio.Event()
        await desk.locked({**GET, "timeout": 20})
        failed = await desk.ask("getItem", id="a")

    assert isinstance(failed, Failed)
    assert ("upstream.timeout", "unknown") == (failed.code.code, failed.sent)
    assert "no whole answer within the 20 ms the plan gives the step `get`" == failed.detail


async def test_an_attempt_that_was_not_sent_costs_nothing(shop: Bundle) -> None:
    """And one that failed is one of `attempts`: the step is tried again until none is left."""
    async with scene(shop) as desk:
        await desk.locked({**GET, "attempts": 2})
        desk.upstream.replies["shop.getItem"] = UpstreamError("upstream.unreachable", "nobody", sent="no")
        for _ in range(3):
            assert "upstream.unreachable" == code_of(await desk.ask("getItem", id="a"))
        desk.upstream.replies["shop.getItem"] = Reply(500, JSON, b"{}")
        assert ["completed", "completed"] == [code_of(await desk.ask("getItem", id="a")) for _ in range(2)]
        assert "plan.attempts_exhausted" == code_of(await desk.ask("getItem", id="a"))


async def test_what_is_done_is_never_sent_again(shop: Bundle) -> None:
    """Also where attempts would be left: the next one is for who knows that the one before has failed."""
    async with scene(shop) as desk:
        desk.upstream.replies["shop.getItem"] = ITEM
        facts = await desk.locked({**GET, "attempts": 3})
        await desk.ask("getItem", id="a")
        assert "plan.step_done" == code_of(await desk.ask("getItem", id="a"))
        of_step = {key: amount for key, amount in desk.ledger.balances().items() if key.startswith("p:")}
        assert {f"p:{facts.locked.id}:get#1": 1} == of_step


async def test_a_call_may_name_its_plan_and_step(shop: Bundle) -> None:
    """Then it is that one or nothing, whatever else would fit; and the journal has what it said."""
    async with scene(shop) as desk:
        facts = await desk.locked(step("one"), step("two"))
        assert "plan.stale" == code_of(await desk.ask("getItem", said=Said(plan="plan_other"), id="x"))
        sent = await desk.ask("getItem", said=Said(plan=facts.locked.digest, step="two"), id="x")
        assert "completed" == code_of(sent)
        decided = await desk.events("Decided")

    assert "two" == decided[-1]["step"]
    assert {"plan": facts.locked.digest, "step": "two"} == decided[-1]["said"]


async def test_without_a_plan_what_needs_one_is_refused(shop: Bundle) -> None:
    """`required_for`: a write needs a plan, a read does not."""
    async with scene(shop, required_effects=frozenset({"write"})) as desk:
        assert "plan.required" == code_of(await desk.put())
        assert "completed" == code_of(await desk.ask("getItem", id="a"))


# -- proposing and revising ------------------------------------------------------------------------------------------


async def test_a_plan_that_is_wrong_is_rejected_whole_and_written(shop: Bundle) -> None:
    """Every problem at once; nothing is locked; the journal knows what was proposed."""
    async with scene(shop) as desk:
        refused = await desk.plans.propose(AGENT, None, plan(step("a", "nothing"), step("b", "getItem", "c")))
        assert isinstance(refused, Refusal)
        assert {"/steps/0/operationId", "/steps/1/dependsOn/0"} <= {each.path for each in refused.violations}
        (written,) = await desk.events("PlanRefused")
        assert ("plan.rejected", "agent") == (written["code"], written["principal"])
        assert len(refused.violations) == len(written["violations"])
        assert [] == await desk.events("PlanLocked")
        assert "completed" == code_of(await desk.ask("getItem", id="a"))


async def test_a_trial_leaves_nothing(shop: Bundle) -> None:
    """What would be locked is told, and nothing is written, asked or begun."""
    async with scene(shop, approve=("oncall",)) as desk:
        assert isinstance(await desk.plans.check(AGENT, None, plan(GET)), LockedPlan)
        assert isinstance(await desk.plans.check(AGENT, None, plan(step("a", "nothing"))), Refusal)
        assert [] == await desk.events("PlanLocked", "PlanRefused", "ApprovalRequested", "RunStarted")


async def test_a_plan_is_told_to_its_principal_only(shop: Bundle) -> None:
    """By id or digest; another's is not there."""
    async with scene(shop) as desk:
        facts = await desk.locked(GET)
        for named in (facts.locked.id, facts.locked.digest):
            assert facts.locked == desk.plans.show(AGENT, named).locked
            assert desk.plans.show(Principal("eve"), named) is None
            assert desk.plans.find(named) is not None
        assert await desk.plans.revise(Principal("eve"), None, facts.locked.id, plan(GET)) is None


async def test_the_same_plan_again_is_the_plan(shop: Bundle) -> None:
    """Proposing twice is proposing once: an agent that lost the answer asks again."""
    async with scene(shop) as desk:
        first, second = await desk.locked(GET), await desk.locked(GET)
        assert first.locked == second.locked
        assert 1 == len(await desk.events("PlanLocked"))


async def test_narrowing_is_free_and_expanding_is_counted(shop: Bundle) -> None:
    """Story 5: two expansions; the third asks a person, and is locked once one agreed."""
    async with scene(shop, max_replans=2, approve=()) as desk:
        facts = await desk.locked(step("one"), step("two"))
        plan_id = facts.locked.id
        narrowed = await desk.plans.revise(AGENT, None, plan_id, plan(step("one", arguments={"id": "a"}), step("two")))
        assert (plan_id, 0, facts.locked.expires_ms) == (narrowed.locked.id, 0, narrowed.locked.expires_ms)
        assert facts.locked.digest != narrowed.locked.digest
        for number in (1, 2):
            more = [step(f"more{each}") for each in range(number)]
            wider = await desk.plans.revise(AGENT, None, plan_id, plan(step("one"), step("two"), *more))
            assert number == wider.locked.expansions
            assert 2 - number == desk.plans.replans_left(wider.locked)

        last = plan(step("one"), step("two"), *(step(f"more{each}") for each in range(3)))
        refused = await desk.plans.revise(AGENT, None, plan_id, last)
        assert ("plan.replan_limit", "escalate") == (refused.code.code, refused.recovery.action)
        assert refused.detail.startswith("exceeded max retries (2)")
        assert refused.recovery.hint.endswith("That escalates it to human review; until then the locked plan holds.")
        approval_id = str(refused.recovery.approval)
        assert "approval.pending" == code_of(await desk.plans.revise(AGENT, None, plan_id, last))
        operator = Principal("olga", ("approver",))
        assert isinstance(await desk.approvals.grant(approval_id, operator), Approval)
        agreed = await desk.plans.revise(AGENT, None, plan_id, last)
        assert isinstance(agreed, PlanFacts)
        assert (3, approval_id) == (agreed.locked.expansions, agreed.locked.approval)
        assert "used" == desk.approvals.find(approval_id).state
        written = [(each["expansions"], each["replaces"] is None) for each in await desk.events("PlanLocked")]
    assert [(0, True), (0, False), (1, False), (2, False), (3, False)] == written


async def test_what_a_plan_has_done_stays_done_when_it_is_revised(shop: Bundle) -> None:
    """A revision is the same plan: its cursor goes on."""
    async with scene(shop) as desk:
        desk.upstream.replies["shop.getItem"] = ITEM
        facts = await desk.locked(GET, PUT)
        await desk.ask("getItem", id="a")
        revised = await desk.plans.revise(AGENT, None, facts.locked.id, plan(GET, PUT, step("more")))
        assert "done" == revised.steps["get"].state
        assert "completed" == code_of(await desk.put("a"))


async def test_of_two_plans_at_once_one_is_locked(shop: Bundle) -> None:
    """The other is told to look again: no run has two plans."""
    async with scene(shop) as desk:
        await desk.ask("getItem", id="a")
        both = await asyncio.gather(
            desk.plans.propose(AGENT, None, plan(step("one"))), desk.plans.propose(AGENT, None, plan(step("two")))
        )
        assert 1 == sum(isinstance(each, PlanFacts) for each in both)
        assert {"completed", "gateway.contended"} == {code_of(each) for each in both}
        assert 1 == len(await desk.events("PlanLocked"))


async def test_whose_plans_are_too_long_together_hears_what_to_do(shop: Bundle) -> None:
    """The same again would be refused again, so nobody is told to repeat it."""
    async with scene(shop) as desk:
        steps = [step(f"s{n}", arguments={"id": f"{n}" + 900_000 * "x"}) for n in range(10)]
        refused = await desk.plans.propose(AGENT, None, plan(*steps))
        assert ("plan.rejected", "finish") == (refused.code.code, refused.recovery.action)
        assert "the plans of your open runs are too long together" == refused.detail
        assert refused.recovery.hint.startswith("Finish runs that are done with POST /-/run/finish")
        assert [] == await desk.events("PlanLocked")


async def test_a_long_plan_is_judged_in_parts(shop: Bundle) -> None:
    """Calls of others go on while it is."""
    async with scene(shop, max_steps=1000) as desk:
        proposed = asyncio.ensure_future(desk.plans.propose(AGENT, None, plan(*(step(f"s{n}") for n in range(101)))))
        turns = 0
        while not proposed.done():
            await asyncio.sleep(0)
            turns += 1
        assert isinstance(await proposed, PlanFacts)
        assert turns > 10


async def test_an_expired_plan_is_renewed_at_the_price_of_an_expansion(shop: Bundle) -> None:
    """Its time is over, also for what was only narrowed; the same plan again is counted."""
    async with scene(shop, expires_s=60) as desk:
        facts = await desk.locked(GET)
        desk.clock.advance(60)
        assert "plan.expired" == code_of(await desk.ask("getItem", id="a"))
        again = await desk.locked(GET)
        assert 1 == again.locked.expansions
        assert facts.locked.expires_ms < again.locked.expires_ms
        assert "completed" == code_of(await desk.ask("getItem", id="a"))


async def test_every_plan_needs_a_yes_where_the_rules_say_so(shop: Bundle) -> None:
    """`approve`: the same proposal repeated after the grant locks it; until then there is no plan."""
    async with scene(shop, approve=("oncall",)) as desk:
        refused = await desk.plans.propose(AGENT, None, plan(GET))
        assert "approval.required" == code_of(refused)
        assert "repeat this same POST /-/plans after it is granted." in refused.recovery.hint
        assert "approval.pending" == code_of(await desk.plans.propose(AGENT, None, plan(GET)))
        await desk.approvals.grant(str(refused.recovery.approval), ONCALL)
        changed = plan({**GET, "arguments": {"id": "b"}})
        assert "approval.required" == code_of(await desk.plans.propose(AGENT, None, changed))
        locked = await desk.plans.propose(AGENT, None, plan(GET))
        assert isinstance(locked, PlanFacts)
        assert refused.recovery.approval == locked.locked.approval


async def _whole(desk: Scene, *steps: dict[str, Any]) -> PlanFacts:
    refused = await desk.plans.propose(AGENT, None, plan(*steps))
    assert isinstance(refused, Refusal)
    await desk.approvals.grant(str(refused.recovery.approval), ONCALL)
    return await desk.locked(*steps)


async def test_a_plan_that_nobody_agreed_to_is_stale_once_plans_are_approved(shop: Bundle) -> None:
    """Turning `approve` on holds for the plans that are followed: proposed again, a person is asked."""
    async with scene(shop) as desk:
        await desk.locked(GET, PUT)
        desk.gateway.swap(ruled(shop, ALL, PlanRules(approve=("oncall",))))

        assert "plan.stale" == code_of(await desk.ask("getItem", id="a"))
        assert "approval.required" == code_of(await desk.plans.propose(AGENT, None, plan(GET, PUT)))


async def test_a_plan_that_was_approved_whole_needs_no_further_yes(shop: Bundle) -> None:
    """Its steps are sent as they stand in it, and the journal says by whose approval."""
    async with scene(shop, ALL + ASK, approve=("oncall",)) as desk:
        facts = await _whole(desk, step("put", "putItem", arguments={"id": "a", "body": {"n": 1}}))
        assert "completed" == code_of(await desk.put("a", n=1))
        (decided,) = await desk.events("Decided")
    assert facts.locked.approval == decided["approval"]
    assert 1 == len(desk.told) - 1  # the plan's own request and its grant; nobody was asked about the call


async def test_what_a_plan_leaves_open_nobody_has_agreed_to(shop: Bundle) -> None:
    """SECURITY: an argument that is free in an approved plan is asked for when it is known."""
    async with scene(shop, ALL + ASK, approve=("oncall",)) as desk:
        await _whole(desk, step("put", "putItem", arguments={"id": "a"}))
        assert "approval.required" == code_of(await desk.put("a", n=1))


async def test_an_approval_of_a_plan_is_for_the_roles_that_gave_it(shop: Bundle) -> None:
    """A statement that asks another role is not answered by it."""
    ask = ASK.replace("oncall", "dba")
    async with scene(shop, ALL + ask, approve=("oncall",)) as desk:
        await _whole(desk, step("put", "putItem", arguments={"id": "a", "body": {}}))
        assert "approval.required" == code_of(await desk.put("a"))


async def test_a_revision_does_not_keep_the_yes(shop: Bundle) -> None:
    """What was agreed to is that plan, word for word: a narrower one is approved anew."""
    async with scene(shop, ALL + ASK, approve=("oncall",)) as desk:
        facts = await _whole(desk, step("put", "putItem", arguments={"id": "a"}))
        narrower = plan(step("put", "putItem", arguments={"id": "a", "body": {"n": 1}}))
        assert "approval.required" == code_of(await desk.plans.revise(AGENT, None, facts.locked.id, narrower))
        assert facts.locked.digest == desk.plans.show(AGENT, facts.locked.id).locked.digest


async def test_proposals_in_vain_are_counted(shop: Bundle) -> None:
    """SECURITY: an agent that proposes nonsense without end is stopped like one that is refused without end."""
    async with scene(shop) as desk:
        desk.gateway.swap(replace(desk.bundle, budgets=Budgets(loops=Loops(denied_attempts=3), environment="prod")))
        codes = [code_of(await desk.plans.propose(AGENT, None, plan(step("a", "nothing")))) for _ in range(4)]
        assert ["plan.rejected"] * 3 + ["run.stopped"] == codes
        assert ["RunStopped"] == [each.kind for each in desk.told]


async def test_a_stopped_run_locks_nothing(shop: Bundle) -> None:
    """The kill switch comes first."""
    async with scene(shop) as desk:
        await KillSwitch(desk.ledger, desk.told.append, desk.clock.now_ms).throw(
            "freeze", Target("principal", "agent"), who="olga", why="enough"
        )
        assert "gateway.frozen" == code_of(await desk.plans.propose(AGENT, None, plan(GET)))
        assert [] == await desk.events("PlanLocked")


async def test_a_number_that_was_answered_is_bound_by_its_value(shop: Bundle) -> None:
    """Who reads `31.0` may have no way to send it but as `31`; another number, or its text, is another value."""
    bound = step("put", "putItem", "get", arguments={"body": {"n": "$steps.get.outputs.n"}})
    async with scene(shop) as desk:
        desk.upstream.replies["shop.getItem"] = Reply(200, JSON, b'{"id":"a","n":31.0}')
        await desk.locked(step("get", outputs={"n": "$response.body#/n"}), bound)
        await desk.ask("getItem", id="a")
        assert ["plan.arguments_changed"] * 2 == [code_of(await desk.put("a", n=each)) for each in (32, "31")]
        assert "completed" == code_of(await desk.put("a", n=31))
