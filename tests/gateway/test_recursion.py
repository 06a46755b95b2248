"""A run within a run: where plans have a say, a person agrees to it first, and it is never deeper than they allow."""

from __future__ import annotations

from tests.gateway.scene import AGENT, ALL, Scene, code_of, plan, scene, step

from toolgate.auth.runs import RunTokens
from toolgate.core.approval import Approval
from toolgate.core.bundle import Bundle
from toolgate.core.model import OpenedRun, Principal, Refusal
from toolgate.runs import Opened, Review, Runs, Terms

OPERATOR = Principal("olga", ("approver",))


def runs_of(desk: Scene, max_depth: int = 5) -> Runs:
    ids = iter(range(1, 1000))
    return Runs(
        desk.ledger,
        RunTokens(bytes(32), "prod", desk.clock.now_ms),
        Terms(3600, max_depth),
        desk.clock.now_ms,
        lambda: f"{next(ids):026}",
        Review(desk.approvals, lambda: desk.gateway.bundle),
    )


async def opened(runs: Runs, within: OpenedRun | None = None) -> OpenedRun:
    answer = await runs.open(AGENT, within, within.id if within else None, {})
    assert isinstance(answer, Opened), answer
    return answer.run


async def test_without_plans_a_run_is_opened_in_a_run_as_ever(shop: Bundle) -> None:
    """Nobody is asked where no rule and no plan speaks of it."""
    async with scene(shop) as desk:
        runs = runs_of(desk)
        inner = await opened(runs, await opened(runs))
        assert 1 == len(inner.above)


async def test_a_person_agrees_to_each_run_within_a_planned_one(shop: Bundle) -> None:
    """Refused with an id; granted; repeated; opened, once; and its line names the approval."""
    async with scene(shop, ALL) as desk:
        runs = runs_of(desk)
        outer = await opened(runs)
        await desk.plans.propose(AGENT, outer, plan(step("one")))
        refused = await runs.open(AGENT, outer, outer.id, {})
        assert isinstance(refused, Refusal)
        assert "plan.recursion" == refused.code.code
        approval_id = str(refused.recovery.approval)
        assert "repeat this same POST /-/runs after it is granted." in refused.recovery.hint
        assert "approval.pending" == code_of(await runs.open(AGENT, outer, outer.id, {}))
        assert isinstance(await desk.approvals.grant(approval_id, OPERATOR), Approval)

        inner = await opened(runs, outer)
        assert "used" == desk.approvals.find(approval_id).state
        assert "plan.recursion" == code_of(await runs.open(AGENT, outer, outer.id, {}))
        started = {each["run"]: each.get("approval") for each in await desk.events("RunStarted")}
    assert {outer.id: None, inner.id: approval_id} == started


async def test_nobody_can_agree_to_more_depth_than_the_rules_have(shop: Bundle) -> None:
    """`max_depth` of plans.yaml holds whatever `runs.max_depth` would allow; nobody is asked in vain."""
    async with scene(shop, max_depth=0) as desk:
        runs = runs_of(desk)
        outer = await opened(runs)
        refused = await runs.open(AGENT, outer, outer.id, {})
        assert isinstance(refused, Refusal)
        assert ("plan.recursion", None) == (refused.code.code, refused.recovery.approval)
        assert [] == await desk.events("ApprovalRequested")


async def test_a_replaced_plan_makes_the_yes_stale(shop: Bundle) -> None:
    """Who agreed to a run below a plan agreed to that plan."""
    async with scene(shop) as desk:
        runs = runs_of(desk)
        outer = await opened(runs)
        facts = await desk.plans.propose(AGENT, outer, plan(step("one")))
        refused = await runs.open(AGENT, outer, outer.id, {})
        await desk.approvals.grant(str(refused.recovery.approval), OPERATOR)
        await desk.plans.revise(AGENT, outer, facts.locked.id, plan(step("one"), step("two")))

        assert "approval.stale" == code_of(await runs.open(AGENT, outer, outer.id, {}))
